//! Numbers about how well the loop works: how long exposures may have gone unseen, and how long they stayed open.
//!
//! Drawing them is left to the console; the history they come from is the event log.

use model::Duration;
use model::exposure::Exposure;
use model::port_state::Phase;

/// A set of durations in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spread {
    /// How many there were.
    pub samples: u32,
    /// The middle one (the lower of two).
    pub median: Option<Duration>,
    /// The longest.
    pub max: Option<Duration>,
}

/// Median and maximum.
pub fn spread(durations: impl IntoIterator<Item = Duration>) -> Spread {
    let mut sorted: Vec<Duration> = durations.into_iter().collect();
    sorted.sort_unstable();
    Spread {
        samples: sorted.len() as u32,
        median: sorted.get(sorted.len().saturating_sub(1) / 2).copied(),
        max: sorted.last().copied(),
    }
}

/// Upper bounds of the time to detect, of the exposures that had been probed before they opened (MTTD, L9).
pub fn detection<'a>(exposures: impl IntoIterator<Item = &'a Exposure>) -> Spread {
    spread(exposures.into_iter().filter_map(|e| e.detection_bound))
}

/// Times from detection to closing, of the exposures whose last opening has ended (MTTR, L9).
pub fn remediation<'a>(exposures: impl IntoIterator<Item = &'a Exposure>) -> Spread {
    let closed = exposures.into_iter().filter(|e| e.phase == Phase::Closed);
    spread(closed.filter_map(|e| Some(e.closed_at?.since(e.opened_at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_exact() {
        for (ms, median, max) in [
            (vec![], None, None),
            (vec![5], Some(5), Some(5)),
            (vec![9, 1, 4, 2], Some(2), Some(9)),
            (vec![3, 1, 2], Some(2), Some(3)),
        ] {
            let s = spread(ms.iter().map(|&n| Duration::millis(n)));
            assert_eq!((s.samples as usize, s.median, s.max), (ms.len(), median.map(Duration), max.map(Duration)), "{ms:?}");
        }
    }
}
