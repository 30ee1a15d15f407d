//! `cargo xtask <verb>`: the project's own chores, in Rust so that they run wherever the project builds.
//!
//! One file per verb and one line in `VERBS`. What a build needs from the machine is left to `scripts/ensure`.

mod bench;
mod build;
mod codegen;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A verb: its name, what it does, and the function that does it with the repository's root and the further arguments.
type Verb = (&'static str, &'static str, fn(&Path, &[String]) -> anyhow::Result<ExitCode>);

const VERBS: &[Verb] = &[
    ("bench", "portreeve beside other scanners on one link, measured", bench::run),
    ("build", "the console, then the release binary", build::run),
    ("codegen", "the OpenAPI document, and the console's client from it", codegen::run),
    ("tidy", "check the walls between crates and the rules of the house", tidy::run),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next();
    let rest: Vec<String> = args.collect();
    let Some((_, _, run)) = VERBS.iter().find(|(name, ..)| verb.as_deref() == Some(name)) else {
        usage(verb.as_deref());
        return ExitCode::from(2);
    };
    match run(&root(), &rest) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(verb: Option<&str>) {
    if let Some(verb) = verb {
        eprintln!("error: `{verb}` is not a verb of xtask");
    }
    eprintln!("usage: cargo xtask <verb>");
    for (name, what, _) in VERBS {
        eprintln!("  {name:<8} {what}");
    }
}

/// The repository's root: the folder above this crate's.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
