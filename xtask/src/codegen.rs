//! `cargo xtask codegen`: writes the OpenAPI document from the server's code, and the console's typed client from the document.
//!
//! Whether the committed document is current is left to the server's tests, which compare it.

use crate::build::{install_packages, step};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, ExitCode};

pub fn run(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(word) = args.first() {
        bail!("codegen takes no arguments, `{word}` was given");
    }
    let document = root.join("web/openapi.json");
    eprintln!("==> cargo run -p portreeve -- openapi > web/openapi.json");
    let printed = Command::new("cargo")
        .args(["run", "--quiet", "-p", "portreeve", "--", "openapi"])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !printed.status.success() {
        bail!("portreeve openapi failed: {}", printed.status);
    }
    std::fs::write(&document, printed.stdout).with_context(|| format!("{} cannot be written", document.display()))?;
    let web = root.join("web");
    install_packages(&web)?;
    step(&web, "npm", &["run", "codegen"])?;
    Ok(ExitCode::SUCCESS)
}
