//! Settings that operators change while the system runs. What a process needs before its database is up is its config's.

use crate::alert::AlertPolicy;
use crate::time::Duration;
use serde::{Deserialize, Serialize};

/// How fast to probe. Every cap holds at once (PR-7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// Probes per second of one node over all its jobs.
    pub node_pps: u32,
    /// Probes per second into one network: a /24 of IPv4, a /64 of IPv6.
    pub per_network_pps: u32,
    /// Probes per second to one address.
    pub per_target_pps: u32,
}

impl Default for Pace {
    /// 5,000/s a node keeps a /24's full sweep under an hour and is a tenth of what a 100 Mbit/s line carries of 60-byte
    /// frames; 2,000/s a network and 1,000/s a target leave a small firewall's session table (64k entries, 30 s) room.
    fn default() -> Self {
        Pace { node_pps: 5_000, per_network_pps: 2_000, per_target_pps: 1_000 }
    }
}

/// How many observations over how long move an endpoint's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hysteresis {
    /// Open observations that confirm an opening.
    pub open_count: u32,
    /// Refusals (RST, ICMP port unreachable) that close.
    pub refused_count: u32,
    /// Least time from the first to the last of those.
    pub refused_span: Duration,
    /// Silences (timeout, ICMP prohibited or unreachable) that close.
    pub silent_count: u32,
    /// Least time from the first to the last of those: silence is weaker evidence than a refusal.
    pub silent_span: Duration,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Hysteresis {
            open_count: 2,
            refused_count: 2,
            refused_span: Duration::secs(10),
            silent_count: 3,
            silent_span: Duration::secs(60),
        }
    }
}

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Ended jobs and runs.
    pub jobs: Duration,
    /// Coverage records that a later one of the same ground has replaced.
    pub coverage: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { jobs: Duration::days(30), coverage: Duration::days(90) }
    }
}

/// Everything an operator may change.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Pace.
    pub pace: Pace,
    /// Hysteresis.
    pub hysteresis: Hysteresis,
    /// Alerts.
    pub alerts: AlertPolicy,
    /// Retention.
    pub retention: Retention,
}
