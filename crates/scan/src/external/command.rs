//! An external command as the engine of a sweep or a liveness pass: what it is told, and what of its output is believed.
//!
//! The command line comes from the machine's own configuration and is never a shell's. The command gets only addresses that
//! the scope admits (PR-1), and what it says about anything else is refused and counted. It paces itself: it is told the
//! rate, and whether it keeps to it is its own affair. What the findings mean is left to `assess`.

use super::child::{self, Child, Messages};
use super::{Format, FormatError, Reader, Reading, Via};
use crate::api::{Acceptance, Found, Progress};
use model::address::{IpRange, from_u128, to_u128};
use model::service::Identification;
use model::{Endpoint, PortSet, Proto, Scope, State, Ts};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// What a command line may have in braces, with what stands there then.
pub const PLACEHOLDERS: &[(&str, &str)] = &[
    ("targets", "the addresses as CIDRs, separated by commas"),
    ("targets_file", "path of a file with one CIDR a line"),
    ("ports", "the ports, as 22,80,8000-8100"),
    ("rate", "probes per second, at most"),
    ("retries", "repetitions of an unanswered probe"),
    ("seed", "a number that decides the order"),
    ("output", "path of a file that the command writes its results to, instead of standard output"),
];

/// Longest list of addresses on a command line; the kernel takes 128 KiB in one argument.
const MAX_ARGUMENT: usize = 64 << 10;
/// Bytes read in one go.
const CHUNK: usize = 64 << 10;
/// How long output may still come when the command itself has ended: long enough for a pipe to run dry.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a file that is written to is looked at: findings are handed in once a second anyway.
const LOOK: Duration = Duration::from_millis(200);
/// Open ports at which a host is taken to accept on every port, whatever the sweep: no host has as many services.
const PSEUDO: usize = 1_000;
/// And at least this many, as for our own sweeps.
const PSEUDO_LEAST: usize = 20;

/// An external command, as the operator of the machine has configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The name that tasks call it by.
    pub name: String,
    /// Command line of a sweep; needs `{ports}` and one of the placeholders for targets.
    pub sweep: Option<Vec<String>>,
    /// Command line of a liveness pass.
    pub liveness: Option<Vec<String>>,
    /// Format of the output; told from the first bytes when none.
    pub format: Option<Format>,
    /// Whether it takes addresses of IPv4.
    pub ipv4: bool,
    /// Whether it takes addresses of IPv6.
    pub ipv6: bool,
    /// Longest time that one run may take.
    pub timeout: Duration,
}

/// Why an engine's configuration is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The name is none.
    #[error("engine name `{0}` is not a name\nhint: at most 32 lower-case letters, digits and `-`; `built-in` is taken")]
    Name(String),
    /// There is nothing to run.
    #[error("engine `{0}` has no command line\nhint: set `sweep = [\"masscan\", \"-iL\", \"{{targets_file}}\", …]`")]
    Empty(String),
    /// A brace that means nothing.
    #[error("engine `{engine}`: `{argument}` has a placeholder that does not exist\nhint: one of {{{known}}}; a brace itself is written twice", known = names())]
    Placeholder {
        /// The engine.
        engine: String,
        /// The argument.
        argument: String,
    },
    /// The command would not know what to probe.
    #[error(
        "engine `{engine}`: the command line of {work} lacks {lacks}\nhint: without it the command would choose by itself what to probe"
    )]
    Lacks {
        /// The engine.
        engine: String,
        /// `sweep` or `liveness`.
        work: &'static str,
        /// What it needs.
        lacks: &'static str,
    },
}

fn names() -> String {
    PLACEHOLDERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("}, {")
}

impl Engine {
    /// Whether the configuration can work at all.
    pub fn check(&self) -> Result<(), EngineError> {
        let name = &self.name;
        let proper = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(proper) || name == "built-in" {
            return Err(EngineError::Name(name.clone()));
        }
        if self.sweep.is_none() && self.liveness.is_none() {
            return Err(EngineError::Empty(name.clone()));
        }
        for (work, argv) in [("sweep", &self.sweep), ("liveness", &self.liveness)] {
            let Some(argv) = argv else { continue };
            if argv.first().is_none_or(|program| program.is_empty() || program.contains('{')) {
                return Err(EngineError::Empty(name.clone()));
            }
            let mut used = HashSet::new();
            for argument in argv {
                let known = |word: &str| {
                    used.insert(word.to_owned());
                    PLACEHOLDERS.iter().any(|(name, _)| *name == word).then(String::new)
                };
                if fill(argument, known).is_none() {
                    return Err(EngineError::Placeholder { engine: name.clone(), argument: argument.clone() });
                }
            }
            let lacks = |lacks| Err(EngineError::Lacks { engine: name.clone(), work, lacks });
            if !used.contains("targets") && !used.contains("targets_file") {
                return lacks("{targets_file} or {targets}");
            }
            if work == "sweep" && !used.contains("ports") {
                return lacks("{ports}");
            }
        }
        Ok(())
    }
}

/// The path of the program of an engine, if it is installed.
pub fn probe(engine: &Engine) -> Option<PathBuf> {
    let argv = engine.sweep.as_ref().or(engine.liveness.as_ref())?;
    child::find(argv.first()?)
}

/// The text with its placeholders replaced; `None` when one does not exist or a brace stands alone.
fn fill(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&brace) {
            out.push(char::from(brace));
            rest = &rest[1..];
        } else if brace == b'{' {
            let end = rest.find('}')?;
            out.push_str(&value(&rest[..end])?);
            rest = &rest[end + 1..];
        } else {
            return None;
        }
    }
    out.push_str(rest);
    Some(out)
}

/// What the command is to do.
#[derive(Clone, Debug)]
pub struct CommandJob {
    /// Addresses; what lies outside the scope is left out.
    pub targets: Vec<IpRange>,
    /// TCP ports of a sweep; `None` for a liveness pass.
    pub ports: Option<PortSet>,
    /// What may be probed at all.
    pub scope: Scope,
    /// Probes per second: the least of all caps that hold for any of the targets, because the command alone decides what it
    /// probes when (PR-7).
    pub rate_pps: u32,
    /// Repetitions of an unanswered probe.
    pub retries: u8,
    /// Seed of the order.
    pub seed: u64,
    /// Report every state that the command says, not only open.
    pub report_all: bool,
    /// Endpoints whose state is reported even when it is not open, if the command says it.
    pub always_report: HashSet<Endpoint>,
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Findings {
    /// As our own sweeps say it.
    Found(Found),
    /// What answers, by the command's own probes.
    Service(Box<Identification>),
}

/// What was done, said at the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ran {
    /// Findings outside of what the command was told to probe; refused.
    pub refused: u64,
    /// Open endpoints told.
    pub open_found: u64,
    /// Ended early, by the token or because nobody listens any more.
    pub cancelled: bool,
}

/// Why a command did not do its work. What it had found by then has been handed out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not set up for that work.
    #[error("engine `{engine}` {what}")]
    NotMeant {
        /// The engine.
        engine: String,
        /// What it cannot do, with a hint.
        what: String,
    },
    /// Its files cannot be written.
    #[error("engine `{engine}`: its files cannot be written in {}: {source}", std::env::temp_dir().display())]
    Files {
        /// The engine.
        engine: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be started.
    #[error(
        "engine `{engine}`: `{program}` cannot be started: {source}\nhint: install it, or correct its path in the configuration of this node"
    )]
    Start {
        /// The engine.
        engine: String,
        /// Its program.
        program: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// Its end says that it failed.
    #[error("engine `{engine}` failed ({status}): {messages}")]
    Failed {
        /// The engine.
        engine: String,
        /// Its exit code or signal.
        status: String,
        /// The line that says why, or the last ones.
        messages: String,
    },
    /// What it prints cannot be read.
    #[error("engine `{engine}`: its output cannot be read: {source}")]
    Output {
        /// The engine.
        engine: String,
        /// Where and why.
        #[source]
        source: FormatError,
    },
    /// It took too long.
    #[error("engine `{engine}` took longer than {} s and was ended: {messages}\nhint: raise its `timeout_s`, or the caps that make it slow", after.as_secs())]
    TooLong {
        /// The engine.
        engine: String,
        /// The limit.
        after: Duration,
        /// Its last messages.
        messages: String,
    },
}

/// Runs the command, and hands out what it finds as it prints it. `clock` is the time now.
///
/// Cancelling ends the command and everything that it started, within two seconds if it does not end by itself. A closed `out` cancels as
/// well.
pub async fn run(
    engine: &Engine,
    job: CommandJob,
    clock: impl Fn() -> Ts,
    out: Sender<Findings>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Ran, CommandError> {
    let targets = job.scope.restrict(&job.targets);
    let probes = count(&targets).saturating_mul(job.ports.as_ref().map_or(1, |p| p.len() as u64));
    progress.probes_total.fetch_add(probes, Ordering::Relaxed);
    if probes == 0 {
        return Ok(Ran::default());
    }
    let files = |source| CommandError::Files { engine: engine.name.clone(), source };
    let dir = child::directory().map_err(files)?;
    let argv = command_line(engine, &job, &targets, dir.path())?;
    let output = dir.path().join("output");
    let by_file = argv.iter().any(|a| a.contains(output.to_string_lossy().as_ref()));
    if by_file {
        child::write(&output, "").map_err(files)?;
    }
    let mut child = Child::start(&argv, dir.path()).map_err(|source| CommandError::Start {
        engine: engine.name.clone(),
        program: argv[0].clone(),
        source,
    })?;
    let (stdout, stderr) = child.pipes();
    let messages = Arc::new(Mutex::new(Messages::default()));
    let mut drains = tokio::task::JoinSet::new();
    if let Some(stderr) = stderr {
        drains.spawn(Messages::drain(stderr, Arc::clone(&messages)));
    }
    let source = match stdout {
        Some(stdout) if by_file => {
            drains.spawn(Messages::drain(stdout, Arc::clone(&messages)));
            Source::File(tokio::fs::File::open(&output).await.map_err(files)?)
        }
        Some(stdout) => Source::Pipe(stdout),
        None => return Err(files(std::io::ErrorKind::BrokenPipe.into())),
    };
    let admit = Admit::new(&job, &targets, clock());
    let reader = Reader::new(engine.format, Via::Engine(engine.name.clone()));
    let mut running = Running { child, source, reader, admit, clock, out, progress: &progress };
    let ended = running.follow(engine.timeout, &cancel).await;
    if !matches!(ended, Ended::Itself(_)) {
        running.child.stop().await;
    }
    // Whatever it left running goes now.
    running.child.kill();
    // Its messages are complete when it is gone; a stranger that holds the pipe open does not keep us.
    _ = timeout(DRAIN, async { while drains.join_next().await.is_some() {} }).await;
    let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    running.judge(engine, ended, &mut messages, probes)
}

/// How the following of a command ended.
enum Ended {
    Itself(std::io::Result<ExitStatus>),
    Cancelled,
    TooLong,
    Unreadable(FormatError),
}

enum Source {
    Pipe(ChildStdout),
    File(tokio::fs::File),
}

impl Source {
    /// Some more output; 0 at its end. A file ends when whoever writes it has ended.
    async fn more(&mut self, buf: &mut [u8], ended: bool) -> std::io::Result<usize> {
        match self {
            Source::Pipe(pipe) => pipe.read(buf).await,
            Source::File(file) => loop {
                match file.read(buf).await? {
                    0 if !ended => sleep(LOOK).await,
                    n => return Ok(n),
                }
            },
        }
    }
}

struct Running<'a, C> {
    child: Child,
    source: Source,
    reader: Reader,
    admit: Admit,
    clock: C,
    out: Sender<Findings>,
    progress: &'a Progress,
}

impl<C: Fn() -> Ts> Running<'_, C> {
    /// Reads until the command and its output have ended.
    async fn follow(&mut self, limit: Duration, cancel: &CancellationToken) -> Ended {
        let deadline = Instant::now() + limit;
        let mut status = None;
        let mut left_open = deadline;
        let mut buf = vec![0u8; CHUNK];
        let mut read = true;
        loop {
            if !read && let Some(status) = status.take() {
                return Ended::Itself(status);
            }
            let got = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ended::Cancelled,
                () = sleep_until(deadline) => return Ended::TooLong,
                // A grandchild holds the output open; whoever started it has ended.
                () = sleep_until(left_open), if status.is_some() => {
                    read = false;
                    continue;
                }
                ended = self.child.wait(), if status.is_none() => {
                    status = Some(ended);
                    left_open = (Instant::now() + DRAIN).min(deadline);
                    continue;
                }
                got = self.source.more(&mut buf, status.is_some()), if read => got,
            };
            let n = got.unwrap_or(0);
            if n == 0 {
                read = false;
                continue;
            }
            left_open = (Instant::now() + DRAIN).min(deadline);
            let mut readings = Vec::new();
            let fed = self.reader.feed(&buf[..n], (self.clock)(), &mut readings);
            if let Some(ended) = self.tell(readings, deadline, cancel).await {
                return ended;
            }
            if let Err(error) = fed {
                return Ended::Unreadable(error);
            }
        }
    }

    /// Hands findings out. Whoever takes them may be slow, and then the command waits for its pipe.
    async fn tell(&mut self, readings: Vec<Reading>, deadline: Instant, cancel: &CancellationToken) -> Option<Ended> {
        let mut findings = Vec::new();
        let now = (self.clock)();
        for reading in readings {
            self.admit.take(reading, now, &mut findings);
        }
        self.progress.open_found.store(self.admit.open, Ordering::Relaxed);
        self.progress.hosts_up.store(self.admit.per_host.len() as u64, Ordering::Relaxed);
        for finding in findings {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Some(Ended::Cancelled),
                () = sleep_until(deadline) => return Some(Ended::TooLong),
                sent = self.out.send(finding) => if sent.is_err() {
                    return Some(Ended::Cancelled);
                },
            }
        }
        None
    }

    /// What the end amounts to.
    fn judge(mut self, engine: &Engine, ended: Ended, messages: &mut Messages, probes: u64) -> Result<Ran, CommandError> {
        let name = || engine.name.clone();
        let mut ran = Ran { refused: self.admit.refused, open_found: self.admit.open, cancelled: false };
        let status = match ended {
            Ended::Cancelled => {
                ran.cancelled = true;
                return Ok(ran);
            }
            Ended::TooLong => {
                return Err(CommandError::TooLong { engine: name(), after: engine.timeout, messages: said(messages) });
            }
            Ended::Unreadable(source) => {
                // Its own word for what went wrong says more than where the output stopped making sense.
                let last = messages.last();
                return Err(match messages.failure.take() {
                    Some(failure) => {
                        CommandError::Failed { engine: name(), status: "its output broke off".into(), messages: failure }
                    }
                    None => {
                        tracing::debug!(engine = engine.name, messages = last, "output of an engine cannot be read");
                        CommandError::Output { engine: name(), source }
                    }
                });
            }
            Ended::Itself(status) => status,
        };
        let last = said(messages);
        let failed = |status: String, why: Option<String>| {
            Err(CommandError::Failed { engine: name(), status, messages: why.unwrap_or_else(|| last.clone()) })
        };
        let failure = messages.failure.take();
        match status {
            Ok(status) if !status.success() => return failed(status.to_string(), failure),
            Err(e) => return failed(e.to_string(), failure),
            Ok(status) if failure.is_some() => return failed(status.to_string(), failure),
            Ok(_) => {}
        }
        // A silent end without output is an end without findings, for the formats that print nothing then.
        let mut rest = Vec::new();
        let nothing = self.reader.format().is_none() && self.reader.held() == 0;
        if !nothing || engine.format == Some(Format::NmapXml) {
            self.reader.finish((self.clock)(), &mut rest).map_err(|source| CommandError::Output { engine: name(), source })?;
        }
        if let Some(failure) = self.reader.tally().failure.clone() {
            return failed("exit status: 0".into(), Some(failure));
        }
        let now = (self.clock)();
        let mut findings = Vec::new();
        for reading in rest {
            self.admit.take(reading, now, &mut findings);
        }
        self.admit.last(now, &mut findings);
        for finding in findings {
            // The channel has room for these few, or the counts of pseudo-open hosts stay at what was told.
            _ = self.out.try_send(finding);
        }
        if ran.refused > 0 {
            tracing::warn!(
                engine = engine.name,
                refused = ran.refused,
                "an engine reported what it was not asked about; that is refused"
            );
        }
        ran.open_found = self.admit.open;
        self.progress.probes_sent.fetch_add(probes, Ordering::Relaxed);
        self.progress.probes_settled.fetch_add(probes, Ordering::Relaxed);
        Ok(ran)
    }
}

fn said(messages: &mut Messages) -> String {
    Some(messages.last()).filter(|m| !m.is_empty()).unwrap_or_else(|| "it said nothing about why".into())
}

fn count(ranges: &[IpRange]) -> u64 {
    ranges.iter().map(|r| u64::try_from(r.len()).unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
}

/// The command line for the job, with the file of targets written.
fn command_line(engine: &Engine, job: &CommandJob, targets: &[IpRange], dir: &Path) -> Result<Vec<String>, CommandError> {
    let not_meant = |what: String| CommandError::NotMeant { engine: engine.name.clone(), what };
    let (template, work) = match job.ports {
        Some(_) => (&engine.sweep, "sweeps"),
        None => (&engine.liveness, "liveness passes"),
    };
    let Some(template) = template else {
        return Err(not_meant(format!(
            "is not set up for {work} here\nhint: give it a command line for them, or the task another engine"
        )));
    };
    let takes = |r: &IpRange| if r.first().is_ipv4() { engine.ipv4 } else { engine.ipv6 };
    if let Some(range) = targets.iter().find(|r| !takes(r)) {
        let family = if range.first().is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(not_meant(format!(
            "is not set up for {family}, and {range} is to be probed\nhint: set its `family`, or give these ranges a task of their own"
        )));
    }
    let cidrs: Vec<String> = targets.iter().flat_map(cidrs).collect();
    let file = dir.join("targets");
    let list = cidrs.join(",");
    if list.len() > MAX_ARGUMENT && template.iter().any(|a| a.contains("{targets}")) {
        return Err(not_meant("has more targets than a command line holds\nhint: let it read {targets_file}".into()));
    }
    child::write(&file, &(cidrs.join("\n") + "\n"))
        .map_err(|source| CommandError::Files { engine: engine.name.clone(), source })?;
    let value = |word: &str| {
        Some(match word {
            "targets" => list.clone(),
            "targets_file" => file.to_string_lossy().into_owned(),
            "ports" => job.ports.as_ref().map(ToString::to_string).unwrap_or_default(),
            "rate" => job.rate_pps.max(1).to_string(),
            "retries" => job.retries.to_string(),
            // Both masscan's and nmap's seeds are 32 bits or more; a positive number is taken everywhere.
            "seed" => (job.seed & 0x7fff_ffff).to_string(),
            "output" => dir.join("output").to_string_lossy().into_owned(),
            _ => return None,
        })
    };
    template
        .iter()
        .map(|argument| {
            fill(argument, value).ok_or_else(|| not_meant(format!("has a placeholder in `{argument}` that does not exist")))
        })
        .collect()
}

/// The range as the fewest CIDRs.
fn cidrs(range: &IpRange) -> Vec<String> {
    let v4 = range.first().is_ipv4();
    let bits: u32 = if v4 { 32 } else { 128 };
    let (mut from, until) = (to_u128(range.first()), to_u128(range.last()));
    let mut all = Vec::new();
    loop {
        // As large as its own start allows, and no larger than what is left.
        let mut size = from.trailing_zeros().min(bits);
        while size > 0 && (size >= 128 || from.checked_add((1u128 << size) - 1).is_none_or(|last| last > until)) {
            size -= 1;
        }
        let prefix = bits - size;
        all.push(if prefix == bits { from_u128(from, v4).to_string() } else { format!("{}/{prefix}", from_u128(from, v4)) });
        match from.checked_add(1u128 << size) {
            Some(next) if next <= until => from = next,
            _ => return all,
        }
    }
}

/// What of a command's output belongs to the job.
struct Admit {
    within: Scope,
    ports: Option<PortSet>,
    report_all: bool,
    always: HashSet<Endpoint>,
    began: Ts,
    /// Open ports of each host with any. A server repeats its SYN-ACK, and masscan says so each time: twice from one probe is
    /// no second observation.
    per_host: HashMap<IpAddr, HashSet<u16>>,
    /// Other states that were told.
    told: HashSet<(Endpoint, State)>,
    /// Open ports at which a host is pseudo-open.
    pseudo: usize,
    open: u64,
    refused: u64,
}

impl Admit {
    fn new(job: &CommandJob, targets: &[IpRange], began: Ts) -> Admit {
        let ports = job.ports.as_ref().map_or(0, PortSet::len);
        Admit {
            within: Scope::new(targets, &[]),
            ports: job.ports.clone(),
            report_all: job.report_all,
            always: job.always_report.clone(),
            began,
            per_host: HashMap::new(),
            told: HashSet::new(),
            // More than half of what was asked: a host that answers for everything does so for nearly all of it.
            pseudo: (ports / 2 + 1).clamp(PSEUDO_LEAST, PSEUDO),
            open: 0,
            refused: 0,
        }
    }

    fn admits(&self, endpoint: Endpoint) -> bool {
        // A liveness pass may knock on doors, but says nothing about them here.
        endpoint.proto == Proto::Tcp
            && self.within.contains(endpoint.ip)
            && self.ports.as_ref().is_none_or(|ports| ports.contains(endpoint.port))
    }

    /// The command's clock counts in seconds: what it saw was seen while it ran.
    fn at(&self, said: Ts, now: Ts) -> Ts {
        said.clamp(self.began.min(now), now)
    }

    fn take(&mut self, reading: Reading, now: Ts, out: &mut Vec<Findings>) {
        match reading {
            Reading::Endpoint(mut o) => {
                if !self.admits(o.endpoint) {
                    self.refused += 1;
                    return;
                }
                o.observed_at = self.at(o.observed_at, now);
                let named = self.always.contains(&o.endpoint);
                if o.state != State::Open {
                    if (self.report_all || named) && self.told.insert((o.endpoint, o.state)) {
                        out.push(Findings::Found(Found::Endpoint(o)));
                    }
                    return;
                }
                let ports = self.per_host.entry(o.endpoint.ip).or_default();
                if !ports.insert(o.endpoint.port) {
                    return;
                }
                self.open += 1;
                let open = ports.len();
                if open == self.pseudo {
                    let (ip, open_ports, observed_at) = (o.endpoint.ip, open as u32, o.observed_at);
                    out.push(Findings::Found(Found::PseudoOpen { ip, open_ports, acceptance: Acceptance::AllOpen, observed_at }));
                }
                if open < self.pseudo || named {
                    out.push(Findings::Found(Found::Endpoint(o)));
                }
            }
            Reading::Ports(p) => {
                if !self.within.contains(p.ip) || p.proto != Proto::Tcp {
                    self.refused += 1;
                    return;
                }
                let observed_at = self.at(p.observed_at, now);
                let of = |port| Endpoint::tcp(p.ip, port);
                // Only those that somebody asked about by name; a host has sixty-five thousand closed ones.
                let wanted = p.ports.iter().map(of).filter(|e| self.report_all || self.always.contains(e));
                let wanted: Vec<Endpoint> = wanted.filter(|e| self.admits(*e)).collect();
                for endpoint in wanted {
                    if !self.told.insert((endpoint, p.state)) {
                        continue;
                    }
                    let found = model::Observation { endpoint, state: p.state, reason: p.reason, observed_at };
                    out.push(Findings::Found(Found::Endpoint(found)));
                }
            }
            Reading::Host(mut h) => {
                if !self.within.contains(h.ip) {
                    self.refused += 1;
                    return;
                }
                h.observed_at = self.at(h.observed_at, now);
                out.push(Findings::Found(Found::Host(h)));
            }
            Reading::Service(mut s) => {
                if !self.admits(s.endpoint) {
                    self.refused += 1;
                    return;
                }
                s.observed_at = self.at(s.observed_at, now);
                out.push(Findings::Service(Box::new(s)));
            }
        }
    }

    /// The counts of pseudo-open hosts that have grown since.
    fn last(&self, now: Ts, out: &mut Vec<Findings>) {
        for (&ip, open) in self.per_host.iter().filter(|(_, open)| open.len() > self.pseudo) {
            out.push(Findings::Found(Found::PseudoOpen {
                ip,
                open_ports: open.len() as u32,
                acceptance: Acceptance::AllOpen,
                observed_at: now,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Observation, Reason};

    fn engine(sweep: &[&str]) -> Engine {
        Engine {
            name: "other".into(),
            sweep: Some(sweep.iter().map(|s| s.to_string()).collect()),
            liveness: None,
            format: None,
            ipv4: true,
            ipv6: false,
            timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_command_that_would_choose_its_own_targets_is_refused() {
        for (sweep, expected) in [
            (vec!["masscan", "-iL", "{targets_file}", "-p{ports}", "--rate={rate}", "-oJ", "-"], None),
            (vec!["sh", "-c", "echo {{targets}} {targets} {ports}"], None),
            (vec!["masscan", "10.0.0.0/8", "-p{ports}"], Some("lacks {targets_file}")),
            (vec!["masscan", "-iL", "{targets_file}"], Some("lacks {ports}")),
            (vec!["masscan", "{target}", "{ports}"], Some("`{target}` has a placeholder")),
            (vec!["masscan", "{targets", "{ports}"], Some("placeholder")),
            (vec!["masscan", "}{targets}", "{ports}"], Some("placeholder")),
            (vec!["{targets}", "{ports}"], Some("no command line")),
            (vec![], Some("no command line")),
        ] {
            let checked = engine(&sweep).check();
            match expected {
                None => assert_eq!(checked, Ok(()), "{sweep:?}"),
                Some(word) => {
                    let text = checked.expect_err(&format!("{sweep:?}")).to_string();
                    assert!(text.contains(word) && text.contains("hint:"), "{sweep:?}: {text}");
                }
            }
        }
        for name in ["", "Masscan", "a b", "built-in", &"x".repeat(33)] {
            let named = Engine { name: (*name).to_owned(), ..engine(&["a", "{targets}", "{ports}"]) };
            assert!(named.check().is_err(), "{name}");
        }
    }

    #[test]
    fn ranges_become_the_cidrs_that_hold_exactly_them() {
        for (range, expected) in [
            ("10.0.0.7", vec!["10.0.0.7"]),
            ("10.0.0.0/24", vec!["10.0.0.0/24"]),
            ("10.0.0.1-10.0.0.6", vec!["10.0.0.1", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6"]),
            ("255.255.255.254-255.255.255.255", vec!["255.255.255.254/31"]),
            ("0.0.0.0-255.255.255.255", vec!["0.0.0.0/0"]),
            ("2001:db8::-2001:db8::2", vec!["2001:db8::/127", "2001:db8::2"]),
        ] {
            let range: IpRange = range.parse().unwrap();
            assert_eq!(cidrs(&range), expected, "{range}");
            let held: u128 = cidrs(&range).iter().map(|c| c.parse::<IpRange>().unwrap().len()).sum();
            assert_eq!(held, range.len());
        }
    }

    #[test]
    fn what_nobody_asked_about_is_refused_and_a_host_that_accepts_everything_is_said_once() {
        let targets: Vec<IpRange> = vec!["10.0.0.0/30".parse().unwrap()];
        let job = CommandJob {
            targets: targets.clone(),
            ports: Some("1-100".parse().unwrap()),
            scope: Scope::new(&targets, &[]),
            rate_pps: 1,
            retries: 0,
            seed: 0,
            report_all: false,
            always_report: HashSet::from(["10.0.0.2:7/tcp".parse().unwrap()]),
        };
        let mut admit = Admit::new(&job, &targets, Ts(5_000));
        let mut out = Vec::new();
        let said = |e: &str, state, at| {
            Reading::Endpoint(Observation { endpoint: e.parse().unwrap(), state, reason: Reason::Rst, observed_at: Ts(at) })
        };
        for outside in ["10.0.0.4:22/tcp", "10.0.0.1:101/tcp", "10.0.0.1:22/udp"] {
            admit.take(said(outside, State::Open, 6_000), Ts(9_000), &mut out);
        }
        assert_eq!((admit.refused, out.len()), (3, 0));
        admit.take(said("10.0.0.2:7/tcp", State::Closed, 4_000), Ts(9_000), &mut out);
        admit.take(said("10.0.0.2:8/tcp", State::Closed, 4_000), Ts(9_000), &mut out);
        let Some(Findings::Found(Found::Endpoint(o))) = out.pop() else { panic!("{out:?}") };
        assert_eq!((o.endpoint.port, o.observed_at, out.len()), (7, Ts(5_000), 0), "asked by name, at an instant while it ran");
        for port in 1..=90 {
            admit.take(said(&format!("10.0.0.1:{port}/tcp"), State::Open, 6_000), Ts(9_000), &mut out);
        }
        admit.last(Ts(9_000), &mut out);
        let pseudo: Vec<u32> = out
            .iter()
            .filter_map(|f| if let Findings::Found(Found::PseudoOpen { open_ports, .. }) = f { Some(*open_ports) } else { None })
            .collect();
        assert_eq!((pseudo, out.len(), admit.open), (vec![51, 90], 50 + 2, 90));
    }
}
