//! Which silent cells are worth asking again, when a sweep repeats where it buys most rather than blindly: the deciding half,
//! numbers in, numbers out. Asking is `ports`' and the walker's.
//!
//! A silent cell is worth another probe as far as it is likely to be open and its answer lost. With p how likely its port is
//! open on a host that is up, l the share of questions that get lost, s how often that host is silent, and k the number of
//! questions so far, Bayes gives about p·(l/s)^k. On a host that refuses, silence is as rare as loss (s ≈ l), and a silent
//! cell is likely a lost answer. On one that drops (s = 1), it is the port that matters. A host never heard of is up and has
//! this port open as often as l times the hosts that were heard of by this port alone. Where many ports share these, an echo
//! finds more such hosts than any one port would, and costs one question rather than one for each port. Whoever answers it and has
//! answered on no port is one of a few, among whom nearly all are that were missed.
//!
//! p comes from the catalogue (where services usually are), from this sweep (how many of its hosts have the port open) and from
//! the neighbours in the same network. l is measured: endpoints known to be open are asked again. Worths are kept as half
//! octaves, -2·log2, of which small ones are good, so that all a cell costs is the sum of two bytes.

use crate::calls::MOST_HOSTS;
use crate::hosts::Hosts;
use crate::order::mix;
use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

/// Repetitions may cost half a probe for each cell.
pub(crate) const BUDGET_SHARE: f64 = 0.5;

/// How likely a port is open on a host that is up, before anything is known: of the ports on which services usually listen,
/// and of the others. What a network's own servers run is learnt from the sweep within a few hosts.
const PRIOR_COMMON: f64 = 0.005;
const PRIOR_OTHER: f64 = 0.0002;
/// How many hosts' worth of evidence the prior is.
const PRIOR_HOSTS: f64 = 4.0;
/// How likely a port is open that is open on another host of the same network.
const NEAR: f64 = 0.125;
/// The same for hosts never heard of: eight times as likely as elsewhere.
const NEAR_UNHEARD: u8 = 6;

/// How many of the hosts that are up answer an echo, and as many again do not: what is left to find by their ports among those
/// that did not is half, in half octaves. By surveys of the whole network about one half answers; inside of an organisation more do.
const ECHOES: f64 = 0.5;
const NO_ECHO: u8 = 2;

/// Loss before anything is measured, and how many questions' worth of evidence that is.
const LOSS_PRIOR: f64 = 0.02;
const LOSS_PRIOR_ASKED: f64 = 5.0;

/// Repetitions end when what they could still find is less than this share of what has been found.
const NEGLIGIBLE: f64 = 1.0 / 10_000.0;

/// Waves that go down the ranking, and by how much each at least, in half octaves: a wave costs a round trip, and what is four times
/// as likely as other cells should not wait for them.
const TIERS: u8 = 4;
const LEAST_STEP: u8 = 4;

/// A worth that is never reached.
pub(crate) const NEVER: u8 = u8::MAX;
/// The mark of hosts never heard of, among shifts of hosts.
const UNHEARD: u8 = u8::MAX - 1;
/// The mark of hosts that are up and have answered on no port.
const MUTE: u8 = u8::MAX - 2;
/// The worst worth there is: 2^-60.
const WORST: u8 = 120;
/// Times a cell is repeated at most.
pub(crate) const MOST_AGAIN: u8 = 3;

/// What asking known endpoints again has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LossSample {
    pub asked: u32,
    pub answered: u32,
}

impl LossSample {
    /// Questions that got lost.
    pub fn lost(self) -> u32 {
        self.asked.saturating_sub(self.answered)
    }

    /// Share of questions that get lost, leaning on experience while little has been asked.
    pub fn loss(self) -> f64 {
        let lost = f64::from(self.lost()) + LOSS_PRIOR * LOSS_PRIOR_ASKED;
        (lost / (f64::from(self.asked) + LOSS_PRIOR_ASKED)).min(0.9)
    }

    /// The share as measured; `None` when it rests on too little to be said.
    pub fn measured(self) -> Option<f64> {
        (self.asked >= 20).then(|| f64::from(self.lost()) / f64::from(self.asked))
    }
}

/// How much each cell is worth.
pub(crate) struct Ranking {
    /// For each question, on hosts that are up, and on hosts never heard of.
    on_alive: Vec<u8>,
    on_unheard: Vec<u8>,
    /// The same on hosts that are up and have answered on no port: whoever was missed is among them.
    on_mute: Vec<u8>,
    /// For each host: what each silence takes from the worth, or a mark.
    hosts: Vec<u8>,
    /// What each silence takes from the worth on hosts never heard of.
    unheard_shift: u8,
    /// Hosts never heard of that are up, by those who were heard of by one port alone: all of them, and those of the port that
    /// finds most.
    missed: (f64, f64),
    /// Network and question that are open somewhere.
    near: HashSet<u64>,
    /// Hosts with a network in `near`.
    has_near: Vec<bool>,
    /// Cells, in hosts' worth of silent cells, by shift of the host.
    silent: Vec<f64>,
}

/// An open cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenCell {
    pub host: u32,
    pub question: u32,
}

fn worth(likely: f64) -> u8 {
    if likely <= 0.0 { NEVER } else { (-2.0 * likely.log2()).ceil().clamp(0.0, f64::from(WORST)) as u8 }
}

/// As many as nobody misses, when so many have been found.
fn enough(found: u64) -> f64 {
    (found as f64 * NEGLIGIBLE).max(0.001)
}

fn network(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => mix((u128::from(ip) >> 64) as u64),
    }
}

fn near(ip: IpAddr, question: u32) -> u64 {
    mix(network(ip).rotate_left(32) ^ u64::from(question))
}

impl Ranking {
    /// The worth of the silent cells of these hosts, given which cells are open and how much gets lost. `is_common` says of
    /// a question whether services usually listen there.
    pub fn new(hosts: &Hosts, questions: u32, opens: &[OpenCell], loss: f64, is_common: impl Fn(u32) -> bool) -> Self {
        let mut hits = vec![0u32; questions as usize];
        let mut alone = vec![0u32; questions as usize];
        let (mut close, mut networks) = (HashSet::new(), HashSet::new());
        for open in opens {
            let host = hosts.get(open.host);
            if host.pseudo {
                continue;
            }
            let ip = hosts.ip(open.host);
            hits[open.question as usize] += 1;
            alone[open.question as usize] += u32::from(host.settled == 1);
            close.insert(near(ip, open.question));
            networks.insert(network(ip));
        }
        let (mut alive, mut unheard, mut mute) = (0u32, 0u32, 0u32);
        let mut ranks = Vec::with_capacity(hosts.len() as usize);
        let mut has_near = Vec::with_capacity(hosts.len() as usize);
        let mut silent = vec![0.0; 256];
        for (i, host) in hosts.iter().enumerate() {
            let left = f64::from(questions.saturating_sub(host.settled)) / f64::from(questions.max(1));
            let rank = match host.up {
                _ if !host.way.is_open() || host.pseudo => NEVER,
                Some(_) if host.settled == 0 => {
                    (alive, mute) = (alive + 1, mute + 1);
                    MUTE
                }
                Some(_) => {
                    alive += 1;
                    // Each silence of the host makes it so much less likely that there was an answer to lose.
                    worth(loss / left.clamp(loss, 1.0))
                }
                None => {
                    unheard += 1;
                    UNHEARD
                }
            };
            ranks.push(rank);
            silent[usize::from(rank)] += left;
            has_near.push(rank != NEVER && networks.contains(&network(hosts.ip(i as u32))));
        }
        // Few hosts have few neighbours to learn a port from; what they have is how many of their ports are open, and a port
        // that is not a usual one is believed to be half as likely.
        let open = f64::from(hits.iter().sum::<u32>()) / (f64::from(questions.max(1)) * f64::from(alive.max(1)));
        let open = if hosts.len() <= MOST_HOSTS { open } else { 0.0 };
        let on_alive: Vec<u8> = (0..questions)
            .map(|question| {
                let prior = if is_common(question) { PRIOR_COMMON + open } else { PRIOR_OTHER + open / 2.0 };
                let likely = (f64::from(hits[question as usize]) + PRIOR_HOSTS * prior) / (f64::from(alive) + PRIOR_HOSTS);
                worth(likely)
            })
            .collect();
        let on_unheard = (0..questions).map(|q| worth(f64::from(alone[q as usize]) * loss / f64::from(unheard.max(1))));
        let unheard_shift = worth(loss);
        let on_mute = (0..questions as usize).map(|q| {
            // None of its ports has answered, so it is one that drops.
            let base = on_alive[q].saturating_add(unheard_shift).min(WORST);
            base.min(worth(f64::from(alone[q]) * loss / f64::from(mute.max(1))))
        });
        let missed = |heard: u32| f64::from(heard) * loss;
        let missed = (missed(alone.iter().sum()), missed(alone.iter().copied().max().unwrap_or(0)));
        Ranking {
            missed,
            on_mute: on_mute.collect(),
            on_alive,
            on_unheard: on_unheard.collect(),
            hosts: ranks,
            unheard_shift,
            near: close,
            has_near,
            silent,
        }
    }

    /// The worth of asking a cell again that has been repeated so often: half octaves, of which small ones are good.
    pub fn worth(&self, host: u32, ip: IpAddr, question: u32, again: u8) -> u8 {
        if again >= MOST_AGAIN {
            return NEVER;
        }
        let rank = self.hosts[host as usize];
        let near = || self.has_near[host as usize] && self.near.contains(&near(ip, question));
        match rank {
            NEVER => NEVER,
            UNHEARD | MUTE => {
                let base = if rank == MUTE { &self.on_mute } else { &self.on_unheard }[question as usize];
                if base == NEVER {
                    return NEVER;
                }
                let base = if near() { base.saturating_sub(NEAR_UNHEARD) } else { base };
                base.saturating_add(again * self.unheard_shift).min(WORST)
            }
            shift => {
                let mut base = self.on_alive[question as usize];
                if base > worth(NEAR) && near() {
                    base = worth(NEAR);
                }
                base.saturating_add(shift.saturating_mul(again + 1)).min(WORST)
            }
        }
    }

    /// Whether hosts never heard of are worth an echo each, when so many endpoints have been found: it finds more of them than a
    /// question to any one port, and they are not so few that nobody misses them.
    pub fn call(&self, found: u64) -> bool {
        let (all, of_one_port) = self.missed;
        ECHOES * all > of_one_port && all > enough(found)
    }

    /// The same when hosts never heard of have been asked for an echo in vain.
    pub fn called(mut self) -> Self {
        self.on_unheard.iter_mut().filter(|worth| **worth < NEVER).for_each(|worth| *worth = (*worth + NO_ECHO).min(WORST));
        self
    }

    /// Whether a host has never been heard of.
    pub fn is_unheard(&self, host: u32) -> bool {
        self.hosts[host as usize] == UNHEARD
    }

    /// The worths down to which cells are to be asked, wave by wave, when so many have been found open: the best first, so that what
    /// the budget does not pay for is the worst, and a second repetition of the best comes before a first of the worst. None where
    /// nothing is to be asked.
    pub fn tiers(&self, budget: u64, found: u64) -> VecDeque<u8> {
        let (whole, rest) = self.thresholds(budget, found);
        let Some(lowest) = rest.or(whole) else { return VecDeque::new() };
        let best = self.asks().iter().position(|n| *n > 0.0).map_or(lowest, |best| lowest.min(best as u8));
        let step = (lowest - best).div_ceil(TIERS).max(LEAST_STEP);
        (1..TIERS).map(|n| best + n * step).filter(|tier| *tier < lowest).chain([lowest]).collect()
    }

    /// How many questions there are of each worth, all repetitions counted.
    fn asks(&self) -> Vec<f64> {
        let mut asks = vec![0.0; usize::from(WORST) + 1];
        let mut of_worth = vec![0u32; 256];
        let mut add = |base: &[u8], shift: u8, cells: f64, first: u8| {
            of_worth.fill(0);
            base.iter().for_each(|&worth| of_worth[usize::from(worth)] += 1);
            for (worth, &questions) in of_worth.iter().enumerate().filter(|&(worth, &n)| n > 0 && worth < usize::from(NEVER)) {
                for again in 0..MOST_AGAIN {
                    let at = worth + usize::from(shift) * usize::from(again + first);
                    asks[at.min(usize::from(WORST))] += cells * f64::from(questions);
                }
            }
        };
        for shift in 0..MUTE {
            if self.silent[usize::from(shift)] > 0.0 {
                add(&self.on_alive, shift, self.silent[usize::from(shift)], 1);
            }
        }
        add(&self.on_unheard, self.unheard_shift, self.silent[usize::from(UNHEARD)], 0);
        add(&self.on_mute, self.unheard_shift, self.silent[usize::from(MUTE)], 0);
        asks
    }

    /// The worth down to which cells are to be asked, when so many have been found open: as much of it as the budget pays for
    /// every repetition of, and as much as it pays for in part, which is at most one step more. Nothing is spent on what is
    /// not worth it. `None` where nothing is to be asked.
    pub fn thresholds(&self, budget: u64, found: u64) -> (Option<u8>, Option<u8>) {
        let asks = self.asks();
        let gain = |worth: usize| asks[worth] * 2f64.powf(-(worth as f64) / 2.0);
        // What is not asked costs so much less than what there is that nobody misses it.
        let mut missed: f64 = 0.0;
        let mut worst = usize::from(WORST);
        while worst > 0 && missed + gain(worst) <= enough(found) {
            missed += gain(worst);
            worst -= 1;
        }
        let mut spent = 0.0;
        let mut whole = None;
        for worth in (0..=worst).filter(|&worth| asks[worth] > 0.0) {
            spent += asks[worth];
            if spent > budget as f64 {
                return (whole, Some(worth as u8));
            }
            whole = Some(worth as u8);
        }
        (whole, None)
    }

    /// The worth down to which so many cells lie, not counting those never heard of: the best, to look into first.
    pub fn best(&self, cells: u64) -> u8 {
        let mut asks = vec![0.0; usize::from(WORST) + 1];
        for &worth in self.on_mute.iter() {
            asks[usize::from(worth.min(WORST))] += self.silent[usize::from(MUTE)];
        }
        for shift in 0..MUTE {
            let silent = self.silent[usize::from(shift)];
            for &worth in self.on_alive.iter().filter(|_| silent > 0.0) {
                asks[usize::from(worth.saturating_add(shift).min(WORST))] += silent;
            }
        }
        let mut sum = 0.0;
        for (worth, n) in asks.iter().enumerate() {
            sum += n;
            if sum >= cells as f64 {
                return worth as u8;
            }
        }
        WORST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::way::WayId;
    use model::Reason;

    /// Hosts 192.0.2.0 on: refused and open of so many questions, or never heard of.
    fn hosts(states: &[(u16, u16)]) -> Hosts {
        let ips: Vec<IpAddr> = (0..states.len()).map(|n| [192, 0, (2 + n / 256) as u8, n as u8].into()).collect();
        let mut hosts = Hosts::sorted(&ips, |_| WayId::KERNEL, Default::default());
        for (i, &(refused, open)) in states.iter().enumerate() {
            let host = hosts.get_mut(i as u32);
            (host.refused, host.open, host.settled) = (refused, open, u32::from(refused + open));
            host.up = (refused + open > 0).then_some(Reason::Rst);
        }
        hosts
    }

    fn of(ranking: &Ranking, hosts: &Hosts, host: u32, question: u32, again: u8) -> u8 {
        ranking.worth(host, hosts.ip(host), question, again)
    }

    #[test]
    fn silence_of_hosts_that_refuse_comes_first_and_of_the_dead_last() {
        // One refuses all but two of a hundred, one drops all but one, one has never answered.
        let hosts = hosts(&[(97, 1), (0, 1), (0, 0)]);
        let opens = [OpenCell { host: 0, question: 5 }, OpenCell { host: 1, question: 5 }];
        let ranking = Ranking::new(&hosts, 100, &opens, 0.02, |question| question < 10);
        let worth = |host, question, again| of(&ranking, &hosts, host, question, again);
        // Common ports before others, on either kind of host; a port that neighbours have open before those.
        assert!(worth(0, 3, 0) < worth(0, 50, 0) && worth(1, 3, 0) < worth(1, 50, 0));
        assert!(worth(1, 5, 0) < worth(1, 3, 0));
        // The host that refuses before the one that drops, the first repetition before the second.
        assert!(worth(0, 50, 0) < worth(1, 50, 0) && worth(0, 50, 0) <= worth(0, 50, 1) && worth(1, 3, 0) < worth(1, 3, 1));
        // Of a host never heard of, only ports by which others were heard of alone.
        assert!(worth(2, 5, 0) < NEVER && worth(2, 3, 0) == NEVER);
        assert!(worth(1, 5, MOST_AGAIN) == NEVER && ranking.is_unheard(2) && !ranking.is_unheard(1));
    }

    #[test]
    fn an_echo_is_asked_for_where_it_finds_more_hosts_than_any_port() {
        // Forty hosts that drop, each heard of by one port, and a thousand never heard of.
        let hosts = hosts(&[[(0, 1); 40].as_slice(), &[(0, 0); 1_000]].concat());
        let ranking = |ports: u32, loss: f64| {
            let opens: Vec<OpenCell> = (0..40).map(|host| OpenCell { host, question: host % ports }).collect();
            Ranking::new(&hosts, 40, &opens, loss, |_| true)
        };
        // By many ports, by three, by two, by one; and where so little is lost that nobody is missing.
        assert!(ranking(40, 0.06).call(40) && ranking(3, 0.06).call(40));
        assert!(!ranking(2, 0.06).call(40) && !ranking(1, 0.06).call(40) && !ranking(40, 1e-6).call(40));
        // Who did not answer an echo is less likely to be up.
        let (before, after) = (ranking(40, 0.06), ranking(40, 0.06).called());
        assert!(of(&before, &hosts, 100, 5, 0) < of(&after, &hosts, 100, 5, 0));
        assert_eq!(of(&before, &hosts, 7, 5, 0), of(&after, &hosts, 7, 5, 0));
    }

    #[test]
    fn hosts_that_are_up_and_mute_come_before_those_that_were_heard() {
        // Forty heard of by a port each; two answered an echo and nothing else.
        let mut hosts = hosts(&[[(0, 1); 40].as_slice(), &[(0, 0); 1_000]].concat());
        let opens: Vec<OpenCell> = (0..40).map(|host| OpenCell { host, question: host }).collect();
        for host in [50, 60] {
            hosts.get_mut(host).up = Some(Reason::EchoReply);
        }
        let ranking = Ranking::new(&hosts, 40, &opens, 0.06, |_| true);
        let worth = |host, again| of(&ranking, &hosts, host, 7, again);
        assert!(worth(50, 0) < worth(3, 0) && worth(50, 0) < worth(50, 1) && worth(3, 0) < worth(100, 0));
        // They are a few cells, which are paid for first.
        assert!((worth(50, 0)..worth(3, 0)).contains(&ranking.best(80)));
    }

    #[test]
    fn the_threshold_keeps_to_the_budget_and_to_what_is_worth_it() {
        let hosts = hosts(&[(0, 3); 200]);
        let opens: Vec<OpenCell> = (0..200).flat_map(|host| (0..3).map(move |question| OpenCell { host, question })).collect();
        let ranking = Ranking::new(&hosts, 1_000, &opens, 0.02, |question| question < 100);
        let cells = |threshold| {
            let all = (0..200u32).flat_map(|host| (3..1_000).map(move |question| (host, question)));
            all.filter(|&(host, question)| of(&ranking, &hosts, host, question, 0) <= threshold).count() as u64
        };
        // A budget for the common ports and little more does not go to the others.
        let (whole, part) = ranking.thresholds(50_000, 6);
        assert_eq!(cells(whole.unwrap()), 200 * 97);
        assert!(cells(part.unwrap()) > 190_000);
        // Less than the best need is spent on them.
        let (whole, part) = ranking.thresholds(5_000, 6);
        assert_eq!((cells(whole.unwrap()), cells(part.unwrap())), (0, 200 * 97));
        let (whole, part) = ranking.thresholds(10_000_000, 6);
        assert!(cells(whole.unwrap()) > 190_000 && part.is_none());
        assert_eq!(cells(ranking.best(1_000)), 200 * 97, "the best are the common ports");
        // What the budget pays for in part is asked last.
        let tiers = ranking.tiers(50_000, 6);
        assert!(tiers.len() > 1 && tiers.iter().is_sorted() && tiers.back().copied() == ranking.thresholds(50_000, 6).1);
        assert!(cells(tiers[0]) < cells(tiers[tiers.len() - 1]));
        // Where much has been found, so little is not missed.
        assert_eq!(ranking.thresholds(10_000_000, 10_000).1, None);
        assert!(cells(ranking.thresholds(10_000_000, 10_000).0.unwrap_or(0)) < 200 * 97);
        // Where nothing gets lost, nothing is worth asking.
        let clean = Ranking::new(&hosts, 1_000, &opens, 1e-9, |question| question < 100);
        assert!(clean.thresholds(10_000_000, 600).0.is_none_or(|t| of(&clean, &hosts, 7, 500, 0) > t));
    }

    #[test]
    fn loss_leans_on_experience_until_it_is_measured() {
        assert_eq!(LossSample::default().loss(), LOSS_PRIOR);
        assert_eq!(LossSample::default().measured(), None);
        let sample = LossSample { asked: 300, answered: 282 };
        assert!((sample.loss() - 0.06).abs() < 0.002 && sample.measured() == Some(0.06));
        assert!(LossSample { asked: 300, answered: 300 }.loss() < 0.001);
        assert_eq!(LossSample { asked: 3, answered: 5 }.lost(), 0, "more answers than questions are no gain");
    }
}
