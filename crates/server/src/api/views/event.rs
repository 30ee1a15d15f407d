//! Entries of the event log and of the audit trail as the API shows them.

use super::words::{EventKind, Instant, Reason};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// One entry of the event log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Id; ids grow with time.
    pub id: Uuid,
    /// What.
    pub kind: EventKind,
    /// Which host.
    pub ip: String,
    /// Which port; null for events of hosts.
    pub port: Option<u16>,
    /// `tcp` or `udp`.
    pub proto: Option<String>,
    /// All three in one word.
    pub endpoint: Option<String>,
    /// Seen from.
    pub vantage: String,
    /// Exposure.
    pub exposure: Option<Uuid>,
    /// It happened after this instant; null when unknown.
    pub happened_after: Option<Instant>,
    /// It had happened by this instant.
    pub happened_at: Instant,
    /// When the deciding probe was answered or timed out.
    pub observed_at: Instant,
    /// When it was written down.
    pub recorded_at: Instant,
    /// Evidence.
    pub reason: Option<Reason>,
    /// Particulars.
    pub detail: serde_json::Value,
}

impl From<model::event::Event> for EventView {
    fn from(e: model::event::Event) -> Self {
        EventView {
            id: e.id.0,
            kind: e.kind.into(),
            ip: e.ip.to_string(),
            port: e.endpoint.map(|d| d.port),
            proto: e.endpoint.map(|d| d.proto.to_string()),
            endpoint: e.endpoint.map(|d| d.to_string()),
            vantage: e.vantage.0,
            exposure: e.exposure.map(|x| x.0),
            happened_after: e.happened_after.map(Into::into),
            happened_at: e.happened_at.into(),
            observed_at: e.observed_at.into(),
            recorded_at: e.recorded_at.into(),
            reason: e.reason.map(Into::into),
            detail: e.detail,
        }
    }
}

/// One entry of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// Id; ids grow with time.
    pub id: Uuid,
    /// When.
    pub at: Instant,
    /// Who.
    #[schema(example = "user:alice")]
    pub actor: String,
    /// Address the request came from.
    pub from: Option<String>,
    /// What.
    #[schema(example = "asset.create")]
    pub action: String,
    /// On what.
    pub subject: String,
    /// `ok`, or why it was refused.
    pub result: String,
    /// What changed.
    pub detail: serde_json::Value,
}

impl From<model::audit::AuditEntry> for AuditView {
    fn from(a: model::audit::AuditEntry) -> Self {
        AuditView {
            id: a.id.0,
            at: a.at.into(),
            actor: a.actor,
            from: a.from,
            action: a.action,
            subject: a.subject,
            result: a.result,
            detail: a.detail,
        }
    }
}
