//! The server: API, scheduling, ingestion of what nodes report, and alerting, over one store.
//!
//! It never opens a socket to a target: only nodes touch the world, and on one machine the node runs in the same process
//! over the in-process transport. What to probe is decided by `plan`, what it means by `assess`.

pub mod context;
pub mod live;
