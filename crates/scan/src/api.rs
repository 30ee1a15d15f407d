//! What callers ask for and what they get back. How it is done is the engine's.

use crate::link::memory::MemoryNetwork;
use crate::pace::Pacer;
use crate::resume::Checkpoint;
use crate::run::Wire;
use crate::tap::Tap;
use model::address::IpRange;
use model::{Endpoint, HostObservation, Observation, PortSet, Scope, Ts};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Method {
    /// [`Method::Syn`] where raw sockets are permitted, else [`Method::Connect`].
    #[default]
    Auto,
    /// Raw SYN probes; addresses of this machine are still asked by `connect`, which the kernel answers truly.
    Syn,
    /// The operating system's `connect`; needs no permission.
    Connect,
}

impl Method {
    /// `auto`, `syn` or `connect`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Auto => "auto",
            Method::Syn => "syn",
            Method::Connect => "connect",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Method {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Method::Auto),
            "syn" => Ok(Method::Syn),
            "connect" => Ok(Method::Connect),
            _ => Err(format!("`{s}` is not a method: one of auto, syn, connect")),
        }
    }
}

/// How often an unanswered probe of a sweep is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Every silent cell, so many times.
    Fixed(u8),
    /// Where it buys most: at most half a probe more for each cell, spent on the silent cells that are most likely lost
    /// answers, and not spent at all where the network turns out to lose nothing.
    Auto,
}

/// A part of a sweep: the parts of one sweep, done anywhere in any order, cover it without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, counted from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };
}

impl Default for Shard {
    fn default() -> Self {
        Shard::WHOLE
    }
}

/// Probe every address × port.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Addresses. What lies outside the scope is left out and counted in [`Summary::out_of_scope`].
    pub targets: Vec<IpRange>,
    /// TCP ports.
    pub ports: PortSet,
    /// UDP ports.
    pub udp_ports: PortSet,
    /// What may be probed at all.
    pub scope: Scope,
    /// How to ask.
    pub method: Method,
    /// The caps of the node, shared with every other sweep.
    pub pace: Arc<Pacer>,
    /// Cap of this sweep alone, probes per second.
    pub rate_pps: Option<u32>,
    /// Slow down when the path drops probes or answers; `rate_pps` is then the ceiling.
    pub adapt: bool,
    /// Repetitions of an unanswered probe.
    pub retries: Retries,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Find out first which hosts are up, and probe only those (and those with an endpoint in `always_report`).
    pub ping: bool,
    /// Seed of the order in which targets are probed and of the control ports.
    pub seed: u64,
    /// The part of the sweep to do.
    pub shard: Shard,
    /// Go on from here rather than from the beginning.
    pub resume: Option<Checkpoint>,
    /// Build every frame, show it to the tap, and send none. Nobody is asked whether it is up, nothing is repeated, and no
    /// state is told. Frames are written as IP packets, because hardware addresses are not asked for either.
    pub dry_run: bool,
    /// Sees every frame that leaves or comes in.
    pub tap: Option<Arc<dyn Tap>>,
    /// Report every state, not only open.
    pub report_all: bool,
    /// Endpoints whose state is reported even when it is not open, as far as they are among targets × ports.
    pub always_report: HashSet<Endpoint>,
}

impl Sweep {
    /// A sweep of TCP ports of these addresses: one repetition, a second and a half for an answer, no ping, seed 0. Written so
    /// that callers name what they want otherwise: `Sweep { ping: true, ..Sweep::new(…) }`.
    pub fn new(targets: Vec<IpRange>, ports: PortSet, scope: Scope, pace: Arc<Pacer>) -> Self {
        Sweep {
            targets,
            ports,
            udp_ports: PortSet::default(),
            scope,
            method: Method::Auto,
            pace,
            rate_pps: None,
            adapt: false,
            retries: Retries::Fixed(1),
            timeout: TIMEOUT,
            ping: false,
            seed: 0,
            shard: Shard::WHOLE,
            resume: None,
            dry_run: false,
            tap: None,
            report_all: false,
            always_report: HashSet::new(),
        }
    }
}

impl std::fmt::Debug for dyn Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap")
    }
}

/// Linux waits a second before it sends a SYN again (RFC 6298); half a second on top is for hosts behind slow links.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// Find out which addresses answer.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Addresses.
    pub targets: Vec<IpRange>,
    /// What may be probed at all.
    pub scope: Scope,
    /// How to ask.
    pub method: Method,
    /// The caps of the node.
    pub pace: Arc<Pacer>,
    /// Cap of this work alone, probes per second.
    pub rate_pps: Option<u32>,
    /// Slow down when the path drops probes or answers.
    pub adapt: bool,
    /// Repetitions of unanswered probes.
    pub retries: u8,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Seed of the order.
    pub seed: u64,
}

impl Ping {
    /// One repetition, a second and a half for an answer, seed 0.
    pub fn new(targets: Vec<IpRange>, scope: Scope, pace: Arc<Pacer>) -> Self {
        let method = Method::Auto;
        Ping { targets, scope, method, pace, rate_pps: None, adapt: false, retries: 1, timeout: TIMEOUT, seed: 0 }
    }
}

/// Say the state of each endpoint, open or not.
#[derive(Clone, Debug)]
pub struct Recheck {
    /// Endpoints of both protocols; those with port 0 are left out and counted in [`Summary::not_probed`].
    pub endpoints: Vec<Endpoint>,
    /// What may be probed at all.
    pub scope: Scope,
    /// How to ask.
    pub method: Method,
    /// The caps of the node.
    pub pace: Arc<Pacer>,
    /// Cap of this work alone, probes per second.
    pub rate_pps: Option<u32>,
    /// Slow down when the path drops probes or answers.
    pub adapt: bool,
    /// Repetitions of unanswered probes.
    pub retries: u8,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Seed of the order.
    pub seed: u64,
}

impl Recheck {
    /// One repetition, a second and a half for an answer, seed 0.
    pub fn new(endpoints: Vec<Endpoint>, scope: Scope, pace: Arc<Pacer>) -> Self {
        let method = Method::Auto;
        Recheck { endpoints, scope, method, pace, rate_pps: None, adapt: false, retries: 1, timeout: TIMEOUT, seed: 0 }
    }
}

/// What a host that accepts everything is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acceptance {
    /// It accepts on every port: a firewall, a load balancer, a honeypot.
    AllOpen,
    /// Something in front of it completes handshakes for it: the SYN-ACKs have a zero window.
    SynProxy,
}

/// One finding, sent as soon as it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The state of an endpoint.
    Endpoint(Observation),
    /// The liveness of a host. A sweep with `ping` sends only hosts that are up; [`liveness`] sends every target.
    Host(HostObservation),
    /// A host that accepts on every port. Comes before the opens of that host that were held back, and once more at the
    /// end of the sweep if the count has grown.
    PseudoOpen {
        /// The host.
        ip: IpAddr,
        /// Ports that accepted so far.
        open_ports: u32,
        /// What it is taken for.
        acceptance: Acceptance,
        /// When it was recognised, or counted.
        observed_at: Ts,
    },
    /// A host that is up and answered on none of its ports. Sent at the end of the sweep, when at least five were asked.
    AllFiltered {
        /// The host.
        ip: IpAddr,
        /// Ports asked.
        ports: u32,
        /// When that was certain.
        observed_at: Ts,
    },
}

/// How far a sweep has come. Written by the engine, read by whoever draws it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Probes sent, repetitions and control probes included.
    pub probes_sent: AtomicU64,
    /// Questions to be asked, without repetitions. Shrinks when hosts turn out to be down.
    pub probes_total: AtomicU64,
    /// Questions that need no further probe: answered, or given up.
    pub probes_settled: AtomicU64,
    /// Open endpoints seen, pseudo-open ones included.
    pub open_found: AtomicU64,
    /// Hosts seen up.
    pub hosts_up: AtomicU64,
    /// Where the sweep could go on from, see [`Progress::checkpoint`].
    pub(crate) checkpoint: Mutex<Option<Checkpoint>>,
}

impl Progress {
    /// Share of the questions that are settled, 0 to 1.
    pub fn fraction(&self) -> f64 {
        let total = self.probes_total.load(Ordering::Relaxed);
        let settled = self.probes_settled.load(Ordering::Relaxed);
        if total == 0 { 0.0 } else { (settled as f64 / total as f64).min(1.0) }
    }

    /// Where the sweep could go on from if it ended now. Renewed about once a second, and when the sweep ends early; `None`
    /// before the first probe and for other work than sweeps.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What was done, said at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Probes sent, repetitions, liveness and control probes included.
    pub probes_sent: u64,
    /// Addresses that were to be probed.
    pub hosts_total: u64,
    /// Addresses that answered anything.
    pub hosts_up: u64,
    /// Open endpoints seen, pseudo-open ones included.
    pub open_found: u64,
    /// The method used.
    pub method: Method,
    /// Why that one.
    pub method_note: String,
    /// Wall time.
    pub elapsed: Duration,
    /// Ended early, by the token or because nobody listens any more.
    pub cancelled: bool,
    /// Received frames that the kernel or we had to drop; more than none means answers may have been missed.
    pub drops: u64,
    /// Probes per second, the mean over the time in which probes left.
    pub rate_pps: f64,
    /// What the path took, when adapting found a limit below the rate asked for.
    pub path_rate_pps: Option<u32>,
    /// Share of questions to open ports that went unanswered, 0 to 1; `None` when too few were asked again to tell.
    pub loss: Option<f64>,
    /// Answers that had been given before.
    pub duplicates: u64,
    /// Frames to our ports that answer no probe of ours: forged, or late answers to somebody else.
    pub rejected: u64,
    /// Probes that repeated an earlier one.
    pub retransmitted: u64,
    /// Endpoints about which nothing can be said because a probe could not be sent from here (out of local ports, say).
    pub not_probed: u64,
    /// Addresses left out because the scope does not hold them.
    pub out_of_scope: u128,
}

/// Why a sweep could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Raw sockets were asked for by name and are not permitted.
    #[error(
        "raw sockets: {source}\nhint: run as root, or `setcap cap_net_raw+ep` the portreeve binary, or use the connect method"
    )]
    RawSockets {
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// More than can be indexed.
    #[error("{hosts} addresses × {ports} ports are more than one sweep can walk\nhint: name the ranges that are in use")]
    TooLarge {
        /// Addresses asked for.
        hosts: u128,
        /// Ports asked for.
        ports: usize,
    },
    /// The shard does not exist.
    #[error("shard {} of {} does not exist\nhint: shards are counted from 1 to the number of them", .0.index + 1, .0.of)]
    NoSuchShard(Shard),
    /// The checkpoint is of another sweep.
    #[error(
        "the checkpoint is of another sweep: its {what} differ\nhint: resume with the same arguments, or start anew without the checkpoint"
    )]
    OtherSweep {
        /// What differs.
        what: &'static str,
    },
    /// The link failed while in use.
    #[error("{what}: {source}")]
    Link {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Probes every address × port of the sweep, and sends what it finds as it finds it.
///
/// Cancelling stops sending within 100 ms; what is known by then has been sent. A closed `out` cancels as well.
pub async fn sweep(
    sweep: Sweep,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::sweep(Wire::Real(sweep.method), sweep, out, progress, cancel).await
}

/// Finds out which addresses answer, and sends a [`HostObservation`] for every one of them, up or down.
pub async fn liveness(
    ping: Ping,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::liveness(Wire::Real(ping.method), ping, out, progress, cancel).await
}

/// Says the state of each endpoint with its reason: open, closed or filtered.
pub async fn probe_endpoints(
    recheck: Recheck,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::probe_endpoints(Wire::Real(recheck.method), recheck, out, progress, cancel).await
}

/// [`sweep`] in a network in memory. The method does not matter there: every host is asked by frames.
pub async fn sweep_in(
    network: Arc<MemoryNetwork>,
    sweep: Sweep,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::sweep(Wire::Memory(network), sweep, out, progress, cancel).await
}

/// [`liveness`] in a network in memory.
pub async fn liveness_in(
    network: Arc<MemoryNetwork>,
    ping: Ping,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::liveness(Wire::Memory(network), ping, out, progress, cancel).await
}

/// [`probe_endpoints`] in a network in memory.
pub async fn probe_endpoints_in(
    network: Arc<MemoryNetwork>,
    recheck: Recheck,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    crate::engine::probe_endpoints(Wire::Memory(network), recheck, out, progress, cancel).await
}
