//! The messages themselves: plain data, serialisable, nothing of the store's rows or the API's views.

use model::address::IpRange;
use model::finding::{CheckPolicy, CheckRun};
use model::job::Work;
use model::port_state::Coverage;
use model::service::{Identification, PanelObservation};
use model::task::Engine;
use model::{Duration, HostObservation, JobId, NodeName, Observation, Scope, Ts, Vantage};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A node asks for work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Who asks.
    pub node: NodeName,
    /// From where it probes.
    pub vantage: Vantage,
    /// Distinguishes this start of the node from earlier ones: leases of earlier starts are void.
    pub incarnation: u64,
    /// Jobs it can begin now. It never asks for more, so nothing is prefetched.
    pub slots: u32,
    /// Other scanners that its own configuration has, by name.
    pub engines: Vec<String>,
}

/// What it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaseReply {
    /// The jobs; may be none.
    pub jobs: Vec<JobOffer>,
    /// How fast the node may probe over all its jobs, and into which networks less.
    pub pace: NodePace,
}

/// The caps a node keeps over all its jobs together (PR-7).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodePace {
    /// Probes per second of the node.
    pub node_pps: u32,
    /// Probes per second into one network (a /24 of IPv4, a /64 of IPv6).
    pub per_network_pps: u32,
    /// Probes per second to one address.
    pub per_target_pps: u32,
    /// Ranges with caps of their own; the most specific range that holds an address counts.
    pub ranges: Vec<RangePace>,
}

/// Caps of one range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangePace {
    /// The range.
    pub range: IpRange,
    /// Probes per second into all of it.
    pub rate_pps: Option<u32>,
    /// Probes per second to one of its addresses.
    pub per_target_pps: Option<u32>,
}

/// A job under lease, complete in itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobOffer {
    /// Id.
    pub id: JobId,
    /// Fencing token of this lease.
    pub fencing: i64,
    /// How long the lease lasts without a heartbeat.
    pub lease: Duration,
    /// What to do.
    pub work: Work,
    /// What may be probed at all; the node checks every target against it again (PR-1).
    pub scope: Scope,
    /// When a quiet time begins for some of it. Nothing leaves from then on: the node hands in what it has and gives the job
    /// back, to be handed out again for what may be probed by then.
    #[serde(default)]
    pub quiet_from: Option<Ts>,
    /// Probes per second for this job; `None` for the node's pace.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe; `None` where they buy most (sweeps).
    pub retries: Option<u8>,
    /// Who probes; a node that does not have it fails the job and says so.
    pub engine: Engine,
    /// Seed of the order in which targets are probed.
    pub seed: u64,
    /// What may be checked of what is identified, by range; where no range holds an address nothing is checked there. The node
    /// looks at ceiling, time and attempts again before each check.
    #[serde(default)]
    pub check_policies: Vec<CheckPolicy>,
}

/// A node is still at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub node: NodeName,
    /// Which job.
    pub job: JobId,
    /// Under which lease.
    pub fencing: i64,
    /// Probes sent so far.
    pub probes_sent: u64,
}

/// What the node is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatReply {
    /// Go on; the lease is renewed.
    Continue,
    /// Stop at once and report nothing more: paused, cancelled, blacked out, or the lease is another's.
    Stop,
}

/// A part of a job's result. The first has sequence 1; the one with `end` is the last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub node: NodeName,
    /// From where.
    pub vantage: Vantage,
    /// Which job.
    pub job: JobId,
    /// Under which lease.
    pub fencing: i64,
    /// Number of the report within this lease.
    pub sequence: u32,
    /// Probes sent so far.
    pub probes_sent: u64,
    /// What was seen.
    pub sightings: Sightings,
    /// How the job ended, in its last report.
    pub end: Option<End>,
}

/// What a node saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sightings {
    /// States of endpoints: all that are open, and all that the job asked about by name.
    pub observations: Vec<Observation>,
    /// Liveness of hosts.
    pub hosts: Vec<HostObservation>,
    /// What answers.
    pub identifications: Vec<Identification>,
    /// Front pages.
    pub panels: Vec<PanelObservation>,
    /// How checks ended.
    #[serde(default)]
    pub checks: Vec<CheckRun>,
    /// Hosts that answer on every port, with how many ports accepted.
    pub pseudo_open: Vec<PseudoOpenHost>,
    /// Ground covered; only in a last report that says [`End::Done`].
    pub coverage: Option<Coverage>,
}

/// A host that answers on every port: a firewall or SYN proxy rather than services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PseudoOpenHost {
    /// Address.
    pub ip: IpAddr,
    /// Ports that accepted.
    pub open_ports: u32,
    /// When it was recognised.
    pub observed_at: Ts,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Everything was probed.
    Done,
    /// It could not be done; it may be tried again.
    Failed {
        /// Why, with a hint where there is one.
        error: String,
    },
}

/// What the server made of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportReply {
    /// Recorded, or had been recorded before.
    Accepted,
    /// The lease is another's by now; the node stops the job.
    Fenced,
}
