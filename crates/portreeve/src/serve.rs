//! `portreeve serve`: server, in-process transport and embedded node in one process, from the first start to a clean end.
//!
//! It puts the parts together and decides nothing about ports. The order matters: the address is bound before the database is
//! opened, so that a busy port costs nothing; the node stops before the store does, so that nothing seen is lost.

use crate::cli::ServeArgs;
use crate::config::Config;
use anyhow::Context as _;
use model::{NodeName, Vantage};
use node::{Node, NodeConfig};
use server::bootstrap::{ensure_tasks, ensure_watched};
use server::context::Context;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use wire::InProcess;

/// Name of the node that runs in this process.
const EMBEDDED: &str = "embedded";
/// File of the data directory that keeps the first sign-in.
const INITIAL_PASSWORD_FILE: &str = "initial-admin-password";
/// How long the parts get to end: the node's grace, the transactions in flight, one notification being sent.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// Runs the command.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(&args)?;
    crate::log_to_stderr(config.log_format, "info");
    if let Some(directory) = &config.catalog {
        crate::catalog::add(directory)?;
        // The server reads titles, advice and what a check is for; how it asks stays with the node.
        services::rules::checks().clone().install();
    }
    let listener = bind(config.listen).await?;
    let address = listener.local_addr()?;
    create_data_dir(&config.data)?;
    // Signals count from here on: waiting for a database must end on SIGTERM too.
    let cancel = CancellationToken::new();
    let signals = tokio::spawn(cancel_on_signal(cancel.clone())?);
    let Some(store) = open_store(&config, &cancel).await? else { return Ok(()) };

    let ctx = Context::new(store.clone(), Vantage(config.vantage.clone()));
    let console_url = config.console_url.clone().unwrap_or_else(|| format!("http://{address}/"));
    ctx.set_console_url(&console_url);
    let first_sign_in = first_start(&ctx, &config).await?;

    let node_config = NodeConfig {
        slots: config.slots,
        method: config.method()?,
        engines: config.engines()?,
        ..NodeConfig::new(NodeName(EMBEDDED.into()), Vantage(config.vantage.clone()))
    };
    let choice = scan::capability();
    let (method, note) = match node_config.method {
        scan::Method::Auto => (choice.method, choice.note.as_str()),
        named => (named, "chosen by the operator"),
    };
    ctx.introduce_node(node_config.name.clone(), method.as_str(), note, node_config.slots);
    for line in note.lines() {
        tracing::info!("{line}");
    }

    for engine in &node_config.engines {
        match scan::external::probe(engine) {
            Some(program) => tracing::info!("engine `{}` runs {}", engine.name, program.display()),
            None => tracing::warn!("engine `{}`: its program is not installed; tasks that name it will fail", engine.name),
        }
    }

    // The node has a token of its own, so that it ends first and its last reports still find the server.
    let node_cancel = CancellationToken::new();
    let transport = InProcess::new(server::Dispatcher::new(ctx.clone()));
    let mut http = tokio::spawn(server::serve_http(ctx.clone(), listener, cancel.child_token()));
    // Before the parts that log, so that the lines stay together.
    announce(&console_url, first_sign_in);
    let mut node = tokio::spawn(Node::run(Arc::new(transport), node_config, node_cancel.clone()));
    let mut background = tokio::spawn(server::run_background(ctx.clone(), cancel.child_token()));

    // A part that ends by itself takes the process with it: half a system must not look like a whole one.
    let ended = tokio::select! {
        // Looked at first: told to end, the parts may have ended by the time that we get to look.
        biased;
        () = cancel.cancelled() => None,
        done = &mut node => Some(("the embedded node", done.map_err(anyhow::Error::from))),
        done = &mut background => Some(("the background work", done.map_err(anyhow::Error::from))),
        done = &mut http => Some(("the HTTP server", done.map_err(anyhow::Error::from).and_then(|r| r.map_err(anyhow::Error::from)))),
    };
    if let Some((part, result)) = ended {
        cancel.cancel();
        node_cancel.cancel();
        let error = result.err().unwrap_or_else(|| anyhow::anyhow!("it ended without being told to"));
        return Err(error.context(format!("{part} failed")));
    }
    tracing::info!("ending: jobs in progress go back to the queue");
    node_cancel.cancel();
    let parts = async {
        let _ = node.await;
        let _ = background.await;
        let _ = http.await;
    };
    if tokio::time::timeout(SHUTDOWN, parts).await.is_err() {
        tracing::warn!("some work did not end within {} s; what was recorded is safe", SHUTDOWN.as_secs());
    }
    store.close().await;
    signals.abort();
    tracing::info!("ended");
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::AddrInUse => {
                "another program listens there, maybe another portreeve; stop it or choose a port with --listen"
            }
            ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another with --listen",
            ErrorKind::AddrNotAvailable => "no interface of this machine has that address; choose another with --listen",
            _ => "choose another address with --listen",
        };
        anyhow::anyhow!("{address} cannot be listened on: {e}\nhint: {hint}")
    })
}

fn create_data_dir(dir: &Path) -> anyhow::Result<()> {
    // Passwords' hashes and receivers' secrets are in there: nobody else's business.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| anyhow::anyhow!("data directory `{}` cannot be made: {e}\nhint: choose another with --data", dir.display()))
}

/// Opens the database, waiting for a server that is down; `None` when told to end while waiting.
async fn open_store(config: &Config, cancel: &CancellationToken) -> anyhow::Result<Option<Store>> {
    let url = config.database_url()?;
    let mut wait = Duration::from_secs(1);
    loop {
        let error = match Store::open_exclusive(&url).await {
            Ok(store) => return Ok(Some(store)),
            Err(e @ StoreError::Unreachable { .. }) => e,
            Err(e) if e.is_transient() => e,
            Err(e) => return Err(e.into()),
        };
        for line in error.to_string().lines() {
            tracing::warn!("{line}");
        }
        tracing::warn!("trying again in {} s", wait.as_secs());
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

/// How to sign in for the first time.
enum SignIn {
    /// Made just now.
    New { name: String, password: String },
    /// Made at an earlier start; the file is still there.
    File(PathBuf),
    /// Nothing to tell.
    Known,
}

/// What only the first start does: the administrator, the standard tasks, the ranges to watch.
async fn first_start(ctx: &Arc<Context>, config: &Config) -> anyhow::Result<SignIn> {
    let file = config.data.join(INITIAL_PASSWORD_FILE);
    let admin = server::auth::ensure_admin(&ctx.store).await.context("the first administrator cannot be made")?;
    ensure_tasks(ctx).await.context("the standard tasks cannot be made")?;
    ensure_watched(ctx, &config.watched()?).await.context("the first assets cannot be made")?;
    match admin {
        Some(admin) => {
            write_secret(&file, &admin.password).with_context(|| format!("`{}` cannot be written", file.display()))?;
            Ok(SignIn::New { name: admin.name, password: admin.password })
        }
        None if file.exists() => Ok(SignIn::File(file)),
        None => Ok(SignIn::Known),
    }
}

fn write_secret(file: &Path, secret: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    writeln!(out, "{secret}")
}

fn announce(console_url: &str, sign_in: SignIn) {
    let sign_in = match sign_in {
        SignIn::New { name, password } => format!("\n  sign in  {name} / {password}"),
        SignIn::File(file) => format!("\n  sign in  admin, first password in {} (if it was not changed)", file.display()),
        SignIn::Known => String::new(),
    };
    anstream::println!("portreeve {} is ready\n  console  {console_url}{sign_in}", env!("CARGO_PKG_VERSION"));
}

fn cancel_on_signal(cancel: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        cancel.cancel();
        // A second one means it: recorded state is safe at every instant.
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    })
}
