//! The transport of a single machine: the node calls the server's [`Dispatch`] in the same process.
//!
//! It checks the version as a network transport would, so that one code path serves one machine and many.

use crate::{Dispatch, Heartbeat, HeartbeatReply, LeaseReply, LeaseRequest, Report, ReportReply, VERSION, WireError};
use async_trait::async_trait;
use std::sync::Arc;

/// Calls a [`Dispatch`] directly.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<dyn Dispatch>,
}

impl InProcess {
    /// A transport to this server.
    pub fn new(server: Arc<dyn Dispatch>) -> Self {
        InProcess { server }
    }
}

#[async_trait]
impl Dispatch for InProcess {
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseReply, WireError> {
        if request.version != VERSION {
            return Err(WireError::Version { node: request.version, server: VERSION });
        }
        self.server.lease(request).await
    }
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, WireError> {
        self.server.heartbeat(heartbeat).await
    }
    async fn report(&self, report: Report) -> Result<ReportReply, WireError> {
        self.server.report(report).await
    }
}
