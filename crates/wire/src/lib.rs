//! What crosses between server and node: a node asks for jobs, keeps their leases alive and hands in reports.
//!
//! The messages are versioned and self-contained, so that the in-process transport and one over a network carry the same
//! thing. Leasing, fencing and judging what a report means are left to the server's side of [`Dispatch`].

mod in_process;
mod message;

pub use in_process::InProcess;
pub use message::*;

use async_trait::async_trait;

/// Version of the messages. A node and a server that differ in it refuse each other by name.
pub const VERSION: u32 = 1;

/// Why a call did not go through.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The two sides speak different versions.
    #[error("node speaks wire version {node}, server {server}\nhint: run the same release of portreeve on both")]
    Version {
        /// The node's.
        node: u32,
        /// The server's.
        server: u32,
    },
    /// The other side cannot be reached or cannot answer now; trying again later may help.
    #[error("server cannot take the call now: {0}")]
    Unavailable(String),
}

/// The server's side, as a node sees it. Every call may be repeated without harm.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Hands out at most `request.slots` jobs, each under a lease of its own.
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseReply, WireError>;
    /// Keeps a lease alive and says how far the job is.
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, WireError>;
    /// Hands in a part of a job's result, or its end. Idempotent by (job, fencing, sequence).
    async fn report(&self, report: Report) -> Result<ReportReply, WireError>;
}
