//! Paths as data, and what the controller makes of them: how soon it finds the limit, how much of it it uses, which of the
//! lost probes it has asked again. Time is simulated, a millisecond at a time.

use super::*;
use crate::ask::Ask;
use crate::order::mix;
use std::net::IpAddr;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Limit {
    pps: f64,
    burst: f64,
    tokens: f64,
    /// When the last one asked.
    at: u64,
}

impl Limit {
    fn new(pps: f64, burst: f64) -> Self {
        Limit { pps, burst, tokens: burst, at: 0 }
    }
    fn pass(&mut self, now: u64) -> bool {
        self.tokens = (self.tokens + self.pps * (now - self.at) as f64 / 1e9).min(self.burst);
        self.at = now;
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

/// A path and the hosts behind it.
#[derive(Clone, Debug)]
struct Path {
    policer: Option<Limit>,
    /// What happens to the policer, and when.
    changes: Vec<(u64, Option<Limit>)>,
    /// Share lost on the way there and back.
    loss: f64,
    delay_ms: u64,
    hosts: u32,
    /// One in so many endpoints answers, none at all if zero.
    answers_one_in: u64,
    /// Those that answer are open ports rather than closed ones.
    open: bool,
    /// The first so many hosts limit their answers to this rate.
    limited: (u32, f64),
    /// Answers a second that our own receiver takes.
    receives: f64,
}

impl Default for Path {
    fn default() -> Self {
        Path {
            policer: None,
            changes: Vec::new(),
            loss: 0.0,
            delay_ms: 20,
            hosts: 200,
            answers_one_in: 50,
            open: true,
            limited: (0, 0.0),
            receives: f64::MAX,
        }
    }
}

/// What came of it.
struct Run {
    /// Probes sent and passed in each tenth of a second.
    sent: Vec<u64>,
    passed: Vec<u64>,
    congestion: Congestion,
    canaries: Canaries,
    /// By probe: lost on the way.
    lost: Vec<bool>,
    again: Vec<Range<u64>>,
    /// What the controller did and when, for the message of a test that fails.
    story: String,
}

impl Run {
    /// Mean of what passed, a second, from then to then.
    fn passed_pps(&self, from_s: f64, to_s: f64) -> f64 {
        let range = (from_s * 10.0) as usize..(to_s * 10.0) as usize;
        self.passed[range].iter().sum::<u64>() as f64 / (to_s - from_s)
    }
    fn sent_pps(&self, from_s: f64, to_s: f64) -> f64 {
        let range = (from_s * 10.0) as usize..(to_s * 10.0) as usize;
        self.sent[range].iter().sum::<u64>() as f64 / (to_s - from_s)
    }
    /// The share of all probes that passed or lie in a stretch to be asked again.
    fn recall(&self) -> f64 {
        let mut covered = vec![false; self.lost.len()];
        self.again.iter().for_each(|r| covered[r.start as usize..r.end as usize].fill(true));
        let missed = self.lost.iter().zip(&covered).filter(|(lost, covered)| **lost && !**covered).count();
        1.0 - missed as f64 / self.lost.len() as f64
    }
    /// The share of all probes that is to be asked again.
    fn repeated(&self) -> f64 {
        self.again.iter().map(|r| r.end - r.start).sum::<u64>() as f64 / self.lost.len() as f64
    }
}

fn chance(dice: &mut u64, share: f64) -> bool {
    *dice = mix(dice.wrapping_add(0x9e37_79b9_7f4a_7c15));
    share > 0.0 && (*dice >> 11) as f64 / (1u64 << 53) as f64 <= share
}

fn ip(host: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + host).to_be_bytes())
}

/// Runs a sweep over the path for so long.
fn run(path: &Path, ceiling_pps: u32, seconds: u64, seed: u64) -> Run {
    let mut dice = mix(seed);
    let mut congestion = Congestion::new(ceiling_pps, 0);
    let mut canaries = Canaries::default();
    let mut policer = path.policer;
    let mut changes = path.changes.iter().peekable();
    let mut limits: Vec<Limit> = (0..path.limited.0).map(|_| Limit::new(path.limited.1, 5.0)).collect();
    let mut arriving: VecDeque<(u64, IpAddr, u16)> = VecDeque::new();
    let mut until_canary = 0;
    let (mut counts, mut credit) = (Counts::default(), 0.0);
    let (mut sent, mut passed, mut lost, mut again) = (vec![], vec![], vec![], vec![]);
    let mut story = String::new();
    let mut receiver = Limit::new(path.receives.min(1e12), path.receives.min(1e12) / 100.0);
    for ms in 0..seconds * 1_000 {
        let now = ms * MS;
        if ms % 100 == 0 {
            sent.push(0);
            passed.push(0);
        }
        while let Some((_, change)) = changes.next_if(|(at, _)| *at <= ms) {
            policer = *change;
        }
        credit += f64::from(congestion.rate_pps()) / 1_000.0;
        let burst = credit;
        while credit >= 1.0 {
            credit -= 1.0;
            // They leave evenly over the millisecond.
            let now = now + (1e6 * (1.0 - credit / burst)) as u64;
            let canary = if until_canary == 0 { canaries.next(congestion.epoch(), now) } else { None };
            until_canary = if until_canary == 0 { congestion.canary_gap() } else { until_canary - 1 };
            let (to, port, answers) = match canary {
                Some((to, Ask::Syn(port))) => (to, port, true),
                Some(_) => unreachable!("only ports are asked here"),
                None => {
                    let cell = mix(dice ^ counts.position);
                    counts.position += 1;
                    lost.push(false);
                    let answers = path.answers_one_in > 0 && cell.is_multiple_of(path.answers_one_in);
                    (ip((cell >> 16) as u32 % path.hosts), (cell >> 48) as u16, answers)
                }
            };
            counts.sent += 1;
            *sent.last_mut().unwrap() += 1;
            let through = policer.as_mut().is_none_or(|p| p.pass(now)) && !chance(&mut dice, path.loss);
            if !through {
                if canary.is_none() {
                    *lost.last_mut().unwrap() = true;
                }
                continue;
            }
            *passed.last_mut().unwrap() += 1;
            let host = (u32::from_be_bytes(match to {
                IpAddr::V4(a) => a.octets(),
                IpAddr::V6(_) => unreachable!(),
            }) - 0x0a00_0000) as usize;
            let allowed = !answers || limits.get_mut(host).is_none_or(|limit| limit.pass(now));
            if answers && allowed && !chance(&mut dice, path.loss) {
                arriving.push_back((now + path.delay_ms * MS, to, port));
            }
        }
        while let Some((_, from, port)) = arriving.pop_front_if(|(at, ..)| *at <= now) {
            if receiver.pass(now) {
                counts.answers += 1;
                canaries.heard(from, Ask::Syn(port), path.open, now);
            } else {
                counts.drops += 1;
            }
        }
        if ms % 10 == 9 {
            let before = (congestion.rate_pps(), congestion.phase);
            let tell = congestion.tick(now, counts, &mut canaries);
            until_canary = until_canary.min(congestion.canary_gap());
            if before != (congestion.rate_pps(), congestion.phase) || !tell.is_empty() {
                let (rate, phase, path) = (congestion.rate_pps(), congestion.phase, congestion.path_rate_pps());
                let expected = congestion.expected;
                let limited = canaries.limited().count();
                story += &format!(
                    "{ms} ms: {rate} pps, {phase:?}, expected {expected:.3}, path {path:?}, {limited} limited, again {tell:?}\n"
                );
            }
            again.extend(tell);
        }
    }
    again.extend(congestion.finish(seconds * SECOND, counts, &mut canaries));
    Run { sent, passed, congestion, canaries, lost, again, story }
}

const SEEDS: Range<u64> = 1..7;

#[test]
fn without_loss_the_ceiling_is_reached_within_a_second_and_a_half() {
    for (ceiling, delay_ms) in [(5_000, 1), (10_000, 20), (100_000, 1), (500_000, 20), (1_000_000, 80)] {
        for seed in SEEDS {
            let run = run(&Path { delay_ms, ..Path::default() }, ceiling, 3, seed);
            let at_end = run.sent_pps(2.5, 3.0);
            assert!(at_end >= 0.97 * f64::from(ceiling) && at_end <= 1.02 * f64::from(ceiling), "{ceiling}: {at_end}");
            assert_eq!(run.congestion.path_rate_pps(), None);
            assert!(run.again.is_empty(), "{ceiling}: {:?}", run.again);
        }
    }
}

#[test]
fn a_policer_is_found_soon_and_used_well() {
    for (pps, burst) in
        [(2_000.0, 50.0), (8_000.0, 100.0), (8_000.0, 4_000.0), (15_000.0, 500.0), (60_000.0, 600.0), (200_000.0, 4_000.0)]
    {
        for seed in SEEDS {
            let path = Path { policer: Some(Limit::new(pps, burst)), ..Path::default() };
            let run = run(&path, 1_000_000, 14, seed);
            let name = format!("{pps} with a burst of {burst}, seed {seed}");
            let from = 2.5 + 2.0 * burst / pps;
            let share = run.passed_pps(from, 14.0) / pps;
            assert!(share >= 0.84, "{name}: {share} of the path used\n{}", run.story);
            let wasted = 1.0 - run.passed_pps(from, 14.0) / run.sent_pps(from, 14.0);
            // A bucket that holds half a second hides its rate until it is empty.
            let most = if burst > pps / 10.0 { 0.25 } else { 0.05 };
            assert!(wasted < most, "{name}: {wasted} lost once the limit was known\n{}", run.story);
            let said = f64::from(run.congestion.path_rate_pps().expect("a limit"));
            assert!((said / pps - 1.0).abs() < 0.15, "{name}: said {said}\n{}", run.story);
            assert!(run.recall() >= 0.995, "{name}: {}\n{}", run.recall(), run.story);
            assert!(run.repeated() < 0.6, "{name}: {} again\n{}", run.repeated(), run.story);
        }
    }
}

#[test]
fn loss_that_does_not_depend_on_the_rate_does_not_slow_a_sweep() {
    for (loss, by) in [(0.01, 2.0), (0.03, 3.0), (0.10, 6.0)] {
        for seed in SEEDS {
            let run = run(&Path { loss, ..Path::default() }, 200_000, 10, seed);
            let share = run.sent_pps(by, 10.0) / 200_000.0;
            assert!(share > 0.8, "{loss}, seed {seed}: {share} of the ceiling\n{}", run.story);
            let said = run.congestion.loss().expect("a loss");
            let true_loss = 1.0 - (1.0 - loss) * (1.0 - loss);
            assert!((said - true_loss).abs() < 0.015 + 0.2 * true_loss, "{loss}: said {said}");
        }
    }
}

#[test]
fn a_limit_that_comes_and_goes_is_followed() {
    let path = Path {
        changes: vec![(4_000, Some(Limit::new(20_000.0, 200.0))), (10_000, Some(Limit::new(5_000.0, 50.0))), (18_000, None)],
        ..Path::default()
    };
    for seed in SEEDS {
        let run = run(&path, 100_000, 45, seed);
        for (what, from, to, pps) in
            [("at first", 2.0, 4.0, 100_000.0), ("limited", 6.5, 10.0, 20_000.0), ("more so", 12.5, 18.0, 5_000.0)]
        {
            let share = run.passed_pps(from, to) / pps;
            assert!((0.75..=1.001).contains(&share), "{what}, seed {seed}: {share}\n{}", run.story);
        }
        let recovered = run.passed_pps(42.0, 45.0) / 100_000.0;
        assert!(recovered > 0.95, "seed {seed}: {recovered} after the limit was lifted\n{}", run.story);
        assert_eq!(run.congestion.path_rate_pps(), None);
        assert!(run.recall() >= 0.998, "seed {seed}: {}", run.recall());
    }
}

#[test]
fn hosts_that_limit_their_answers_do_not_slow_the_sweep() {
    for (hosts, limited) in [(200, 3), (20, 4), (4, 1), (2, 1)] {
        for seed in SEEDS {
            let path = Path { hosts, limited: (limited, 10.0), answers_one_in: 200, ..Path::default() };
            let run = run(&path, 100_000, 10, seed);
            let share = run.sent_pps(6.0, 10.0) / 100_000.0;
            assert!(share > 0.9, "{limited} of {hosts}, seed {seed}: {share}\n{}", run.story);
            if hosts <= 20 {
                let named: Vec<IpAddr> = run.canaries.limited().collect();
                assert!(named.iter().all(|found| (0..limited).any(|h| ip(h) == *found)), "{named:?}");
            }
        }
    }
}

#[test]
fn without_feedback_the_rate_stays_below_the_blind_ceiling() {
    let run = run(&Path { answers_one_in: 0, ..Path::default() }, 1_000_000, 3, 1);
    assert!((run.sent_pps(2.0, 3.0) / BLIND_PPS - 1.0).abs() < 0.02);
    assert_eq!((run.congestion.path_rate_pps(), run.congestion.loss()), (None, None));
}

#[test]
fn limited_rsts_of_a_host_cost_nothing() {
    let path = Path { hosts: 1, limited: (1, 10.0), answers_one_in: 1, open: false, ..Path::default() };
    for seed in SEEDS {
        let run = run(&path, 1_000_000, 3, seed);
        assert!(run.sent_pps(1.0, 3.0) > 0.95 * BLIND_PPS, "{}", run.sent_pps(1.0, 3.0));
        assert!(run.again.is_empty());
    }
}

#[test]
fn one_host_alone_shows_a_policer() {
    // The host answers everywhere, or on one port in twenty. The policer lets bursts of a tenth of a second through.
    for answers_one_in in [1, 20] {
        for pps in [600.0, 2_000.0] {
            for seed in 0..3 {
                let policer = Some(Limit::new(pps, pps / 10.0));
                let path = Path { policer, hosts: 1, answers_one_in, open: true, ..Path::default() };
                let sent = run(&path, 100_000, 10, seed).sent_pps(5.0, 10.0);
                assert!(sent < 1.25 * pps, "{sent:.0} a second at {pps}, one in {answers_one_in}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_repetitions_show_is_kept_to() {
    let mut congestion = Congestion::new(1_000_000, 0);
    assert_eq!(congestion.path_rate_pps(), None);
    congestion.ease(2_500.0, 10 * MS);
    assert_eq!((congestion.rate_pps(), congestion.path_rate_pps()), (2_500, Some(2_777)));
    // A later wave that was answered better does not make it faster at once.
    congestion.ease(9_000.0, 20 * MS);
    assert_eq!((congestion.rate_pps(), congestion.path_rate_pps()), (2_500, Some(2_777)));
}

#[test]
fn rsts_that_nobody_limits_show_a_policer() {
    let path = Path { hosts: 1, answers_one_in: 1, open: false, policer: Some(Limit::new(8_000.0, 100.0)), ..Path::default() };
    for seed in SEEDS {
        let run = run(&path, 1_000_000, 10, seed);
        let share = run.passed_pps(3.0, 10.0) / 8_000.0;
        assert!((0.8..=1.001).contains(&share), "{share}");
    }
}

#[test]
fn what_our_own_receiver_drops_slows_us_down_and_is_asked_again() {
    // Every second probe is answered, and 50,000 answers a second are more than is received.
    let path = Path { answers_one_in: 2, receives: 50_000.0, ..Path::default() };
    for seed in SEEDS {
        let run = run(&path, 1_000_000, 12, seed);
        let answered = run.sent_pps(4.0, 12.0) / 2.0;
        assert!(answered < 60_000.0 && answered > 20_000.0, "seed {seed}: {answered} answers a second");
        assert!(!run.again.is_empty());
    }
}

#[test]
fn canaries_that_die_do_not_hold_a_sweep_at_the_floor() {
    // Everything behind the path falls silent: a path that carries nothing, as far as anybody can tell.
    let path = Path { changes: vec![(2_000, Some(Limit::new(0.0, 0.0)))], ..Path::default() };
    let run = run(&path, 100_000, 14, 3);
    assert!(run.sent_pps(3.5, 5.0) < 500.0, "{}", run.sent_pps(3.5, 5.0));
    assert!(run.sent_pps(13.0, 14.0) > 50_000.0, "{}", run.sent_pps(13.0, 14.0));
}

#[test]
fn a_pass_too_short_to_be_judged_is_judged_when_it_is_over() {
    let (mut congestion, mut canaries) = (Congestion::new(100_000, 0), Canaries::default());
    congestion.start_at(4_000.0, 0);
    canaries.heard(ip(1), Ask::Syn(80), true, MS);
    // Two hundred probes in fifty milliseconds, six canaries among them, of which one is answered.
    for ms in 0..6 {
        assert!(canaries.next(congestion.epoch(), (2 + 5 * ms) * MS).is_some());
    }
    canaries.heard(ip(1), Ask::Syn(80), true, 40 * MS);
    let counts = Counts { sent: 206, answers: 2, position: 200, ..Counts::default() };
    assert!(congestion.tick(50 * MS, counts, &mut canaries).is_empty());
    assert_eq!(congestion.rate_pps(), 4_000, "nobody knows yet");
    let again = congestion.finish(300 * MS, counts, &mut canaries);
    assert_eq!((again.len(), again.first()), (1, Some(&(0..200))));
    // One and another one of eight.
    assert_eq!((congestion.rate_pps(), congestion.path_rate_pps()), (900, Some(1_000)));
    // The next passes are as short, and nothing of theirs is lost: it does not become slower still.
    congestion.begin_pass(300 * MS);
    assert!(congestion.finish(350 * MS, counts, &mut canaries).is_empty());
    assert_eq!(congestion.rate_pps(), 900);
}

#[test]
fn a_modest_start_and_a_calm_wave_are_kept_to() {
    let (mut congestion, mut canaries) = (Congestion::new(100_000, 0), Canaries::default());
    congestion.start_at(500.0, 0);
    assert_eq!(congestion.rate_pps(), 500);
    // Nobody answers, so it doubles.
    let mut counts = Counts::default();
    let mut to = |congestion: &mut Congestion, from_ms: u64, to_ms: u64| {
        for ms in (from_ms..to_ms).step_by(10) {
            counts.sent += u64::from(congestion.rate_pps()) / 100;
            congestion.tick(ms * MS, counts, &mut canaries);
        }
        congestion.rate_pps()
    };
    let climbed = to(&mut congestion, 10, 1_000);
    assert!(climbed > 50_000, "{climbed}");
    // A start is one only at the beginning.
    congestion.start_at(500.0, 1_000 * MS);
    assert_eq!(congestion.rate_pps(), climbed);
    congestion.calm(1_000.0, 1_000 * MS);
    assert_eq!(to(&mut congestion, 1_010, 4_000), 1_000);
    assert_eq!(congestion.path_rate_pps(), None, "nothing is known of the path");
    congestion.rise();
    let climbed = to(&mut congestion, 4_010, 4_600);
    assert!(climbed > 10_000, "{climbed}");
}
