//! Many endpoints at once: never more than so many together, never more than so many on one host.
//!
//! Hosts take turns, so one host with a thousand ports does not hold up the rest. How fast connections may follow each
//! other is left to the caller's `Permit`.

use crate::identify::identify_alike;
use crate::middlebox::Doubts;
use crate::{Budget, Identified, Permit};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::{Endpoint, InScope};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Endpoints waiting, by host, and how many of each host are being talked to.
struct Turns {
    waiting: HashMap<IpAddr, VecDeque<InScope<Endpoint>>>,
    /// Hosts that may have one more, each once, in turn.
    ready: VecDeque<IpAddr>,
    busy: HashMap<IpAddr, usize>,
    per_host: usize,
}

impl Turns {
    fn new(endpoints: Vec<InScope<Endpoint>>, per_host: usize) -> Self {
        let mut waiting: HashMap<IpAddr, VecDeque<_>> = HashMap::new();
        let mut ready = VecDeque::new();
        for endpoint in endpoints {
            let queue = waiting.entry(endpoint.get().ip).or_default();
            if queue.is_empty() {
                ready.push_back(endpoint.get().ip);
            }
            queue.push_back(endpoint);
        }
        Turns { waiting, ready, busy: HashMap::new(), per_host: per_host.max(1) }
    }

    fn next(&mut self) -> Option<InScope<Endpoint>> {
        let host = self.ready.pop_front()?;
        let queue = self.waiting.get_mut(&host)?;
        let endpoint = queue.pop_front()?;
        let more = !queue.is_empty();
        let busy = self.busy.entry(host).or_default();
        *busy += 1;
        if more && *busy < self.per_host {
            self.ready.push_back(host);
        }
        Some(endpoint)
    }

    fn done(&mut self, host: IpAddr) {
        let busy = self.busy.entry(host).or_insert(1);
        let was_full = *busy >= self.per_host;
        *busy -= 1;
        if was_full && self.waiting.get(&host).is_some_and(|q| !q.is_empty()) {
            self.ready.push_back(host);
        }
    }
}

/// Identifies every endpoint and sends each result as it comes, in no particular order; of a host with many ports, those that
/// could be a middlebox's are sent when the host is done. At most `concurrency` sockets are open, at most
/// `per_host_concurrency` of them to one address. Ends early when cancelled, or when nobody receives.
pub async fn identify_all(
    endpoints: Vec<InScope<Endpoint>>,
    budget: &Budget,
    permit: &dyn Permit,
    concurrency: usize,
    per_host_concurrency: usize,
    out: mpsc::Sender<Identified>,
    cancel: &CancellationToken,
) {
    let mut doubts = Doubts::new(&endpoints);
    let mut turns = Turns::new(endpoints, per_host_concurrency);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < concurrency.max(1) {
            let Some(endpoint) = turns.next() else { break };
            running.push(async move { (endpoint.get().ip, identify_alike(endpoint, budget, permit).await) });
        }
        let finished = tokio::select! {
            // Cancelling drops the futures, and with them their sockets.
            () = cancel.cancelled() => None,
            finished = running.next() => finished,
        };
        let sendable = match finished {
            Some((host, (identified, likeness))) => {
                turns.done(host);
                doubts.take(host, identified, likeness)
            }
            // What was held back is told all the same.
            None => doubts.rest(),
        };
        let last = sendable.1;
        for identified in sendable.0 {
            if out.send(identified).await.is_err() {
                return;
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Scope;

    fn endpoints(list: &[(&str, u16)]) -> Vec<InScope<Endpoint>> {
        let scope = Scope::new(&["10.0.0.0/8".parse().unwrap()], &[]);
        list.iter().map(|&(ip, port)| scope.admit(Endpoint::tcp(ip.parse().unwrap(), port)).unwrap()).collect()
    }

    #[test]
    fn hosts_take_turns_and_none_gets_more_than_its_share() {
        let mut turns = Turns::new(endpoints(&[("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.1", 3), ("10.0.0.2", 1)]), 2);
        let mut next = || turns.next().map(|e| e.get().to_string());
        assert_eq!(next().as_deref(), Some("10.0.0.1:1/tcp"));
        assert_eq!(next().as_deref(), Some("10.0.0.2:1/tcp"));
        assert_eq!(next().as_deref(), Some("10.0.0.1:2/tcp"));
        assert_eq!(next(), None, "the third of the first host waits for one of the other two");
        turns.done("10.0.0.1".parse().unwrap());
        assert_eq!(turns.next().map(|e| e.get().port), Some(3));
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn every_endpoint_gets_exactly_one_turn() {
        let list: Vec<_> = (1..=40u16).map(|p| (["10.0.0.1", "10.0.0.2", "10.0.0.3"][usize::from(p % 3)], p)).collect();
        for per_host in 1..5 {
            let mut turns = Turns::new(endpoints(&list), per_host);
            let (mut seen, mut running) = (Vec::new(), VecDeque::new());
            loop {
                while let Some(e) = turns.next() {
                    seen.push(e.get().port);
                    running.push_back(e.get().ip);
                }
                let Some(host) = running.pop_front() else { break };
                turns.done(host);
            }
            seen.sort_unstable();
            assert_eq!(seen, (1..=40).collect::<Vec<_>>(), "{per_host} per host");
        }
    }
}
