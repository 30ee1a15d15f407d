//! Finding out which hosts are there: neighbours by ARP and neighbour discovery, others by a handful of probes. Their ports are
//! `ports`' to ask.

use crate::api::Found;
use crate::ask::{Answer, Ask, Said, now};
use crate::hosts::{Hosts, TICK};
use crate::stretch::Stretches;
use crate::walk::{Draw, Walk, WalkAgain};
use crate::way::WayId;
use model::{HostObservation, Liveness, Reason};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

fn online(ip: IpAddr, reason: Reason, answer: &Answer) -> Found {
    Found::Host(HostObservation { ip, liveness: Liveness::Online, reason, observed_at: answer.at })
}

/// Asks for the hardware addresses of hosts on our own links.
pub(crate) struct NeighborWalk {
    pub hosts: Hosts,
    /// Indices of the hosts to ask for.
    wanted: Vec<u32>,
    next: usize,
    attempt: u8,
    outstanding: u64,
    /// Send a [`HostObservation`] for each that answers.
    report: bool,
}

impl NeighborWalk {
    /// Asks for the hosts whose way `is_neighbor` picks.
    pub fn new(hosts: Hosts, report: bool, is_neighbor: impl Fn(WayId) -> bool) -> Self {
        let wanted: Vec<u32> = (0..hosts.len() as u32).filter(|&i| is_neighbor(hosts.get(i).way)).collect();
        NeighborWalk { outstanding: wanted.len() as u64, wanted, next: 0, attempt: 0, hosts, report }
    }

    /// Begins the n-th try.
    pub fn begin(&mut self, attempt: u8) {
        (self.next, self.attempt) = (0, attempt);
    }
}

impl Walk for NeighborWalk {
    fn target(&self, host: u32) -> (IpAddr, WayId) {
        (self.hosts.ip(host), self.hosts.get(host).way)
    }
    fn draw(&mut self, _: &mut Vec<Found>) -> Draw {
        let Some(&host) = self.wanted.get(self.next) else { return Draw::End };
        self.next += 1;
        match self.hosts.get(host).up {
            None => Draw::Ask(host, Ask::Neighbor, self.attempt),
            Some(_) => Draw::Skipped,
        }
    }
    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if answer.ask == Ask::Neighbor && self.hosts.mark_up(host, Reason::ArpReply) {
            self.outstanding = self.outstanding.saturating_sub(1);
            if self.report {
                found.push(online(answer.ip, Reason::ArpReply, answer));
            }
        }
    }
    fn outstanding(&self) -> u64 {
        self.outstanding
    }
}

/// What a host behind a router is asked: an echo; SYNs to the ports most often let through; an ACK, which filters without
/// state take for part of a connection. One answer is enough.
const RAW_ASKS: [Ask; 5] = [Ask::Echo, Ask::Syn(443), Ask::Syn(80), Ask::Syn(22), Ask::Ack(80)];
/// The same by `connect`: two more ports, of the machines that have none of the first three.
const CONNECT_ASKS: [Ask; 5] = [Ask::Syn(443), Ask::Syn(80), Ask::Syn(22), Ask::Syn(445), Ask::Syn(3389)];

/// What has been heard of the time that answers take.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Hosts whose answer told how long it took.
    hosts: u32,
    /// The longest of them, in ticks.
    longest: u8,
}

/// So many hosts must have been heard before silence is judged by them: of a twentieth of the hosts that is further away than
/// the rest, one is among 64 with 96 %.
const ENOUGH_HEARD: u32 = 64;

/// How long the last question is waited for at least: queues, ours and the host's, and the schedulers between them.
const LEAST_WAIT: Duration = Duration::from_millis(200);

/// How many times the longest that any host took.
const LONGEST_TIMES: u32 = 2;

/// How long the first question is waited for at least, whatever the others took: there and back over a satellite in its
/// geostationary orbit takes 600 ms.
const FIRST_WAIT: Duration = Duration::from_millis(750);

impl Heard {
    fn took(&mut self, ticks: u8) {
        self.hosts = self.hosts.saturating_add(1);
        self.longest = self.longest.max(ticks);
    }

    /// How long to listen after the last question, when everybody's first was so much earlier.
    ///
    /// A host that is up has had five questions by then, and most answer the first. So that one gets its time, and the
    /// others as long as hosts here take.
    fn patience(&self, timeout: Duration, since_first: Duration) -> Duration {
        if self.hosts < ENOUGH_HEARD {
            return timeout;
        }
        let by_others = TICK * LONGEST_TIMES * (u32::from(self.longest) + 1);
        by_others.max(LEAST_WAIT).max(FIRST_WAIT.saturating_sub(since_first)).min(timeout)
    }
}

/// Asks hosts for any sign of life: a round of one question for everybody, then the next, in the order of the hosts.
pub(crate) struct LiveWalk {
    pub hosts: Hosts,
    /// The questions of this pass: those of the first round, each by its host, then those of the second, and so on.
    plan: Stretches,
    attempt: u8,
    /// For each host, questions that have left and not come back unsent.
    asked: Vec<u16>,
    outstanding: u64,
    heard: Heard,
    /// When everybody had been asked the first question for the first time, and when all of this pass. Where the path lost
    /// some of it, when those had been asked it again.
    first_round: Option<Instant>,
    ended: Option<Instant>,
    /// Questions have left later than they were drawn, so nobody knows when the first of each host did.
    delayed: bool,
}

impl LiveWalk {
    pub fn new(hosts: Hosts) -> Self {
        let outstanding = hosts.iter().filter(|h| h.up.is_none() && h.way.is_open()).count() as u64;
        let asked = vec![0; hosts.len() as usize];
        let (heard, first_round, ended) = (Heard::default(), None, None);
        let plan = Stretches::new(Vec::new());
        LiveWalk { asked, plan, attempt: 0, outstanding, heard, first_round, ended, delayed: false, hosts }
    }

    /// Begins the n-th try.
    pub fn begin(&mut self, attempt: u8) {
        let questions = self.hosts.len() * RAW_ASKS.len() as u64;
        self.plan = Stretches::new(std::iter::once(0..questions).collect());
        (self.attempt, self.ended) = (attempt, None);
    }

    /// The hosts that did not answer, less those that could not be asked; and how many those are.
    pub fn silent(&self) -> (Vec<Found>, u64) {
        let mut not_probed = 0;
        let mut silent = Vec::new();
        for (i, (host, &asked)) in self.hosts.iter().zip(&self.asked).enumerate().filter(|(_, (host, _))| host.up.is_none()) {
            if host.way.is_open() && asked == 0 {
                not_probed += 1;
                continue;
            }
            // No neighbour and no route count as silence: nothing answered any kind of probe.
            let (ip, observed_at) = (self.hosts.ip(i as u32), now());
            silent.push(Found::Host(HostObservation { ip, liveness: Liveness::Offline, reason: Reason::Timeout, observed_at }));
        }
        (silent, not_probed)
    }
}

impl Walk for LiveWalk {
    fn target(&self, host: u32) -> (IpAddr, WayId) {
        (self.hosts.ip(host), self.hosts.get(host).way)
    }
    fn draw(&mut self, _: &mut Vec<Found>) -> Draw {
        let Some(left) = self.plan.left() else {
            self.ended = Some(Instant::now());
            return Draw::End;
        };
        let (round, index) = ((left.start / self.hosts.len()) as usize, (left.start % self.hosts.len()) as u32);
        self.plan.walk_to(left.start + 1);
        if round > 0 {
            self.first_round.get_or_insert_with(Instant::now);
        }
        let host = self.hosts.get(index);
        if host.up.is_some() || !host.way.is_open() {
            return Draw::Skipped;
        }
        self.asked[index as usize] += 1;
        let asks = if host.way == WayId::KERNEL { CONNECT_ASKS } else { RAW_ASKS };
        Draw::Ask(index, asks[round], self.attempt)
    }
    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if answer.said == Said::CouldNotSend {
            let asked = &mut self.asked[host as usize];
            *asked = asked.saturating_sub(1);
        }
        let Some(reason) = answer.said.proves_alive() else { return };
        self.hosts.get_mut(host).took(answer.rtt);
        if self.hosts.mark_up(host, reason) {
            self.outstanding = self.outstanding.saturating_sub(1);
            answer.rtt.into_iter().for_each(|ticks| self.heard.took(ticks));
            found.push(online(answer.ip, reason, answer));
        }
    }
    fn outstanding(&self) -> u64 {
        self.outstanding
    }
    fn host_of(&self, ip: IpAddr) -> Option<u32> {
        self.hosts.index(ip)
    }
    fn position(&self) -> u64 {
        self.plan.walked()
    }
    fn delayed(&mut self) {
        self.delayed = true;
    }
    fn patience(&self, timeout: Duration) -> Duration {
        match (self.first_round, self.ended) {
            (Some(first), Some(ended)) if !self.delayed => self.heard.patience(timeout, ended.saturating_duration_since(first)),
            _ => timeout,
        }
    }
}

impl WalkAgain for LiveWalk {
    fn walk_again(&mut self, parts: &[Range<u64>]) {
        self.plan = self.plan.parts(parts);
        // Of a host whose first question was lost, what comes now is the first.
        (self.first_round, self.ended) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_by_others_only_when_enough_have_been_heard_and_never_sooner_than_a_satellite_answers() {
        let ms = Duration::from_millis;
        for (name, hosts, longest, since_first, expected) in [
            ("nobody was heard", 0, 0, 5_000, 1_500),
            ("too few", 63, 0, 5_000, 1_500),
            ("near, and the first question is long ago", 64, 0, 5_000, 200),
            ("near, and the first question has just left", 64, 0, 0, 750),
            ("near, and the first question left a while ago", 64, 0, 500, 250),
            ("one of them is 320 ms away", 64, 19, 5_000, 640),
            ("one of them is a second away", 64, 62, 5_000, 1_500),
            ("as long as can be told", 64, 255, 5_000, 1_500),
        ] {
            let heard = Heard { hosts, longest };
            assert_eq!(heard.patience(ms(1_500), ms(since_first)), ms(expected), "{name}");
            assert_eq!(heard.patience(ms(100), ms(since_first)), ms(100), "never longer than was asked for");
        }
        let mut heard = Heard::default();
        [3, 9, 1].into_iter().for_each(|ticks| heard.took(ticks));
        assert_eq!((heard.hosts, heard.longest), (3, 9));
    }
}
