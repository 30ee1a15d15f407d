//! Numbers for dashboard and metrics, and retention.
use crate::{Result, Store};
use model::exposure::{DispositionKind, RiskKind, Severity};
use model::job::JobState;
use model::settings::Retention;
use model::{Duration, Ts};
use std::collections::BTreeMap;

/// How many open exposures share risk, severity and effective disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposureCell {
    pub risk: RiskKind,
    pub severity: Severity,
    pub disposition: DispositionKind,
    pub count: u64,
}

/// Numbers of exposures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExposureCounts {
    /// Open ones.
    pub open: Vec<ExposureCell>,
    pub opened_24h: u64,
    pub opened_7d: u64,
    pub closed_24h: u64,
    pub closed_7d: u64,
}

/// Openings and closings of exposures on one day, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// Midnight at which the day begins.
    pub day: Ts,
    pub opened: u64,
    pub closed: u64,
}

/// How late openings were detected at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detection {
    pub samples: u64,
    pub median_bound: Option<Duration>,
    pub max_bound: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    pub online: u64,
    pub offline: u64,
}

/// Endpoints by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCounts {
    pub pending: u64,
    pub open: u64,
    pub closed: u64,
}

/// What waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub jobs: BTreeMap<JobState, u64>,
    pub alerts_pending: u64,
    pub notifications_queued: u64,
    pub notifications_failed: u64,
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub jobs: u64,
    pub runs: u64,
    pub coverage: u64,
}

impl Store {
    pub async fn exposure_counts(&self, now: Ts) -> Result<ExposureCounts> {
        unimplemented!()
    }
    /// The last `days` days up to and with today, oldest first, none left out.
    pub async fn exposures_per_day(&self, now: Ts, days: u32) -> Result<Vec<DayCount>> {
        unimplemented!()
    }
    /// Of exposures opened since.
    pub async fn detection(&self, since: Ts) -> Result<Detection> {
        unimplemented!()
    }
    pub async fn host_counts(&self) -> Result<HostCounts> {
        unimplemented!()
    }
    pub async fn phase_counts(&self) -> Result<PhaseCounts> {
        unimplemented!()
    }
    pub async fn backlog(&self) -> Result<Backlog> {
        unimplemented!()
    }
    pub async fn prune(&self, now: Ts, retention: &Retention) -> Result<Pruned> {
        unimplemented!()
    }
}
