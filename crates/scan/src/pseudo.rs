//! Telling a host that accepts on every port, a firewall or SYN proxy, from one with many services: the deciding half, one
//! host at a time. Sending the control probes it asks for is the walk's.
//!
//! When a host shows [`MANY`] open ports, or all that were asked of a few, [`CONTROLS`] ports on which nobody runs a service
//! are probed. If all of them accept, and more than half of what had been probed on the host is open, acceptance means nothing
//! there. SYN-ACKs with a window of zero are what SYN proxies send, who do not know yet what the server behind them has room
//! for; they say which kind it is. Until that is decided the host's further opens are held back; after it, only those are told
//! that somebody asked for by name or that would be high risk if they were real, and the rest is counted: whether there is a
//! real service behind one of them is for those to find out who identify it. A host that passes is checked again at ten times
//! as many.

use crate::api::{Acceptance, Found};
use crate::ask::Answer;
use crate::hosts::Hosts;
use crate::order::mix;
use model::catalog::Catalog;
use model::{Endpoint, Observation, PortSet, Proto, Ts};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Open ports at which a host is checked. Servers with more services than this on one address are rare; a firewall that
/// accepts everything gets here within seconds at any rate.
const MANY: u32 = 20;

/// In a sweep of fewer ports than [`MANY`] a host is checked when all of them are open, if they are at least so many: a server
/// may well have the four that were asked for.
const ALL_OF: u32 = 5;

/// Three: if a tenth of the high ports of a real host were open, all three would accept once in a thousand hosts.
const CONTROLS: usize = 3;

/// A control probe is sent at most this often: one lost packet must not make a firewall a server.
const TRIES: u8 = 2;

/// The watch over the hosts of a slice: nothing for most, and what is held back of those with many opens.
pub(crate) struct Guard<'a> {
    seed: u64,
    timeout: Duration,
    /// TCP ports asked of each host.
    questions: u32,
    watched: HashMap<u32, Watch>,
    undecided: u64,
    queue: VecDeque<(u32, u16, u8)>,
    /// When controls that have not answered are taken for silent.
    deadlines: BTreeSet<(Instant, u32)>,
    high_risk: PortSet,
    named: &'a HashSet<Endpoint>,
}

/// A port that turned out to be open.
pub(crate) struct Opened {
    pub host: u32,
    /// Questions the host has been asked so far.
    pub asked: u32,
    pub observation: Observation,
}

enum Watch {
    Checking(Check),
    /// Real services, as far as is known; checked again at so many opens.
    Real {
        again_at: u32,
    },
    Pseudo {
        ip: IpAddr,
        told: u32,
        acceptance: Acceptance,
    },
}

struct Check {
    ip: IpAddr,
    controls: [Control; CONTROLS],
    tries: u8,
    /// Ports probed on the host when the check began.
    probed: u32,
    /// See [`Guard::deadlines`]; unknown until the last control has left.
    deadline: Option<Instant>,
    /// How long a control's answer is waited for: the host has answered before, so that it is known how far away it is.
    wait: Duration,
    held: Vec<Observation>,
}

#[derive(Clone, Copy)]
struct Control {
    port: u16,
    accepted: bool,
    zero_window: bool,
}

impl<'a> Guard<'a> {
    /// A watch over hosts that are asked so many TCP ports each.
    pub fn new(questions: u32, timeout: Duration, seed: u64, named: &'a HashSet<Endpoint>) -> Self {
        Guard {
            seed,
            timeout,
            questions,
            watched: HashMap::new(),
            undecided: 0,
            queue: VecDeque::new(),
            deadlines: BTreeSet::new(),
            high_risk: Catalog::builtin().high_risk_ports(),
            named,
        }
    }

    /// Whether an open endpoint of a host that accepts everything is told all the same.
    fn keeps(&self, endpoint: &Endpoint) -> bool {
        endpoint.proto == Proto::Udp || self.high_risk.contains(endpoint.port) || self.named.contains(endpoint)
    }

    /// A port of the host is open; the host's count has it already.
    pub fn open(&mut self, opened: Opened, hosts: &mut Hosts, found: &mut Vec<Found>) {
        let Opened { host, asked, observation } = opened;
        let opens = u32::from(hosts.get(host).open);
        let too_few = opens < MANY && !(opens >= ALL_OF && opens == self.questions);
        match self.watched.get_mut(&host) {
            Some(Watch::Checking(check)) => check.held.push(observation),
            Some(Watch::Pseudo { .. }) => {
                if self.keeps(&observation.endpoint) {
                    found.push(Found::Endpoint(observation));
                }
            }
            Some(Watch::Real { again_at }) if opens < *again_at => found.push(Found::Endpoint(observation)),
            None if too_few => found.push(Found::Endpoint(observation)),
            Some(Watch::Real { .. }) | None => {
                let controls = control_ports(self.seed, observation.endpoint.ip, opens);
                self.queue.extend(controls.iter().map(|&port| (host, port, 0)));
                let check = Check {
                    ip: observation.endpoint.ip,
                    controls: controls.map(|port| Control { port, accepted: false, zero_window: false }),
                    tries: 1,
                    probed: asked,
                    deadline: None,
                    wait: hosts.get(host).patience(self.timeout),
                    held: vec![observation],
                };
                self.watched.insert(host, Watch::Checking(check));
                self.undecided += 1;
                hosts.get_mut(host).checking = true;
            }
        }
    }

    /// The next control probe to send: host, port, number of the try. Its answer is waited for as long as any of that host's.
    pub fn next_control(&mut self, now: Instant) -> Option<(u32, u16, u8)> {
        loop {
            let next = self.queue.pop_front()?;
            // Those of a check that has been decided meanwhile need no asking.
            if let Some(Watch::Checking(check)) = self.watched.get_mut(&next.0)
                && check.controls.iter().any(|control| control.port == next.1)
            {
                if let Some(old) = check.deadline {
                    self.deadlines.remove(&(old, next.0));
                }
                check.deadline = Some(now + check.wait);
                self.deadlines.insert((now + check.wait, next.0));
                return Some(next);
            }
        }
    }

    /// A port answered; `accepts` or not. It may be a control port.
    pub fn control_answered(
        &mut self,
        host: u32,
        port: u16,
        accepts: bool,
        answer: &Answer,
        hosts: &mut Hosts,
        found: &mut Vec<Found>,
    ) {
        if !hosts.get(host).checking {
            return;
        }
        let Some(Watch::Checking(check)) = self.watched.get_mut(&host) else {
            return;
        };
        let Some(control) = check.controls.iter_mut().find(|control| control.port == port) else {
            return;
        };
        (control.accepted, control.zero_window) = (accepts, answer.shape.0 == 0 && answer.shape.1 != 0);
        if !accepts {
            self.decide(host, false, answer.at, hosts, found);
        } else if check.controls.iter().all(|control| control.accepted) {
            let mostly = u32::from(hosts.get(host).open) * 2 > check.probed;
            self.decide(host, mostly, answer.at, hosts, found);
        }
    }

    /// When something is to be done next, if anything is.
    pub fn wake(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Checks that have waited long enough: silent controls are asked once more, then count as not accepting.
    pub fn overdue(&mut self, now: Instant, at: Ts, hosts: &mut Hosts, found: &mut Vec<Found>) {
        while let Some(&(deadline, host)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            match self.watched.get_mut(&host) {
                Some(Watch::Checking(check)) if check.tries < TRIES => {
                    let silent = check.controls.iter().filter(|control| !control.accepted);
                    self.queue.extend(silent.map(|control| (host, control.port, check.tries)));
                    check.tries += 1;
                    check.deadline = None;
                }
                _ => self.decide(host, false, at, hosts, found),
            }
        }
    }

    /// Hosts whose check is not decided.
    pub fn undecided(&self) -> u64 {
        self.undecided
    }

    /// The sweep is over: undecided checks let their opens go, and counts that have grown are told.
    pub fn finish(&mut self, at: Ts, hosts: &mut Hosts, found: &mut Vec<Found>) {
        let mut watched: Vec<u32> = self.watched.keys().copied().collect();
        watched.sort_unstable();
        for host in watched {
            let open_ports = u32::from(hosts.get(host).open);
            match self.watched.get_mut(&host) {
                Some(Watch::Checking(_)) => self.decide(host, false, at, hosts, found),
                Some(Watch::Pseudo { ip, told, acceptance }) if *told < open_ports => {
                    *told = open_ports;
                    found.push(Found::PseudoOpen { ip: *ip, open_ports, acceptance: *acceptance, observed_at: at });
                }
                _ => {}
            }
        }
    }

    fn decide(&mut self, host: u32, pseudo: bool, at: Ts, hosts: &mut Hosts, found: &mut Vec<Found>) {
        let open_ports = u32::from(hosts.get(host).open);
        let Some(Watch::Checking(check)) = self.watched.remove(&host) else {
            return;
        };
        self.undecided -= 1;
        if let Some(deadline) = check.deadline {
            self.deadlines.remove(&(deadline, host));
        }
        let state = hosts.get_mut(host);
        (state.checking, state.pseudo) = (false, pseudo);
        if pseudo {
            let proxied = check.controls.iter().all(|control| control.zero_window);
            let acceptance = if proxied { Acceptance::SynProxy } else { Acceptance::AllOpen };
            found.push(Found::PseudoOpen { ip: check.ip, open_ports, acceptance, observed_at: at });
            self.watched.insert(host, Watch::Pseudo { ip: check.ip, told: open_ports, acceptance });
        } else {
            self.watched.insert(host, Watch::Real { again_at: open_ports.saturating_mul(10) });
        }
        let told = check.held.into_iter().filter(|o| !pseudo || self.keeps(&o.endpoint));
        found.extend(told.map(Found::Endpoint));
    }
}

/// Distinct ports of the dynamic range (49152-65535, RFC 6335 section 6) that no known service uses. Which ones depends on
/// seed, host and the number of opens, so that a second check asks others and nobody can prepare for them.
fn control_ports(seed: u64, ip: IpAddr, opens: u32) -> [u16; CONTROLS] {
    let common = Catalog::builtin().common_ports();
    let n = model::address::to_u128(ip);
    let mut state = mix(seed ^ mix(n as u64 ^ (n >> 64) as u64) ^ u64::from(opens));
    let mut controls = [0u16; CONTROLS];
    let mut chosen = 0;
    while chosen < CONTROLS {
        state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let port = 49_152 + (state % 16_384) as u16;
        if !common.contains(port) && !controls[..chosen].contains(&port) {
            controls[chosen] = port;
            chosen += 1;
        }
    }
    controls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Ask, Said};
    use crate::way::WayId;
    use model::{Reason, State};

    const T: Duration = Duration::from_secs(1);

    fn at_work() -> Hosts {
        Hosts::sorted(&[[192, 0, 2, 1].into()], |_| WayId::KERNEL, Default::default())
    }

    fn open(port: u16) -> Observation {
        let endpoint = Endpoint::tcp([192, 0, 2, 1].into(), port);
        Observation { endpoint, state: State::Open, reason: Reason::SynAck, observed_at: Ts(1) }
    }

    /// Opens these ports after so many have been asked; gives back what was told and the controls asked for.
    fn opened(guard: &mut Guard<'_>, hosts: &mut Hosts, ports: &[u16], asked: u32) -> (Vec<Found>, Vec<u16>) {
        let mut found = Vec::new();
        for &port in ports {
            hosts.get_mut(0).open += 1;
            guard.open(Opened { host: 0, asked, observation: open(port) }, hosts, &mut found);
        }
        let now = Instant::now();
        let controls = std::iter::from_fn(|| guard.next_control(now)).map(|(_, port, _)| port).collect();
        (found, controls)
    }

    fn range(first: u16, count: u16) -> Vec<u16> {
        (first..first + count).collect()
    }

    fn answer(guard: &mut Guard<'_>, hosts: &mut Hosts, port: u16, accepts: bool, window: u16) -> Vec<Found> {
        let (said, ask) = (if accepts { Said::SynAck } else { Said::Rst }, Ask::Syn(port));
        let answer = Answer { ip: [192, 0, 2, 1].into(), ask, said, at: Ts(2), rtt: None, shape: (window, 64) };
        let mut found = Vec::new();
        guard.control_answered(0, port, accepts, &answer, hosts, &mut found);
        found
    }

    #[test]
    fn nineteen_opens_are_told_at_once_and_the_twentieth_is_held() {
        let (named, mut hosts) = (HashSet::new(), at_work());
        let mut guard = Guard::new(65_535, T, 1, &named);
        let (found, controls) = opened(&mut guard, &mut hosts, &range(30_000, 25), 25);
        assert_eq!((found.len(), controls.len(), guard.undecided()), (19, 3, 1));
        assert!(controls.iter().all(|p| *p >= 49_152 && !Catalog::builtin().common_ports().contains(*p)), "{controls:?}");
    }

    #[test]
    fn a_host_whose_controls_accept_is_pseudo_open_and_says_so_first() {
        for (window, acceptance) in [(0, Acceptance::SynProxy), (64_240, Acceptance::AllOpen)] {
            let (named, mut hosts) = (HashSet::from([Endpoint::tcp([192, 0, 2, 1].into(), 30_021)]), at_work());
            let mut guard = Guard::new(65_535, T, 1, &named);
            let (_, controls) = opened(&mut guard, &mut hosts, &range(30_000, 25), 25);
            opened(&mut guard, &mut hosts, &[6_379], 26);
            let found: Vec<Found> =
                controls.iter().flat_map(|&port| answer(&mut guard, &mut hosts, port, true, window)).collect();
            let pseudo = |open_ports, observed_at| Found::PseudoOpen {
                ip: [192, 0, 2, 1].into(),
                open_ports,
                acceptance,
                observed_at: Ts(observed_at),
            };
            assert_eq!(found, [pseudo(26, 2), Found::Endpoint(open(30_021)), Found::Endpoint(open(6_379))]);
            assert!(hosts.get(0).pseudo && !hosts.get(0).checking);
            let (mut found, _) = opened(&mut guard, &mut hosts, &[31_000, 3_306], 28);
            guard.finish(Ts(3), &mut hosts, &mut found);
            assert_eq!(found, [Found::Endpoint(open(3_306)), pseudo(28, 3)]);
        }
    }

    #[test]
    fn a_server_with_many_services_keeps_them_all() {
        let (named, mut hosts) = (HashSet::new(), at_work());
        let mut guard = Guard::new(65_535, T, 1, &named);
        let (mut found, controls) = opened(&mut guard, &mut hosts, &range(30_000, 25), 25);
        found.extend(answer(&mut guard, &mut hosts, controls[0], true, 1));
        found.extend(answer(&mut guard, &mut hosts, controls[1], false, 0));
        assert_eq!((found.len(), guard.undecided()), (25, 0));
        assert!(!found.iter().any(|f| matches!(f, Found::PseudoOpen { .. })));
        // Checked again at ten times as many, with other controls.
        let (more, again) = opened(&mut guard, &mut hosts, &range(31_000, 300), 325);
        assert_eq!(more.len(), 224, "250 less the 25 told before and the one that is held");
        assert!(again.len() == 3 && again.iter().all(|port| !controls.contains(port)));
    }

    #[test]
    fn open_controls_on_a_host_that_is_mostly_closed_prove_nothing() {
        let (named, mut hosts) = (HashSet::new(), at_work());
        let mut guard = Guard::new(65_535, T, 1, &named);
        let (mut found, controls) = opened(&mut guard, &mut hosts, &range(30_000, 20), 80);
        controls.iter().for_each(|&port| found.extend(answer(&mut guard, &mut hosts, port, true, 1)));
        assert_eq!(found.len(), 20);
        assert!(!found.iter().any(|f| matches!(f, Found::PseudoOpen { .. })));
    }

    #[test]
    fn of_few_ports_all_must_be_open() {
        for (questions, opens, checked) in [(5, 5, true), (5, 4, false), (4, 4, false), (19, 19, true), (30, 19, false)] {
            let (named, mut hosts) = (HashSet::new(), at_work());
            let mut guard = Guard::new(questions, T, 1, &named);
            let (found, controls) = opened(&mut guard, &mut hosts, &range(30_000, opens), questions);
            assert_eq!(controls.len(), if checked { 3 } else { 0 }, "{opens} of {questions}");
            assert_eq!(found.len(), usize::from(opens) - usize::from(checked));
        }
    }

    #[test]
    fn silent_controls_are_asked_twice_and_then_believed() {
        let (named, mut hosts) = (HashSet::new(), at_work());
        let mut guard = Guard::new(65_535, T, 1, &named);
        let (mut found, controls) = opened(&mut guard, &mut hosts, &range(30_000, 20), 20);
        found.extend(answer(&mut guard, &mut hosts, controls[0], true, 1));
        let deadline = guard.wake().unwrap();
        guard.overdue(deadline, Ts(3), &mut hosts, &mut found);
        let again: Vec<_> = std::iter::from_fn(|| guard.next_control(deadline)).collect();
        assert_eq!(again, [(0, controls[1], 1), (0, controls[2], 1)]);
        guard.overdue(deadline + T, Ts(4), &mut hosts, &mut found);
        assert_eq!((found.len(), guard.undecided(), guard.wake()), (20, 0, None));
    }
}
