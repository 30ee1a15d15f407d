//! Checking what has just been identified, as far as the policies in the offer let us: the identification goes on to the
//! reports, with what the checks say if they say it soon, and before it if they do not.
//!
//! What is asked, and whether ceiling, time and attempts allow it at that moment, is `services::check`'s, which looks at the
//! policy again before each check; picking the policy of an address is done here. What a proof means is left to the server.

use crate::sightings::Sighting;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::Scope;
use model::finding::CheckPolicy;
use scan::Progress;
use services::{Budget, Identified, Permit};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

/// Endpoints checked at a time by one job, and of those on one host. A check is mostly waiting, for minutes where an approval
/// lets accounts be tried, so that more than are talked to may wait; four to a host stay far below what identifying it takes.
const CHECKS: (usize, usize) = (128, 4);

/// How long an identification waits for its checks, so that a service and what is wrong with it are told together: most
/// checks take two round trips, and a report waits as long for others anyway.
const TOGETHER: Duration = Duration::from_secs(1);

/// What a job needs to know to check.
pub(crate) struct Checks<'a> {
    pub policies: &'a [CheckPolicy],
    pub scope: &'a Scope,
    pub budget: &'a Budget,
    pub permit: &'a dyn Permit,
}

impl Checks<'_> {
    /// Takes identifications until they end, has each endpoint checked, and hands both on. Stopped, it drops what is going on:
    /// the server holds the addresses at which accounts may have been tried until it knows.
    pub(crate) async fn forward(
        &self,
        mut identified: Receiver<Identified>,
        out: &Sender<Sighting>,
        progress: &Progress,
        stop: &CancellationToken,
    ) {
        let mut hosts: HashMap<IpAddr, Arc<Semaphore>> = HashMap::new();
        let mut going = FuturesUnordered::new();
        let mut more = true;
        while more || !going.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                one = identified.recv(), if more && going.len() < CHECKS.0 => match one {
                    None => more = false,
                    Some(one) => {
                        progress.probes_settled.fetch_add(1, Ordering::Relaxed);
                        let turns = hosts.entry(one.identification.endpoint.ip).or_insert_with(|| Arc::new(Semaphore::new(CHECKS.1)));
                        going.push(self.one(one, Arc::clone(turns), out));
                    }
                },
                Some(wanted) = going.next(), if !going.is_empty() => if !wanted {
                    // Nobody takes reports any more.
                    return;
                },
            }
        }
    }

    /// One endpoint. False when nobody takes what is found.
    async fn one(&self, identified: Identified, turns: Arc<Semaphore>, out: &Sender<Sighting>) -> bool {
        let at = identified.identification.endpoint;
        let (Some(endpoint), Some(policy)) = (self.scope.admit(at), policy_for(at.ip, self.policies)) else {
            return out.send(Sighting::Identified(Box::new(identified))).await.is_ok();
        };
        let seen = identified.identification.clone();
        let checking = async {
            // Closed is nobody's doing: the semaphore lives as long as this does.
            let _turn = turns.acquire().await;
            services::check::run(endpoint, &seen, policy, self.budget, self.permit).await
        };
        tokio::pin!(checking);
        let soon = tokio::time::timeout(TOGETHER, &mut checking).await;
        if out.send(Sighting::Identified(Box::new(identified))).await.is_err() {
            return false;
        }
        let runs = match soon {
            Ok(runs) => runs,
            Err(_) => checking.await,
        };
        metrics::counter!("portreeve_checks_total").increment(runs.len() as u64);
        runs.is_empty() || out.send(Sighting::Checked(runs)).await.is_ok()
    }
}

/// The policy that holds for an address: that of the most specific range. None: nothing is checked there.
fn policy_for(ip: IpAddr, policies: &[CheckPolicy]) -> Option<&CheckPolicy> {
    policies.iter().filter(|p| p.range.contains(ip)).min_by_key(|p| p.range.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::finding::SideEffect;

    #[test]
    fn the_most_specific_range_holds_and_without_one_nothing_is_checked() {
        let policy = |range: &str, ceiling| CheckPolicy { range: range.parse().unwrap(), ceiling, credentials: None };
        let policies = [
            policy("10.0.0.0/8", Some(SideEffect::Session)),
            policy("10.0.0.7", None),
            policy("10.0.0.0/24", Some(SideEffect::Benign)),
        ];
        let at = |ip: &str| policy_for(ip.parse().unwrap(), &policies).map(|p| p.ceiling);
        assert_eq!(at("10.9.9.9"), Some(Some(SideEffect::Session)));
        assert_eq!(at("10.0.0.8"), Some(Some(SideEffect::Benign)));
        assert_eq!(at("10.0.0.7"), Some(None), "off for this one");
        assert_eq!(at("192.0.2.1"), None);
    }
}
