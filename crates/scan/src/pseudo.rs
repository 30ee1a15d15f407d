//! Telling a host that accepts on every port, a firewall or SYN proxy, from one with many services: the deciding half, one
//! host at a time. Sending the control probes it asks for is the walk's.
//!
//! When a host shows [`MANY`] open ports, [`CONTROLS`] ports on which nobody runs a service are probed. If all of them accept,
//! and more than half of what had been probed on the host is open, acceptance means nothing there. Until that is decided the
//! host's further opens are held back; after it, only those are told that somebody asked for by name or that would be high
//! risk if they were real, and the rest is counted. A host that passes is checked again at ten times as many.

use crate::api::{Acceptance, Found};
use crate::order::mix;
use model::catalog::Catalog;
use model::{Endpoint, Observation, PortSet, Ts};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Open ports at which a host is checked. Servers with more services than this on one address are rare; a firewall that
/// accepts everything gets here within seconds at any rate.
const MANY: u32 = 20;

/// Three: if a tenth of the high ports of a real host were open, all three would accept once in a thousand hosts.
const CONTROLS: usize = 3;

/// A control probe is sent at most this often: one lost packet must not make a firewall a server.
const TRIES: u8 = 2;

/// The watch over the hosts of a slice: eight bytes a host, and what is held back of those with many opens.
pub(crate) struct Guard<'a> {
    seed: u64,
    timeout: Duration,
    ports: u32,
    opens: Vec<u32>,
    sent: Vec<u32>,
    watched: HashMap<u32, Watch>,
    queue: VecDeque<(u32, u16, u8)>,
    high_risk: PortSet,
    named: &'a HashSet<Endpoint>,
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
    },
}

struct Check {
    ip: IpAddr,
    /// Port, and whether it has accepted.
    controls: [(u16, bool); CONTROLS],
    tries: u8,
    /// Ports probed on the host when the check began.
    probed: u32,
    /// When those that have not answered are taken for silent; unknown until the last of them has left.
    deadline: Option<Instant>,
    held: Vec<Observation>,
}

impl<'a> Guard<'a> {
    /// A watch over so many hosts on which so many ports are probed.
    pub fn new(hosts: usize, ports: u32, timeout: Duration, seed: u64, named: &'a HashSet<Endpoint>) -> Self {
        Guard {
            seed,
            timeout,
            ports,
            opens: vec![0; hosts],
            sent: vec![0; hosts],
            watched: HashMap::new(),
            queue: VecDeque::new(),
            high_risk: Catalog::builtin().high_risk_ports(),
            named,
        }
    }

    /// A port of the host is being probed.
    pub fn sent(&mut self, host: u32) {
        let sent = &mut self.sent[host as usize];
        *sent = sent.saturating_add(1);
    }

    /// A port of the host is open.
    pub fn open(&mut self, host: u32, observation: Observation, found: &mut Vec<Found>) {
        let opens = &mut self.opens[host as usize];
        *opens += 1;
        let opens = *opens;
        match self.watched.get_mut(&host) {
            Some(Watch::Checking(check)) => check.held.push(observation),
            Some(Watch::Pseudo { .. }) => {
                if keeps(&self.high_risk, self.named, &observation) {
                    found.push(Found::Endpoint(observation));
                }
            }
            Some(Watch::Real { again_at }) if opens < *again_at => found.push(Found::Endpoint(observation)),
            None if opens < MANY => found.push(Found::Endpoint(observation)),
            Some(Watch::Real { .. }) | None => {
                let controls = control_ports(self.seed, observation.endpoint.ip, opens);
                self.queue.extend(controls.iter().map(|&port| (host, port, 0)));
                let check = Check {
                    ip: observation.endpoint.ip,
                    controls: controls.map(|port| (port, false)),
                    tries: 1,
                    // A repetition is no further port.
                    probed: self.sent[host as usize].min(self.ports),
                    deadline: None,
                    held: vec![observation],
                };
                self.watched.insert(host, Watch::Checking(check));
            }
        }
    }

    /// The next control probe to send: host, port, number of the try.
    pub fn next_control(&mut self, now: Instant) -> Option<(u32, u16, u8)> {
        let next = self.queue.pop_front()?;
        if let Some(Watch::Checking(check)) = self.watched.get_mut(&next.0) {
            check.deadline = Some(now + self.timeout);
        }
        Some(next)
    }

    /// A port answered; `accepts` or not. True when it was a control port under watch.
    pub fn control_answered(&mut self, host: u32, port: u16, accepts: bool, at: Ts, found: &mut Vec<Found>) {
        let Some(Watch::Checking(check)) = self.watched.get_mut(&host) else {
            return;
        };
        let Some(control) = check.controls.iter_mut().find(|(control, _)| *control == port) else {
            return;
        };
        control.1 = accepts;
        if !accepts {
            self.decide(host, false, at, found);
        } else if check.controls.iter().all(|&(_, accepted)| accepted) {
            let mostly = self.opens[host as usize] * 2 > check.probed;
            self.decide(host, mostly, at, found);
        }
    }

    /// When something is to be done next, if anything is.
    pub fn wake(&self) -> Option<Instant> {
        let deadline = |watch: &Watch| {
            if let Watch::Checking(check) = watch { check.deadline } else { None }
        };
        self.watched.values().filter_map(deadline).min()
    }

    /// Checks that have waited long enough: silent controls are asked once more, then count as not accepting.
    pub fn overdue(&mut self, now: Instant, at: Ts, found: &mut Vec<Found>) {
        let due: Vec<u32> = self
            .watched
            .iter()
            .filter(|(_, watch)| matches!(watch, Watch::Checking(c) if c.deadline.is_some_and(|deadline| deadline <= now)))
            .map(|(&host, _)| host)
            .collect();
        for host in due {
            match self.watched.get_mut(&host) {
                Some(Watch::Checking(check)) if check.tries < TRIES => {
                    let silent = check.controls.iter().filter(|(_, accepted)| !accepted);
                    self.queue.extend(silent.map(|&(port, _)| (host, port, check.tries)));
                    check.tries += 1;
                    check.deadline = None;
                }
                _ => self.decide(host, false, at, found),
            }
        }
    }

    /// Hosts whose check is not decided.
    pub fn undecided(&self) -> u64 {
        self.watched.values().filter(|watch| matches!(watch, Watch::Checking(_))).count() as u64
    }

    /// The sweep is over: undecided checks let their opens go, and counts that have grown are told.
    pub fn finish(&mut self, at: Ts, found: &mut Vec<Found>) {
        let mut hosts: Vec<u32> = self.watched.keys().copied().collect();
        hosts.sort_unstable();
        for host in hosts {
            match self.watched.get_mut(&host) {
                Some(Watch::Checking(_)) => self.decide(host, false, at, found),
                Some(Watch::Pseudo { ip, told }) if *told < self.opens[host as usize] => {
                    *told = self.opens[host as usize];
                    found.push(Found::PseudoOpen {
                        ip: *ip,
                        open_ports: *told,
                        acceptance: Acceptance::AllOpen,
                        observed_at: at,
                    });
                }
                _ => {}
            }
        }
    }

    fn decide(&mut self, host: u32, pseudo: bool, at: Ts, found: &mut Vec<Found>) {
        let opens = self.opens[host as usize];
        let Some(Watch::Checking(check)) = self.watched.remove(&host) else {
            return;
        };
        self.queue.retain(|&(queued, ..)| queued != host);
        if pseudo {
            found.push(Found::PseudoOpen { ip: check.ip, open_ports: opens, acceptance: Acceptance::AllOpen, observed_at: at });
            self.watched.insert(host, Watch::Pseudo { ip: check.ip, told: opens });
        } else {
            self.watched.insert(host, Watch::Real { again_at: opens.saturating_mul(10) });
        }
        let told = check.held.into_iter().filter(|o| !pseudo || keeps(&self.high_risk, self.named, o));
        found.extend(told.map(Found::Endpoint));
    }
}

/// Whether an open endpoint of a host that accepts everything is told all the same.
fn keeps(high_risk: &PortSet, named: &HashSet<Endpoint>, observation: &Observation) -> bool {
    high_risk.contains(observation.endpoint.port) || named.contains(&observation.endpoint)
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
    use model::{Reason, State};

    const T: Duration = Duration::from_secs(1);

    fn open(port: u16) -> Observation {
        let endpoint = Endpoint::tcp([192, 0, 2, 1].into(), port);
        Observation { endpoint, state: State::Open, reason: Reason::SynAck, observed_at: Ts(1) }
    }

    /// Opens ports from 30000 on until the guard asks for controls; gives back what was told and the controls.
    fn until_checked(guard: &mut Guard<'_>, first: u16, count: u16) -> (Vec<Found>, Vec<u16>) {
        let mut found = Vec::new();
        for port in first..first + count {
            guard.sent(0);
            guard.open(0, open(port), &mut found);
        }
        let now = Instant::now();
        let controls = std::iter::from_fn(|| guard.next_control(now)).map(|(_, port, _)| port).collect();
        (found, controls)
    }

    #[test]
    fn nineteen_opens_are_told_at_once_and_the_twentieth_is_held() {
        let named = HashSet::new();
        let mut guard = Guard::new(1, 65_535, T, 1, &named);
        let (found, controls) = until_checked(&mut guard, 30_000, 25);
        assert_eq!((found.len(), controls.len(), guard.undecided()), (19, 3, 1));
        assert!(controls.iter().all(|p| *p >= 49_152 && !Catalog::builtin().common_ports().contains(*p)), "{controls:?}");
    }

    #[test]
    fn a_host_whose_controls_accept_is_pseudo_open_and_says_so_first() {
        let named = HashSet::from([Endpoint::tcp([192, 0, 2, 1].into(), 30_021)]);
        let mut guard = Guard::new(1, 65_535, T, 1, &named);
        let (_, controls) = until_checked(&mut guard, 30_000, 25);
        let mut found = Vec::new();
        guard.open(0, open(6_379), &mut found);
        controls.iter().for_each(|&port| guard.control_answered(0, port, true, Ts(2), &mut found));
        let expected = [
            Found::PseudoOpen { ip: [192, 0, 2, 1].into(), open_ports: 26, acceptance: Acceptance::AllOpen, observed_at: Ts(2) },
            Found::Endpoint(open(30_021)),
            Found::Endpoint(open(6_379)),
        ];
        assert_eq!(found, expected);
        found.clear();
        guard.open(0, open(31_000), &mut found);
        guard.open(0, open(3_306), &mut found);
        guard.finish(Ts(3), &mut found);
        let grown =
            Found::PseudoOpen { ip: [192, 0, 2, 1].into(), open_ports: 28, acceptance: Acceptance::AllOpen, observed_at: Ts(3) };
        assert_eq!(found, [Found::Endpoint(open(3_306)), grown]);
    }

    #[test]
    fn a_server_with_many_services_keeps_them_all() {
        let named = HashSet::new();
        let mut guard = Guard::new(1, 65_535, T, 1, &named);
        let (mut found, controls) = until_checked(&mut guard, 30_000, 25);
        guard.control_answered(0, controls[0], true, Ts(2), &mut found);
        guard.control_answered(0, controls[1], false, Ts(2), &mut found);
        assert_eq!((found.len(), guard.undecided()), (25, 0));
        assert!(!found.iter().any(|f| matches!(f, Found::PseudoOpen { .. })));
        // Checked again at ten times as many, with other controls.
        let (more, again) = until_checked(&mut guard, 31_000, 300);
        assert_eq!(more.len(), 224, "250 less the 25 told before and the one that is held");
        assert!(again.len() == 3 && again.iter().all(|port| !controls.contains(port)));
    }

    #[test]
    fn open_controls_on_a_host_that_is_mostly_closed_prove_nothing() {
        let named = HashSet::new();
        let mut guard = Guard::new(1, 65_535, T, 1, &named);
        (0..60).for_each(|_| guard.sent(0));
        let (mut found, controls) = until_checked(&mut guard, 30_000, 20);
        controls.iter().for_each(|&port| guard.control_answered(0, port, true, Ts(2), &mut found));
        assert_eq!(found.len(), 20);
        assert!(!found.iter().any(|f| matches!(f, Found::PseudoOpen { .. })));
    }

    #[test]
    fn silent_controls_are_asked_twice_and_then_believed() {
        let named = HashSet::new();
        let mut guard = Guard::new(1, 65_535, T, 1, &named);
        let (mut found, controls) = until_checked(&mut guard, 30_000, 20);
        guard.control_answered(0, controls[0], true, Ts(2), &mut found);
        let deadline = guard.wake().unwrap();
        guard.overdue(deadline, Ts(3), &mut found);
        let again: Vec<_> = std::iter::from_fn(|| guard.next_control(deadline)).collect();
        assert_eq!(again, [(0, controls[1], 1), (0, controls[2], 1)]);
        guard.overdue(deadline + T, Ts(4), &mut found);
        assert_eq!((found.len(), guard.undecided(), guard.wake()), (20, 0, None));
    }
}
