//! Assets, exclusions and blackouts as the API shows and takes them, and what an import would do.

use super::words::{CheckCeiling, Instant, Zone, double_option};
use crate::api::problem::FieldError;
use model::Ts;
use model::asset::{Asset, Blackout, Exclusion, Window};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A range somebody owns.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetView {
    /// Id.
    pub id: Uuid,
    /// The addresses.
    #[schema(example = "192.0.2.0/24")]
    pub range: String,
    /// Name.
    pub name: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Zone.
    pub zone: Zone,
    /// Business weight, 0 to 10.
    pub weight: u8,
    /// Tags.
    pub tags: Vec<String>,
    /// Learn without alerting until then.
    pub observe_until: Option<Instant>,
    /// Cap for the range, probes per second.
    pub rate_pps: Option<u32>,
    /// Cap per address, probes per second.
    pub per_target_pps: Option<u32>,
    /// Strongest class of check that runs there.
    pub check_ceiling: CheckCeiling,
    /// When it was added.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// Number of addresses, as a decimal string: IPv6 ranges exceed what JSON numbers hold.
    #[schema(example = "256")]
    pub addresses: String,
    /// Whether it learns now.
    pub observing: bool,
}

impl AssetView {
    /// The view at `now`.
    pub fn new(a: Asset, now: Ts) -> Self {
        AssetView {
            id: a.id.0,
            range: a.range.to_string(),
            name: a.name,
            owner: a.owner,
            zone: a.zone.into(),
            weight: a.weight,
            tags: a.tags,
            observe_until: a.observe_until.map(Into::into),
            rate_pps: a.rate_pps,
            per_target_pps: a.per_target_pps,
            check_ceiling: a.check_ceiling.into(),
            created_at: a.created_at.into(),
            updated_at: a.updated_at.into(),
            addresses: a.range.len().to_string(),
            observing: a.observe_until.is_some_and(|until| until > now),
        }
    }
}

/// A range to add or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetInput {
    /// The addresses: one, a CIDR, or first-last.
    #[schema(example = "192.0.2.0/24")]
    pub range: String,
    /// Name.
    pub name: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Zone; `dmz` when absent.
    pub zone: Option<Zone>,
    /// Business weight, 0 to 10; 5 when absent.
    pub weight: Option<u8>,
    /// Tags.
    pub tags: Option<Vec<String>>,
    /// Learn without alerting until then. Absent: the policy's span for a new range, as it is for an existing one; null: alert at once.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Instant>)]
    pub observe_until: Option<Option<Instant>>,
    /// Cap for the range, probes per second.
    pub rate_pps: Option<u32>,
    /// Cap per address, probes per second.
    pub per_target_pps: Option<u32>,
    /// Strongest class of check: `none`, `passive`, `benign`, `session` (leaves a session, for high-risk services only) or
    /// `intrusive` (sessions everywhere, and what an approval allows). Absent: `session` for a new range, unchanged for an
    /// existing one.
    pub check_ceiling: Option<CheckCeiling>,
    /// Says that probing more than 256 public addresses is authorised.
    pub authorized: Option<bool>,
}

/// What an import does with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImportAction {
    /// Adds a range.
    Create,
    /// Changes one.
    Update,
    /// Nothing.
    Unchanged,
    /// Cannot be read.
    Error,
}

/// A field that an import changes.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportChange {
    /// Column.
    pub field: String,
    /// Value so far.
    pub from: String,
    /// New value.
    pub to: String,
}

/// What an import does with one row.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportRow {
    /// Line in the file, the header being 1.
    pub line: u64,
    /// What.
    pub action: ImportAction,
    /// Range as written.
    pub range: String,
    /// Name as written.
    pub name: String,
    /// Fields that change.
    pub changes: Vec<ImportChange>,
    /// Fields that cannot be accepted.
    pub errors: Vec<FieldError>,
}

/// How many rows do what.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportCounts {
    /// Ranges added.
    pub create: u64,
    /// Ranges changed.
    pub update: u64,
    /// Ranges as they are.
    pub unchanged: u64,
    /// Rows in error.
    pub error: u64,
}

/// What an import would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportPreview {
    /// Names this file against these assets; the import asks for it.
    pub digest: String,
    /// Sums.
    pub counts: ImportCounts,
    /// Row by row, in file order.
    pub rows: Vec<ImportRow>,
}

/// What an import did.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportResult {
    /// Ranges added.
    pub created: u64,
    /// Ranges changed.
    pub updated: u64,
    /// Always 0: an import removes nothing.
    pub deleted: u64,
    /// Ranges as they were.
    pub unchanged: u64,
}

/// A range that is never probed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExclusionView {
    /// Id.
    pub id: Uuid,
    /// The addresses.
    pub range: String,
    /// Why.
    pub reason: String,
    /// When it was added.
    pub created_at: Instant,
}

impl From<Exclusion> for ExclusionView {
    fn from(e: Exclusion) -> Self {
        ExclusionView { id: e.id.0, range: e.range.to_string(), reason: e.reason, created_at: e.created_at.into() }
    }
}

/// A range to exclude.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExclusionInput {
    /// The addresses.
    pub range: String,
    /// Why.
    pub reason: String,
}

/// When a blackout holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WindowBody {
    /// Between two instants.
    Once {
        /// Start, included.
        from: Instant,
        /// End, not included.
        until: Instant,
    },
    /// On some days of every week, UTC; past midnight when the end is not after the start.
    Weekly {
        /// 1 Monday to 7 Sunday.
        days: Vec<u8>,
        /// Minutes after midnight.
        start_minute: u16,
        /// Minutes after midnight.
        end_minute: u16,
    },
}

impl From<Window> for WindowBody {
    fn from(w: Window) -> Self {
        match w {
            Window::Once { from, until } => WindowBody::Once { from: from.into(), until: until.into() },
            Window::Weekly { days, start_minute, end_minute } => WindowBody::Weekly { days, start_minute, end_minute },
        }
    }
}

impl From<WindowBody> for Window {
    fn from(w: WindowBody) -> Self {
        match w {
            WindowBody::Once { from, until } => Window::Once { from: from.0, until: until.0 },
            WindowBody::Weekly { days, start_minute, end_minute } => Window::Weekly { days, start_minute, end_minute },
        }
    }
}

/// A span of time in which a range is not probed.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlackoutView {
    /// Id.
    pub id: Uuid,
    /// The addresses.
    pub range: String,
    /// When.
    pub window: WindowBody,
    /// Why.
    pub reason: String,
    /// When it was added.
    pub created_at: Instant,
    /// Whether it holds now.
    pub active_now: bool,
}

impl BlackoutView {
    /// The view, with whether it holds now.
    pub fn new(b: Blackout, active_now: bool) -> Self {
        BlackoutView {
            id: b.id.0,
            range: b.range.to_string(),
            window: b.window.into(),
            reason: b.reason,
            created_at: b.created_at.into(),
            active_now,
        }
    }
}

/// A blackout to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlackoutInput {
    /// The addresses.
    pub range: String,
    /// When.
    pub window: WindowBody,
    /// Why.
    pub reason: String,
}
