//! Asking again what has answered: a few endpoints of this sweep that are known to answer are asked over and over, so that
//! what goes unanswered is loss and not somebody's choice to be silent. What follows for the rate is `congestion`'s to
//! decide, sending is `walk`'s. Time comes in as nanoseconds.
//!
//! Not every silence is the path's. A host may limit its SYN-ACKs, and many limit their RSTs. So canaries are spread over
//! hosts, a host that answers far less than the others is set apart as limited, and open ports are preferred, then echoes: that
//! a closed port answers proves that the path carries, that it does not proves little.

use crate::ask::Ask;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Hosts that are asked: few enough that two hundred canaries a second soon show what each of them does.
const HOSTS: usize = 24;
/// Questions of each kind remembered for each host, so that one service that goes away is not the host's silence.
const QUESTIONS: usize = 3;
/// Outcomes by which a host is compared with the others.
const HISTORY: u32 = 16;
/// Outcomes needed before a host is set apart, and of the others before they are a measure: of eight at even odds, all are
/// lost once in 256 times.
const ENOUGH: u32 = 8;
/// Canaries still looked for after they were taken for lost: as long as anybody waits for a SYN-ACK.
const LATEST_NS: u64 = 1_500_000_000;
/// The least time to wait for an answer: our own threads take turns of some ten milliseconds.
const LEAST_WAIT_NS: u64 = 100_000_000;
/// The time to wait while no round trip has been measured.
const FIRST_WAIT_NS: u64 = 300_000_000;
/// A limited host is asked once a second whether it still is.
const LIMITED_PAUSE_NS: u64 = 1_000_000_000;

/// A question that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    ask: Ask,
    open: bool,
}

impl Known {
    fn kind(self) -> Kind {
        match self.ask {
            _ if self.open => Kind::Open,
            Ask::Echo => Kind::Echo,
            _ => Kind::Closed,
        }
    }
}

#[derive(Debug)]
struct Host {
    ip: IpAddr,
    known: Vec<Known>,
    /// Which of them is next.
    turn: usize,
    /// Outcomes, the latest in the lowest bit, one for answered.
    history: u32,
    outcomes: u32,
    limited: bool,
    /// So many answers in a row, and it is not limited any more.
    proof: u32,
    asked_at: u64,
}

impl Host {
    fn open(&self) -> bool {
        self.known.iter().any(|k| k.open)
    }
    /// Whether its silence means something.
    fn telling(&self) -> bool {
        self.known.iter().any(|k| k.kind() != Kind::Closed)
    }
    fn set_apart(&mut self) {
        self.limited = true;
        // It has to show that it answers again.
        (self.history, self.outcomes) = (0, HISTORY);
    }
    fn answered(&self) -> u32 {
        (self.history & ((1 << self.outcomes) - 1)).count_ones()
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    host: u32,
    ask: Ask,
    kind: Kind,
    sent: u64,
    epoch: u64,
    answered: bool,
    /// Given up.
    lost: bool,
    /// What it came to has been said.
    told: bool,
}

/// What one canary came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The epoch it was sent in.
    pub epoch: u64,
    /// Slot of its host, below [`Canaries::SLOTS`].
    pub host: u32,
    /// What was asked.
    pub kind: Kind,
    /// What it came to.
    pub verdict: Verdict,
}

/// What a canary asks, by what its silence proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An open port. Who serves it wants to be heard.
    Open,
    /// A closed port: many systems limit their RSTs.
    Closed,
    /// An echo. Linux and Windows limit their ICMP errors, but not these.
    Echo,
}

/// Answered, lost, or answered after it was taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answered,
    Lost,
    Late,
}

/// The endpoints that are asked again, and how they answer.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    hosts: Vec<Host>,
    slot_of: HashMap<IpAddr, u32>,
    turn: usize,
    asked: u64,
    /// How many were answered.
    answered: u64,
    flying: VecDeque<Flight>,
    /// Smoothed round trip and its deviation (RFC 6298), once one has been measured.
    rtt: Option<(u64, u64)>,
    outcomes: Vec<Outcome>,
}

impl Canaries {
    /// How many slots for hosts there are.
    pub const SLOTS: usize = HOSTS;

    /// A question was answered: a canary in the air, or something to be asked from now on. `open` when it was an open port.
    pub fn heard(&mut self, ip: IpAddr, ask: Ask, open: bool, now: u64) {
        let Some(&slot) = self.slot_of.get(&ip) else {
            self.learn(ip, Known { ask, open });
            return;
        };
        // Of several to the same endpoint, the one whose age is nearest to the round trip.
        let rtt = self.rtt.map_or(0, |(mean, _)| mean);
        // A host that refuses a whole range of ports is heard often, and nearly never for a canary.
        let asked = self.hosts[slot as usize].known.iter().any(|k| k.ask == ask);
        let flight = (self.flying.iter_mut().take_while(|_| asked))
            .filter(|f| f.host == slot && f.ask == ask && !f.answered)
            .min_by_key(|f| now.saturating_sub(f.sent).abs_diff(rtt));
        if let Some(flight) = flight {
            flight.answered = true;
            self.answered += 1;
            let took = now.saturating_sub(flight.sent);
            let late = flight.told && flight.lost;
            let outcome = Outcome { epoch: flight.epoch, host: slot, kind: flight.kind, verdict: Verdict::Late };
            self.rtt = Some(match self.rtt {
                None => (took, took / 2),
                Some((mean, deviation)) => ((7 * mean + took) / 8, (3 * deviation + mean.abs_diff(took)) / 4),
            });
            if late {
                self.note(outcome);
            }
            return;
        }
        let known = &mut self.hosts[slot as usize].known;
        if let Some(known) = known.iter_mut().find(|k| k.ask == ask) {
            known.open = open;
        } else if known.iter().filter(|k| k.open == open).count() < QUESTIONS {
            known.push(Known { ask, open });
        }
    }

    fn learn(&mut self, ip: IpAddr, known: Known) {
        let host = Host { ip, known: vec![known], turn: 0, history: 0, outcomes: 0, limited: false, proof: 4, asked_at: 0 };
        if self.hosts.len() < HOSTS {
            self.slot_of.insert(ip, self.hosts.len() as u32);
            self.hosts.push(host);
            return;
        }
        // Full: a host with an open port takes the place of one without.
        if !known.open {
            return;
        }
        let in_the_air = |slot: usize| self.flying.iter().any(|f| f.host as usize == slot);
        if let Some(slot) = (0..HOSTS).find(|slot| !self.hosts[*slot].open() && !in_the_air(*slot)) {
            self.slot_of.remove(&self.hosts[slot].ip);
            self.slot_of.insert(ip, slot as u32);
            self.hosts[slot] = host;
        }
    }

    /// The next question to repeat, counted as asked in this epoch.
    pub fn next(&mut self, epoch: u64, now: u64) -> Option<(IpAddr, Ask)> {
        let free = |h: &&Host| !h.limited && !h.known.is_empty();
        let open_hosts = self.hosts.iter().filter(free).filter(|h| h.open()).count();
        self.asked += 1;
        // With one open host, every other canary asks something else whether it is the host or the path.
        let want_open = open_hosts > 1 || open_hosts == 1 && self.asked.is_multiple_of(2);
        let n = self.hosts.len();
        let slot = (1..=n).map(|i| (self.turn + i) % n).find(|&i| match &self.hosts[i] {
            host if host.known.is_empty() => false,
            host if host.limited => now >= host.asked_at + LIMITED_PAUSE_NS,
            host => open_hosts == 0 || host.known.iter().any(|k| k.open == want_open),
        });
        // Nobody else to ask: the one open host.
        let slot = slot.or_else(|| self.hosts.iter().position(|h| h.open() && !h.limited))?;
        self.turn = slot;
        let host = &mut self.hosts[slot];
        host.turn += 1;
        host.asked_at = now;
        let wanted = |k: &&Known| k.open == want_open;
        let among = host.known.iter().filter(wanted).count();
        let known = match among {
            0 => host.known[host.turn % host.known.len()],
            n => *host.known.iter().filter(wanted).nth(host.turn % n)?,
        };
        let flight = Flight {
            host: slot as u32,
            ask: known.ask,
            kind: known.kind(),
            sent: now,
            epoch,
            answered: false,
            lost: false,
            told: false,
        };
        self.flying.push_back(flight);
        Some((host.ip, known.ask))
    }

    /// The canary just drawn could not be sent after all.
    pub fn unsent(&mut self) {
        self.flying.pop_back();
    }

    /// The host is not at work any more.
    pub fn leave(&mut self, ip: IpAddr) {
        if let Some(slot) = self.slot_of.get(&ip) {
            self.hosts[*slot as usize].known.clear();
        }
    }

    /// How many were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// How long an answer is waited for.
    pub fn wait_ns(&self) -> u64 {
        self.rtt.map_or(FIRST_WAIT_NS, |(mean, deviation)| (2 * mean + 4 * deviation).max(LEAST_WAIT_NS)).min(LATEST_NS)
    }

    /// What canaries came to since the last time, in the order in which they were sent and no further than the first of which
    /// nothing is known: answers come sooner than losses are certain, and would make every share look good for a while. To be
    /// called when all answers that have arrived have been heard, so that our own delay does not count as loss.
    pub fn outcomes(&mut self, now: u64) -> Vec<Outcome> {
        let wait = self.wait_ns();
        for i in 0..self.flying.len() {
            let flight = &mut self.flying[i];
            if flight.told {
                continue;
            }
            flight.lost = !flight.answered && now >= flight.sent + wait;
            if !flight.answered && !flight.lost {
                break;
            }
            flight.told = true;
            let verdict = if flight.answered { Verdict::Answered } else { Verdict::Lost };
            let outcome = Outcome { epoch: flight.epoch, host: flight.host, kind: flight.kind, verdict };
            self.note(outcome);
        }
        while let Some(first) = self.flying.front()
            && first.told
            && (first.answered || now >= first.sent + LATEST_NS)
        {
            self.flying.pop_front();
        }
        self.set_apart();
        std::mem::take(&mut self.outcomes)
    }

    /// Whether what became of all canaries of this epoch and earlier ones has been said.
    pub fn decided(&self, epoch: u64) -> bool {
        self.flying.iter().find(|f| !f.told).is_none_or(|f| f.epoch > epoch)
    }

    /// Whether there are any of which nothing is known yet.
    pub fn undecided(&self, now: u64) -> bool {
        let wait = self.wait_ns();
        self.flying.iter().any(|f| !f.told && !f.answered && now < f.sent + wait)
    }

    fn note(&mut self, outcome: Outcome) {
        let host = &mut self.hosts[outcome.host as usize];
        match outcome.verdict {
            // The bit of the loss is somewhere among the latest; which one does not matter for the count.
            Verdict::Late => {
                let zeros = !host.history & ((1 << host.outcomes) - 1);
                host.history |= zeros & zeros.wrapping_neg();
            }
            verdict => {
                host.history = host.history << 1 | u32::from(verdict == Verdict::Answered);
                host.outcomes = (host.outcomes + 1).min(HISTORY);
            }
        }
        self.outcomes.push(outcome);
    }

    /// Sets hosts apart that answer less than half as often as the others together do, and takes those back that have answered
    /// some times in a row.
    fn set_apart(&mut self) {
        let free = |h: &&Host| !h.limited;
        let total: u32 = self.hosts.iter().filter(free).map(|h| h.outcomes).sum();
        let answered: u32 = self.hosts.iter().filter(free).map(Host::answered).sum();
        for host in &mut self.hosts {
            if host.limited {
                let proof = (1 << host.proof) - 1;
                if host.history & proof == proof {
                    // What it did before does not count against it any more.
                    (host.limited, host.outcomes) = (false, host.proof);
                    // Asked once a second a host answers that would not if it were asked more; next time it proves more.
                    host.proof = (2 * host.proof).min(HISTORY);
                }
                continue;
            }
            let (others, others_answered) = (total - host.outcomes, answered - host.answered());
            // On a path that loses much, some hosts answer less than others by chance.
            let path_is_fine = others >= ENOUGH && 5 * others_answered >= 4 * others;
            let half_as_well = 2 * host.answered() * others < others_answered * host.outcomes;
            host.limited = path_is_fine && half_as_well && host.outcomes >= ENOUGH;
            if host.limited {
                host.set_apart();
            }
        }
    }

    /// Takes all hosts for limited.
    pub fn set_all_apart(&mut self) {
        self.hosts.iter_mut().for_each(Host::set_apart);
    }

    /// Whether the host's answers are limited by itself.
    pub fn is_limited(&self, slot: u32) -> bool {
        self.hosts[slot as usize].limited
    }

    /// The share of the host's last canaries that it answered.
    pub fn answering(&self, slot: u32) -> f64 {
        let host = &self.hosts[slot as usize];
        if host.outcomes == 0 { 1.0 } else { f64::from(host.answered()) / f64::from(host.outcomes) }
    }

    /// How many hosts' answers are limited by themselves.
    pub fn limited_hosts(&self) -> usize {
        self.hosts.iter().filter(|h| h.limited).count()
    }

    /// The hosts whose answers are limited by themselves.
    #[cfg(test)]
    pub fn limited(&self) -> impl Iterator<Item = IpAddr> {
        self.hosts.iter().filter(|h| h.limited).map(|h| h.ip)
    }

    /// How many hosts can be asked, and how many of them something of which silence proves more than that of a closed port;
    /// limited ones do not count.
    pub fn hosts(&self) -> (usize, usize) {
        let free = self.hosts.iter().filter(|h| !h.limited && !h.known.is_empty());
        free.fold((0, 0), |(all, telling), h| (all + 1, telling + usize::from(h.telling())))
    }

    /// Forgets everybody: they have fallen silent at any rate.
    pub fn forget(&mut self) {
        self.hosts.clear();
        self.slot_of.clear();
        self.flying.clear();
        self.outcomes.clear();
        self.turn = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    /// Canaries that know these hosts by an open port each.
    fn knowing(hosts: u8) -> Canaries {
        let mut canaries = Canaries::default();
        (0..hosts).for_each(|n| canaries.heard(ip(n), Ask::Syn(80), true, 0));
        canaries
    }

    fn verdicts(outcomes: &[Outcome]) -> Vec<Verdict> {
        outcomes.iter().map(|o| o.verdict).collect()
    }

    #[test]
    fn outcomes_come_in_the_order_of_sending_and_losses_after_a_wait() {
        let mut canaries = knowing(3);
        let asked: Vec<IpAddr> = (0..3).map(|n| canaries.next(7, n * MS).unwrap().0).collect();
        assert_eq!(asked.iter().collect::<std::collections::HashSet<_>>().len(), 3, "each host in its turn");
        // The first is never answered; what came after it says nothing before that is certain.
        canaries.heard(asked[1], Ask::Syn(80), true, 11 * MS);
        canaries.heard(asked[2], Ask::Syn(80), true, 12 * MS);
        assert_eq!(canaries.outcomes(13 * MS), []);
        assert!(canaries.undecided(13 * MS) && !canaries.decided(7));
        let outcomes = canaries.outcomes(150 * MS);
        assert_eq!(verdicts(&outcomes), [Verdict::Lost, Verdict::Answered, Verdict::Answered]);
        assert!(outcomes.iter().all(|o| o.epoch == 7 && o.kind == Kind::Open) && canaries.decided(7));
        // An answer that comes after all is told as that.
        canaries.heard(asked[0], Ask::Syn(80), true, 200 * MS);
        assert_eq!(verdicts(&canaries.outcomes(201 * MS)), [Verdict::Late]);
    }

    #[test]
    fn an_answer_that_waited_for_us_is_no_loss() {
        let mut canaries = knowing(1);
        canaries.next(1, 0).unwrap();
        // Nobody looked for a second, and then at the answers first.
        canaries.heard(ip(0), Ask::Syn(80), true, 1_000 * MS);
        assert_eq!(verdicts(&canaries.outcomes(1_000 * MS)), [Verdict::Answered]);
    }

    #[test]
    fn a_host_that_falls_silent_while_others_answer_is_set_apart_and_taken_back() {
        let mut canaries = knowing(4);
        let (mut now, mut silent) = (0, true);
        let mut asked_of_limited = 0;
        for round in 0..400u32 {
            now += 50 * MS;
            let Some((to, ask)) = canaries.next(1, now) else { panic!("somebody is always there to be asked") };
            asked_of_limited += u32::from(to == ip(2) && canaries.limited().count() == 1);
            if to != ip(2) || !silent {
                canaries.heard(to, ask, true, now + 5 * MS);
            }
            canaries.outcomes(now + 6 * MS);
            if round == 200 {
                assert_eq!(canaries.limited().collect::<Vec<_>>(), [ip(2)]);
                assert_eq!(canaries.hosts(), (3, 3));
                assert!(asked_of_limited < 10, "a limited host is asked once a second: {asked_of_limited}");
                silent = false;
            }
        }
        assert_eq!(canaries.limited().count(), 0);
    }

    #[test]
    fn hosts_with_open_ports_are_preferred_and_those_that_left_are_not_asked() {
        let mut canaries = Canaries::default();
        (0..60).for_each(|n| canaries.heard(ip(n), Ask::Syn(81), false, 0));
        (100..103).for_each(|n| canaries.heard(ip(n), Ask::Syn(80), true, 0));
        assert_eq!(canaries.hosts(), (HOSTS, 3));
        canaries.leave(ip(101));
        for n in 0..20 {
            let (to, ask) = canaries.next(1, n * MS).unwrap();
            assert!(to == ip(100) || to == ip(102), "{to}");
            assert_eq!(ask, Ask::Syn(80));
        }
        canaries.forget();
        assert_eq!(canaries.next(1, 0), None);
    }
}
