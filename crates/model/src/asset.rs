//! What an organisation owns and may probe: ranges with owner and zone, exclusions, and times to keep quiet.
//!
//! What a question does to its target is `finding`'s; which checks there are is `check`'s.

use crate::address::IpRange;
use crate::finding::SideEffect;
use crate::id::{AssetId, BlackoutId, ExclusionId};
use crate::observation::words;
use crate::time::Ts;
use serde::{Deserialize, Serialize};

words! {
    /// Confidentiality zone of a range (C3).
    Zone: "zone" {
        /// Demilitarised zone.
        Dmz = "dmz",
        /// Transit.
        Transit = "transit",
        /// Low confidentiality.
        Low = "low",
        /// Medium confidentiality.
        Medium = "medium",
        /// High confidentiality.
        High = "high",
    }
}

words! {
    /// The strongest class of check that an asset allows.
    CheckCeiling: "check ceiling" {
        /// No checks at all.
        None = "none",
        /// What a server says by itself.
        Passive = "passive",
        /// Documented requests that read.
        Benign = "benign",
        /// That, and what leaves a session, for services of the high-risk list: what holds where nobody said otherwise.
        Session = "session",
        /// Sessions everywhere, and under an approval also what may be felt.
        Intrusive = "intrusive",
    }
}

impl CheckCeiling {
    /// The strongest class allowed; `None` when no check is.
    pub fn side_effect(self) -> Option<SideEffect> {
        match self {
            CheckCeiling::None => None,
            CheckCeiling::Passive => Some(SideEffect::Passive),
            CheckCeiling::Benign => Some(SideEffect::Benign),
            CheckCeiling::Session => Some(SideEffect::Session),
            CheckCeiling::Intrusive => Some(SideEffect::Intrusive),
        }
    }
}

impl Default for CheckCeiling {
    /// Nothing that could be felt, and a session where what is at stake is worth one (see [`crate::check::DEFAULT_CEILING`]).
    fn default() -> Self {
        CheckCeiling::Session
    }
}

/// A range of addresses somebody owns. What assets cover, less exclusions, is the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Id.
    pub id: AssetId,
    /// The addresses.
    pub range: IpRange,
    /// Name shown to people.
    pub name: String,
    /// Person or team that answers for it.
    pub owner: Option<String>,
    /// Zone.
    pub zone: Zone,
    /// How much business depends on it, 0 to 10.
    pub weight: u8,
    /// Free words.
    pub tags: Vec<String>,
    /// Learn without alerting until then (L13).
    pub observe_until: Option<Ts>,
    /// Cap for all probes into the range, per second.
    pub rate_pps: Option<u32>,
    /// Cap for all probes to one of its addresses, per second.
    pub per_target_pps: Option<u32>,
    /// Strongest class of check allowed.
    #[serde(default)]
    pub check_ceiling: CheckCeiling,
    /// When it was added.
    pub created_at: Ts,
    /// When it last changed.
    pub updated_at: Ts,
}

/// A range that is never probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Id.
    pub id: ExclusionId,
    /// The addresses.
    pub range: IpRange,
    /// Why.
    pub reason: String,
    /// When it was added.
    pub created_at: Ts,
}

/// When a blackout holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Window {
    /// Between two instants.
    Once {
        /// Start, included.
        from: Ts,
        /// End, not included.
        until: Ts,
    },
    /// On some days of every week, between two times of day in UTC; past midnight when the end is not after the start.
    Weekly {
        /// Days on which it starts, 1 Monday to 7 Sunday.
        days: Vec<u8>,
        /// Minutes after midnight at which it starts.
        start_minute: u16,
        /// Minutes after midnight at which it ends.
        end_minute: u16,
    },
}

/// A span of time in which a range is not probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blackout {
    /// Id.
    pub id: BlackoutId,
    /// The addresses.
    pub range: IpRange,
    /// When.
    pub window: Window,
    /// Why.
    pub reason: String,
    /// When it was added.
    pub created_at: Ts,
}
