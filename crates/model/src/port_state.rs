//! The state of one endpoint as seen from one vantage, with what the folding of observations needs to remember.
//!
//! Only observations move it; `assess::ports` says how. What people decided about it is [`crate::exposure::Disposition`].

use crate::id::{NodeName, Vantage};
use crate::observation::{Liveness, Reason, State, words};
use crate::port::Endpoint;
use crate::service::{Confidence, Identity, Panel, Service};
use crate::time::{Duration, Ts};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

words! {
    /// Where an endpoint stands in its life: pending → open → closed, and open again.
    Phase: "phase" {
        /// Seen open once, not yet confirmed.
        Pending = "pending",
        /// Confirmed open.
        Open = "open",
        /// Probed and found not open, often enough.
        Closed = "closed",
    }
}

/// The folded state of an endpoint from one vantage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The door.
    pub endpoint: Endpoint,
    /// Seen from.
    pub vantage: Vantage,
    /// Where it stands.
    pub phase: Phase,
    /// First observation of the current opening.
    pub first_open_at: Ts,
    /// When the current or last opening was confirmed.
    pub opened_at: Option<Ts>,
    /// When it was last found closed for good.
    pub closed_at: Option<Ts>,
    /// Latest observation that it was open.
    pub last_open_at: Ts,
    /// Latest instant before the current opening at which a probe found it not open; `None` if never probed before.
    pub last_not_open_at: Option<Ts>,
    /// Latest observation of any kind.
    pub last_observed_at: Ts,
    /// What that said.
    pub last_state: State,
    /// And why.
    pub last_reason: Reason,
    /// Consecutive observations that agree with [`PortState::last_state`] being open or not.
    pub streak: u32,
    /// When that run of agreeing observations began.
    pub streak_since: Ts,
    /// How often it has been confirmed open; reopenings are this less one.
    pub openings: u32,
    /// On a host that answers on every port: kept, not believed.
    pub pseudo_open: bool,
    /// How the last identification ended.
    pub identity: Option<Identity>,
    /// What answers.
    pub service: Option<Service>,
    /// First bytes of the deciding answer.
    pub banner: Option<String>,
    /// Name of the deciding request.
    pub evidence: Option<String>,
    /// How much the deciding answer proves.
    pub confidence: Option<Confidence>,
    /// SHA-256 of the first 4 KiB of the deciding answer.
    pub sha256: Option<String>,
    /// What was asked, in order.
    pub tried: Vec<String>,
    /// When the slow lane last asked everything there is.
    pub thorough_at: Option<Ts>,
    /// When it was last identified.
    pub identified_at: Option<Ts>,
    /// Its front page.
    pub panel: Option<Panel>,
    /// When the front page was last fetched.
    pub panel_at: Option<Ts>,
}

impl PortState {
    /// Upper bound of the time it was open before we said so: confirmed opening minus the last time seen not open.
    /// `None` when it was never probed before.
    pub fn detection_bound(&self) -> Option<Duration> {
        Some(self.opened_at?.since(self.last_not_open_at?))
    }
}

/// A host as seen from one vantage. Both liveness states are stored; a host never gets lost between them (D0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Address.
    pub ip: IpAddr,
    /// Seen from.
    pub vantage: Vantage,
    /// Up or down.
    pub liveness: Liveness,
    /// Evidence for it.
    pub reason: Reason,
    /// Since when it is in this state.
    pub since: Ts,
    /// Last time it answered anything.
    pub last_online_at: Option<Ts>,
    /// Last time it was asked.
    pub last_observed_at: Ts,
    /// Answers on every port: a firewall or a SYN proxy, not services. With the number of ports that accepted.
    pub pseudo_open_ports: Option<u32>,
}

/// Ground covered: every address × port of it was probed between the two instants, and what was open was reported.
/// The latest coverage before an opening bounds the time to detect it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Seen from.
    pub vantage: Vantage,
    /// Who swept.
    pub node: NodeName,
    /// Addresses.
    pub targets: Vec<crate::address::IpRange>,
    /// Ports.
    pub ports: crate::port::Ports,
    /// First probe.
    pub started_at: Ts,
    /// Last answer or timeout.
    pub finished_at: Ts,
}
