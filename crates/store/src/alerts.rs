//! Alerts.
use crate::{Page, Paging, Result, Store};
use model::alert::{Alert, AlertState};
use model::{AlertId, ExposureId, Ts};
use std::collections::HashMap;

/// Which alerts.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    pub states: Vec<AlertState>,
    pub exposure: Option<ExposureId>,
    pub since: Option<Ts>,
}

impl Store {
    /// Newest first.
    pub async fn alerts(&self, filter: &AlertFilter, paging: Paging) -> Result<Page<Alert>> {
        unimplemented!()
    }
    /// Oldest first.
    pub async fn pending_alerts(&self, limit: u64) -> Result<Vec<Alert>> {
        unimplemented!()
    }
    pub async fn mark_alerts(&self, ids: &[AlertId], state: AlertState, suppressed_by: Option<&str>) -> Result<()> {
        unimplemented!()
    }
    pub async fn alerts_by(&self, ids: &[AlertId]) -> Result<HashMap<AlertId, Alert>> {
        unimplemented!()
    }
}
