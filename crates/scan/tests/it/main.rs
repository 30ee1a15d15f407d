//! The engine as its callers see it: over a network in memory, over this machine's loopback, and over real packets between
//! network namespaces.

mod corpus;
mod external;
mod loopback;
mod memory;
mod namespaces;
mod pace;
mod resume;
mod retransmit;
mod tempo;
mod tempo_few;
mod tempo_wire;
mod udp;

use model::address::IpRange;
use model::settings::Pace;
use model::{Endpoint, Observation, PortSet, Scope, State};
use scan::{Found, Pacer, Progress, Retries, ScanError, Summary, Sweep};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A range.
pub fn r(s: &str) -> IpRange {
    s.parse().unwrap()
}

/// An address.
pub fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// A set of ports.
pub fn ports(s: &str) -> PortSet {
    s.parse().unwrap()
}

/// A pace that holds nobody back.
pub fn fast() -> Arc<Pacer> {
    let pps = 200_000;
    Arc::new(Pacer::new(Pace { node_pps: pps, per_network_pps: pps, per_target_pps: pps }, Vec::new()))
}

/// A sweep of these targets, which are its scope, as fast as it goes.
pub fn sweep(targets: &[&str], set: &str) -> Sweep {
    let targets: Vec<IpRange> = targets.iter().map(|s| r(s)).collect();
    let scope = Scope::new(&targets, &[]);
    let (retries, timeout) = (Retries::Fixed(1), Duration::from_millis(150));
    Sweep { retries, timeout, seed: 7, ..Sweep::new(targets, ports(set), scope, fast()) }
}

/// Everything found by work that is given a channel, and how it ended.
pub async fn all_found<F>(
    work: impl FnOnce(tokio::sync::mpsc::Sender<Found>, Arc<Progress>, CancellationToken) -> F,
) -> (Vec<Found>, Summary)
where
    F: Future<Output = Result<Summary, ScanError>> + Send + 'static,
{
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let work = tokio::spawn(work(tx, Arc::default(), CancellationToken::new()));
    let mut found = Vec::new();
    while let Some(one) = rx.recv().await {
        found.push(one);
    }
    (found, work.await.unwrap().unwrap())
}

/// The endpoints among what was found, each of which must have been told once.
pub fn observations(found: &[Found]) -> BTreeMap<Endpoint, Observation> {
    let mut all = BTreeMap::new();
    for one in found {
        if let Found::Endpoint(observation) = one {
            assert!(all.insert(observation.endpoint, observation.clone()).is_none(), "told twice: {observation:?}");
        }
    }
    all
}

/// `state/reason` of each endpoint.
pub fn states(found: &[Found]) -> BTreeMap<String, String> {
    observations(found).into_iter().map(|(e, o)| (e.to_string(), format!("{}/{}", o.state, o.reason))).collect()
}

/// The open endpoints.
pub fn opens(found: &[Found]) -> Vec<String> {
    observations(found).into_values().filter(|o| o.state == State::Open).map(|o| o.endpoint.to_string()).collect()
}
