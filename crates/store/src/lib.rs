//! The store: every question the system asks its database, one method per question, over SQLite and PostgreSQL alike.
//!
//! It takes and returns `model`'s entities and shows no SQL and no connection. What the answers mean is left to `assess`,
//! `plan` and `server`.

mod access;
mod alerts;
mod approvals;
mod assets;
mod audit;
mod claim;
mod counts;
mod coverage;
mod error;
mod exposures;
mod findings;
mod hosts;
mod ingest;
mod jobs;
mod lease;
mod notifications;
mod open;
mod page;
mod ports;
mod prune;
mod runs;
mod schema;
mod search;
mod segments;
mod settings;
mod sql;
mod tasks;

pub use alerts::AlertFilter;
pub use approvals::Attempt;
pub use audit::{AuditFilter, EventFilter};
pub use counts::{Backlog, DayCount, Detection, ExposureCell, ExposureCounts, HostCounts, PhaseCounts};
pub use error::{Result, StoreError};
pub use exposures::{AddressGroup, ExposureFilter, ExposureSort};
pub use findings::{FindingFilter, FindingSort, Proved, ServiceFilter};
pub use hosts::HostFilter;
pub use ingest::{End, ImportPart, IngestBatch, IngestOutcome};
pub use jobs::JobFilter;
pub use lease::{LeaseQuery, LostLease};
pub use notifications::NotificationFilter;
pub use open::{Backend, Store};
pub use page::{Order, Page, Paging};
pub use ports::{PortFilter, PortSort};
pub use prune::Pruned;
