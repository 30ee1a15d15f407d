//! A step for four eyes: who asked for an approval, and who granted it. And one for front pages: their icon and what they are made
//! with get columns of their own, filled from what is there.
//!
//! An approval of before was written down by one person alone, so it waits for a second one like any other. What the columns
//! mean is docs/reference/database.md's.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000006_second_person"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::apply(manager, STATEMENTS).await?;
        let db = manager.get_connection();
        let (favicon, technologies) = match db.get_database_backend() {
            DbBackend::Postgres => ("CAST(panel::json->>'favicon' AS BIGINT)", "LOWER(panel::json->>'technologies')"),
            _ => ("json_extract(panel, '$.favicon')", "LOWER(json_extract(panel, '$.technologies'))"),
        };
        let fill = format!(
            "UPDATE port_states SET panel_favicon = {favicon}, panel_technologies = {technologies} WHERE panel IS NOT NULL"
        );
        db.execute_unprepared(&fill).await.map(drop)
    }
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    "ALTER TABLE approvals ADD COLUMN asked_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE approvals ADD COLUMN granted_at BIGINT",
    "ALTER TABLE approvals ADD COLUMN granted_by TEXT",
    "UPDATE approvals SET asked_by = created_by",
    "ALTER TABLE port_states ADD COLUMN panel_favicon BIGINT",
    // A JSON array of texts in lower case.
    "ALTER TABLE port_states ADD COLUMN panel_technologies TEXT",
];
