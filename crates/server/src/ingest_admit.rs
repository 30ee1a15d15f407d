//! What of a report is taken: sightings about what the job was to probe, at instants that are not in the future.
//!
//! A node cannot invent endpoints, nor say that it will see them tomorrow. What the sightings mean is left to `ingest`.

use model::address::{IpRange, merge};
use model::finding::{CheckRun, CredentialAttempt, Evidence, Verdict};
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
    /// How checks ended.
    pub checks: Vec<CheckRun>,
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
        let named = self.observations.len() + self.hosts.len() + self.identifications.len() + self.panels.len();
        (named + self.checks.len() + self.pseudo_open.len()) as u64
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
        Work::Recheck { endpoints } | Work::Identify { endpoints } | Work::Examine { endpoints } | Work::Panels { endpoints } => {
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
        + sightings.checks.len()
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
    // Only who was to identify an endpoint was to check it.
    let identifies = matches!(work, Work::Identify { .. } | Work::Examine { .. });
    out.checks.extend(sightings.checks.iter().filter(|c| identifies && about.endpoint(c.endpoint)).filter_map(|c| check(c, now)));
    for p in sightings.pseudo_open.iter().filter(|p| about.host(p.ip)) {
        out.pseudo_open.push(PseudoOpenHost { observed_at: p.observed_at.min(now), ..p.clone() });
    }
    out.refused = total as u64 - out.taken();
    out.coverage = sightings.coverage.as_ref().and_then(|c| coverage(c, &about, report, now));
    out
}

/// Longest id of a check or a pair, and longest name of an account, in characters.
const MAX_NAME: usize = 100;
/// Longest answer that is kept as evidence, in characters: what `model` promises.
const MAX_RESPONSE: usize = 512;
/// Longest reason, and longest value of a field that was read.
const MAX_TEXT: usize = 300;
/// Fields read from one answer, and attempts of one run: a pair, its controls, and room.
const MAX_FIELDS: usize = 32;
const MAX_TRIED: usize = 16;

/// One run, cut to the lengths that are kept. None without a name that a catalogue could have, or proved by nothing.
fn check(run: &CheckRun, now: Ts) -> Option<CheckRun> {
    let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let sound = (1..=MAX_NAME).contains(&run.check.len()) && run.check.chars().all(named);
    if !sound || (run.verdict == Verdict::Proved) != run.evidence.is_some() {
        return None;
    }
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let evidence = run.evidence.as_ref().map(|e| Evidence {
        request: cut(&e.request, MAX_TEXT),
        response: cut(&e.response, MAX_RESPONSE),
        sha256: cut(&e.sha256, 64),
        fields: e.fields.iter().take(MAX_FIELDS).map(|(k, v)| (cut(k, MAX_NAME), cut(v, MAX_TEXT))).collect(),
    });
    let attempt = |a: &CredentialAttempt| CredentialAttempt {
        account: cut(&a.account, MAX_NAME),
        pair: cut(&a.pair, MAX_NAME),
        at: a.at.min(now),
        ..a.clone()
    };
    Some(CheckRun {
        evidence,
        reason: run.reason.as_deref().map(|r| cut(r, MAX_TEXT)),
        attempts: run.attempts.iter().take(MAX_TRIED).map(attempt).collect(),
        observed_at: run.observed_at.min(now),
        ..run.clone()
    })
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
