//! Segments, their canaries and what operators say about those, as the API shows and takes them.

use super::words::{CanaryRole, Guard, Instant, SegmentStatus};
use assess::segments::Sighting;
use model::asset::Asset;
use model::segment::{CanaryChoice, SegmentNote, SegmentState};
use model::{Ts, Vantage};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

/// An endpoint whose silence speaks for its segment.
#[derive(Debug, Serialize, ToSchema)]
pub struct CanaryView {
    /// Which.
    #[schema(example = "10.0.0.7:443/tcp")]
    pub endpoint: String,
    /// An operator named it.
    pub named: bool,
    /// When it last accepted or refused.
    pub answered_at: Option<Instant>,
    /// Since when it is silent; null while it answers.
    pub silent_since: Option<Instant>,
}

impl CanaryView {
    /// The latest of a canary.
    pub fn new(s: &Sighting, named: bool) -> Self {
        CanaryView {
            endpoint: s.endpoint.to_string(),
            named,
            answered_at: s.answered_at.map(Into::into),
            silent_since: s.silent.map(|(from, _)| from.into()),
        }
    }
}

/// A part of the asset list that a vantage sees or does not see as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentView {
    /// Its addresses.
    #[schema(example = "10.0.0.0/24")]
    pub range: String,
    /// Seen from.
    pub vantage: String,
    /// Whether what is seen of it can be believed.
    pub status: SegmentStatus,
    /// By whose canaries it is judged.
    pub guard: Guard,
    /// Since when; null when it was never doubted.
    pub since: Option<Instant>,
    /// Asset that covers it.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Endpoints of it that are open or pending.
    pub open: u64,
    /// Canaries, its own or those that it borrows.
    pub canaries: Vec<CanaryView>,
    /// How many canaries it was last judged by while it was doubted.
    pub judged_by: u32,
    /// How many of those were silent.
    pub silent: u32,
    /// How often it has become unknown.
    pub episode: u32,
    /// Silences that were not counted in the current or the last of those times.
    pub set_aside: u64,
}

impl SegmentView {
    /// The view of a segment with its canaries; `doubted` when it was ever doubted.
    pub fn new(state: SegmentState, doubted: bool, open: u64, canaries: Vec<CanaryView>, asset: Option<&Asset>) -> Self {
        SegmentView {
            range: state.range.to_string(),
            vantage: state.vantage.0,
            status: state.status.into(),
            guard: state.guard.into(),
            since: doubted.then_some(state.since.into()),
            asset: asset.map(|a| a.id.0),
            asset_name: asset.map(|a| a.name.clone()),
            owner: asset.and_then(|a| a.owner.clone()),
            open,
            canaries,
            judged_by: state.canaries,
            silent: state.silent,
            episode: state.episode,
            set_aside: state.set_aside,
        }
    }
}

/// A segment that is unknown, in brief.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnknownSegmentView {
    /// Its addresses.
    pub range: String,
    /// Seen from.
    pub vantage: String,
    /// Since when.
    pub since: Instant,
    /// Canaries it was judged by.
    pub canaries: u32,
    /// How many of those are silent.
    pub silent: u32,
}

impl From<SegmentState> for UnknownSegmentView {
    fn from(s: SegmentState) -> Self {
        UnknownSegmentView {
            range: s.range.to_string(),
            vantage: s.vantage.0,
            since: s.since.into(),
            canaries: s.canaries,
            silent: s.silent,
        }
    }
}

impl From<SegmentNote> for UnknownSegmentView {
    fn from(s: SegmentNote) -> Self {
        UnknownSegmentView {
            range: s.range.to_string(),
            vantage: s.vantage.0,
            since: s.since.into(),
            canaries: s.canaries,
            silent: s.silent,
        }
    }
}

/// The segments that are unknown now, to say of what lies in them that it cannot be observed.
pub struct Doubts {
    /// They.
    pub unknown: Vec<SegmentState>,
    /// The asset list, which decides where one segment ends.
    pub assets: Vec<Asset>,
}

impl Doubts {
    /// Since when the address cannot be observed from there; `None` when it can.
    pub fn since(&self, ip: IpAddr, vantage: &Vantage) -> Option<Ts> {
        let mut holds = self.unknown.iter().filter(|s| s.vantage == *vantage && s.range.contains(ip)).peekable();
        holds.peek()?;
        let own = assess::segments::segment(ip, &self.assets);
        holds.find(|s| Some(s.range) == own).map(|s| s.since)
    }
}

/// What an operator said about an endpoint as a canary.
#[derive(Debug, Serialize, ToSchema)]
pub struct CanaryChoiceView {
    /// Id.
    pub id: Uuid,
    /// Which.
    #[schema(example = "10.0.0.7:443/tcp")]
    pub endpoint: String,
    /// What it is to be.
    pub role: CanaryRole,
    /// Why.
    pub note: Option<String>,
    /// When that was said.
    pub created_at: Instant,
}

impl From<CanaryChoice> for CanaryChoiceView {
    fn from(c: CanaryChoice) -> Self {
        CanaryChoiceView {
            id: c.id.0,
            endpoint: c.endpoint.to_string(),
            role: c.role.into(),
            note: c.note,
            created_at: c.created_at.into(),
        }
    }
}

/// Something to say about an endpoint as a canary.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryChoiceInput {
    /// A TCP endpoint within the assets.
    #[schema(example = "10.0.0.7:443/tcp")]
    pub endpoint: String,
    /// What it is to be.
    pub role: CanaryRole,
    /// Why.
    pub note: Option<String>,
}
