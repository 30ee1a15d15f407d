//! The binary: reads the command line, runs the command, and prints an error chain once, with its hints.
//!
//! Everything else is left to the command's own module and to the crates below.

mod admin;
mod catalog;
mod cli;
mod config;
mod import;
mod scan;
mod serve;

use clap::Parser;
use cli::{Cli, Command, LogFormat};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One provider for every TLS user in the process; rustls refuses to choose by itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&anyhow::Error::new(e).context("the process cannot start its threads")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Scan(args) => {
                log_to_stderr(LogFormat::Text, "warn");
                scan::run(*args).await
            }
            Command::Serve(args) => serve::run(*args).await,
            Command::Import(args) => {
                log_to_stderr(LogFormat::Text, "warn");
                import::run(*args).await
            }
            Command::Token(command) => admin::token(command).await,
            Command::User(command) => admin::user(command).await,
            Command::Catalog(command) => catalog::run(command),
            Command::Openapi => {
                print!("{}", server::openapi_json());
                Ok(())
            }
        }
    });
    // Name look-ups and file reads that were abandoned by Ctrl-C must not hold the exit up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

/// Prints the chain of an error, hints last, and gives the exit code: 2 for a wrong command line, 1 for a failure.
fn fail(error: &anyhow::Error) -> ExitCode {
    // Whoever read our output has had enough of it (`portreeve scan … | head`); that is no failure.
    if error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)) {
        return ExitCode::SUCCESS;
    }
    let usage = error.chain().any(|e| e.is::<scan::UsageError>());
    let mut hints = Vec::new();
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let (hinted, plain): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with("hint: "));
        hints.extend(hinted.into_iter().map(str::to_owned));
        let plain = plain.join("\n");
        // Some libraries repeat their source in their own message.
        if !causes.iter().any(|c| c.contains(&plain)) {
            causes.push(plain);
        }
    }
    anstream::eprintln!("error: {}", causes.join(": "));
    hints.dedup();
    for hint in hints {
        anstream::eprintln!("{hint}");
    }
    ExitCode::from(if usage { 2 } else { 1 })
}

/// Sends log lines to standard error. `PORTREEVE_LOG` narrows or widens them, in tracing-subscriber's filter syntax.
fn log_to_stderr(format: LogFormat, default_level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTREEVE_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(format!("{default_level},sqlx=warn,hyper=warn,sea_orm_migration=warn"))
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
}
