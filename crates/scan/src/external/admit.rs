//! What of a command's output belongs to its job: nothing outside of what it was told to probe, every open port once, and of a
//! host that accepts everything that it does.
//!
//! What the findings mean is left to `assess`.

use super::Reading;
use super::command::{CommandJob, Findings};
use crate::api::{Acceptance, Found};
use model::address::IpRange;
use model::{Endpoint, PortSet, Proto, Scope, State, Ts};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Open ports at which a host is taken to accept on every port, whatever the sweep: no host has as many services.
const PSEUDO: usize = 1_000;
/// And at least this many, as for our own sweeps.
const PSEUDO_LEAST: usize = 20;

/// What of a command's output belongs to the job.
pub(super) struct Admit {
    within: Scope,
    ports: Option<PortSet>,
    report_all: bool,
    always: HashSet<Endpoint>,
    began: Ts,
    /// Open ports of each host with any. A server repeats its SYN-ACK, and masscan says so each time: twice from one probe is
    /// no second observation.
    pub per_host: HashMap<IpAddr, HashSet<u16>>,
    /// Other states that were told.
    told: HashSet<(Endpoint, State)>,
    /// Open ports at which a host is pseudo-open.
    pseudo: usize,
    pub open: u64,
    pub refused: u64,
    /// Of these, findings about UDP ports of hosts that were asked about: no engine is asked for any.
    pub refused_udp: u64,
}

impl Admit {
    pub fn new(job: &CommandJob, targets: &[IpRange], began: Ts) -> Admit {
        let ports = job.ports.as_ref().map_or(0, PortSet::len);
        Admit {
            within: Scope::new(targets, &[]),
            ports: job.ports.clone(),
            report_all: job.report_all,
            always: job.always_report.clone(),
            began,
            per_host: HashMap::new(),
            told: HashSet::new(),
            // More than half of what was asked: a host that answers for everything does so for nearly all of it.
            pseudo: (ports / 2 + 1).clamp(PSEUDO_LEAST, PSEUDO),
            open: 0,
            refused: 0,
            refused_udp: 0,
        }
    }

    fn refuse(&mut self, ip: IpAddr, proto: Proto) {
        self.refused += 1;
        self.refused_udp += u64::from(proto == Proto::Udp && self.within.contains(ip));
    }

    fn admits(&self, endpoint: Endpoint) -> bool {
        // A liveness pass may knock on doors, but says nothing about them here.
        endpoint.proto == Proto::Tcp
            && self.within.contains(endpoint.ip)
            && self.ports.as_ref().is_none_or(|ports| ports.contains(endpoint.port))
    }

    /// The command's clock counts in seconds: what it saw was seen while it ran.
    fn at(&self, said: Ts, now: Ts) -> Ts {
        said.clamp(self.began.min(now), now)
    }

    pub fn take(&mut self, reading: Reading, now: Ts, out: &mut Vec<Findings>) {
        match reading {
            Reading::Endpoint(mut o) => {
                if !self.admits(o.endpoint) {
                    self.refuse(o.endpoint.ip, o.endpoint.proto);
                    return;
                }
                o.observed_at = self.at(o.observed_at, now);
                let named = self.always.contains(&o.endpoint);
                if o.state != State::Open {
                    if (self.report_all || named) && self.told.insert((o.endpoint, o.state)) {
                        out.push(Findings::Found(Found::Endpoint(o)));
                    }
                    return;
                }
                let ports = self.per_host.entry(o.endpoint.ip).or_default();
                if !ports.insert(o.endpoint.port) {
                    return;
                }
                self.open += 1;
                let open = ports.len();
                if open == self.pseudo {
                    let (ip, open_ports, observed_at) = (o.endpoint.ip, open as u32, o.observed_at);
                    out.push(Findings::Found(Found::PseudoOpen { ip, open_ports, acceptance: Acceptance::AllOpen, observed_at }));
                }
                if open < self.pseudo || named {
                    out.push(Findings::Found(Found::Endpoint(o)));
                }
            }
            Reading::Ports(p) => {
                if !self.within.contains(p.ip) || p.proto != Proto::Tcp {
                    self.refuse(p.ip, p.proto);
                    return;
                }
                let observed_at = self.at(p.observed_at, now);
                let of = |port| Endpoint::tcp(p.ip, port);
                // Only those that somebody asked about by name; a host has sixty-five thousand closed ones.
                let wanted = p.ports.iter().map(of).filter(|e| self.report_all || self.always.contains(e));
                let wanted: Vec<Endpoint> = wanted.filter(|e| self.admits(*e)).collect();
                for endpoint in wanted {
                    if !self.told.insert((endpoint, p.state)) {
                        continue;
                    }
                    let found = model::Observation { endpoint, state: p.state, reason: p.reason, observed_at };
                    out.push(Findings::Found(Found::Endpoint(found)));
                }
            }
            Reading::Host(mut h) => {
                if !self.within.contains(h.ip) {
                    self.refused += 1;
                    return;
                }
                h.observed_at = self.at(h.observed_at, now);
                out.push(Findings::Found(Found::Host(h)));
            }
            Reading::Service(mut s) => {
                if !self.admits(s.endpoint) {
                    self.refuse(s.endpoint.ip, s.endpoint.proto);
                    return;
                }
                s.observed_at = self.at(s.observed_at, now);
                out.push(Findings::Service(Box::new(s)));
            }
        }
    }

    /// The counts of pseudo-open hosts that have grown since.
    pub fn last(&self, now: Ts, out: &mut Vec<Findings>) {
        for (&ip, open) in self.per_host.iter().filter(|(_, open)| open.len() > self.pseudo) {
            out.push(Findings::Found(Found::PseudoOpen {
                ip,
                open_ports: open.len() as u32,
                acceptance: Acceptance::AllOpen,
                observed_at: now,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PortsReading;
    use super::*;
    use model::{Observation, Reason};

    #[test]
    fn what_nobody_asked_about_is_refused_and_a_host_that_accepts_everything_is_said_once() {
        let targets: Vec<IpRange> = vec!["10.0.0.0/30".parse().unwrap()];
        let job = CommandJob {
            targets: targets.clone(),
            ports: Some("1-100".parse().unwrap()),
            scope: Scope::new(&targets, &[]),
            rate_pps: 1,
            retries: 0,
            seed: 0,
            report_all: false,
            always_report: HashSet::from(["10.0.0.2:7/tcp".parse().unwrap()]),
        };
        let mut admit = Admit::new(&job, &targets, Ts(5_000));
        let mut out = Vec::new();
        let said = |e: &str, state, at| {
            Reading::Endpoint(Observation { endpoint: e.parse().unwrap(), state, reason: Reason::Rst, observed_at: Ts(at) })
        };
        for outside in ["10.0.0.4:22/tcp", "10.0.0.1:101/tcp", "10.0.0.1:22/udp", "10.0.0.4:22/udp"] {
            admit.take(said(outside, State::Open, 6_000), Ts(9_000), &mut out);
        }
        let silent = PortsReading {
            ip: "10.0.0.1".parse().unwrap(),
            proto: Proto::Udp,
            ports: "1-100".parse().unwrap(),
            state: State::OpenFiltered,
            reason: Reason::Timeout,
            observed_at: Ts(6_000),
        };
        admit.take(Reading::Ports(silent), Ts(9_000), &mut out);
        assert_eq!(
            (admit.refused, admit.refused_udp, out.len()),
            (5, 2, 0),
            "UDP is counted apart where the host was asked about"
        );
        admit.take(said("10.0.0.2:7/tcp", State::Closed, 4_000), Ts(9_000), &mut out);
        admit.take(said("10.0.0.2:8/tcp", State::Closed, 4_000), Ts(9_000), &mut out);
        let Some(Findings::Found(Found::Endpoint(o))) = out.pop() else { panic!("{out:?}") };
        assert_eq!((o.endpoint.port, o.observed_at, out.len()), (7, Ts(5_000), 0), "asked by name, at an instant while it ran");
        for port in 1..=90 {
            admit.take(said(&format!("10.0.0.1:{port}/tcp"), State::Open, 6_000), Ts(9_000), &mut out);
        }
        admit.last(Ts(9_000), &mut out);
        let pseudo: Vec<u32> = out
            .iter()
            .filter_map(|f| if let Findings::Found(Found::PseudoOpen { open_ports, .. }) = f { Some(*open_ports) } else { None })
            .collect();
        assert_eq!((pseudo, out.len(), admit.open), (vec![51, 90], 50 + 2, 90));
    }
}
