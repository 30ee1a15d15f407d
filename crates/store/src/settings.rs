//! Settings.
use crate::{Result, Store};
use model::audit::AuditEntry;
use model::settings::Settings;

impl Store {
    pub async fn settings(&self) -> Result<Settings> {
        unimplemented!()
    }
    pub async fn set_settings(&self, settings: &Settings, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
}
