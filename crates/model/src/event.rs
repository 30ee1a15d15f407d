//! The append-only event log: every transition of state, with when it happened, was observed, and was recorded (L9).

use crate::id::{EventId, ExposureId, Vantage};
use crate::observation::{Reason, words};
use crate::port::Endpoint;
use crate::time::Ts;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

words! {
    /// What happened.
    EventKind: "event kind" {
        /// First observation that an endpoint is open.
        EndpointPending = "endpoint.pending",
        /// Confirmed open, for the first time.
        EndpointOpened = "endpoint.opened",
        /// Confirmed open after it had been closed.
        EndpointReopened = "endpoint.reopened",
        /// Found not open, often enough.
        EndpointClosed = "endpoint.closed",
        /// Seen open once, then found not open before it was confirmed.
        EndpointVanished = "endpoint.vanished",
        /// What answers was identified, or changed.
        ServiceChanged = "service.changed",
        /// The front page was fetched, or changed.
        PanelChanged = "panel.changed",
        /// A check proved something of an endpoint, for the first time or again after it had been gone.
        FindingProved = "finding.proved",
        /// What a check had proved does not hold any more.
        FindingGone = "finding.gone",
        /// A host began to answer.
        HostOnline = "host.online",
        /// A host does not answer.
        HostOffline = "host.offline",
        /// A host answers on every port.
        HostPseudoOpen = "host.pseudo-open",
        /// An exposure's risk kind or severity changed.
        RiskChanged = "exposure.risk-changed",
        /// A person decided about an exposure.
        DispositionChanged = "exposure.disposition-changed",
        /// Most canaries of a segment are silent: what is open there cannot be told, and nothing closes.
        SegmentUnknown = "segment.unknown",
        /// They answer again.
        SegmentKnown = "segment.known",
    }
}

/// One entry of the event log. Never changed, never removed but by retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Id; ids grow with `recorded_at`.
    pub id: EventId,
    /// What.
    pub kind: EventKind,
    /// Which host; for events of a segment, its first address.
    pub ip: IpAddr,
    /// Which door; `None` for events of hosts.
    pub endpoint: Option<Endpoint>,
    /// Seen from.
    pub vantage: Vantage,
    /// The exposure, where there is one.
    pub exposure: Option<ExposureId>,
    /// It happened after this instant (the last observation that said otherwise); `None` when unknown.
    pub happened_after: Option<Ts>,
    /// It had happened by this instant: our best statement of when.
    pub happened_at: Ts,
    /// When the deciding probe was answered or timed out.
    pub observed_at: Ts,
    /// When it was written down.
    pub recorded_at: Ts,
    /// Evidence.
    pub reason: Option<Reason>,
    /// Particulars: from and to, service, who.
    pub detail: serde_json::Value,
}
