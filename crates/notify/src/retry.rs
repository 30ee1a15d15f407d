//! When to try a notification again. Counting the tries and giving up in the store is left to the caller.

use model::{Duration, NotificationId};

/// Delays after the first, second, … failed try. Eleven of them separate the default twelve tries and add up to 22.9 hours:
/// quick at first, because most failures are restarts, then rare, because a receiver that was down for an hour will not
/// mind another.
const DELAYS: [Duration; 11] = [
    Duration::secs(10),
    Duration::secs(30),
    Duration::minutes(1),
    Duration::minutes(2),
    Duration::minutes(5),
    Duration::minutes(15),
    Duration::minutes(30),
    Duration::hours(1),
    Duration::hours(3),
    Duration::hours(6),
    Duration::hours(12),
];

/// The first of [`DELAYS`] that is worth waiting after a failure that will not go away by itself (an unknown recipient, a
/// refused password): a person has to mend it, which takes minutes at best.
const FIRST_PERMANENT: usize = 5;

/// How long to wait after try number `attempts` (counted from 1) failed; `None` when that was the last.
///
/// Transient failures get `max_attempts` tries. Others are tried again too, so that an alert is not lost to a password that
/// somebody corrects within the day, but start at a quarter of an hour and so end five tries sooner. `seed` (see [`seed`])
/// moves the delay by up to a tenth either way, so that what failed together does not come back together.
pub fn retry_delay(attempts: u32, max_attempts: u32, transient: bool, seed: u64) -> Option<Duration> {
    let skipped = if transient { 0 } else { FIRST_PERMANENT };
    let step = skipped + attempts.max(1) as usize;
    if step >= max_attempts.max(1) as usize {
        return None;
    }
    let delay = DELAYS[step.min(DELAYS.len()) - 1].0;
    let tenth = delay / 10;
    Some(Duration(delay - tenth + mix(seed ^ u64::from(attempts)) % (2 * tenth + 1)))
}

/// The seed that belongs to a notification, for [`retry_delay`].
pub fn seed(id: NotificationId) -> u64 {
    let (high, low) = id.0.as_u64_pair();
    mix(high ^ mix(low))
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): spreads nearby seeds over all of `u64`.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(max_attempts: u32, transient: bool, seed: u64) -> (u32, Duration) {
        let mut attempts = 1;
        let mut sum = 0;
        while let Some(delay) = retry_delay(attempts, max_attempts, transient, seed) {
            sum += delay.0;
            attempts += 1;
            assert!(attempts < 1_000, "retries must end");
        }
        (attempts, Duration(sum))
    }

    #[test]
    fn twelve_tries_spread_over_about_a_day() {
        for seed in [0, 1, 42, u64::MAX] {
            let (attempts, sum) = total(12, true, seed);
            assert_eq!(attempts, 12);
            assert!((Duration::hours(20)..=Duration::hours(26)).contains(&sum), "{} ms", sum.0);
        }
    }

    #[test]
    fn what_a_person_must_mend_is_not_hammered() {
        let first = retry_delay(1, 12, false, 7).unwrap();
        assert!(first >= Duration::minutes(13), "{} ms", first.0);
        assert_eq!(total(12, false, 7).0, 7);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_differs_by_seed() {
        let delays: Vec<u64> = (0..100).map(|seed| retry_delay(6, 12, true, seed).unwrap().0).collect();
        let nominal = Duration::minutes(15).0;
        assert!(delays.iter().all(|d| (nominal * 9 / 10..=nominal * 11 / 10).contains(d)), "{delays:?}");
        assert!(delays.iter().collect::<std::collections::HashSet<_>>().len() > 90);
    }

    #[test]
    fn few_or_many_tries_end_where_the_policy_says() {
        for max in [1, 2, 12, 30] {
            assert_eq!(total(max, true, 3).0, max);
        }
        assert_eq!(retry_delay(1, 0, true, 0), None);
    }
}
