//! The third step: tasks and jobs that another scanner does, and what was imported from one.
//!
//! No engine is our own. What the columns mean is docs/reference/database.md's.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000003_engines"
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
    "ALTER TABLE tasks ADD COLUMN engine TEXT",
    "ALTER TABLE jobs ADD COLUMN engine TEXT",
    // Parts of imported files that have been recorded, so that a repeated one changes nothing. `digest` is of the whole file
    // and where it was seen from.
    "CREATE TABLE imports (
        digest TEXT NOT NULL, part BIGINT NOT NULL, vantage TEXT NOT NULL, recorded_at BIGINT NOT NULL,
        PRIMARY KEY (digest, part))",
    "CREATE INDEX imports_recorded ON imports (recorded_at)",
];
