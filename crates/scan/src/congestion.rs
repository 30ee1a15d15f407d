//! How fast a sweep goes by itself (`--rate auto`): as fast as the path carries, and no faster. The deciding half: time, counts
//! and what the canaries came to go in, a rate and the stretches to walk again come out. Asking is `walk`'s, who is asked
//! `canary`'s, keeping the rate `gate`'s.
//!
//! Loss is measured by canaries only, so that targets that drop or limit do not count. A sweep starts at a modest rate and
//! doubles while nothing is lost. When loss rises, the rate falls to nine tenths of what got through, and the loss is looked
//! at again there: if it is gone, the rate was the cause, and what got through is what the path takes. If two reductions
//! change nothing, the path loses that share at any rate; that becomes the loss to be expected, and the rate goes back up.
//! On a path with a limit the sweep runs at nine tenths of it and now and then asks gently for more, less often each time
//! that fails.
//!
//! Time is cut into epochs of one rate. An epoch that lost more than expected is told to the walker, which walks again what
//! stayed silent in it.

use crate::canary::{Canaries, Kind, Outcome, Verdict};
pub(crate) use crate::evidence::Counts;
use crate::evidence::{Epoch, TOLERATED, Tally};
use crate::order::mix;
use std::collections::VecDeque;
use std::ops::Range;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Where a sweep starts: a tenth of what a 100 Mbit/s line carries, and enough for twenty canaries each control interval.
const START_PPS: f64 = 10_000.0;
/// As far as a sweep goes while nothing answers that could be asked again: a silent network tells nothing. 100,000 frames of
/// 84 bytes on the wire are 67 Mbit/s, which the slowest line that is still called fast carries.
const BLIND_PPS: f64 = 100_000.0;
/// The least. At this rate a sweep is no cause of loss; what is lost all the same has another.
const FLOOR_PPS: f64 = 100.0;
/// How long a rate is kept at least before it is raised: a round trip on most paths, and twenty canaries.
const INTERVAL_NS: u64 = 100 * MS;
/// An epoch ends at the latest after so long, so that what has to be walked again is known closely.
const EPOCH_NS: u64 = SECOND;
/// The share of probes that are canaries where that gives fewer than [`MOST_CANARIES`], and the most and least per second.
const CANARY_SHARE: f64 = 0.1;
const MOST_CANARIES: f64 = 200.0;
const LEAST_CANARIES: f64 = 10.0;
/// How much of an unexpected loss is believed to be the path's own without a look at it, see [`Congestion::settle`].
const MOST_LEARNED: f64 = 0.03;
/// At a known limit, loss above what is expected by so much means that the limit was estimated too high.
const MILD: f64 = 0.01;
/// The most that a path can be believed to lose at any rate.
const MOST_EXPECTED: f64 = 0.8;
/// The share of the loss before that may be left when a reduction is said to have helped.
const GONE: f64 = 0.35;
/// Nine tenths of what the path takes: room for other traffic, and to see when the limit is lifted.
const CRUISE: f64 = 0.9;
/// As far as cruising slows down for losses that may be chance.
const LEAST_CRUISE: f64 = 0.87;
/// A gentle step up.
const STEP: f64 = 1.08;
/// How long a limit is believed before more is asked for, at first and at last.
const FIRST_HOLD_NS: u64 = 2 * SECOND;
const LAST_HOLD_NS: u64 = 8 * SECOND;
/// Where only one host answers, what gets through at less than this is taken for the host's own limit. Canaries are a tenth of
/// the probes, so a host that sends thirty SYN-ACKs a second looks like a path of 300; sweeping at that for its sake takes longer
/// than asking it once more slowly at the end. Of a path that carries more, keeping to it is the only way to hear everything.
const HOST_LIMIT_PPS: f64 = 300.0;
/// The share of a rate that must have been used before a step up means anything: a pause lets a limit fill its burst again.
const USED: f64 = 0.8;
/// After so long at the floor without an answer the canaries are dead, not the path full.
const DEAD_NS: u64 = 3 * SECOND;
/// Answers that our own receiver dropped slow us down for so long.
const OWN_HOLD_NS: u64 = 2 * SECOND;
/// Epochs remembered: those whose canaries are in the air.
const EPOCHS: usize = 64;

/// What the sweep is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubling.
    Climb,
    /// Having slowed down: was the rate the cause?
    Check {
        /// Rate and loss before the first reduction.
        from_pps: f64,
        from_loss: f64,
        /// At a reduced rate that still lost too much: the rate, what got through, what was lost.
        before: Option<(f64, f64, f64)>,
    },
    /// At nine tenths of the path's rate until then.
    Cruise { until: u64 },
    /// Asking for more, step by step.
    Step,
}

/// The rate of a sweep.
#[derive(Debug)]
pub(crate) struct Congestion {
    ceiling_pps: f64,
    rate_pps: f64,
    phase: Phase,
    /// The share that is lost at any rate.
    expected: f64,
    path_pps: Option<f64>,
    hold_ns: u64,
    /// Hosts known to limit their answers when it was last slowed down.
    limited_hosts: usize,
    /// In which epoch loss was first seen on the way up, and what had been seen of it then.
    first_seen: Option<(u64, Tally)>,
    /// The last rate at which no more was lost than expected.
    clean_pps: f64,
    /// The limit and the loss there before it was last lowered for a little loss.
    mild: Option<(f64, f64)>,
    /// No faster than our own receiver before then.
    own_limit: Option<(f64, u64)>,
    /// When the floor was reached with everything lost.
    floored: Option<u64>,
    /// When canaries were given up, nothing that has answered is believed to be a measure before that long.
    blind_until: u64,
    epochs: VecDeque<Epoch>,
    counts: Counts,
    dice: u64,
    /// Over the whole sweep.
    total: Tally,
    reported_drops: u64,
}

impl Congestion {
    /// Up to this rate.
    pub fn new(ceiling_pps: u32, now: u64) -> Self {
        let ceiling_pps = f64::from(ceiling_pps.max(1));
        let mut congestion = Congestion {
            ceiling_pps,
            rate_pps: START_PPS.min(ceiling_pps),
            phase: Phase::Climb,
            expected: 0.0,
            path_pps: None,
            hold_ns: FIRST_HOLD_NS,
            limited_hosts: 0,
            first_seen: None,
            clean_pps: 0.0,
            mild: None,
            own_limit: None,
            floored: None,
            blind_until: 0,
            epochs: VecDeque::new(),
            counts: Counts::default(),
            dice: 0,
            total: Tally::default(),
            reported_drops: 0,
        };
        congestion.begin_epoch(now);
        congestion
    }

    /// The rate now.
    pub fn rate_pps(&self) -> u32 {
        self.rate_pps as u32
    }

    /// The rate that the path took, if it has a limit below what was asked for.
    pub fn path_rate_pps(&self) -> Option<u32> {
        self.path_pps.map(|pps| pps as u32)
    }

    /// The share of canaries that went unanswered, when there were enough to tell.
    pub fn loss(&self) -> Option<f64> {
        (self.total.decided >= 20).then(|| self.total.loss())
    }

    /// The epoch that canaries are sent in.
    pub fn epoch(&self) -> u64 {
        self.epochs.back().map_or(0, |e| e.number)
    }

    /// How many probes go before the next canary. Counted rather than timed, and half and half again as many by turns that
    /// nobody else takes: probes leave in bursts, and what drops the last of each burst must not spare the canaries.
    pub fn canary_gap(&mut self) -> u64 {
        self.dice = mix(self.dice.wrapping_add(1));
        let share = self.canaries_per_second() / self.rate_pps;
        let spread = 0.5 + (self.dice >> 11) as f64 / (1u64 << 53) as f64;
        (spread / share) as u64
    }

    fn canaries_per_second(&self) -> f64 {
        (self.rate_pps * CANARY_SHARE).clamp(LEAST_CANARIES, MOST_CANARIES).min(self.rate_pps / 4.0)
    }

    /// Some time has passed, ten milliseconds or so: decides the rate from now on, and says which stretches of the walk have
    /// lost so much that what stayed silent in them should be asked again. To be called when all answers that have arrived
    /// were heard.
    pub fn tick(&mut self, now: u64, counts: Counts, canaries: &mut Canaries) -> Vec<Range<u64>> {
        self.counts = counts;
        for outcome in canaries.outcomes(now) {
            self.count(outcome, canaries);
        }
        self.heed_our_own_drops(now);
        self.decide(now, canaries);
        let epoch = self.current();
        if now - epoch.began >= EPOCH_NS && epoch.number == self.epoch() {
            self.begin_epoch(now);
        }
        self.settle(canaries, false)
    }

    /// At the beginning, no faster than this at first: where there is little to ask, all of it would be on its way before
    /// anything is known of the path.
    pub fn start_at(&mut self, pps: f64, now: u64) {
        if self.phase == Phase::Climb && self.rate_pps <= START_PPS && self.expected == 0.0 {
            self.set_rate(pps.min(self.rate_pps), now);
        }
    }

    /// No faster than this until told otherwise, unless the path is found to take less.
    pub fn calm(&mut self, pps: f64, now: u64) {
        self.phase = Phase::Cruise { until: u64::MAX };
        self.set_rate(pps.min(self.rate_pps), now);
    }

    /// On from a rate that it was told to keep to, where that was not too fast.
    pub fn rise(&mut self) {
        if self.phase == (Phase::Cruise { until: u64::MAX }) {
            self.phase = Phase::Climb;
        }
    }

    /// Repetitions were answered only in part: no faster than this for a while, whatever the canaries said.
    pub fn ease(&mut self, pps: f64, now: u64) {
        let path = pps / CRUISE;
        self.path_pps = Some(self.path_pps.map_or(path, |known| known.min(path)).max(1.0));
        self.hold_ns = LAST_HOLD_NS;
        self.phase = Phase::Cruise { until: now + self.hold_ns };
        self.set_rate(pps.min(self.rate_pps), now);
    }

    /// The walk begins anew: positions count from its beginning.
    pub fn begin_pass(&mut self, now: u64) {
        self.counts.position = 0;
        self.begin_epoch(now);
        // What is still open belongs to a walk that is over, and where it was means nothing in this one.
        for epoch in self.epochs.iter_mut().rev().skip(1) {
            (epoch.closed, epoch.at_start.position, epoch.at_end.position) = (true, 0, 0);
        }
    }

    /// The stretches that lost too much, of all that was sent: the walk is over, and nothing more is waited for.
    pub fn finish(&mut self, now: u64, counts: Counts, canaries: &mut Canaries) -> Vec<Range<u64>> {
        let mut again = self.tick(now, counts, canaries);
        self.judge_late(now, canaries);
        self.begin_epoch(now);
        again.extend(self.settle(canaries, true));
        again
    }

    fn count(&mut self, outcome: Outcome, canaries: &Canaries) {
        if !canaries.is_limited(outcome.host) && outcome.kind == Kind::Open {
            match outcome.verdict {
                Verdict::Answered => self.total.decided += 1,
                Verdict::Lost => self.total.add(Tally { decided: 1, lost: 1 }),
                Verdict::Late => self.total.lost = self.total.lost.saturating_sub(1),
            }
        }
        let Some(epoch) = self.epochs.iter_mut().find(|e| e.number == outcome.epoch) else { return };
        let tally = epoch.tallies[outcome.host as usize].of(outcome.kind);
        match outcome.verdict {
            Verdict::Answered => tally.decided += 1,
            Verdict::Lost => tally.add(Tally { decided: 1, lost: 1 }),
            Verdict::Late => tally.lost = tally.lost.saturating_sub(1),
        }
    }

    /// What was lost since loss was first seen in this epoch, once that is enough to say how much. What went before tells of
    /// the burst that a limit lets through, and the limit is less than that.
    fn since_first(&mut self, seen: Tally) -> Option<Tally> {
        let number = self.epoch();
        let (_, first) = *self.first_seen.insert(self.first_seen.filter(|(at, _)| *at == number).unwrap_or((number, seen)));
        let since = Tally { decided: seen.decided - first.decided, lost: seen.lost.saturating_sub(first.lost) };
        (since.decided >= self.enough()).then_some(since)
    }

    fn current(&self) -> &Epoch {
        self.epochs.back().expect("an epoch is always under way")
    }

    fn begin_epoch(&mut self, now: u64) {
        let counts = self.counts;
        let number = match self.epochs.back_mut() {
            Some(last) => {
                last.ended = Some(now);
                last.at_end = counts;
                last.number + 1
            }
            None => 1,
        };
        if self.epochs.len() >= EPOCHS {
            self.epochs.pop_front();
        }
        self.epochs.push_back(Epoch {
            number,
            began: now,
            ended: None,
            at_start: counts,
            at_end: counts,
            closed: false,
            lossy: false,
            tallies: vec![Default::default(); Canaries::SLOTS],
        });
    }

    fn set_rate(&mut self, pps: f64, now: u64) {
        let own = self.own_limit.filter(|(_, until)| now < *until).map_or(f64::MAX, |(pps, _)| pps);
        self.rate_pps = pps.min(own).clamp(FLOOR_PPS.min(self.ceiling_pps), self.ceiling_pps);
        self.begin_epoch(now);
    }

    /// What our own receiver drops is loss that the rate causes, and nothing the path is to blame for.
    fn heed_our_own_drops(&mut self, now: u64) {
        let new = self.counts.drops.saturating_sub(self.reported_drops);
        if new == 0 {
            return;
        }
        self.epochs.back_mut().expect("an epoch is always under way").lossy = true;
        // One step down each interval: the ring has to empty first.
        if now - self.current().began >= INTERVAL_NS || self.own_limit.is_none() {
            self.reported_drops = self.counts.drops;
            let pps = (self.rate_pps * 0.7).max(FLOOR_PPS);
            self.own_limit = Some((pps, now + OWN_HOLD_NS));
            self.set_rate(pps, now);
            if self.phase == Phase::Step {
                self.phase = Phase::Cruise { until: now + self.hold_ns };
            }
        }
    }

    /// The rate at which probes have really left in an epoch: the link or the walk may not keep up.
    fn actual_pps(&self, epoch: &Epoch, now: u64) -> f64 {
        let (end, at) = epoch.ended.map_or((self.counts, now), |at| (epoch.at_end, at));
        let seconds = (at - epoch.began) as f64 / SECOND as f64;
        let sent = end.sent.saturating_sub(epoch.at_start.sent) as f64;
        if seconds < 0.01 { self.rate_pps } else { (sent / seconds).min(self.rate_pps) }
    }

    /// How many canaries must be decided before a reduction is judged.
    fn enough(&self) -> u32 {
        (self.canaries_per_second() / 5.0).clamp(8.0, 40.0) as u32
    }

    fn decide(&mut self, now: u64, canaries: &mut Canaries) {
        let epoch = self.current();
        let age = now - epoch.began;
        if age < INTERVAL_NS {
            return;
        }
        let seen = epoch.evidence(self.counts, canaries, false);
        let sober = epoch.evidence(self.counts, canaries, true);
        let spread = epoch.is_spread();
        let actual = self.actual_pps(epoch, now);
        // Nobody to ask, or nobody whose silence would mean anything.
        let blind = now < self.blind_until || {
            let (hosts, telling) = canaries.hosts();
            hosts == 0 || telling == 0 && seen.decided == 0
        };
        if blind {
            let target = (2.0 * actual).max(self.rate_pps).min(BLIND_PPS);
            if self.phase == Phase::Climb && self.rate_pps < target {
                self.set_rate(target, now);
            }
            return;
        }
        let least = self.enough().min(10);
        let exceeds = sober.exceeds(self.expected);
        // How much got through is worth knowing closely, but not worth a long wait at a rate that loses.
        let checking = matches!(self.phase, Phase::Check { .. });
        let certain = seen.decided
            >= if checking {
                self.enough()
            } else if age < 3 * INTERVAL_NS {
                2 * least
            } else {
                least
            };
        match self.phase {
            Phase::Step if exceeds => {
                if let Some(since) = self.since_first(seen) {
                    self.overload(now, since, actual, canaries);
                }
            }
            _ if exceeds => {
                if certain {
                    self.overload(now, seen, actual, canaries);
                }
            }
            Phase::Climb => {
                if seen.decided >= least {
                    self.clean_pps = actual;
                    // What cannot be used up is no use: the link or the walk is slower than the rate.
                    let target = (2.0 * self.rate_pps).min(4.0 * actual);
                    if target > self.rate_pps && self.rate_pps < self.ceiling_pps {
                        self.set_rate(target, now);
                    }
                }
            }
            Phase::Check { from_loss, .. } if seen.loss() > (self.expected + TOLERATED).max(GONE * from_loss) => {
                // Neither as much as before nor nothing: twice as many canaries tell.
                if seen.decided >= 2 * self.enough() {
                    self.overload(now, seen, actual, canaries);
                }
            }
            Phase::Check { from_pps, .. } => {
                if seen.decided >= self.enough() && canaries.limited_hosts() > self.limited_hosts {
                    // A host was found to limit its answers meanwhile: it was that, and not the path.
                    self.phase = Phase::Climb;
                    self.path_pps = None;
                    self.set_rate(from_pps, now);
                } else if seen.decided >= self.enough() {
                    self.clean_pps = actual;
                    // Where two reductions overshot, the way up begins at once.
                    let far = self.path_pps.is_some_and(|path| self.rate_pps < 0.8 * path);
                    self.phase = Phase::Cruise { until: if far { now } else { now + self.hold_ns } };
                    self.floored = None;
                }
            }
            Phase::Cruise { until } => {
                if seen.lost >= 3 && spread && seen.decided >= 60 && seen.loss() > self.expected + MILD {
                    self.mild(now, seen, actual);
                } else if age > EPOCH_NS - INTERVAL_NS && seen.lost >= 2 && seen.suspicious(self.expected) {
                    // A little too close to the limit, perhaps.
                    let least = LEAST_CRUISE * self.path_pps.unwrap_or(actual);
                    self.set_rate((0.97 * self.rate_pps).max(least), now);
                } else if now >= until {
                    self.phase = Phase::Step;
                    self.set_rate(self.rate_pps * STEP, now);
                }
            }
            Phase::Step => {
                // Below the limit there is nothing to fear; above it, one in ten is to be seen before the next step.
                let above = self.path_pps.is_some_and(|path| self.rate_pps > path);
                let enough = if above { self.enough() } else { least.max(self.enough() / 2) };
                if seen.decided >= enough && spread && seen.suspicious(self.expected) && seen.lost >= 2 {
                    // Where a limit is known, two in twenty are no chance.
                    if let Some(since) = self.since_first(seen)
                        && since.loss() > self.expected + TOLERATED
                    {
                        self.overload(now, since, actual, canaries);
                    }
                } else if seen.decided >= enough && actual >= USED * self.rate_pps {
                    self.clean_pps = actual;
                    let path = self.path_pps.unwrap_or(self.rate_pps);
                    if self.rate_pps > 4.0 * path {
                        // The limit is gone.
                        self.path_pps = None;
                        self.hold_ns = FIRST_HOLD_NS;
                        self.phase = Phase::Climb;
                    }
                    if self.rate_pps < self.ceiling_pps {
                        // The further above what was the limit, the less of a limit it is.
                        let step = match self.rate_pps / path {
                            far if far > 2.0 => 1.5,
                            far if far > 1.3 => 2.0 * STEP - 1.0,
                            _ => STEP,
                        };
                        self.set_rate((self.rate_pps * step).min(4.0 * actual.max(FLOOR_PPS)), now);
                    }
                }
            }
        }
    }

    /// A pass is over that was too short to be judged while it lasted: what it lost is known now, and the next must not be as
    /// fast.
    fn judge_late(&mut self, now: u64, canaries: &Canaries) {
        let known = |epoch: &Epoch| Some(epoch.evidence(self.counts, canaries, true)).filter(|seen| seen.decided > 0);
        let open = self.epochs.iter().rev().take_while(|epoch| !epoch.closed);
        let Some(seen) = open.map(known).find_map(|seen| seen) else { return };
        // A path with a known limit is followed by steps.
        if self.phase != Phase::Climb || !seen.exceeds(self.expected) {
            return;
        }
        // Of few canaries, rather too much is believed to have got through than too little.
        let through = f64::from(seen.decided - seen.lost + 1) / f64::from(seen.decided + 2);
        let delivered = self.rate_pps * through;
        self.epochs.iter_mut().filter(|epoch| !epoch.closed).for_each(|epoch| epoch.lossy = true);
        self.path_pps = Some(delivered.max(1.0));
        self.phase = Phase::Check { from_pps: self.rate_pps, from_loss: seen.loss(), before: None };
        self.set_rate(CRUISE * delivered, now);
    }

    /// More is lost than expected: down to what got through, and see whether that helps.
    fn overload(&mut self, now: u64, seen: Tally, actual: f64, canaries: &mut Canaries) {
        let loss = seen.loss();
        // None of n answered: what got through is less than one in n.
        let through = ((1.0 - loss) / (1.0 - self.expected)).clamp(0.5 / f64::from(seen.decided.max(1)), 1.0);
        let mut delivered = actual * through;
        if !matches!(self.phase, Phase::Check { .. }) {
            // A handful of canaries measures coarsely; that a little less was carried just now is better known.
            let sure = if seen.decided >= 40 { 0.85 } else { 0.92 };
            delivered = delivered.max(sure * self.clean_pps.min(actual));
        }
        // Unless a burst was let through just now and no more is.
        self.clean_pps = 0.0;
        if self.rate_pps <= FLOOR_PPS && loss > 0.9 {
            let since = *self.floored.get_or_insert(now);
            if now - since >= DEAD_NS {
                canaries.forget();
                self.epochs.clear();
                self.begin_epoch(now);
                self.blind_until = now + SECOND;
                self.floored = None;
                self.phase = Phase::Climb;
                self.path_pps = None;
            }
            return;
        }
        // A limit that is seen now has been met a little earlier, by too few canaries to see: on the way up, the epochs before
        // are asked again as well.
        let before = match self.phase {
            Phase::Step => 2,
            Phase::Climb => 1,
            _ => 0,
        };
        for epoch in self.epochs.iter_mut().rev().take(1 + before) {
            epoch.lossy = true;
            epoch.closed = false;
        }
        if !matches!(self.phase, Phase::Check { .. }) {
            self.limited_hosts = canaries.limited_hosts();
        }
        if self.phase == Phase::Step {
            self.hold_ns = (2 * self.hold_ns).min(LAST_HOLD_NS);
        }
        let (from_pps, from_loss, before) = match self.phase {
            Phase::Check { from_pps, from_loss, before } => (from_pps, from_loss, Some(before)),
            _ => (self.rate_pps, loss, None),
        };
        let mut target = CRUISE * delivered;
        let mut remember = None;
        // All that is known is that one host answers only so often, more seldom than paths are limited: that is its own limit,
        // until another host says otherwise. Of few canaries at a high rate, two more answers would have made it a path's.
        let at_most = actual * f64::from(seen.decided - seen.lost + 2) / f64::from(seen.decided.max(1));
        if before.is_some() && canaries.hosts().0 == 1 && at_most < HOST_LIMIT_PPS {
            canaries.set_all_apart();
            self.phase = Phase::Climb;
            self.path_pps = None;
            self.set_rate(from_pps, now);
            return;
        }
        if let Some(before) = before {
            match before {
                // Less got through than at the higher rate, in proportion: the path loses this share at any rate. On a path
                // with a limit, as much would have got through.
                Some((pps, got_through, lost)) if delivered / got_through < (actual / pps).sqrt() && loss <= MOST_EXPECTED => {
                    self.expected = (loss + lost) / 2.0;
                    self.phase = Phase::Climb;
                    self.path_pps = None;
                    self.set_rate(from_pps, now);
                    return;
                }
                Some(_) => {}
                // Nine tenths of what got through should have got through. Half shows the two apart.
                None => target = target.min(0.5 * self.rate_pps),
            }
            remember = Some((actual, delivered, loss));
        }
        self.path_pps = Some(delivered.max(1.0));
        self.mild = None;
        self.phase = Phase::Check { from_pps, from_loss, before: remember };
        self.set_rate(target, now);
    }

    /// At a known limit, a little more is lost than expected: the limit was estimated too high. If it has just been lowered
    /// for that, and as much is lost as before, the limit is none.
    fn mild(&mut self, now: u64, seen: Tally, actual: f64) {
        let loss = seen.loss();
        match self.mild.take() {
            Some((from_pps, from_loss)) if loss > 0.5 * from_loss => {
                self.expected = (loss + from_loss) / 2.0;
                self.path_pps = None;
                self.phase = Phase::Climb;
                self.set_rate(from_pps, now);
            }
            _ => {
                let through = (1.0 - loss) / (1.0 - self.expected);
                self.mild = Some((self.path_pps.unwrap_or(actual), loss));
                self.path_pps = Some(actual * through);
                self.epochs.back_mut().expect("an epoch is always under way").lossy = true;
                self.set_rate((through - 0.07) * actual, now);
            }
        }
    }

    /// Closes the epochs of which all canaries are decided, and tells the lossy ones.
    fn settle(&mut self, canaries: &Canaries, all: bool) -> Vec<Range<u64>> {
        let mut again = Vec::new();
        for i in 0..self.epochs.len() {
            let epoch = &self.epochs[i];
            if epoch.closed || epoch.ended.is_none() || !all && !canaries.decided(epoch.number) {
                continue;
            }
            let seen = epoch.evidence(self.counts, canaries, false);
            let lossy = epoch.lossy || seen.suspicious(self.expected);
            if !epoch.lossy && self.path_pps.is_none() {
                // A path that has shown no limit teaches what it loses anyway, a second's canaries at a time.
                let weight = f64::from(seen.decided) / (f64::from(seen.decided) + MOST_CANARIES);
                self.expected += (seen.loss().min(MOST_LEARNED.max(self.expected)) - self.expected) * weight;
            }
            let stretch = epoch.at_start.position..epoch.at_end.position;
            self.epochs[i].closed = true;
            if lossy && !stretch.is_empty() {
                again.push(stretch);
            }
        }
        again
    }
}

impl std::fmt::Display for Congestion {
    /// What it is doing and what it takes the path for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, path {:?} pps, loss expected {:.3}", self.phase, self.path_rate_pps(), self.expected)
    }
}

#[cfg(test)]
#[path = "congestion_tests.rs"]
mod tests;
