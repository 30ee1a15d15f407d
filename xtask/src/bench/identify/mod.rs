//! `cargo xtask bench identify`: portreeve and nmap asked the same ports of the same real servers in one run, and both held to what
//! the packages say.
//!
//! Starts the servers of `lab::recipe` in namespaces, on their usual ports and on ports that promise nothing, beside silent ports
//! and listeners that pretend; asks; compares; proves that nothing was changed. How to read the result is in docs/benchmarks.md.

mod phases;
mod report;
mod tools;

use anyhow::{Context, bail};
use lab::recipe::{self, Recipe, Suite};
use phases::{Bench, Result as Measured};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "\
usage: cargo xtask bench identify [--fast] [--only RECIPE,…] [--phases PHASE,…] [--no-nmap] [--portreeve FILE] [--seed N] [--record] [--list]
  --fast             only the servers of the fast tests
  --only RECIPE,…    only these servers
  --phases PHASE,…   of usual, odd, twenty, silent, lookalikes, everywhere, credentials [default: all]
  --no-nmap          do not run nmap: minutes instead of half an hour
  --portreeve FILE   ask with this binary instead of building target/release/portreeve; no checks are run with it
  --seed N           other odd ports [default: 1]
  --record           write docs/benchmarks/DATE-identify.md and .json
  --list             say which servers there are";

/// What is done, in this order.
pub const PHASES: [&str; 7] = ["usual", "odd", "twenty", "silent", "lookalikes", "everywhere", "credentials"];

struct Options {
    fast: bool,
    only: Option<BTreeSet<String>>,
    phases: BTreeSet<String>,
    nmap: bool,
    portreeve: Option<PathBuf>,
    seed: u64,
    record: bool,
    list: bool,
}

fn options(words: &[&str]) -> anyhow::Result<Options> {
    let mut options = Options {
        fast: false,
        only: None,
        phases: PHASES.map(str::to_owned).into(),
        nmap: true,
        portreeve: None,
        seed: 1,
        record: false,
        list: false,
    };
    let known = |list: &str, names: &[&str], what: &str| -> anyhow::Result<BTreeSet<String>> {
        let asked: BTreeSet<String> = list.split(',').map(str::to_owned).collect();
        if let Some(word) = asked.iter().find(|w| !names.contains(&w.as_str())) {
            bail!("`{word}` is no {what}\nhint: there are {}", names.join(", "));
        }
        Ok(asked)
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match *word {
            "--fast" => options.fast = true,
            "--only" => {
                let names: Vec<&str> = recipe::all().iter().map(|r| r.name).collect();
                options.only = Some(known(value()?, &names, "server")?);
            }
            "--phases" => options.phases = known(value()?, &PHASES, "phase")?,
            "--no-nmap" => options.nmap = false,
            "--portreeve" => options.portreeve = Some(fs::canonicalize(value()?).context("--portreeve names no file")?),
            "--seed" => options.seed = value()?.parse().context("--seed takes a number")?,
            "--record" => options.record = true,
            "--list" => options.list = true,
            _ => bail!("`{word}` is not understood\n{USAGE}"),
        }
    }
    Ok(options)
}

pub fn run(root: &Path, words: &[&str]) -> anyhow::Result<()> {
    let options = options(words)?;
    let wanted =
        |r: &&Recipe| (!options.fast || r.suite == Suite::Fast) && options.only.as_ref().is_none_or(|only| only.contains(r.name));
    let recipes: Vec<&'static Recipe> = recipe::all().into_iter().filter(wanted).collect();
    if options.list {
        for recipe in &recipes {
            let doors: Vec<String> = recipe.doors.iter().map(|d| format!("{} on {}", d.name, d.port)).collect();
            println!("{:<26} {:<5} {}", recipe.name, format!("{:?}", recipe.suite).to_lowercase(), doors.join(", "));
        }
        return Ok(());
    }
    super::require_link()?;
    let binary = match &options.portreeve {
        Some(path) => path.clone(),
        None => super::built(root)?,
    };
    let folder = root.join("target/bench/identify");
    fs::create_dir_all(&folder)?;
    // Checks are a node's work, and their verdicts go to a server; here an example of the same crate runs them.
    let checks = match &options.portreeve {
        Some(path) => Some(path.with_file_name("verdicts")).filter(|p| p.exists()),
        None => Some(example(root)?),
    };
    let bench =
        Bench { folder: &folder, binary: &binary, checks: checks.as_deref(), nmap: options.nmap, seed: options.seed, recipes };
    let mut facts = super::report::machine();
    facts.push(("portreeve".to_owned(), said(Command::new(&binary).arg("--version"))));
    facts.push(("nmap".to_owned(), said(Command::new("nmap").arg("--version"))));
    facts.push(("commit".to_owned(), super::commit(root)));
    // The day on which it began: a run may go on past midnight, and has one file.
    let date = super::topology::output(Command::new("date").arg("+%F"))?.trim().to_owned();
    let mut result = Measured::default();
    for phase in PHASES.iter().filter(|p| options.phases.contains(**p)) {
        eprintln!("==> {phase}");
        bench.phase(phase, &mut result).with_context(|| format!("in the phase {phase}"))?;
        // after each phase, so that a run that is interrupted leaves what it has
        let mut places = vec![folder.join("latest")];
        if options.record {
            places.push(root.join("docs/benchmarks").join(format!("{date}-identify")));
        }
        for place in places {
            fs::write(place.with_extension("md"), report::markdown(&date, &facts, &result))?;
            fs::write(place.with_extension("json"), serde_json::to_string_pretty(&report::json(&date, &facts, &result))? + "\n")?;
        }
    }
    println!("{}", report::summary(&result));
    println!("{}", report::failures(&result));
    fs::write(folder.join("failures.md"), report::failures_with_bytes(&result))?;
    eprintln!("wrote {} and .json, and failures.md beside it", folder.join("latest.md").display());
    Ok(())
}

/// The example of `services` that identifies and checks, built like the program itself.
fn example(root: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "-p", "services", "--example", "verdicts"]).current_dir(root);
    if !cargo.status().context("cargo cannot be started")?.success() {
        bail!("the example verdicts of services does not build");
    }
    Ok(root.join("target/release/examples/verdicts"))
}

/// The first line of what a command prints.
fn said(command: &mut Command) -> String {
    let text = super::topology::output(command).unwrap_or_default();
    text.lines().next().unwrap_or("not installed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (words, named) in [
            (&["--only", "redis,oracle"][..], "oracle"),
            (&["--phases", "usual,all"], "all"),
            (&["--seed", "x"], "--seed"),
            (&["--only"], "needs a value"),
            (&["--quick"], "--quick"),
        ] {
            let error = options(words).err().map(|e| format!("{e:#}")).unwrap_or_default();
            assert!(error.contains(named), "{words:?}: {error}");
        }
        let options = options(&["--fast", "--only", "redis", "--no-nmap"]).unwrap();
        assert!(options.fast && !options.nmap && options.phases.len() == PHASES.len());
    }
}
