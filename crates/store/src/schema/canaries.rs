//! The second step: segments that are doubted, and what operators say about canaries.
//!
//! Only segments that have been suspected once have a row. What the columns mean is docs/reference/database.md's.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000002_canaries"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::apply(manager, STATEMENTS).await
    }
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE TABLE segments (
        ip_first {blob} NOT NULL, ip_last {blob} NOT NULL, vantage TEXT NOT NULL, status TEXT NOT NULL, guard TEXT NOT NULL,
        since BIGINT NOT NULL, trusted_from BIGINT, canaries BIGINT NOT NULL, silent BIGINT NOT NULL, episode BIGINT NOT NULL,
        set_aside BIGINT NOT NULL, next_look_at BIGINT, PRIMARY KEY (ip_first, ip_last, vantage))",
    "CREATE INDEX segments_look ON segments (next_look_at) WHERE next_look_at IS NOT NULL",
    "CREATE TABLE canaries (
        id {uuid} NOT NULL PRIMARY KEY, ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, role TEXT NOT NULL,
        note TEXT, created_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX canaries_endpoint ON canaries (ip, port, proto)",
    // Of an alert that speaks for a segment: which, seen from where, by how many canaries.
    "ALTER TABLE alerts ADD COLUMN segment TEXT",
];
