//! The server: API, scheduling, ingestion of what nodes report, and alerting, over one store.
//!
//! It never opens a socket to a target: only nodes touch the world, and on one machine the node runs in the same process
//! over the in-process transport. What to probe is decided by `plan`, what it means by `assess`.

mod alerting;
pub mod api;
pub mod auth;
mod auth_limit;
mod authority;
mod background;
pub mod bootstrap;
pub mod context;
mod dispatch;
mod ingest;
mod ingest_admit;
mod ingest_attempts;
mod ingest_follow_up;
mod ingest_import;
pub mod live;
mod reassess;
pub mod scheduler;
pub mod segments;

pub use api::openapi::{openapi, openapi_json};
pub use api::serve_http;
pub use auth::{InitialAdmin, create_token, ensure_admin};
pub use background::run_background;
pub use dispatch::Dispatcher;

/// Version of portreeve.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
