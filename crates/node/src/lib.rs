//! The node: the part that touches the world. It asks the server for jobs, does them, and reports what it saw.
//!
//! It holds no database credential and decides nothing about what the sightings mean. Scope is checked again before every
//! probe, by the types that `scan` and `services` take (PR-1). What to do next is left to the server.

mod checks;
mod engine;
mod job;
mod permit;
mod report;
mod sightings;
mod work;

use job::JobContext;
use model::settings::Pace;
use model::{NodeName, Ts, Vantage};
use scan::{Method, Pacer, RangeCap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::{Dispatch, LeaseRequest, NodePace, VERSION, WireError};

/// How long an idle node waits before it asks again. A confirmation of something just seen open is queued with its report,
/// so this adds to the time from opening to alert.
const IDLE: Duration = Duration::from_millis(500);
/// First and longest wait after a call that did not go through.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long jobs get to hand in what they have when the node ends.
const GRACE: Duration = Duration::from_secs(3);

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The name it enrolled under.
    pub name: NodeName,
    /// From where it probes.
    pub vantage: Vantage,
    /// Jobs it works on at a time.
    pub slots: u32,
    /// How it asks.
    pub method: Method,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Other scanners that the machine's configuration allows to be run.
    pub engines: Vec<scan::external::Engine>,
}

impl NodeConfig {
    /// A node with the usual measures: twenty-four slots leave room for urgent work beside two long jobs of each of the nine
    /// tasks (they share one pace), and 1.5 s is longer than any round trip on earth but a geostationary one.
    pub fn new(name: NodeName, vantage: Vantage) -> Self {
        NodeConfig { name, vantage, slots: 24, method: Method::Auto, timeout: Duration::from_millis(1_500), engines: Vec::new() }
    }
}

/// This machine's time.
pub(crate) fn now() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A worker. It lives as long as [`Node::run`].
pub struct Node;

impl Node {
    /// Works until cancelled: asks for at most as many jobs as it has free slots, does each in a task of its own, and keeps
    /// their leases alive. When cancelled it stops probing at once and hands in what it has seen, without saying that a job
    /// ended, so that the server gives the rest to somebody else.
    pub async fn run(transport: Arc<dyn Dispatch>, config: NodeConfig, cancel: CancellationToken) {
        // Later starts have larger numbers, so the server knows which leases are void.
        let incarnation = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
        let pacer = Arc::new(Pacer::new(Pace::default(), Vec::new()));
        let context = Arc::new(JobContext::new(Arc::clone(&transport), Arc::clone(&pacer), config.clone()));
        let mut jobs = JoinSet::new();
        let mut outage = Outage::default();
        tracing::info!(node = %config.name, vantage = %config.vantage, slots = config.slots, "node is up");
        while !cancel.is_cancelled() {
            while jobs.try_join_next().is_some() {}
            let free = config.slots.saturating_sub(jobs.len() as u32);
            if free == 0 {
                tokio::select! {
                    () = cancel.cancelled() => break,
                    _ = jobs.join_next() => continue,
                }
            }
            let request = LeaseRequest {
                version: VERSION,
                node: config.name.clone(),
                vantage: config.vantage.clone(),
                incarnation,
                slots: free,
                engines: config.engines.iter().map(|e| e.name.clone()).collect(),
            };
            let answer = tokio::select! {
                () = cancel.cancelled() => break,
                answer = transport.lease(request) => answer,
            };
            let wait = match answer {
                Ok(reply) => {
                    outage.over();
                    context.told(&reply.pace);
                    set_pace(&pacer, reply.pace);
                    for offer in reply.jobs {
                        jobs.spawn(job::run(Arc::clone(&context), offer, cancel.child_token()));
                    }
                    IDLE
                }
                Err(error) => outage.wait(&error),
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                Some(_) = jobs.join_next() => {}
            }
        }
        let ended = async { while jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("jobs did not hand in their sightings in time; the server will have them done again");
        }
    }
}

/// Takes over the caps that the server gave with its answer.
fn set_pace(pacer: &Pacer, pace: NodePace) {
    let caps =
        pace.ranges.into_iter().map(|r| RangeCap { range: r.range, rate_pps: r.rate_pps, per_target_pps: r.per_target_pps });
    let node = Pace { node_pps: pace.node_pps, per_network_pps: pace.per_network_pps, per_target_pps: pace.per_target_pps };
    pacer.update(node, caps.collect());
}

/// A time in which calls do not go through: said once when it begins and once when it ends.
#[derive(Default)]
struct Outage {
    next: Option<Duration>,
}

impl Outage {
    fn wait(&mut self, error: &WireError) -> Duration {
        let wait = match self.next {
            Some(wait) => wait,
            None => {
                tracing::warn!(%error, "no work can be asked for; trying again until it can");
                BACKOFF.0
            }
        };
        self.next = Some((wait * 2).min(BACKOFF.1));
        wait
    }
    fn over(&mut self) {
        if self.next.take().is_some() {
            tracing::info!("work can be asked for again");
        }
    }
}
