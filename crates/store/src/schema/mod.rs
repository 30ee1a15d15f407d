//! The schema: which steps there are, which a database has had, and taking the rest.
//!
//! A step is never changed once released; the next release adds another. What the columns mean is docs/reference/database.md's.

mod canaries;
mod engines;
mod findings;
mod first;
mod identification;
mod second_person;

use crate::sql::{all, get, one};
use crate::{Result, StoreError};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use sea_orm_migration::{DbErr, MigrationTrait, MigratorTrait, SchemaManager};

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(first::Step),
            Box::new(canaries::Step),
            Box::new(engines::Step),
            Box::new(findings::Step),
            Box::new(identification::Step),
            Box::new(second_person::Step),
        ]
    }
}

/// Whether steps are still to be taken. Refuses a database that has had steps this binary does not know.
pub(crate) async fn pending(db: &DatabaseConnection, target: &str) -> Result<bool> {
    let exists = match db.get_database_backend() {
        DbBackend::Postgres => "SELECT 1 AS one WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    if one(db, exists, vec![]).await?.is_none() {
        return Ok(true);
    }
    let known: Vec<String> = Migrator::migrations().iter().map(|step| step.name().to_owned()).collect();
    let mut had = Vec::new();
    for row in all(db, "SELECT version FROM seaql_migrations ORDER BY version", vec![]).await? {
        had.push(get::<String>(&row, "version")?);
    }
    if let Some(unknown) = had.iter().rfind(|step| !known.contains(step)) {
        let binary = known.last().cloned().unwrap_or_default();
        return Err(StoreError::NewerSchema { target: target.to_owned(), database: unknown.clone(), binary });
    }
    Ok(known.iter().any(|step| !had.contains(step)))
}

/// Takes the steps that are still to be taken, each in a transaction of its own.
pub(crate) async fn migrate(db: &DatabaseConnection) -> Result<()> {
    Ok(Migrator::up(db, None).await?)
}

/// Runs statements in which `{blob}` and `{uuid}` stand for the types that the two databases name differently.
async fn apply(manager: &SchemaManager<'_>, statements: &[&str]) -> std::result::Result<(), DbErr> {
    let db = manager.get_connection();
    let (blob, uuid) = match db.get_database_backend() {
        DbBackend::Postgres => ("BYTEA", "UUID"),
        _ => ("BLOB", "BLOB"),
    };
    for statement in statements {
        db.execute_unprepared(&statement.replace("{blob}", blob).replace("{uuid}", uuid)).await?;
    }
    Ok(())
}
