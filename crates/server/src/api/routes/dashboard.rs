//! The dashboard and the state of the running system, each in one answer.

use crate::api::extract::Query;
use crate::api::problem::Fields;
use crate::api::views::dashboard::{
    AlertCountsView, DashboardView, DetectionView, EndpointCountsView, ExposureCountsView, FindingCountsView, SegmentCountsView,
    TaskBriefView, TopAddressView, TrendView,
};
use crate::api::views::endpoint::HostCountsView;
use crate::api::views::system::{NodeView, ScopeView, SystemView};
use crate::api::{Answer, Api, Use};
use axum::Json;
use axum::extract::State;
use model::exposure::{DispositionKind, RiskKind, Severity};
use model::job::JobState;
use model::port_state::Phase;
use model::segment::SegmentStatus;
use model::{Duration, IpRange, Ts};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use store::{ExposureCell, ExposureFilter, Paging};
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

/// Ranges of the scope that are listed; who has more looks at the assets.
const LISTED_RANGES: usize = 500;
/// Unknown segments that are listed; who has more looks at the segments.
const LISTED_SEGMENTS: usize = 10;
/// Most days of the trend.
const MAX_DAYS: u32 = 366;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(dashboard), routes!(system)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DashboardQuery {
    /// Days of the trend, at most 366; 14 when absent.
    days: Option<u32>,
}

fn day(ts: Ts) -> String {
    ts.to_string().chars().take(10).collect()
}

/// Sums the cells by a key; every key is there, even with nothing to count.
fn sums<K: Copy + Eq + ToString>(cells: &[ExposureCell], keys: &[K], key: impl Fn(&ExposureCell) -> K) -> BTreeMap<String, u64> {
    let sum = |k: K| cells.iter().filter(|c| key(c) == k).map(|c| c.count).sum();
    keys.iter().map(|&k| (k.to_string(), sum(k))).collect()
}

/// Everything on the dashboard.
#[utoipa::path(get, path = "/api/v1/dashboard", tag = "system", operation_id = "getDashboard", params(DashboardQuery),
    responses((status = 200, description = "Everything on the dashboard.", body = DashboardView)))]
async fn dashboard(State(api): Use, Query(q): Query<DashboardQuery>) -> Answer<Json<DashboardView>> {
    let days = q.days.unwrap_or(14);
    let mut fields = Fields::default();
    fields.check((1..=MAX_DAYS).contains(&days), "days", "out-of-range", format!("`{days}` is not between 1 and {MAX_DAYS}"));
    fields.done()?;
    let (store, now) = (api.store(), api.now());
    let counts = store.exposure_counts(now).await?;
    let findings = store.finding_counts(now).await?;
    let hosts = store.host_counts().await?;
    let phases = store.phase_counts().await?;
    let trend = store.exposures_per_day(now, days).await?;
    let detection = store.detection(now.minus(Duration::days(days.into()))).await?;
    let backlog = store.backlog().await?;
    let open = ExposureFilter { phase: Some(Phase::Open), ..ExposureFilter::all(now) };
    let top = store.exposures_by_address(&open, Paging::first(10)).await?;
    let mut unknown = store.segments(&[SegmentStatus::Unknown], None).await?;
    unknown.sort_by_key(|s| (s.since, s.range));
    let (tasks, runs) = (store.tasks().await?, store.last_runs().await?);
    let cells = &counts.open;
    let undecided = |c: &&ExposureCell| c.risk != RiskKind::ExposedPort && c.disposition == DispositionKind::Unreviewed;
    Ok(Json(DashboardView {
        exposures: ExposureCountsView {
            open: cells.iter().map(|c| c.count).sum(),
            by_risk: sums(cells, RiskKind::ALL, |c| c.risk),
            by_severity: sums(cells, Severity::ALL, |c| c.severity),
            unreviewed_high_risk: cells.iter().filter(undecided).map(|c| c.count).sum(),
            opened_24h: counts.opened_24h,
            closed_24h: counts.closed_24h,
        },
        findings: FindingCountsView {
            present: findings.by_severity.values().sum(),
            by_severity: Severity::ALL
                .iter()
                .map(|s| (s.to_string(), findings.by_severity.get(s).copied().unwrap_or(0)))
                .collect(),
            new_7d: findings.new_7d,
        },
        hosts: HostCountsView { online: hosts.online, offline: hosts.offline },
        endpoints: EndpointCountsView { open: phases.open, pending: phases.pending },
        trend: trend.into_iter().map(|d| TrendView { day: day(d.day), opened: d.opened, closed: d.closed }).collect(),
        detection: DetectionView {
            samples: detection.samples,
            median_bound_ms: detection.median_bound.map(Into::into),
            max_bound_ms: detection.max_bound.map(Into::into),
        },
        tasks: tasks
            .into_iter()
            .map(|t| TaskBriefView {
                status: plan::status(&t, runs.get(&t.id), now).into(),
                id: t.id.0,
                kind: t.kind.into(),
                number: t.kind.number(),
                name: t.name,
                last_fired_at: t.last_fired_at.map(Into::into),
                next_due_at: t.next_due_at.map(Into::into),
                state: t.state.into(),
            })
            .collect(),
        alerts: AlertCountsView { pending: backlog.alerts_pending, failed_notifications: backlog.notifications_failed },
        top_addresses: top
            .items
            .into_iter()
            .map(|g| TopAddressView {
                ip: g.ip.to_string(),
                open_count: g.open_count,
                worst_severity: g.worst_severity.into(),
                owner: g.owner,
            })
            .collect(),
        segments: SegmentCountsView {
            unknown: unknown.len() as u64,
            listed: unknown.into_iter().take(LISTED_SEGMENTS).map(Into::into).collect(),
        },
    }))
}

/// The running system: version, database, node, scope.
#[utoipa::path(get, path = "/api/v1/system", tag = "system", operation_id = "getSystem",
    responses((status = 200, description = "The running system.", body = SystemView)))]
async fn system(State(api): Use) -> Answer<Json<SystemView>> {
    let context = api.context();
    let scope = super::tasks::scope(&api).await?;
    let running = api.store().backlog().await?.jobs.get(&JobState::Leased).copied().unwrap_or(0);
    let nodes = context.nodes();
    let engines: BTreeSet<String> = nodes.iter().flat_map(|n| n.engines.iter().cloned()).collect();
    let node = nodes.into_iter().next();
    let method = node.as_ref().and_then(|n| n.method.clone());
    let addresses = scope.ranges().iter().map(IpRange::len).fold(0, u128::saturating_add);
    Ok(Json(SystemView {
        version: crate::VERSION.to_owned(),
        database: api.store().backend().as_str().to_owned(),
        vantage: context.vantage.0.clone(),
        node: NodeView {
            name: node.as_ref().map(|n| n.name.0.clone()).unwrap_or_default(),
            method: method.as_ref().map(|m| m.0.clone()).unwrap_or_else(|| "connect".to_owned()),
            note: method.map(|m| m.1).filter(|note| !note.is_empty()),
            slots: node.as_ref().map_or(0, |n| n.slots),
            engines: engines.into_iter().collect(),
            running_jobs: u32::try_from(running).unwrap_or(u32::MAX),
            last_contact_at: node.and_then(|n| n.last_contact_at).map(Into::into),
        },
        started_at: context.started_at.into(),
        scope: ScopeView {
            ranges: scope.ranges().iter().take(LISTED_RANGES).map(IpRange::to_string).collect(),
            addresses: addresses.to_string(),
        },
    }))
}
