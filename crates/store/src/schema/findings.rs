//! The fourth step: what checks proved, what may be checked, who agreed to attempts, and what people said of silent ports.
//!
//! Product and version of a service get columns of their own, filled from what is there. What the columns mean is
//! docs/reference/database.md's.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000004_findings"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::apply(manager, STATEMENTS).await?;
        let db = manager.get_connection();
        let part = |column: &str, key: &str| match db.get_database_backend() {
            DbBackend::Postgres => format!("{column}::json->>'{key}'"),
            _ => format!("json_extract({column}, '$.{key}')"),
        };
        let (name, product, version) = (part("service", "name"), part("service", "product"), part("service", "version"));
        let parts = format!("service_product = LOWER({product}), service_version = {version}");
        for fill in [
            format!("UPDATE port_states SET {parts} WHERE service IS NOT NULL"),
            format!("UPDATE exposures SET service_name = {name}, {parts} WHERE service IS NOT NULL"),
            format!("UPDATE port_states SET panel_product = LOWER({}) WHERE panel IS NOT NULL", part("panel", "product")),
        ] {
            db.execute_unprepared(&fill).await?;
        }
        Ok(())
    }
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    "ALTER TABLE assets ADD COLUMN check_ceiling TEXT NOT NULL DEFAULT 'session'",
    "ALTER TABLE port_states ADD COLUMN service_product TEXT",
    "ALTER TABLE port_states ADD COLUMN service_version TEXT",
    "ALTER TABLE port_states ADD COLUMN panel_product TEXT",
    "ALTER TABLE exposures ADD COLUMN service_name TEXT",
    "ALTER TABLE exposures ADD COLUMN service_product TEXT",
    "ALTER TABLE exposures ADD COLUMN service_version TEXT",
    // `check` is a word of SQL's own.
    "CREATE TABLE findings (
        id {uuid} NOT NULL, ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, vantage TEXT NOT NULL,
        check_id TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL, severity_rank BIGINT NOT NULL, phase TEXT NOT NULL,
        evidence TEXT NOT NULL, first_seen_at BIGINT NOT NULL, last_seen_at BIGINT NOT NULL, gone_at BIGINT, gone_reason TEXT,
        checked_at BIGINT NOT NULL, words TEXT NOT NULL, PRIMARY KEY (ip, port, proto, vantage, check_id))",
    "CREATE INDEX findings_id ON findings (id)",
    "CREATE INDEX findings_list ON findings (phase, severity_rank, last_seen_at)",
    "CREATE TABLE approvals (
        id {uuid} NOT NULL PRIMARY KEY, ip_first {blob} NOT NULL, ip_last {blob} NOT NULL, owner TEXT NOT NULL,
        reason TEXT NOT NULL, not_before BIGINT NOT NULL, until_at BIGINT NOT NULL, max_attempts BIGINT NOT NULL,
        created_by TEXT NOT NULL, created_at BIGINT NOT NULL, revoked_at BIGINT, revoked_by TEXT)",
    "CREATE INDEX approvals_until ON approvals (until_at)",
    // Neither passwords nor what signing in handed out.
    "CREATE TABLE credential_attempts (
        ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, account TEXT NOT NULL, at BIGINT NOT NULL,
        pair TEXT NOT NULL, check_id TEXT NOT NULL, outcome TEXT NOT NULL, approval {uuid}, node TEXT NOT NULL,
        PRIMARY KEY (ip, port, proto, account, pair, at))",
    "CREATE INDEX credential_attempts_at ON credential_attempts (at)",
    // Addresses at which a job may be trying accounts, or may have tried them without our hearing of it.
    "CREATE TABLE attempt_holds (
        ip {blob} NOT NULL PRIMARY KEY, job {uuid} NOT NULL, fencing BIGINT NOT NULL, held_at BIGINT NOT NULL)",
    "CREATE TABLE endpoint_notes (
        ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, note TEXT NOT NULL, noted_by TEXT NOT NULL,
        noted_at BIGINT NOT NULL, PRIMARY KEY (ip, port, proto))",
    // An alert about findings is raised once for each proof: `about` names check and proof, and is empty for all others.
    "ALTER TABLE alerts ADD COLUMN findings TEXT",
    "ALTER TABLE alerts ADD COLUMN about TEXT NOT NULL DEFAULT ''",
    "DROP INDEX alerts_once",
    "CREATE UNIQUE INDEX alerts_once ON alerts (exposure, opening, kind, risk, about)",
];
