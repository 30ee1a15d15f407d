//! `portreeve scan`: one sweep of the targets named, printed as it is found. The quickest way from a question to an answer.
//!
//! It wires words to a scope, a sweep to a sink, and Ctrl-C to both. How ports are asked is `scan`'s, what answers `services`'.

mod identify;
mod output;
mod progress;
mod resume;
mod targets;

pub use targets::UsageError;

use crate::cli::{Format, Rate, ScanArgs};
use ::scan::tap::{PcapFile, Printer, Tap};
use ::scan::{Acceptance, Found, Pacer, Shard, Summary, Sweep};
use anyhow::Context;
use identify::{Identifier, Queue};
use model::service::Identity;
use model::settings::Pace;
use model::{Observation, State, Ts};
use output::{Outcome, Record, Sink};
use resume::Resume;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use targets::Targets;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long to wait for a finding before looking whether the resume file is due.
const RESUME_TICK: Duration = Duration::from_millis(200);

/// Runs the command.
pub async fn run(args: ScanArgs) -> anyhow::Result<()> {
    if let Some(said) = args.without_effect() {
        return Err(UsageError(said.into()).into());
    }
    if let Some(directory) = args.catalog.as_ref().filter(|_| args.identify) {
        crate::catalog::add(directory)?;
    }
    let targets = targets::resolve(&args.targets, &args.exclude, args.authorized).await?;
    let mut resume = args.resume.as_deref().map(|path| Resume::open(path, &args)).transpose()?;
    // The file is opened before the first probe: a wrong path must not cost a scan.
    let (out, continued): (Box<dyn Write>, bool) = match &args.output {
        Some(path) => {
            let opened = match &resume {
                Some(resume) if resume.from().is_some() => resume::append(path),
                _ => std::fs::File::create(path).map(|file| (file, false)),
            };
            let (file, continued) = opened.with_context(|| format!("output file `{}` cannot be written", path.display()))?;
            (Box::new(io::BufWriter::new(file)), continued)
        }
        None => (Box::new(io::stdout()), false),
    };
    let on_terminal = args.output.is_none() && io::IsTerminal::is_terminal(&io::stdout());
    let mut sink = output::sink(args.format, out, continued);
    let seed = resume.as_ref().map(Resume::seed).or(args.seed).unwrap_or_else(rand::random);
    let choice = ::scan::capability();
    if args.method == ::scan::Method::Auto && !args.quiet {
        anstream::eprintln!("{}", choice.note);
    }

    let pps = args.ceiling_pps();
    let pcap = args
        .pcap
        .as_deref()
        .map(|path| PcapFile::create(path).with_context(|| format!("packet file `{}` cannot be written", path.display())));
    let pcap = pcap.transpose()?.map(Arc::new);
    let mut taps: Vec<Arc<dyn Tap>> = Vec::new();
    taps.extend(pcap.clone().map(|pcap| pcap as Arc<dyn Tap>));
    if args.dry_run {
        taps.push(Arc::new(Printer::new(io::stdout())));
    }
    let ports = args.port_set();
    let sweep = Sweep {
        method: args.method,
        rate_pps: (args.rate != Rate::Max).then_some(pps),
        adapt: args.rate == Rate::Auto,
        retries: args.retries.0,
        timeout: Duration::from_millis(args.timeout_ms),
        ping: !args.no_ping,
        seed,
        shard: args.shard.map_or(Shard::WHOLE, |shard| shard.0),
        resume: resume.as_ref().and_then(|resume| resume.from().cloned()),
        dry_run: args.dry_run,
        tap: (!taps.is_empty()).then(|| Arc::new(taps) as Arc<dyn Tap>),
        report_all: args.all_states,
        always_report: if args.thorough { identify::silent_udp(&targets.ranges, &ports.udp) } else { HashSet::new() },
        // One rate holds for the whole sweep, and it is the sweep's own.
        udp_ports: ports.udp,
        ..Sweep::new(targets.ranges.clone(), ports.tcp, targets.scope.clone(), Arc::new(Pacer::unlimited()))
    };
    let pace = Arc::new(Pacer::new(Pace { node_pps: pps, per_network_pps: pps, per_target_pps: pps }, Vec::new()));

    let started = now();
    let cancel = CancellationToken::new();
    let ctrl_c = tokio::spawn(cancel_on_ctrl_c(cancel.clone()));
    let progress = Arc::new(::scan::Progress::default());
    let bar = progress::Progress::start(progress.clone(), args.quiet);
    let (found_tx, found_rx) = mpsc::channel(4_096);
    let sweeping = tokio::spawn(::scan::sweep(sweep, found_tx, progress.clone(), cancel.clone()));
    let mut collector = Collector {
        sink: sink.as_mut(),
        bar: &bar,
        on_terminal,
        streams: args.format != Format::Table,
        pseudo_open: HashMap::new(),
        printed: 0,
    };
    let identifier = args.identify.then(|| Identifier {
        scope: targets.scope.clone(),
        pace,
        cancel: cancel.clone(),
        thorough: args.thorough,
        all_states: args.all_states,
    });
    let collected = collector.collect(found_rx, identifier, &progress, resume.as_mut()).await;
    let (printed, pseudo_open) = (collector.printed, std::mem::take(&mut collector.pseudo_open));
    if collected.is_err() {
        cancel.cancel();
    }
    let summary = sweeping.await.context("the sweep ended by a defect in portreeve")?;
    bar.finish();
    ctrl_c.abort();
    collected?;
    let summary = summary?;
    if let (Some(pcap), Some(path)) = (pcap, &args.pcap) {
        let frames = pcap.finish().with_context(|| format!("packet file `{}` cannot be written", path.display()))?;
        anstream::eprintln!("{frames} packets in {}", path.display());
    }
    if args.dry_run {
        anstream::eprintln!(
            "nothing was sent; {} packets would have been, and more to those that answer or stay silent",
            summary.probes_sent
        );
        return Ok(());
    }
    if let Some(mut resume) = resume {
        match progress.checkpoint().filter(|_| summary.cancelled) {
            Some(checkpoint) => resume.keep(checkpoint)?,
            None if summary.cancelled => {}
            None => resume.done()?,
        }
    }
    let outcome = outcome(&args, &targets, &summary, started);
    sink.finish(&outcome).context("results cannot be written")?;
    say_summary(&args, &summary, printed, &pseudo_open, &targets);
    Ok(())
}

async fn cancel_on_ctrl_c(cancel: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_ok() {
        cancel.cancel();
        // The second one ends a process that does not.
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    }
}

/// Turns findings into records, by way of identification where that was asked for.
struct Collector<'a> {
    sink: &'a mut dyn Sink,
    bar: &'a progress::Progress,
    on_terminal: bool,
    streams: bool,
    pseudo_open: HashMap<IpAddr, (u32, Acceptance)>,
    printed: usize,
}

impl Collector<'_> {
    async fn collect(
        &mut self,
        mut found: mpsc::Receiver<Found>,
        identifier: Option<Identifier>,
        progress: &::scan::Progress,
        mut resume: Option<&mut Resume>,
    ) -> anyhow::Result<()> {
        const UNWRITTEN: &str = "results cannot be written";
        let mut to_identify = identifier.as_ref().map(Identifier::queue);
        loop {
            if let Some(resume) = resume.as_deref_mut().filter(|resume| resume.is_due())
                && let Some(checkpoint) = progress.checkpoint()
            {
                // Whatever was found before the checkpoint was sent before it, so it is in the channel now at the latest.
                for _ in 0..found.len() {
                    let Ok(one) = found.try_recv() else { break };
                    self.take(one, &mut to_identify).context(UNWRITTEN)?;
                }
                resume.keep(checkpoint)?;
            }
            let next = match &resume {
                Some(_) => tokio::time::timeout(RESUME_TICK, found.recv()).await,
                None => Ok(found.recv().await),
            };
            match next {
                Ok(Some(one)) => self.take(one, &mut to_identify).context(UNWRITTEN)?,
                Ok(None) => break,
                Err(_) => {}
            }
        }
        match identifier.zip(to_identify) {
            Some((identifier, queue)) => self.identify(queue, identifier).await.context(UNWRITTEN),
            None => Ok(()),
        }
    }

    fn take(&mut self, found: Found, to_identify: &mut Option<Queue>) -> io::Result<()> {
        match found {
            Found::Host(_) | Found::AllFiltered { .. } => Ok(()),
            Found::PseudoOpen { ip, open_ports, acceptance, .. } => {
                self.pseudo_open.insert(ip, (open_ports, acceptance));
                Ok(())
            }
            Found::Endpoint(observation) => {
                if to_identify.as_mut().is_some_and(|queue| queue.takes(&observation)) {
                    return Ok(());
                }
                let pseudo = self.is_pseudo(&observation, None);
                self.print(Record::new(&observation, None, pseudo))
            }
        }
    }

    /// Whether an open port proves nothing: its host answers on every port, and no service was identified behind this one.
    fn is_pseudo(&self, observation: &Observation, identity: Option<Identity>) -> bool {
        observation.state == State::Open
            && (identity == Some(Identity::Middlebox)
                || (identity != Some(Identity::Identified) && self.pseudo_open.contains_key(&observation.endpoint.ip)))
    }

    fn print(&mut self, record: Record) -> io::Result<()> {
        self.printed += 1;
        if self.on_terminal && self.streams {
            return self.bar.suspend(|| self.sink.record(record));
        }
        self.sink.record(record)
    }
}

fn outcome(args: &ScanArgs, targets: &Targets, summary: &Summary, started: Ts) -> Outcome {
    Outcome {
        method: summary.method.as_str(),
        command_line: std::env::args().collect::<Vec<_>>().join(" "),
        ports: args.port_set(),
        started,
        finished: now(),
        hosts_up: summary.hosts_up,
        hosts_total: targets.ranges.iter().map(model::IpRange::len).fold(0, u128::saturating_add),
        interrupted: summary.cancelled,
        names: targets.names.clone(),
    }
}

fn say_summary(
    args: &ScanArgs,
    summary: &Summary,
    printed: usize,
    pseudo_open: &HashMap<IpAddr, (u32, Acceptance)>,
    targets: &Targets,
) {
    let mut hosts: Vec<_> = pseudo_open.iter().collect();
    hosts.sort_by_key(|(ip, _)| **ip);
    for (ip, (open_ports, acceptance)) in hosts {
        let what = match acceptance {
            Acceptance::AllOpen => "something that accepts everything",
            Acceptance::SynProxy => "a SYN proxy",
        };
        anstream::eprintln!(
            "{ip} answers on every port ({open_ports} accepted): {what}, not services; only its high-risk ports are listed, marked as such"
        );
    }
    if let Some(path) = summary.path_rate_pps {
        anstream::eprintln!("the path took about {path} probes/s; the sweep kept to that");
    }
    if let Some(loss) = summary.loss.filter(|loss| *loss >= 0.005) {
        anstream::eprintln!("about {:.1} % of the questions or answers were lost on the way", loss * 100.0);
    }
    if summary.drops > 0 {
        anstream::eprintln!(
            "{} received frames were dropped by the kernel: answers may have been missed\nhint: scan again with a lower --rate",
            summary.drops
        );
    }
    if summary.not_probed > 0 {
        anstream::eprintln!(
            "{} endpoints could not be asked from here and are left out\nhint: scan them again with a lower --rate",
            summary.not_probed
        );
    }
    let total = targets.ranges.iter().map(model::IpRange::len).fold(0, u128::saturating_add);
    let what = if args.all_states { "endpoints" } else { "open" };
    let incomplete = if summary.cancelled { " (interrupted: incomplete)" } else { "" };
    let up = if args.no_ping { String::new() } else { format!(", {} up", summary.hosts_up) };
    anstream::eprintln!(
        "{printed} {what}; {total} addresses{up}; {} probes in {:.1} s by {}{incomplete}",
        summary.probes_sent,
        summary.elapsed.as_secs_f64(),
        summary.method
    );
}

fn now() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
