//! The store: every question the system asks its database, one method per question, over SQLite and PostgreSQL alike.
//!
//! It takes and returns `model`'s entities and shows no SQL and no connection. What the answers mean is left to `assess`, `plan` and `server`.
#![allow(unused_variables, clippy::unimplemented, missing_docs)]

mod access;
mod alerts;
mod assets;
mod audit;
mod counts;
mod error;
mod exposures;
mod hosts;
mod ingest;
mod jobs;
mod notifications;
mod page;
mod ports;
mod runs;
mod settings;
mod tasks;

pub use alerts::AlertFilter;
pub use audit::{AuditFilter, EventFilter};
pub use counts::{Backlog, DayCount, Detection, ExposureCell, ExposureCounts, HostCounts, PhaseCounts, Pruned};
pub use error::{Result, StoreError};
pub use exposures::{AddressGroup, ExposureFilter, ExposureSort};
pub use hosts::HostFilter;
pub use ingest::{End, IngestBatch, IngestOutcome};
pub use jobs::{JobFilter, LeaseQuery, LostLease};
pub use notifications::NotificationFilter;
pub use page::{Order, Page, Paging};
pub use ports::{PortFilter, PortSort};

/// Which database stands behind a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// `sqlite` or `postgresql`.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgresql",
        }
    }
}

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens (for SQLite: creates) the database and brings its schema up to date. Does not claim it.
    pub async fn open(url: &str) -> Result<Store> {
        unimplemented!()
    }
    /// As [`Store::open`], and claims the database for this process until the last clone is dropped.
    pub async fn open_exclusive(url: &str) -> Result<Store> {
        unimplemented!()
    }
    pub fn backend(&self) -> Backend {
        unimplemented!()
    }
    /// One round trip to the database.
    pub async fn ping(&self) -> Result<()> {
        unimplemented!()
    }
    /// Ends connections and gives up the claim.
    pub async fn close(self) {
        unimplemented!()
    }
}
