//! A job: the part of a run that one node does in one go, leased with a fencing token (S5).
//!
//! The database's row is the truth about who may work on it; what crosses to the node is `wire`'s message.

use crate::address::IpRange;
use crate::id::{JobId, NodeName, RunId, TaskId};
use crate::observation::words;
use crate::port::{Endpoint, Ports};
use crate::task::{Engine, TaskKind};
use crate::time::Ts;
use serde::{Deserialize, Serialize};

words! {
    /// How a job stands.
    JobState: "job state" {
        /// Waits for a node.
        Queued = "queued",
        /// A node works on it until its lease ends.
        Leased = "leased",
        /// Done.
        Done = "done",
        /// Given up after its last attempt.
        Failed = "failed",
        /// A person ended it.
        Cancelled = "cancelled",
    }
}

/// Jobs of a priority below this are follow-ups that an alert waits for: they are leased first, and whether or not their
/// task has a slot free. Every scheduled job has a higher number.
pub const URGENT: u8 = 10;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Work {
    /// Find out which addresses answer.
    Liveness {
        /// Addresses.
        targets: Vec<IpRange>,
    },
    /// Probe every address × port.
    Sweep {
        /// Addresses.
        targets: Vec<IpRange>,
        /// Ports of both protocols.
        ports: Ports,
        /// Endpoints within that are known open: their state is reported even when it is not open.
        known_open: Vec<Endpoint>,
    },
    /// Say the state of each endpoint, open or not.
    Recheck {
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    },
    /// Connect to each endpoint and say what answers; says its state as well.
    Identify {
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    },
    /// The slow lane of [`Work::Identify`]: every question there is, of few endpoints, once in a long while.
    Examine {
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    },
    /// Fetch the front page of each endpoint, with and without TLS.
    Panels {
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    },
}

impl Work {
    /// Number of probes without repetitions: the total that progress is measured against.
    pub fn probes(&self) -> u64 {
        let addresses =
            |targets: &[IpRange]| targets.iter().map(|r| u64::try_from(r.len()).unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
        match self {
            Work::Liveness { targets } => addresses(targets),
            Work::Sweep { targets, ports, .. } => addresses(targets).saturating_mul(ports.len() as u64),
            Work::Recheck { endpoints }
            | Work::Identify { endpoints }
            | Work::Examine { endpoints }
            | Work::Panels { endpoints } => endpoints.len() as u64,
        }
    }
    /// `liveness`, `sweep`, `recheck`, `identify`, `examine` or `panels`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Work::Liveness { .. } => "liveness",
            Work::Sweep { .. } => "sweep",
            Work::Recheck { .. } => "recheck",
            Work::Identify { .. } => "identify",
            Work::Examine { .. } => "examine",
            Work::Panels { .. } => "panels",
        }
    }
}

/// A job as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Id.
    pub id: JobId,
    /// Task it serves.
    pub task: TaskId,
    /// Kind of that task.
    pub kind: TaskKind,
    /// Run it belongs to; `None` for a follow-up, queued because of something just seen.
    pub run: Option<RunId>,
    /// What to do.
    pub work: Work,
    /// How it stands.
    pub state: JobState,
    /// Lower goes first.
    pub priority: u8,
    /// Probes per second for the whole job; `None` for the global pace.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe; `None` where they buy most (sweeps).
    pub retries: Option<u8>,
    /// Who probes.
    pub engine: Engine,
    /// Not before this instant.
    pub not_before: Ts,
    /// Times it was leased.
    pub attempts: u32,
    /// Times it may be leased before it is given up.
    pub max_attempts: u32,
    /// Grows with every lease; a report with an older one is refused.
    pub fencing: i64,
    /// Who holds the lease.
    pub node: Option<NodeName>,
    /// Until when.
    pub lease_until: Option<Ts>,
    /// Probes sent, of the current attempt.
    pub probes_sent: u64,
    /// [`Work::probes`], kept so that lists need not read the work.
    pub probes_total: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Queued.
    pub created_at: Ts,
    /// First leased.
    pub started_at: Option<Ts>,
    /// Ended.
    pub finished_at: Option<Ts>,
}
