//! An external command as the engine of a sweep or a liveness pass: running it, reading it while it runs, and what its end
//! amounts to.
//!
//! The command gets only addresses that the scope admits (PR-1), and what it says about anything else is refused and counted
//! (`admit`). It paces itself: it is told the rate, and whether it keeps to it is its own affair. What it is told is
//! `command_line`'s.

use super::admit::Admit;
use super::child::{self, Child, Messages};
use super::command_line::command_line;
use super::engine::Engine;
use super::{Format, FormatError, Reader, Reading, Via};
use crate::api::{Found, Progress};
use model::address::IpRange;
use model::service::Identification;
use model::{Endpoint, PortSet, Scope, Ts};
use std::collections::HashSet;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes read in one go.
const CHUNK: usize = 64 << 10;
/// How long output may still come when the command itself has ended: long enough for a pipe to run dry.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a file that is written to is looked at: findings are handed in once a second anyway.
const LOOK: Duration = Duration::from_millis(200);
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
    /// Of these, findings about UDP ports of its targets.
    pub refused_udp: u64,
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
        let told = |admit: &Admit, cancelled: bool| {
            let Admit { refused, refused_udp, open: open_found, .. } = *admit;
            Ran { refused, refused_udp, open_found, cancelled }
        };
        let status = match ended {
            Ended::Cancelled => return Ok(told(&self.admit, true)),
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
        let ran = told(&self.admit, false);
        if ran.refused > ran.refused_udp {
            tracing::warn!(
                engine = engine.name,
                refused = ran.refused - ran.refused_udp,
                "an engine reported what it was not asked about; that is refused"
            );
        }
        if ran.refused_udp > 0 {
            tracing::warn!(
                engine = engine.name,
                refused = ran.refused_udp,
                hint = "sweep them in a task of portreeve's own, or import the scanner's file",
                "an engine reported UDP ports, which no engine is asked about; they are refused"
            );
        }
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
