//! The dashboard in one answer: what is open, what is being done about it, and whether the watching itself is well.

use super::endpoint::HostCountsView;
use super::segment::UnknownSegmentView;
use super::task::TaskStatusWord;
use super::words::{Instant, Millis, Severity, TaskKind, TaskState};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Numbers of exposures.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExposureCountsView {
    /// Open.
    pub open: u64,
    /// Open, by risk kind; every kind is there.
    pub by_risk: BTreeMap<String, u64>,
    /// Open, by severity; every severity is there.
    pub by_severity: BTreeMap<String, u64>,
    /// Open high-risk ports and services that nobody has decided about.
    pub unreviewed_high_risk: u64,
    /// Opened in the last 24 hours.
    pub opened_24h: u64,
    /// Closed in the last 24 hours.
    pub closed_24h: u64,
}

/// Numbers of findings that hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingCountsView {
    /// All of them.
    pub present: u64,
    /// By severity; every severity is there.
    pub by_severity: BTreeMap<String, u64>,
    /// First proved in the last seven days.
    pub new_7d: u64,
}

/// Endpoints by phase.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointCountsView {
    /// Open.
    pub open: u64,
    /// Seen open once.
    pub pending: u64,
}

/// Openings and closings of one day.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrendView {
    /// Day, UTC.
    #[schema(example = "2026-11-21")]
    pub day: String,
    /// Exposures opened.
    pub opened: u64,
    /// Exposures closed.
    pub closed: u64,
}

/// How late openings were detected at most.
#[derive(Debug, Serialize, ToSchema)]
pub struct DetectionView {
    /// Openings with a known bound.
    pub samples: u64,
    /// Median of the bounds.
    pub median_bound_ms: Option<Millis>,
    /// Largest of the bounds.
    pub max_bound_ms: Option<Millis>,
}

/// A task in brief.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskBriefView {
    /// Id.
    pub id: Uuid,
    /// Which of the nine.
    pub kind: TaskKind,
    /// Its number.
    pub number: u8,
    /// Name.
    pub name: String,
    /// How it stands.
    pub status: TaskStatusWord,
    /// When it last fired.
    pub last_fired_at: Option<Instant>,
    /// When it fires next.
    pub next_due_at: Option<Instant>,
    /// Fires or not.
    pub state: TaskState,
}

/// What waits to be told.
#[derive(Debug, Serialize, ToSchema)]
pub struct AlertCountsView {
    /// Alerts that wait for their group.
    pub pending: u64,
    /// Notifications that were given up.
    pub failed_notifications: u64,
}

/// An address with many exposures.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopAddressView {
    /// Address.
    pub ip: String,
    /// Open exposures.
    pub open_count: u64,
    /// Worst severity among them.
    pub worst_severity: Severity,
    /// Owner.
    pub owner: Option<String>,
}

/// Segments that cannot be observed.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentCountsView {
    /// How many are unknown.
    pub unknown: u64,
    /// The first ten of them, those unknown the longest first.
    pub listed: Vec<UnknownSegmentView>,
}

/// Everything on the dashboard.
#[derive(Debug, Serialize, ToSchema)]
pub struct DashboardView {
    /// Exposures.
    pub exposures: ExposureCountsView,
    /// Findings.
    pub findings: FindingCountsView,
    /// Hosts.
    pub hosts: HostCountsView,
    /// Endpoints.
    pub endpoints: EndpointCountsView,
    /// Day by day, oldest first.
    pub trend: Vec<TrendView>,
    /// Time to detect.
    pub detection: DetectionView,
    /// Tasks.
    pub tasks: Vec<TaskBriefView>,
    /// Alerts.
    pub alerts: AlertCountsView,
    /// At most ten addresses, worst first.
    pub top_addresses: Vec<TopAddressView>,
    /// Segments that are unknown: nothing closes there.
    pub segments: SegmentCountsView,
}
