//! What callers ask for and what they get back. How it is done is the engine's.

use crate::engine::Wire;
use crate::link::memory::MemoryNetwork;
use crate::pace::Pacer;
use model::address::IpRange;
use model::{Endpoint, HostObservation, Observation, PortSet, Scope, Ts};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Probe every address × port.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Addresses. What lies outside the scope is left out and counted in [`Summary::out_of_scope`].
    pub targets: Vec<IpRange>,
    /// TCP ports.
    pub ports: PortSet,
    /// What may be probed at all.
    pub scope: Scope,
    /// How to ask.
    pub method: Method,
    /// The caps of the node, shared with every other sweep.
    pub pace: Arc<Pacer>,
    /// Cap of this sweep alone, probes per second.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe.
    pub retries: u8,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Find out first which hosts are up, and probe only those (and those with an endpoint in `always_report`).
    pub ping: bool,
    /// Seed of the order in which targets are probed and of the control ports.
    pub seed: u64,
    /// Report every state, not only open.
    pub report_all: bool,
    /// Endpoints whose state is reported even when it is not open, as far as they are among targets × ports.
    pub always_report: HashSet<Endpoint>,
}

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
    /// Repetitions of unanswered probes.
    pub retries: u8,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Seed of the order.
    pub seed: u64,
}

/// Say the state of each endpoint, open or not.
#[derive(Clone, Debug)]
pub struct Recheck {
    /// TCP endpoints; others are left out and counted in [`Summary::not_probed`].
    pub endpoints: Vec<Endpoint>,
    /// What may be probed at all.
    pub scope: Scope,
    /// How to ask.
    pub method: Method,
    /// The caps of the node.
    pub pace: Arc<Pacer>,
    /// Cap of this work alone, probes per second.
    pub rate_pps: Option<u32>,
    /// Repetitions of unanswered probes.
    pub retries: u8,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Seed of the order.
    pub seed: u64,
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
        /// When it was recognised, or counted.
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
}

impl Progress {
    /// Share of the questions that are settled, 0 to 1.
    pub fn fraction(&self) -> f64 {
        let total = self.probes_total.load(Ordering::Relaxed);
        let settled = self.probes_settled.load(Ordering::Relaxed);
        if total == 0 { 0.0 } else { (settled as f64 / total as f64).min(1.0) }
    }
}

/// What was done, said at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
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
