//! A rate kept exactly: tokens for so many probes per second, never more in any second, and what a stalled thread missed is
//! caught up. The sweep's own rate and the node's cap are gates; the caps of networks and targets, of which there are many,
//! are `pace`'s. How fast it should be is left to `congestion` and the operator. Time comes in as nanoseconds.
//!
//! Two conditions hold at once. A token bucket of the rate spreads the probes evenly; it holds up to 50 ms of tokens, so that
//! a thread that was not woken in time sends a little faster for a moment instead of losing its turns. A count of what left
//! in the last [`SLOTS`] milliseconds makes sure that catching up never adds up to more than the rate in any second.

/// Length of a slot of the count. Finer slots cost memory, coarser ones rate: the oldest is counted in full.
const SLOT_NS: u64 = 1_000_000;
/// How many slots are counted: a second, and four milliseconds by which a probe may leave later than its token was taken
/// without any second at the target's end holding more than the rate. The slot under way is the last.
const SLOTS: u64 = 1_005;
/// The time in which exactly the rate's number of probes leaves: half a percent more than a second, so that what is asked
/// for is reached within half a percent and an echo of a burst dies away instead of coming back each second.
pub(crate) const PERIOD_NS: u64 = SLOTS * SLOT_NS;
/// How long a stall is caught up. Schedulers of busy machines take turns of some ten milliseconds.
pub(crate) const CATCH_UP_NS: u64 = 50 * SLOT_NS;

/// Tokens at a rate.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Tokens for each [`PERIOD_NS`].
    rate_pps: u64,
    /// The most that any second may hold.
    cap_pps: u64,
    /// How much of a stall is caught up.
    catch_up_ns: u64,
    /// What the bucket holds; [`PERIOD_NS`] of it make a token.
    credit: u64,
    /// Until when the bucket has been filled; `None` before the first taking, so that time before it earns nothing.
    filled: Option<u64>,
    /// Tokens taken in each slot, by slot number modulo [`SLOTS`].
    slots: Box<[u32]>,
    /// The slot under way.
    newest: u64,
    /// Sum of the slots.
    counted: u64,
}

/// Tokens that were taken, and when, for giving back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many.
    pub tokens: u32,
    slot: u64,
}

impl Gate {
    /// So many per second, in every second.
    pub fn exact(pps: u32) -> Self {
        Gate::new(pps, pps, CATCH_UP_NS)
    }

    /// At a rate that may change, under a cap that no second exceeds. A rate or cap of zero counts as one: stopping is the
    /// scope's business.
    pub fn new(rate_pps: u32, cap_pps: u32, catch_up_ns: u64) -> Self {
        let cap_pps = u64::from(cap_pps.max(1));
        let rate_pps = u64::from(rate_pps.max(1)).min(cap_pps);
        let slots = vec![0; SLOTS as usize].into_boxed_slice();
        // One token to begin with, so that the first probe need not wait for a second at one probe per second.
        Gate { rate_pps, cap_pps, catch_up_ns, credit: PERIOD_NS, filled: None, slots, newest: 0, counted: 0 }
    }

    /// The rate from now on.
    pub fn set_rate(&mut self, pps: u32, now: u64) {
        self.advance(now);
        self.rate_pps = u64::from(pps.max(1)).min(self.cap_pps);
        self.credit = self.credit.min(self.most_credit());
    }

    /// Cap and rate from now on; what has left still counts.
    pub fn set_exact(&mut self, pps: u32, now: u64) {
        self.cap_pps = u64::from(pps.max(1));
        self.set_rate(pps, now);
    }

    /// The rate.
    pub fn rate_pps(&self) -> u64 {
        self.rate_pps
    }

    /// How many probes to ask for at a time: a millisecond's worth, one by one up to 1,000 a second, at most 256 (a quarter
    /// of a millisecond at a million), so that what is granted has left before it would matter when.
    pub fn batch(&self) -> u32 {
        (self.rate_pps / 1_000).clamp(1, 256) as u32
    }

    /// Takes up to so many tokens.
    pub fn take(&mut self, want: u32, now: u64) -> Taken {
        self.advance(now);
        let room = self.cap_pps.saturating_sub(self.counted);
        let granted = u64::from(want).min(self.credit / PERIOD_NS).min(room) as u32;
        if granted > 0 {
            self.credit -= u64::from(granted) * PERIOD_NS;
            self.slots[(self.newest % SLOTS) as usize] += granted;
            self.counted += u64::from(granted);
        }
        Taken { tokens: granted, slot: self.newest }
    }

    /// Gives back so many of the tokens of a taking: they were not used.
    pub fn give_back(&mut self, taken: Taken, unused: u32) {
        if taken.slot + SLOTS <= self.newest {
            return;
        }
        let slot = &mut self.slots[(taken.slot % SLOTS) as usize];
        let unused = unused.min(taken.tokens).min(*slot);
        *slot -= unused;
        self.counted -= u64::from(unused);
        self.credit = (self.credit + u64::from(unused) * PERIOD_NS).min(self.most_credit());
    }

    /// When so many tokens will be there at once, if nobody else takes any. More than the bucket ever holds are as many as
    /// it holds.
    pub fn ready(&self, want: u32, now: u64) -> u64 {
        let most = self.most_credit() / PERIOD_NS;
        let want = u64::from(want.max(1)).min(most).min(self.cap_pps);
        let missing = (want * PERIOD_NS).saturating_sub(self.credit);
        let by_bucket = self.filled.unwrap_or(now) + missing.div_ceil(self.rate_pps);
        let mut excess = (self.counted + want).saturating_sub(self.cap_pps);
        let mut by_count = 0;
        // Slots leave the count oldest first.
        let mut slot = self.newest.saturating_sub(SLOTS - 1);
        while excess > 0 && slot <= self.newest {
            let held = u64::from(self.slots[(slot % SLOTS) as usize]);
            if held > 0 {
                excess = excess.saturating_sub(held);
                by_count = (slot + SLOTS) * SLOT_NS;
            }
            slot += 1;
        }
        by_bucket.max(by_count).max(now)
    }

    /// A batch, and what a stall may add to it.
    fn most_credit(&self) -> u64 {
        self.catch_up_ns * self.rate_pps + u64::from(self.batch()) * PERIOD_NS
    }

    /// Fills the bucket and lets old slots leave the count. A time before the last one counts as the last one.
    fn advance(&mut self, now: u64) {
        let filled = *self.filled.get_or_insert(now);
        if now > filled {
            // No bucket needs longer than a period to fill, and so much does not overflow.
            let elapsed = (now - filled).min(PERIOD_NS);
            self.credit = (self.credit + elapsed * self.rate_pps).min(self.most_credit());
            self.filled = Some(now);
        }
        let slot = now / SLOT_NS;
        if slot <= self.newest {
            return;
        }
        if slot - self.newest >= SLOTS {
            self.slots.fill(0);
            self.counted = 0;
        } else {
            for passed in self.newest + 1..=slot {
                self.counted -= u64::from(std::mem::take(&mut self.slots[(passed % SLOTS) as usize]));
            }
        }
        self.newest = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// The most in any second that ends at one of these times. Times and counts, in order of time.
    fn busiest(sent: &[(u64, u32)]) -> u64 {
        let (mut first, mut held, mut most) = (0, 0u64, 0);
        for &(at, n) in sent {
            held += u64::from(n);
            while at - sent[first].0 >= SECOND {
                held -= u64::from(sent[first].1);
                first += 1;
            }
            most = most.max(held);
        }
        most
    }

    /// Sends as a walker does, waking when told; `late` says how much later than that.
    fn run(gate: &mut Gate, seconds: u64, mut late: impl FnMut(u64) -> u64) -> Vec<(u64, u32)> {
        let (mut now, mut sent, mut wakes) = (0, Vec::new(), 0);
        while now < seconds * SECOND {
            let granted = gate.take(gate.batch(), now).tokens;
            if granted > 0 {
                sent.push((now, granted));
            } else {
                wakes += 1;
                now = gate.ready(gate.batch(), now) + late(wakes);
            }
        }
        sent
    }

    const RATES: [u32; 12] = [1, 2, 7, 50, 99, 100, 1_000, 1_001, 20_000, 65_537, 250_000, 1_000_000];

    #[test]
    fn a_rate_is_kept_within_half_a_percent_from_one_to_a_million() {
        for pps in RATES {
            let seconds = if pps < 10 { 400 } else { 6 };
            let sent = run(&mut Gate::exact(pps), seconds, |_| 0);
            assert!(busiest(&sent) <= u64::from(pps), "{pps}");
            let total: u64 = sent.iter().map(|(_, n)| u64::from(*n)).sum();
            let rate = (total - 1) as f64 / seconds as f64;
            assert!(rate >= 0.994 * f64::from(pps) - 1.0 / seconds as f64, "{pps}: {rate}");
        }
    }

    #[test]
    fn up_to_a_thousand_a_second_probes_leave_one_by_one() {
        for pps in RATES.into_iter().filter(|pps| *pps <= 1_000) {
            let sent = run(&mut Gate::exact(pps), 3, |_| 0);
            let least = sent.windows(2).map(|w| w[1].0 - w[0].0).min().unwrap_or(SECOND);
            assert!(sent.iter().all(|(_, n)| *n == 1) && least >= SECOND / u64::from(pps) - SLOT_NS, "{pps}: {least}");
        }
        assert_eq!(Gate::exact(1_000_000).batch(), 256);
        assert_eq!(Gate::exact(64_000).batch(), 64);
    }

    #[test]
    fn stalls_of_fifty_milliseconds_cost_nothing() {
        for pps in [50, 1_000, 20_000, 1_000_000] {
            let mut gate = Gate::exact(pps);
            // Ten times a second, the thread is not woken for up to 45 ms.
            let mut next = 0;
            let (mut now, mut sent) = (0, Vec::new());
            while now < 6 * SECOND {
                let granted = gate.take(gate.batch(), now).tokens;
                if granted > 0 {
                    sent.push((now, granted));
                    continue;
                }
                now = gate.ready(gate.batch(), now);
                if now > next {
                    now += 45_000_000 * (next / 100_000_000 % 3) / 2;
                    next += 100_000_000;
                }
            }
            assert!(busiest(&sent) <= u64::from(pps), "{pps}");
            let steady: u64 = sent.iter().filter(|(at, _)| *at >= SECOND).map(|(_, n)| u64::from(*n)).sum();
            assert!((steady + 1) as f64 >= 0.98 * 5.0 * f64::from(pps), "{pps}: {}", steady as f64 / 5.0);
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_does_not_count() {
        let mut gate = Gate::exact(1_000);
        let mut now = 10 * SECOND;
        assert_eq!(gate.take(64, now).tokens, 1, "the token of the beginning");
        now += PERIOD_NS;
        let taken = gate.take(64, now);
        assert_eq!(taken.tokens, 50);
        gate.give_back(taken, 40);
        assert_eq!(gate.take(64, now).tokens, 40);
        assert_eq!(gate.counted, 50);
    }

    #[test]
    fn a_lower_rate_holds_at_once_and_the_cap_still_counts() {
        let mut gate = Gate::new(100_000, 100_000, 5 * SLOT_NS);
        let fast = run(&mut gate, 1, |_| 0);
        assert!(fast.iter().map(|(_, n)| *n).sum::<u32>() > 98_000);
        gate.set_rate(1_000, SECOND);
        let (mut now, mut sent) = (SECOND, 0);
        while now < 2 * SECOND {
            match gate.take(1, now).tokens {
                0 => now = gate.ready(1, now),
                n => sent += n,
            }
        }
        assert!((985..=1_006).contains(&sent), "{sent}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// PR-7, exactly, whatever stalls come and whatever is given back.
        #[test]
        fn no_second_holds_more_than_the_rate(
            pps in prop_oneof![1u32..100, 100u32..5_000, 5_000u32..1_000_000],
            late in prop::collection::vec(prop_oneof![4 => Just(0u64), 2 => 0..2_000_000u64, 1 => 0..120_000_000u64], 1..400),
            unused in prop::collection::vec(prop_oneof![3 => Just(0u32), 1 => 0..40u32], 1..20),
        ) {
            let mut gate = Gate::exact(pps);
            let (mut now, mut sent, mut n) = (0, Vec::new(), 0);
            while n < 3 * late.len() && now < 4 * SECOND {
                let taken = gate.take(gate.batch(), now);
                let granted = taken.tokens;
                n += 1;
                if granted > 0 {
                    let back = unused[n % unused.len()].min(granted);
                    gate.give_back(taken, back);
                    sent.push((now, granted - back));
                    // Using what was granted takes time as well.
                    now += late[n % late.len()] / 100;
                } else {
                    let ready = gate.ready(gate.batch(), now);
                    prop_assert!(ready >= now);
                    now = ready + late[n % late.len()];
                }
            }
            prop_assert!(busiest(&sent) <= u64::from(pps));
        }

        /// Who comes back when told gets what was asked for.
        #[test]
        fn ready_means_ready(pps in 1u32..2_000_000, want in 1u32..300, gaps in prop::collection::vec(0..300_000_000u64, 1..60)) {
            let mut gate = Gate::exact(pps);
            let mut now = 0;
            for gap in gaps {
                now += gap;
                gate.take(want, now);
                now = gate.ready(want, now);
                let most = (gate.most_credit() / PERIOD_NS) as u32;
                prop_assert_eq!(gate.take(want, now).tokens, want.min(most).min(pps));
            }
        }
    }
}
