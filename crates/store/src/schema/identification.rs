//! A step for identification: how much an answer proves, its hash, what was asked, and when everything was.
//!
//! What the columns mean is docs/reference/database.md's.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000005_identification"
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
    "ALTER TABLE port_states ADD COLUMN confidence TEXT",
    "ALTER TABLE port_states ADD COLUMN answer_sha256 TEXT",
    "ALTER TABLE port_states ADD COLUMN tried TEXT",
    "ALTER TABLE port_states ADD COLUMN thorough_at BIGINT",
    // A word that is no more: what answered in no known protocol is of none but its own.
    "UPDATE port_states SET identity = 'protocol-only' WHERE identity = 'unrecognised'",
];
