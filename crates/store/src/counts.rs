//! Numbers for the dashboard and the metrics, counted in the database. How they are shown is `server`'s and the console's.

use crate::exposures::effective;
use crate::sql::*;
use crate::{Result, Store};
use model::exposure::{DispositionKind, RiskKind, Severity};
use model::job::JobState;
use model::port_state::Phase;
use model::{Duration, Liveness, Ts};
use sea_orm::Value;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;

/// How many open exposures share risk, severity and effective disposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposureCell {
    /// Risk kind.
    pub risk: RiskKind,
    /// Severity.
    pub severity: Severity,
    /// The decision as it holds now.
    pub disposition: DispositionKind,
    /// How many.
    pub count: u64,
}

/// Numbers of exposures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExposureCounts {
    /// Open ones.
    pub open: Vec<ExposureCell>,
    /// Last opened within a day.
    pub opened_24h: u64,
    /// Last opened within a week.
    pub opened_7d: u64,
    /// Closed within a day, and still closed.
    pub closed_24h: u64,
    /// Closed within a week, and still closed.
    pub closed_7d: u64,
}

/// Openings and closings of exposures on one day, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCount {
    /// Midnight at which the day begins.
    pub day: Ts,
    /// Openings and reopenings.
    pub opened: u64,
    /// Closings.
    pub closed: u64,
}

/// How late openings were detected at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detection {
    /// Openings with a known bound.
    pub samples: u64,
    /// Median of the bounds.
    pub median_bound: Option<Duration>,
    /// Largest bound.
    pub max_bound: Option<Duration>,
}

/// Hosts by liveness; one seen from two vantages counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Answer.
    pub online: u64,
    /// Do not.
    pub offline: u64,
}

/// Numbers of findings that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingCounts {
    /// By severity; severities without any are absent.
    pub by_severity: BTreeMap<Severity, u64>,
    /// First proved within a week.
    pub new_7d: u64,
}

/// Endpoints by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCounts {
    /// Seen open once.
    pub pending: u64,
    /// Open.
    pub open: u64,
    /// Closed.
    pub closed: u64,
}

/// What waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs by state; states without jobs are absent.
    pub jobs: BTreeMap<JobState, u64>,
    /// Alerts that wait to be sent.
    pub alerts_pending: u64,
    /// Notifications queued or being sent.
    pub notifications_queued: u64,
    /// Notifications given up.
    pub notifications_failed: u64,
}

impl Store {
    /// Open exposures by risk, severity and decision; recent openings and closings.
    pub async fn exposure_counts(&self, now: Ts) -> Result<ExposureCounts> {
        let mut sql = Sql::new("SELECT risk, severity, effective, COUNT(*) AS n FROM (SELECT risk, severity, ");
        effective(&mut sql, now);
        sql.push(" AS effective FROM exposures WHERE phase = 'open') AS e GROUP BY risk, severity, effective");
        let mut counts = ExposureCounts::default();
        for row in sql.all(self.read()).await? {
            counts.open.push(ExposureCell {
                risk: get(&row, "risk")?,
                severity: get(&row, "severity")?,
                disposition: get(&row, "effective")?,
                count: get(&row, "n")?,
            });
        }
        counts.open.sort_by_key(|c| (c.risk, c.severity, c.disposition));
        let recent = "SELECT CAST(COALESCE(SUM(CASE WHEN opened_at >= $1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS opened_24h, \
                      CAST(COALESCE(SUM(CASE WHEN opened_at >= $2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS opened_7d, \
                      CAST(COALESCE(SUM(CASE WHEN phase = 'closed' AND closed_at >= $1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS closed_24h, \
                      CAST(COALESCE(SUM(CASE WHEN phase = 'closed' AND closed_at >= $2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS closed_7d \
                      FROM exposures";
        let values = vec![now.minus(Duration::days(1)).value(), now.minus(Duration::days(7)).value()];
        if let Some(row) = one(self.read(), recent, values).await? {
            counts.opened_24h = get(&row, "opened_24h")?;
            counts.opened_7d = get(&row, "opened_7d")?;
            counts.closed_24h = get(&row, "closed_24h")?;
            counts.closed_7d = get(&row, "closed_7d")?;
        }
        Ok(counts)
    }

    /// The last `days` days, today included, oldest first; days without openings and closings are there with zeros. Counted
    /// from the event log, so that every reopening counts.
    pub async fn exposures_per_day(&self, now: Ts, days: u32) -> Result<Vec<DayCount>> {
        let today = now.0.div_euclid(DAY_MS);
        let first = today - i64::from(days.max(1)) + 1;
        let sql = "SELECT e.observed_at / 86400000 AS day, CASE WHEN e.kind = 'endpoint.closed' THEN 1 ELSE 0 END AS is_closed, COUNT(*) AS n \
                   FROM events e WHERE e.kind IN ('endpoint.opened', 'endpoint.reopened', 'endpoint.closed') AND e.observed_at >= $1 \
                   AND EXISTS(SELECT 1 FROM exposures x WHERE x.ip = e.ip AND x.port = e.port AND x.proto = e.proto AND x.vantage = e.vantage) \
                   GROUP BY 1, 2";
        let mut counts: Vec<DayCount> =
            (first..=today).map(|day| DayCount { day: Ts(day * DAY_MS), opened: 0, closed: 0 }).collect();
        for row in all(self.read(), sql, vec![(first * DAY_MS).value()]).await? {
            let day: i64 = get(&row, "day")?;
            // Clocks of nodes may run ahead into tomorrow; that is today's news all the same.
            let Some(count) = usize::try_from(day.min(today) - first).ok().and_then(|i| counts.get_mut(i)) else {
                continue;
            };
            let n: u64 = get(&row, "n")?;
            if small(&row, "is_closed")? == 1 { count.closed += n } else { count.opened += n }
        }
        Ok(counts)
    }

    /// Bounds of the detection time of exposures opened since then.
    pub async fn detection(&self, since: Ts) -> Result<Detection> {
        let sql = "SELECT detection_bound FROM exposures WHERE opened_at >= $1 AND detection_bound IS NOT NULL ORDER BY detection_bound";
        let rows = all(self.read(), sql, vec![since.value()]).await?;
        let bounds: Vec<Duration> = rows.iter().map(|row| get(row, "detection_bound")).collect::<Result<_>>()?;
        let median_bound = match bounds.len() {
            0 => None,
            n if n % 2 == 1 => Some(bounds[n / 2]),
            n => Some(Duration((bounds[n / 2 - 1].0 + bounds[n / 2].0) / 2)),
        };
        Ok(Detection { samples: bounds.len() as u64, median_bound, max_bound: bounds.last().copied() })
    }

    /// Hosts by liveness.
    pub async fn host_counts(&self) -> Result<HostCounts> {
        let counts: BTreeMap<Liveness, u64> = self.count_by("hosts", "liveness", "1 = 1", vec![]).await?;
        let of = |liveness| counts.get(&liveness).copied().unwrap_or(0);
        Ok(HostCounts { online: of(Liveness::Online), offline: of(Liveness::Offline) })
    }

    /// Findings that hold.
    pub async fn finding_counts(&self, now: Ts) -> Result<FindingCounts> {
        let by_severity = self.count_by("findings", "severity", "phase = 'present'", vec![]).await?;
        let week = vec![now.minus(Duration::days(7)).value()];
        let new: BTreeMap<Severity, u64> =
            self.count_by("findings", "severity", "phase = 'present' AND first_seen_at >= $1", week).await?;
        Ok(FindingCounts { by_severity, new_7d: new.values().sum() })
    }

    /// Endpoints by phase, those of pseudo-open hosts not counted.
    pub async fn phase_counts(&self) -> Result<PhaseCounts> {
        let counts: BTreeMap<Phase, u64> = self.count_by("port_states", "phase", "NOT pseudo_open", vec![]).await?;
        let of = |phase| counts.get(&phase).copied().unwrap_or(0);
        Ok(PhaseCounts { pending: of(Phase::Pending), open: of(Phase::Open), closed: of(Phase::Closed) })
    }

    /// What waits: jobs, alerts, notifications.
    pub async fn backlog(&self) -> Result<Backlog> {
        use model::alert::{AlertState, NotificationState as N};
        let jobs = self.count_by("jobs", "state", "1 = 1", vec![]).await?;
        let alerts: BTreeMap<AlertState, u64> =
            self.count_by("alerts", "state", "state = $1", vec![AlertState::Pending.value()]).await?;
        let sent = vec![N::Sent.value()];
        let notifications: BTreeMap<N, u64> = self.count_by("notifications", "state", "state <> $1", sent).await?;
        let of = |state| notifications.get(&state).copied().unwrap_or(0);
        Ok(Backlog {
            jobs,
            alerts_pending: alerts.values().sum(),
            notifications_queued: of(N::Queued) + of(N::Sending),
            notifications_failed: of(N::Failed),
        })
    }

    async fn count_by<K: Field + Ord>(
        &self,
        table: &str,
        column: &str,
        filter: &str,
        values: Vec<Value>,
    ) -> Result<BTreeMap<K, u64>> {
        let sql = format!("SELECT {column} AS k, COUNT(*) AS n FROM {table} WHERE {filter} GROUP BY {column}");
        all(self.read(), &sql, values).await?.iter().map(|row| Ok((get(row, "k")?, get(row, "n")?))).collect()
    }
}
