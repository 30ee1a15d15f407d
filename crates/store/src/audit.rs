//! Audit trail and event log.
use crate::{Page, Paging, Result, Store};
use model::audit::AuditEntry;
use model::event::{Event, EventKind};
use model::{Endpoint, ExposureId, Ts};
use std::net::IpAddr;

/// Which audit entries. Words match anywhere in the field, without case.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    pub since: Option<Ts>,
    pub until: Option<Ts>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub ip: Option<IpAddr>,
    pub endpoint: Option<Endpoint>,
    pub exposure: Option<ExposureId>,
    pub kinds: Vec<EventKind>,
    pub since: Option<Ts>,
    pub until: Option<Ts>,
}

impl Store {
    /// Newest first.
    pub async fn audit(&self, filter: &AuditFilter, paging: Paging) -> Result<Page<AuditEntry>> {
        unimplemented!()
    }
    pub async fn append_audit(&self, entry: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn events(&self, filter: &EventFilter, paging: Paging) -> Result<Page<Event>> {
        unimplemented!()
    }
}
