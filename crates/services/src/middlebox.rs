//! Hosts on which one thing answers in the place of many: the same answer on more ports than any host has the same service.
//!
//! Seen over the batch of one host, after each port has been talked to; what a single port's bytes prove is `conclude`'s. Pure.

use crate::Identified;
use model::service::{Confidence, Identity};
use model::{Endpoint, InScope};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// More ports than this with the same answer are no services (requirement R7).
pub(crate) const ALIKE: usize = 8;

/// Results of one host that are held back at most; a thousand of them are about a megabyte. Beyond it the oldest are told as
/// they are.
const HELD: usize = 2_048;

/// One host's results while some are still to come.
#[derive(Default)]
struct Host {
    left: usize,
    held: VecDeque<(String, Identified)>,
    answering: usize,
}

/// The results that could be a middlebox's, by host.
pub(crate) struct Doubts {
    hosts: HashMap<IpAddr, Host>,
}

/// What one answer has to have in common with others to be the same; `None` when it cannot be a middlebox's: nothing was
/// answered, or the answer fits our question in a way that no canned one does.
fn suspicious(identified: &Identified, likeness: Option<String>) -> Option<String> {
    let seen = &identified.identification;
    let fits = seen.identity == Identity::Identified
        && seen.confidence == Some(Confidence::Structural)
        && seen.service.as_ref().is_none_or(|s| s.name != "echo");
    likeness.filter(|_| !fits && seen.identity != Identity::Unreachable)
}

impl Doubts {
    pub(crate) fn new(endpoints: &[InScope<Endpoint>]) -> Doubts {
        let mut hosts: HashMap<IpAddr, Host> = HashMap::new();
        for endpoint in endpoints {
            hosts.entry(endpoint.get().ip).or_default().left += 1;
        }
        // A host with few ports has no ninth of anything.
        hosts.retain(|_, host| host.left > ALIKE);
        Doubts { hosts }
    }

    /// Takes a result; returns those that can be told now, and that more may come.
    pub(crate) fn take(&mut self, ip: IpAddr, identified: Identified, likeness: Option<String>) -> (Vec<Identified>, bool) {
        let Some(host) = self.hosts.get_mut(&ip) else { return (vec![identified], false) };
        host.left = host.left.saturating_sub(1);
        host.answering += usize::from(identified.identification.sha256.is_some());
        let mut tell = Vec::new();
        match suspicious(&identified, likeness) {
            Some(likeness) => host.held.push_back((likeness, identified)),
            None => tell.push(identified),
        }
        if host.held.len() > HELD {
            tell.extend(host.held.pop_front().map(|(_, identified)| identified));
        }
        if host.left == 0
            && let Some(host) = self.hosts.remove(&ip)
        {
            tell.extend(host.judge());
        }
        (tell, false)
    }

    /// Everything that is still held back, as it is known; nothing more comes.
    pub(crate) fn rest(&mut self) -> (Vec<Identified>, bool) {
        (self.hosts.drain().flat_map(|(_, host)| host.judge()).collect(), true)
    }
}

impl Host {
    /// Calls a middlebox what answers the same on more than [`ALIKE`] ports, if that is at least half of all that answers: one
    /// web server behind nine ports of a host with many services is one web server.
    fn judge(self) -> Vec<Identified> {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (likeness, _) in &self.held {
            *counts.entry(likeness.clone()).or_default() += 1;
        }
        let answering = self.answering;
        let one = |(likeness, mut identified): (String, Identified)| {
            let same = counts.get(&likeness).copied().unwrap_or_default();
            if same > ALIKE && 2 * same >= answering {
                let seen = &mut identified.identification;
                let asked = seen.evidence.take().unwrap_or_default();
                seen.identity = Identity::Middlebox;
                seen.confidence = None;
                seen.evidence = Some(format!("{asked}: the same answer on {same} ports"));
                if let Some(service) = &mut seen.service {
                    // What it pretends to be is not what is there.
                    (service.product, service.version) = (None, None);
                }
            }
            identified
        };
        self.held.into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::service::{Identification, Service};
    use model::{Scope, Ts};

    fn result(port: u16, identity: Identity, confidence: Option<Confidence>) -> Identified {
        let endpoint = Endpoint::tcp("10.0.0.1".parse().unwrap(), port);
        let service = Service { name: "http".into(), product: Some("nginx".into()), ..Service::default() };
        let identification = Identification {
            service: Some(service),
            confidence,
            evidence: Some("http-get".into()),
            sha256: Some("x".into()),
            ..Identification::bare(endpoint, identity, Ts(0))
        };
        Identified { identification, observation: None }
    }

    fn run(likenesses: &[Option<&str>], confidence: Confidence) -> Vec<Identity> {
        let scope = Scope::new(&["10.0.0.0/8".parse().unwrap()], &[]);
        let ports = 1..=likenesses.len() as u16;
        let endpoints: Vec<_> =
            ports.clone().map(|p| scope.admit(Endpoint::tcp("10.0.0.1".parse().unwrap(), p)).unwrap()).collect();
        let mut doubts = Doubts::new(&endpoints);
        let mut told = Vec::new();
        for (port, likeness) in ports.zip(likenesses) {
            let mut one = result(port, Identity::Identified, Some(confidence));
            if likeness.is_none() {
                one.identification = Identification::bare(one.identification.endpoint, Identity::Silent, Ts(0));
            }
            let (some, last) = doubts.take("10.0.0.1".parse().unwrap(), one, likeness.map(str::to_owned));
            assert!(!last);
            told.extend(some);
        }
        assert_eq!(told.len(), likenesses.len(), "everything is told once");
        assert!(doubts.rest().0.is_empty());
        told.sort_by_key(|i| i.identification.endpoint);
        told.iter().map(|i| i.identification.identity).collect()
    }

    #[test]
    fn the_same_answer_on_nine_ports_is_nobodys_service() {
        let is_box = |likenesses: &[Option<&str>], confidence| run(likenesses, confidence).contains(&Identity::Middlebox);
        assert!(is_box(&[Some("a"); 9], Confidence::SelfNamed));
        assert!(!is_box(&[Some("a"); 8], Confidence::SelfNamed), "eight may be a farm of one product");
        assert!(!is_box(&[Some("a"); 9], Confidence::Structural), "a canned answer fits no question");
        assert!(!is_box(&[None; 40], Confidence::SelfNamed), "silence is not an answer");
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let different: Vec<Option<&str>> = names.iter().map(|n| Some(n.as_str())).collect();
        assert!(!is_box(&different, Confidence::SelfNamed));
        // Nine of one kind among eleven others: a host with a web server on nine ports.
        let mixed = [vec![Some("a"); 9], different[..11].to_vec()].concat();
        assert!(!is_box(&mixed, Confidence::SelfNamed));
        let mostly = [vec![Some("a"); 9], different[..5].to_vec(), vec![None; 30]].concat();
        let ends = run(&mostly, Confidence::SelfNamed);
        assert_eq!(ends.iter().filter(|e| **e == Identity::Middlebox).count(), 9, "only those that are the same");
    }

    #[test]
    fn what_a_middlebox_pretends_to_be_is_not_reported() {
        let host = Host {
            left: 0,
            held: (1..=9).map(|p| ("a".to_owned(), result(p, Identity::Identified, None))).collect(),
            answering: 9,
        };
        for identified in host.judge() {
            let seen = identified.identification;
            assert_eq!(seen.service.unwrap().product, None);
            assert_eq!(seen.evidence.as_deref(), Some("http-get: the same answer on 9 ports"));
        }
    }
}
