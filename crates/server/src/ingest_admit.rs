//! What of a report is taken: sightings about what the job was to probe, at instants that are not in the future.
//!
//! A node cannot invent endpoints, nor say that it will see them tomorrow. What the sightings mean is left to `ingest`.

use model::address::{IpRange, merge};
use model::job::Work;
use model::port_state::Coverage;
use model::service::{Identification, PanelObservation};
use model::{Endpoint, HostObservation, Observation, Scope, Ts};
use std::collections::HashSet;
use std::net::IpAddr;
use wire::{PseudoOpenHost, Report};

/// The sightings taken.
#[derive(Debug, Default)]
pub struct Admitted {
    /// States of endpoints.
    pub observations: Vec<Observation>,
    /// Liveness of hosts.
    pub hosts: Vec<HostObservation>,
    /// What answers.
    pub identifications: Vec<Identification>,
    /// Front pages.
    pub panels: Vec<PanelObservation>,
    /// Hosts that answer on every port.
    pub pseudo_open: Vec<PseudoOpenHost>,
    /// Ground covered.
    pub coverage: Option<Coverage>,
    /// Sightings that were not taken.
    pub refused: u64,
}

impl Admitted {
    /// Number of sightings taken.
    pub fn taken(&self) -> u64 {
        (self.observations.len() + self.hosts.len() + self.identifications.len() + self.panels.len() + self.pseudo_open.len())
            as u64
    }
}

/// What the job was about, quick to ask.
struct About<'a> {
    work: &'a Work,
    hosts: Scope,
    endpoints: HashSet<Endpoint>,
}

impl About<'_> {
    fn host(&self, ip: IpAddr) -> bool {
        self.hosts.contains(ip)
    }
    fn endpoint(&self, endpoint: Endpoint) -> bool {
        self.host(endpoint.ip)
            && match self.work {
                Work::Sweep { ports, .. } => ports.contains(endpoint.proto, endpoint.port),
                // Finding out whether a host is up means knocking on some of its doors.
                Work::Liveness { .. } => true,
                _ => self.endpoints.contains(&endpoint),
            }
    }
}

/// Takes the sightings that belong to the work, as far as it was `allowed` (all of it where that is not known any more).
/// Instants after `now` become `now`: a clock that is ahead must not outlive the observations that follow.
pub fn admit(report: &Report, work: &Work, allowed: Option<&[IpRange]>, now: Ts) -> Admitted {
    let targets = merge(&plan::expand::targets_of(work));
    let hosts = match allowed {
        Some(allowed) => Scope::new(&Scope::new(&targets, &[]).restrict(allowed), &[]),
        None => Scope::new(&targets, &[]),
    };
    let endpoints = match work {
        Work::Recheck { endpoints } | Work::Identify { endpoints } | Work::Panels { endpoints } => {
            endpoints.iter().copied().collect()
        }
        _ => HashSet::new(),
    };
    let about = About { work, hosts, endpoints };
    let sightings = &report.sightings;
    let mut out = Admitted::default();
    let total = sightings.observations.len()
        + sightings.hosts.len()
        + sightings.identifications.len()
        + sightings.panels.len()
        + sightings.pseudo_open.len();
    for o in sightings.observations.iter().filter(|o| about.endpoint(o.endpoint)) {
        out.observations.push(Observation { observed_at: o.observed_at.min(now), ..o.clone() });
    }
    for h in sightings.hosts.iter().filter(|h| about.host(h.ip)) {
        out.hosts.push(HostObservation { observed_at: h.observed_at.min(now), ..h.clone() });
    }
    for i in sightings.identifications.iter().filter(|i| about.endpoint(i.endpoint)) {
        out.identifications.push(Identification { observed_at: i.observed_at.min(now), ..i.clone() });
    }
    for p in sightings.panels.iter().filter(|p| about.endpoint(p.endpoint)) {
        out.panels.push(PanelObservation { observed_at: p.observed_at.min(now), ..p.clone() });
    }
    for p in sightings.pseudo_open.iter().filter(|p| about.host(p.ip)) {
        out.pseudo_open.push(PseudoOpenHost { observed_at: p.observed_at.min(now), ..p.clone() });
    }
    let taken = out.observations.len() + out.hosts.len() + out.identifications.len() + out.panels.len() + out.pseudo_open.len();
    out.refused = (total - taken) as u64;
    out.coverage = sightings.coverage.as_ref().and_then(|c| coverage(c, &about, report, now));
    out
}

/// The ground covered, no wider than the job was.
fn coverage(said: &Coverage, about: &About, report: &Report, now: Ts) -> Option<Coverage> {
    let Work::Sweep { ports, .. } = about.work else { return None };
    let targets = about.hosts.restrict(&said.targets);
    (!targets.is_empty() && said.ports == *ports).then(|| Coverage {
        vantage: report.vantage.clone(),
        node: report.node.clone(),
        targets,
        ports: ports.clone(),
        started_at: said.started_at.min(now),
        finished_at: said.finished_at.min(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{JobId, Liveness, NodeName, Ports, Reason, State, Vantage};
    use wire::Sightings;

    fn observation(endpoint: &str, at: i64) -> Observation {
        Observation { endpoint: endpoint.parse().unwrap(), state: State::Open, reason: Reason::SynAck, observed_at: Ts(at) }
    }

    fn report(sightings: Sightings) -> Report {
        Report {
            node: NodeName("n".into()),
            vantage: Vantage("v".into()),
            job: JobId(uuid::Uuid::nil()),
            fencing: 1,
            sequence: 1,
            probes_sent: 0,
            sightings,
            end: None,
        }
    }

    #[test]
    fn a_node_cannot_invent_endpoints_or_the_future() {
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        let ports: Ports = "22,6379,U:161".parse().unwrap();
        let sweep = Work::Sweep { targets: vec![r("10.0.0.0/30")], ports: ports.clone(), known_open: vec![] };
        let recheck = Work::Recheck { endpoints: vec!["10.0.0.1:22/tcp".parse().unwrap()] };
        for (work, allowed, endpoint, taken) in [
            (&sweep, None, "10.0.0.1:22/tcp", true),
            (&sweep, None, "10.0.0.1:23/tcp", false),
            (&sweep, None, "10.0.0.1:22/udp", false),
            (&sweep, None, "10.0.0.1:161/udp", true),
            (&sweep, None, "10.0.0.1:161/tcp", false),
            (&sweep, None, "10.0.0.4:22/tcp", false),
            (&sweep, Some(vec![r("10.0.0.2")]), "10.0.0.1:22/tcp", false),
            (&sweep, Some(vec![r("10.0.0.0/8")]), "10.0.0.1:22/tcp", true),
            (&recheck, None, "10.0.0.1:22/tcp", true),
            (&recheck, None, "10.0.0.1:6379/tcp", false),
        ] {
            let host = HostObservation {
                ip: endpoint.parse::<Endpoint>().unwrap().ip,
                liveness: Liveness::Online,
                reason: Reason::EchoReply,
                observed_at: Ts(99),
            };
            let sightings =
                Sightings { observations: vec![observation(endpoint, 99)], hosts: vec![host], ..Sightings::default() };
            let out = admit(&report(sightings), work, allowed.as_deref(), Ts(50));
            assert_eq!(out.observations.len(), usize::from(taken), "{endpoint} of {work:?}");
            assert!(out.observations.iter().all(|o| o.observed_at == Ts(50)));
            assert_eq!(out.refused as usize + out.observations.len() + out.hosts.len(), 2);
        }
        let wide = Coverage {
            vantage: Vantage("other".into()),
            node: NodeName("other".into()),
            targets: vec![r("10.0.0.0/8")],
            ports,
            started_at: Ts(1),
            finished_at: Ts(99),
        };
        let out =
            admit(&report(Sightings { coverage: Some(wide), ..Sightings::default() }), &sweep, None, Ts(50)).coverage.unwrap();
        assert_eq!((out.targets, out.finished_at, out.vantage.0.as_str()), (vec![r("10.0.0.0/30")], Ts(50), "v"));
    }
}
