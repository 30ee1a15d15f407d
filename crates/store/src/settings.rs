//! Settings that operators change while the system runs: one row of JSON. Who may change them is `server`'s.

use crate::audit::append;
use crate::sql::{get_json, json, one, run};
use crate::{Result, Store};
use model::audit::AuditEntry;
use model::settings::Settings;

impl Store {
    /// The settings; the defaults when nobody has changed any.
    pub async fn settings(&self) -> Result<Settings> {
        match one(self.read(), "SELECT body FROM settings WHERE id = 1", vec![]).await? {
            Some(row) => get_json(&row, "body"),
            None => Ok(Settings::default()),
        }
    }

    /// Replaces them all.
    pub async fn set_settings(&self, settings: &Settings, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        let sql = "INSERT INTO settings (id, body) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET body = excluded.body";
        run(&tx, sql, vec![json(settings)]).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }
}
