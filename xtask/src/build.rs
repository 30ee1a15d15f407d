//! `cargo xtask build`: the console, then the release binary that holds it.
//!
//! Each step is shown before it runs. Installing node or a compiler is left to `scripts/ensure`.

use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

pub fn run(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(word) = args.first() {
        bail!("build takes no arguments, `{word}` was given");
    }
    let web = root.join("web");
    install_packages(&web)?;
    step(&web, "npm", &["run", "build"])?;
    step(root, "cargo", &["build", "--release", "-p", "portreeve"])?;
    Ok(ExitCode::SUCCESS)
}

/// Installs the console's packages, unless those that its lock file asks for are there.
pub fn install_packages(web: &Path) -> anyhow::Result<()> {
    if modules_are_stale(web) {
        step(web, "npm", &["ci", "--no-audit", "--no-fund"])?;
    }
    Ok(())
}

/// Whether the packages are missing or older than what the lock file asks for. npm writes the inner lock file last, so
/// an install that broke off counts as stale.
fn modules_are_stale(web: &Path) -> bool {
    let written = |file: &str| -> Option<SystemTime> { web.join(file).metadata().ok()?.modified().ok() };
    match (written("package-lock.json"), written("node_modules/.package-lock.json")) {
        (Some(asked), Some(installed)) => asked > installed,
        _ => true,
    }
}

/// Shows a command, runs it in the folder, and fails with its name if it fails.
pub fn step(folder: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    eprintln!("==> {program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .current_dir(folder)
        .status()
        .with_context(|| format!("{program} cannot be started\nhint: scripts/ensure run installs what is missing"))?;
    if !status.success() {
        bail!("{program} {} failed: {status}", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    #[test]
    fn packages_are_installed_again_only_when_the_lock_file_is_newer() {
        let web = tempfile::tempdir().unwrap();
        let lock = File::create(web.path().join("package-lock.json")).unwrap();
        assert!(modules_are_stale(web.path()), "nothing is installed");
        fs::create_dir(web.path().join("node_modules")).unwrap();
        let installed = File::create(web.path().join("node_modules/.package-lock.json")).unwrap();
        let now = SystemTime::now();
        for (asked, at, stale) in [(0, 60, false), (60, 60, false), (61, 60, true)] {
            lock.set_modified(now + Duration::from_secs(asked)).unwrap();
            installed.set_modified(now + Duration::from_secs(at)).unwrap();
            assert_eq!(modules_are_stale(web.path()), stale, "{asked} {at}");
        }
    }

    #[test]
    fn a_step_that_fails_says_which() {
        let here = Path::new(".");
        assert!(step(here, "false", &["x"]).unwrap_err().to_string().contains("false x failed"));
        assert!(format!("{:#}", step(here, "no-such-program", &[]).unwrap_err()).contains("hint:"));
    }
}
