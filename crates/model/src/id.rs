//! Newtypes for every identifier. They are minted (uuid v7) by whoever owns a clock; here they only travel.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                s.parse().map($name).map_err(|_| format!("`{s}` is not an id (a UUID is expected)"))
            }
        }
    )*};
}

ids! {
    /// A range of addresses somebody owns.
    AssetId,
    /// A range that is never probed although an asset covers it.
    ExclusionId,
    /// A span of time in which a range is not probed.
    BlackoutId,
    /// A recurring or one-off piece of scanning work.
    TaskId,
    /// One firing of a task.
    RunId,
    /// The part of a run that one node does in one go.
    JobId,
    /// An open endpoint seen from outside, from its first opening on.
    ExposureId,
    /// One entry of the append-only event log.
    EventId,
    /// Something a person has to be told about.
    AlertId,
    /// One message to one receiver.
    NotificationId,
    /// Where notifications go.
    ReceiverId,
    /// A person who signs in.
    UserId,
    /// A signed-in browser.
    SessionId,
    /// A credential for programs.
    TokenId,
    /// One entry of the audit trail.
    AuditId,
    /// What an operator said about an endpoint as a canary.
    CanaryId,
    /// Something that a check proved of an endpoint.
    FindingId,
    /// An agreement that default pairs may be tried on a range.
    ApprovalId,
}

/// Where probes come from. Two vantages may see different states of one endpoint, so state is kept per vantage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vantage(pub String);

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name a node enrolled under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
