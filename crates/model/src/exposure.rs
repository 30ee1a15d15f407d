//! An exposure: an open endpoint that an outer vantage sees, what risk it is, and what people decided about it.
//!
//! State and disposition are two axes: observations move the one, people the other, and neither touches its sibling.

use crate::asset::Zone;
use crate::finding::FindingKind;
use crate::id::{AssetId, ExposureId, Vantage};
use crate::observation::{Reason, words};
use crate::port::Endpoint;
use crate::port_state::Phase;
use crate::service::Service;
use crate::time::{Duration, Ts};
use serde::{Deserialize, Serialize};

words! {
    /// The three kinds of risk (C2).
    RiskKind: "risk kind" {
        /// 风险端口: open to the outside at all.
        ExposedPort = "exposed-port",
        /// 高危端口: its number is on the high-risk list.
        HighRiskPort = "high-risk-port",
        /// 高危服务: what answers is on the high-risk list, on whatever port.
        HighRiskService = "high-risk-service",
    }
}

words! {
    /// How urgent. Ordered: low first.
    Severity: "severity" {
        /// For the record.
        Low = "low",
        /// This week.
        Medium = "medium",
        /// Today.
        High = "high",
        /// Now.
        Critical = "critical",
    }
}

/// One ground for the risk stated, so that every verdict explains itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum RiskReason {
    /// Reachable from an outer vantage.
    Reachable {
        /// Which.
        vantage: Vantage,
    },
    /// The port number is listed.
    PortListed {
        /// Catalogue entry.
        entry: String,
        /// The number.
        port: u16,
    },
    /// The identity is listed.
    IdentityListed {
        /// Catalogue entry.
        entry: String,
        /// Identified service, with product where known.
        service: String,
    },
    /// The business weight of its asset raised the severity.
    BusinessWeight {
        /// 0-10.
        weight: u8,
    },
    /// On a host that answers on every port, so the port number proves nothing.
    PseudoOpen,
    /// A check proved something of it.
    FindingProved {
        /// Id of the check.
        check: String,
        /// What kind of thing.
        kind: FindingKind,
        /// How bad that is by itself.
        severity: Severity,
    },
}

words! {
    /// What people decided. A scan never changes it (L12).
    DispositionKind: "disposition" {
        /// Nobody has looked.
        Unreviewed = "unreviewed",
        /// 报备: known and allowed until a date.
        Registered = "registered",
        /// The risk is accepted until a date.
        Accepted = "accepted",
        /// It is not what it was taken for.
        FalsePositive = "false-positive",
    }
}

/// A decision about an exposure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// Which.
    pub kind: DispositionKind,
    /// Until when it holds; afterwards the exposure counts as unreviewed again. Required for registered and accepted.
    pub until: Option<Ts>,
    /// Who decided; `None` while unreviewed.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// When.
    pub at: Option<Ts>,
}

impl Disposition {
    /// What an exposure has before anybody looked at it.
    pub fn unreviewed() -> Self {
        Disposition { kind: DispositionKind::Unreviewed, until: None, by: None, note: None, at: None }
    }
    /// What it amounts to at `now`: a decision past its date is none.
    pub fn effective(&self, now: Ts) -> DispositionKind {
        match self.until {
            Some(until) if until <= now => DispositionKind::Unreviewed,
            _ => self.kind,
        }
    }
}

/// The risk of an open endpoint as `assess` sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// Which of the three kinds.
    pub kind: RiskKind,
    /// How urgent.
    pub severity: Severity,
    /// Catalogue entry that lists it.
    pub entry: Option<String>,
    /// The grounds.
    pub reasons: Vec<RiskReason>,
}

/// An open endpoint that an outer vantage sees, kept for ever once it was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Id.
    pub id: ExposureId,
    /// The door.
    pub endpoint: Endpoint,
    /// Seen from.
    pub vantage: Vantage,
    /// `Open` or `Closed`; an exposure is never pending.
    pub phase: Phase,
    /// Its risk.
    pub risk: Risk,
    /// What answers.
    pub service: Option<Service>,
    /// Asset that covers it.
    pub asset: Option<AssetId>,
    /// Owner of that asset at the last assessment.
    pub owner: Option<String>,
    /// Zone of that asset.
    pub zone: Option<Zone>,
    /// The decision.
    pub disposition: Disposition,
    /// Number of the current or last opening, from 1.
    pub opening: u32,
    /// First opening ever.
    pub first_opened_at: Ts,
    /// Current or last opening.
    pub opened_at: Ts,
    /// End of the last opening; `None` while open.
    pub closed_at: Option<Ts>,
    /// Why we say that it closed.
    pub close_reason: Option<Reason>,
    /// Upper bound of the time from opening to detection; `None` when it was never probed before.
    pub detection_bound: Option<Duration>,
    /// Last time its row changed.
    pub updated_at: Ts,
}
