//! The node's pace as `services` asks for it: one permit before each connection.
//!
//! The caps themselves are `scan`'s [`Pacer`], shared with every sweep of the node.

use async_trait::async_trait;
use model::InScope;
use scan::{Pacer, Progress};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Counts connections and spaces them by the job's own rate, then by the node's caps.
pub(crate) struct JobPermit {
    pacer: Arc<Pacer>,
    progress: Arc<Progress>,
    /// Least time between two connections of the job, and when the next may be made.
    own: Option<(Duration, Mutex<Instant>)>,
}

impl JobPermit {
    pub(crate) fn new(pacer: Arc<Pacer>, progress: Arc<Progress>, rate_pps: Option<u32>) -> Self {
        let own = rate_pps.map(|pps| (Duration::from_secs(1) / pps.max(1), Mutex::new(Instant::now())));
        JobPermit { pacer, progress, own }
    }
}

#[async_trait]
impl services::Permit for JobPermit {
    async fn acquire(&self, ip: InScope<IpAddr>) {
        if let Some((gap, next)) = &self.own {
            let at = {
                let mut next = next.lock().await;
                let at = (*next).max(Instant::now());
                *next = at + *gap;
                at
            };
            tokio::time::sleep_until(at).await;
        }
        self.pacer.acquire(ip).await;
        self.progress.probes_sent.fetch_add(1, Ordering::Relaxed);
    }
}
