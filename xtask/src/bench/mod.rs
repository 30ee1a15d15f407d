//! `cargo xtask bench scan`: portreeve beside masscan, zmap and nmap on one link, judged against a world that is known.
//!
//! Says what is missing, makes the link, runs every case in paired repetitions, prints tables and writes the dated result. What
//! the cases are, how truth is known and how to read the result is in docs/benchmarks.md.

mod cases;
mod identify;
mod measure;
mod peers;
mod report;
mod stats;
mod topology;
mod world;

use anyhow::{Context, bail};
use cases::{Case, Kind, Row, Sample};
use measure::Watch;
use peers::{Contender, Place, Tool};
use report::{Facts, Measured, Report};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use topology::{Count, Link};
use world::World;

const USAGE: &str = "\
usage: cargo xtask bench scan [--runs N] [--only CASE,…] [--peers TOOL,…] [--portreeve FILE] [--record] [--list]
  --runs N           repetitions of every case, each runs every scanner once [default: 5]
  --only CASE,…      only these cases; nothing is recorded unless --record is given
  --peers TOOL,…     of masscan, zmap, nmap, rustscan; those not installed are left out [default: all]
  --portreeve FILE   measure this binary instead of building target/release/portreeve
  --add              keep what target/bench/latest.json has of the same build, and add repetitions to it
  --record           write docs/benchmarks/DATE-scan.md and .json (a whole run does so by itself)
  --list             say which cases there are";

struct Options {
    runs: usize,
    only: Option<BTreeSet<String>>,
    peers: BTreeSet<Tool>,
    portreeve: Option<PathBuf>,
    add: bool,
    record: bool,
    list: bool,
}

pub fn run(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["scan", ..] => scan(root, &options(&words[1..])?)?,
        ["identify", ..] => identify::run(root, &words[1..])?,
        // what follows runs inside the namespaces, or is a test's
        ["responder"] => topology::responder()?,
        ["connect", list] => topology::connect(Path::new(list))?,
        ["selfcheck"] => selfcheck(root)?,
        _ => bail!("bench takes `scan` or `identify`\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn options(words: &[&str]) -> anyhow::Result<Options> {
    let mut options =
        Options { runs: 5, only: None, peers: Tool::PEERS.into(), portreeve: None, add: false, record: false, list: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
        match *word {
            "--runs" => {
                options.runs = value()?.parse().ok().filter(|n| *n > 0).context("--runs takes a number from 1 on")?;
            }
            "--only" => {
                let known: Vec<&str> = cases::all().iter().map(|c| c.id).collect();
                let asked: BTreeSet<String> = value()?.split(',').map(str::to_owned).collect();
                if let Some(word) = asked.iter().find(|id| !known.contains(&id.as_str())) {
                    bail!("`{word}` is no case\nhint: there are {}", known.join(", "));
                }
                options.only = Some(asked);
            }
            "--peers" => {
                let tool = |name: &str| {
                    Tool::PEERS.into_iter().find(|t| t.name() == name).with_context(|| format!("`{name}` is no peer\n{USAGE}"))
                };
                options.peers = value()?.split(',').map(tool).collect::<Result<_, _>>()?;
            }
            "--portreeve" => options.portreeve = Some(fs::canonicalize(value()?).context("--portreeve names no file")?),
            "--add" => options.add = true,
            "--record" => options.record = true,
            "--list" => options.list = true,
            _ => bail!("`{word}` is not understood\n{USAGE}"),
        }
    }
    Ok(options)
}

/// Whether this process is root: the effective one of the four user ids that the kernel lists.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Fails with everything that is missing to make the link.
fn require_link() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("sysctl", "procps")] {
        let there = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(program).exists()));
        if !there {
            missing.push(format!("{program} (Debian package {package}) is not in PATH"));
        }
    }
    if !is_root() {
        missing.push("this process is not root, and network namespaces and raw sockets need it".to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the measurement cannot run:\n  {}\nhint: scripts/ensure bench installs what is missing; then run it as root",
        missing.join("\n  ")
    )
}

fn scan(root: &Path, options: &Options) -> anyhow::Result<()> {
    let cases = cases::all();
    if options.list {
        for case in &cases {
            println!("{:<14} {}", case.id, case.title);
        }
        return Ok(());
    }
    require_link()?;
    let portreeve = match &options.portreeve {
        Some(path) => path.clone(),
        None => built(root)?,
    };
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder)?;
    let mut facts = report::machine();
    let mut tools = BTreeSet::new();
    for tool in [Tool::Portreeve].into_iter().chain(options.peers.iter().copied()) {
        let Some(version) = tool.version(&portreeve) else {
            eprintln!("{} is not installed and is left out", tool.name());
            continue;
        };
        facts.push((tool.name().to_owned(), version));
        tools.insert(tool);
    }
    facts.push(("commit".to_owned(), commit(root)));
    let wanted = |case: &Case| options.only.as_ref().is_none_or(|only| only.contains(case.id));
    let link = Link::new()?;
    let bench = Bench { place: Place::new(&link, portreeve)?, folder: &folder };
    let mut rows: Vec<Vec<Row>> = cases.iter().map(|case| bench.rows(case, &tools)).collect();
    if options.add {
        let text = fs::read_to_string(folder.join("latest.json")).context("there is nothing yet to add to")?;
        report::read_back(&serde_json::from_str(&text)?, &facts, &cases, &mut rows)?;
    }
    for repetition in 0..options.runs {
        for (case, rows) in cases.iter().zip(&mut rows).filter(|(case, _)| wanted(case)) {
            eprintln!("==> {} of {}: {}", repetition + 1, options.runs, case.id);
            let before = rows.iter().map(|r| r.samples.len()).max().unwrap_or(0);
            bench.repeat(case, rows, before).with_context(|| format!("in the case {}", case.id))?;
            if repetition + 1 == options.runs {
                println!("{}", report::terminal(&Measured { case, rows }));
            }
        }
        // after each repetition, so that a run that is interrupted leaves what it has
        write(root, &folder, options, &facts, &cases, &rows)?;
    }
    Ok(())
}

fn write(root: &Path, folder: &Path, options: &Options, facts: &Facts, cases: &[Case], rows: &[Vec<Row>]) -> anyhow::Result<()> {
    let date = topology::output(Command::new("date").arg("+%F"))?.trim().to_owned();
    let cases = cases.iter().zip(rows).map(|(case, rows)| Measured { case, rows }).collect();
    let report = Report { date: date.clone(), facts: facts.clone(), cases };
    let json = serde_json::to_string_pretty(&report.json())? + "\n";
    let mut places = vec![folder.join("latest")];
    if options.record || options.only.is_none() {
        let recorded = root.join("docs/benchmarks");
        fs::create_dir_all(&recorded)?;
        places.push(recorded.join(format!("{date}-scan")));
    }
    for place in places {
        fs::write(place.with_extension("md"), report.markdown())?;
        fs::write(place.with_extension("json"), &json)?;
        eprintln!("wrote {} and .json", place.with_extension("md").display());
    }
    Ok(())
}

/// The release binary, built if anything it is made of is newer. The console is left out: it would need node, and scans
/// the same without.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("==> cargo build --release -p portreeve (without the console; minutes, if it is not built yet)");
    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "portreeve"])
        .env("PORTREEVE_NO_CONSOLE", "1")
        .current_dir(root)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("portreeve does not build");
    }
    Ok(root.join("target/release/portreeve"))
}

/// The commit that is measured, with a plus if the tree differs from it.
fn commit(root: &Path) -> String {
    let git = |args: &[&str]| topology::output(Command::new("git").args(args).current_dir(root)).unwrap_or_default();
    let id = git(&["rev-parse", "--short=12", "HEAD"]).trim().to_owned();
    let changed = !git(&["status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.lock"]).trim().is_empty();
    id + if changed { "+" } else { "" }
}

struct Bench<'a> {
    place: Place<'a>,
    /// Working directory of the scanners; their outputs stay there until the next measurement.
    folder: &'a Path,
}

impl Bench<'_> {
    /// The rows of a case that can run here, still empty.
    fn rows(&self, case: &Case, tools: &BTreeSet<Tool>) -> Vec<Row> {
        let there = case.contenders.iter().filter(|c| tools.contains(&c.tool));
        there.map(|c| Row { name: c.name.clone(), tool: c.tool, command: String::new(), samples: Vec::new() }).collect()
    }

    /// Runs every contender of a case once, in an order that begins with another one each time.
    fn repeat(&self, case: &Case, rows: &mut [Row], repetition: usize) -> anyhow::Result<()> {
        let world = (case.world)();
        if repetition == 0 && !world.hosts.is_empty() {
            // what is behind the link, without what the path would lose
            let plain = World { path: world::Path::default(), ..world.clone() };
            self.place.link.load(&plain)?;
            let asked = self.place.link.verify(&plain, self.folder)?;
            eprintln!("    {asked} endpoints of the world answer slow connections as they should");
        }
        for i in 0..rows.len() {
            let row = &mut rows[(i + repetition) % rows.len()];
            let Some(contender) = case.contenders.iter().find(|c| c.name == row.name) else { continue };
            // who hit the limit once would only hit it again
            if row.samples.iter().flatten().any(|s| s.get("cut") == Some(&1.0)) && case.kind != Kind::Start {
                row.samples.push(None);
                continue;
            }
            self.place.link.load(&world)?;
            let (command, sample) = self.once(case, &world, contender, repetition)?;
            if row.command.is_empty() {
                row.command = command;
            }
            row.samples.push(sample);
        }
        Ok(())
    }

    /// One run. `None` for the sample when the scanner failed, which is said.
    fn once(
        &self,
        case: &Case,
        world: &World,
        contender: &Contender,
        repetition: usize,
    ) -> anyhow::Result<(String, Option<Sample>)> {
        let name = format!("{}.{}.{repetition}", case.id, contender.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let out = format!("{name}.out");
        let _ = fs::remove_file(self.folder.join(&out));
        // every repetition another order, the same ones each time it is measured
        let argv = self.place.command(contender, &case.ask, &out, repetition as u64 + 1);
        let watch = match case.kind {
            Kind::Speed => Watch::closely(contender.limit_s, Count::Frames),
            Kind::Exact(_) => Watch::closely(contender.limit_s, Count::Packets),
            Kind::Start => Watch::closely(contender.limit_s, Count::Frames),
            Kind::Sweep | Kind::Alive => Watch::whole(contender.limit_s),
        };
        let run = measure::run(self.place.link, &argv, self.folder, &name, watch)?;
        let command = argv.join(" ").replace(&*self.place.portreeve.to_string_lossy(), "portreeve").replace(&out, "out");
        if run.failed {
            eprintln!("    {} failed; what it said is in target/bench/{name}.log", contender.name);
            return Ok((command, None));
        }
        let log = if contender.tool == Tool::Rustscan { format!("{name}.log") } else { out };
        let text = fs::read_to_string(self.folder.join(log)).unwrap_or_default();
        let said = peers::read(contender.tool, &case.ask, &text);
        let mut values: Vec<(&'static str, f64)> = vec![
            ("wall_s", run.wall_s),
            ("frames", run.frames as f64),
            ("cpu_s", run.cpu_s),
            ("others_cpu_s", run.others_cpu_s),
            ("peak_mb", run.peak_mb),
            ("cut", f64::from(u8::from(run.cut))),
        ];
        if run.frames > 0 && run.cpu_s > 0.0 {
            values.push(("cpu_s_per_mframe", run.cpu_s / run.frames as f64 * 1e6));
            values.push(("frames_per_cpu_s", run.frames as f64 / run.cpu_s));
        }
        // what comes after the last frame is waiting
        let last = run.series.iter().find(|(_, count)| Some(*count) == run.series.last().map(|(_, all)| *all));
        values.extend(last.map(|(t, _)| ("last_frame_s", *t)));
        match case.kind {
            Kind::Speed => values.extend(stats::middle_rate(&run.series).map(|r| ("frames_per_s", r))),
            Kind::Start => {
                let first = run.series.iter().find(|(_, frames)| *frames > 0);
                values.extend(first.map(|(t, _)| ("first_frame_s", *t)));
            }
            Kind::Exact(rate) => {
                if let Some(e) = stats::exactness(&run.series, f64::from(rate)) {
                    values.extend([
                        ("mean_percent", e.mean_percent),
                        ("over_percent", e.over_percent),
                        ("under_percent", e.under_percent),
                    ]);
                }
            }
            Kind::Alive => {
                let hosts = world.alive();
                let found = said.up.intersection(&hosts).count() as f64;
                values.push(("recall", found / hosts.len() as f64));
                values.push(("precision", if said.up.is_empty() { 1.0 } else { found / said.up.len() as f64 }));
            }
            Kind::Sweep => {
                let asked = asked_port(case);
                let open = world.open_endpoints().into_iter().filter(|(_, port)| asked.is_none_or(|p| p == *port)).collect();
                let truth = stats::truth(&said.open, &open, &world.open_everywhere());
                values.extend([
                    ("recall", truth.recall),
                    ("precision", truth.precision),
                    ("on_open_hosts", truth.on_open_hosts as f64),
                ]);
                if let Some(probes) = self.place.link.probes()? {
                    values.push(("probes", probes as f64));
                    values.push(("probes_per_target", probes as f64 / case.targets as f64));
                }
            }
        }
        let sample: Sample = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        eprintln!("    {}: {}", contender.name, brief(&sample));
        // what is still on its way must not count for the next one
        std::thread::sleep(Duration::from_millis(300));
        Ok((command, Some(sample)))
    }
}

/// The one port of a case that asks only one, although its world has others open too.
fn asked_port(case: &Case) -> Option<u16> {
    match &case.ask {
        peers::Ask::Ports { ports, .. } => ports.parse().ok(),
        peers::Ask::Alive { .. } => None,
    }
}

fn brief(sample: &Sample) -> String {
    sample.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
}

/// A small world with one host of each kind, asked by slow connections: proves that the link and the packet filter do what the
/// ground truth says. Prints how many endpoints it asked.
fn selfcheck(root: &Path) -> anyhow::Result<()> {
    use world::{Closed, Host, Open};
    require_link()?;
    let base = 0x0a01_0000;
    let host = |n: u32, closed, ports: &[u16]| Host::new(base + n, closed, ports.iter().copied());
    let world = World::of(vec![
        host(1, Closed::Rst, &[22, 80]),
        host(2, Closed::Drop, &[443]),
        host(3, Closed::Rst, &[]),
        Host { open: Open::All, ..host(4, Closed::Rst, &[]) },
    ]);
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder)?;
    let link = Link::new()?;
    // rules for everything a path can do are taken by this kernel too
    let path = world::Path { loss_per_mille: 1, police_pps: Some(9), rst_pps: Some(9), syn_ack_pps: Some(9) };
    link.load(&World { path, ..world.clone() })?;
    link.load(&World { sink: world::Sink::Counted, ..World::default() })?;
    link.load(&world)?;
    let asked = link.verify(&world, &folder)?;
    let probes = link.probes()?.unwrap_or(0);
    println!("{asked} endpoints answer as they should, {probes} SYNs were counted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_cases_and_peers_are_refused_by_name() {
        for (words, named) in [
            (&["--only", "net17"][..], "net17"),
            (&["--peers", "unicornscan"], "unicornscan"),
            (&["--runs", "0"], "--runs"),
            (&["--runs"], "needs a value"),
            (&["--fast"], "--fast"),
        ] {
            let error = options(words).err().map(|e| format!("{e:#}")).unwrap_or_default();
            assert!(error.contains(named), "{words:?}: {error}");
        }
    }

    #[test]
    fn cases_and_peers_are_chosen_by_name() {
        let options = options(&["--runs", "3", "--only", "net16,storm", "--peers", "masscan"]).unwrap();
        assert_eq!((options.runs, options.only.unwrap().len()), (3, 2));
        assert_eq!(options.peers, BTreeSet::from([Tool::Masscan]));
    }
}
