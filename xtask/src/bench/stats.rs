//! The few statistics of a measurement: medians, ratios of paired runs, the speed in the middle of a run, and the exactness of a
//! rate over every window of a second.
//!
//! Pure. What is a good value is left to `cases`.

use super::world::Endpoint;
use std::collections::BTreeSet;

/// The middle value, or the mean of the two in the middle. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Smallest and largest.
pub fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let smallest = values.iter().copied().min_by(f64::total_cmp)?;
    Some((smallest, values.iter().copied().max_by(f64::total_cmp)?))
}

/// The median of the ratios within each pair: what slowed both runs of a pair down falls out.
pub fn paired_ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).filter_map(|(a, b)| Some((*a)? / (*b)?)).filter(|r| r.is_finite()).collect();
    median(&ratios)
}

/// Events per second between the moments when a tenth and nine tenths of them had come: without start and end.
pub fn middle_rate(series: &[(f64, u64)]) -> Option<f64> {
    let total = series.last()?.1;
    let at = |count: f64| crossing(series, count);
    let (low, high) = (total as f64 * 0.1, total as f64 * 0.9);
    let took = at(high)? - at(low)?;
    (took > 0.0).then(|| (high - low) / took)
}

/// When the count reached so many, between the two samples around it.
fn crossing(series: &[(f64, u64)], count: f64) -> Option<f64> {
    let i = series.iter().position(|(_, c)| *c as f64 >= count)?;
    let (t1, c1) = series[i];
    if i == 0 || c1 as f64 == count {
        return Some(t1);
    }
    let (t0, c0) = series[i - 1];
    Some(t0 + (t1 - t0) * (count - c0 as f64) / (c1 - c0) as f64)
}

/// The count at a moment, between the two samples around it.
fn count_at(series: &[(f64, u64)], t: f64) -> Option<f64> {
    let i = series.partition_point(|(at, _)| *at < t);
    let (t1, c1) = *series.get(i)?;
    if i == 0 {
        return Some(c1 as f64);
    }
    let (t0, c0) = series[i - 1];
    let part = if t1 > t0 { (t - t0) / (t1 - t0) } else { 1.0 };
    Some(c0 as f64 + (c1 - c0) as f64 * part)
}

/// How exactly a rate was kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exactness {
    /// Deviation of the whole from the rate, in percent: positive is too fast.
    pub mean_percent: f64,
    /// The largest excess of any window of one second over the rate, in percent.
    pub over_percent: f64,
    /// The largest lack of any such window, in percent (positive).
    pub under_percent: f64,
}

/// Compares a series of counts with the rate that was asked for, from its first event to its last.
///
/// Slow rates (under 50 a second) are judged by the intervals between events, because a window of a second holds one event more
/// or less depending on where it begins; fast ones by every window of one second that begins at a sample.
pub fn exactness(series: &[(f64, u64)], rate: f64) -> Option<Exactness> {
    let total = series.last()?.1;
    let first = series.iter().position(|(_, c)| *c > 0)?;
    let last = series.iter().position(|(_, c)| *c == total)?;
    let percent = |measured: f64| (measured / rate - 1.0) * 100.0;
    // from the first event to the last lie one interval fewer than events
    let begun = series[first].1;
    let mean = percent((total - begun) as f64 / (series[last].0 - series[first].0));
    let rates: Vec<f64> = if rate < 50.0 {
        let events = events(series);
        events.windows(2).map(|pair| 1.0 / (pair[1] - pair[0])).collect()
    } else {
        let end = series[last].0;
        let within = series[first..=last].iter().take_while(|(t, _)| t + 1.0 <= end);
        within.filter_map(|(t, c)| Some(count_at(series, t + 1.0)? - *c as f64)).collect()
    };
    let (slowest, fastest) = spread(&rates)?;
    Some(Exactness { mean_percent: mean, over_percent: percent(fastest), under_percent: -percent(slowest) })
}

/// When each event was first seen.
fn events(series: &[(f64, u64)]) -> Vec<f64> {
    let mut seen = 0;
    let mut events = Vec::new();
    for (t, count) in series {
        while seen < *count {
            seen += 1;
            events.push(*t);
        }
    }
    events
}

/// How true a list of open endpoints is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Found of those that are open.
    pub recall: f64,
    /// Open of those that were claimed; 1 when nothing was.
    pub precision: f64,
    /// Claims about hosts that are open on every port, which are true and count for neither.
    pub on_open_hosts: usize,
}

/// Compares what was claimed with what is so. Endpoints of hosts that are open on every port are kept apart.
pub fn truth(claimed: &BTreeSet<Endpoint>, open: &BTreeSet<Endpoint>, open_everywhere: &BTreeSet<u32>) -> Truth {
    let mut right = 0;
    let mut wrong = 0;
    let mut on_open_hosts = 0;
    for endpoint in claimed {
        match (open_everywhere.contains(&endpoint.0), open.contains(endpoint)) {
            (true, _) => on_open_hosts += 1,
            (false, true) => right += 1,
            (false, false) => wrong += 1,
        }
    }
    let part = |n: usize, of: usize| if of == 0 { 1.0 } else { n as f64 / of as f64 };
    Truth { recall: part(right, open.len()), precision: part(right, right + wrong), on_open_hosts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_in_any_order() {
        for (values, expected) in
            [(vec![], None), (vec![3.0], Some(3.0)), (vec![9.0, 1.0, 2.0], Some(2.0)), (vec![4.0, 1.0, 2.0, 3.0], Some(2.5))]
        {
            assert_eq!(median(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_pair_with_a_missing_half_counts_for_nothing() {
        let ratio = paired_ratio(&[Some(1.0), None, Some(3.0)], &[Some(2.0), Some(5.0), Some(4.0)]);
        assert_eq!(ratio, Some(0.625));
        assert_eq!(paired_ratio(&[None], &[Some(1.0)]), None);
    }

    #[test]
    fn noise_that_hits_both_runs_of_a_pair_falls_out() {
        assert_eq!(paired_ratio(&[Some(1.0), Some(10.0), Some(2.0)], &[Some(2.0), Some(20.0), Some(4.0)]), Some(0.5));
    }

    #[test]
    fn the_middle_rate_sees_neither_the_start_nor_the_wait_at_the_end() {
        // a second of start, a thousand events in one second, three seconds of waiting
        let mut series: Vec<(f64, u64)> = vec![(0.0, 0), (1.0, 0)];
        series.extend((1..=100).map(|i| (1.0 + f64::from(i) / 100.0, i as u64 * 10)));
        series.push((5.0, 1000));
        let rate = middle_rate(&series).unwrap();
        assert!((rate - 1000.0).abs() < 1.0, "{rate}");
        assert_eq!(middle_rate(&[]), None);
    }

    /// Samples each millisecond of events at these times.
    fn sampled(times: &[f64], until: f64) -> Vec<(f64, u64)> {
        (0..(until * 1000.0) as u64)
            .map(|ms| {
                let t = ms as f64 / 1000.0;
                (t, times.iter().filter(|at| **at <= t).count() as u64)
            })
            .collect()
    }

    #[test]
    fn an_exact_rate_is_exact_whether_slow_or_fast() {
        for (rate, seconds) in [(1.0, 8.0), (100.0, 4.0), (2000.0, 3.0)] {
            let times: Vec<f64> = (0..(rate * seconds) as u64).map(|i| 0.5 + i as f64 / rate).collect();
            let e = exactness(&sampled(&times, seconds + 1.0), rate).unwrap();
            assert!(e.over_percent < 1.2 && e.under_percent < 1.2 && e.mean_percent.abs() < 0.5, "{rate}: {e:?}");
        }
    }

    #[test]
    fn a_burst_shows_even_if_the_mean_is_right() {
        // 200 a second, but each second's in its first tenth
        let times: Vec<f64> = (0..800_u32).map(|i| 0.5 + f64::from(i / 200) + f64::from(i % 200) / 2000.0).collect();
        let bursty = exactness(&sampled(&times, 5.0), 200.0).unwrap();
        let late: Vec<f64> = (0..800_u32).map(|i| 0.5 + f64::from(i) / 200.0 + if i >= 400 { 0.3 } else { 0.0 }).collect();
        let gap = exactness(&sampled(&late, 6.0), 200.0).unwrap();
        assert!(bursty.mean_percent > 5.0, "{bursty:?}");
        assert!(gap.under_percent > 25.0 && gap.over_percent < 2.0, "{gap:?}");
    }

    #[test]
    fn a_slow_rate_is_judged_by_its_intervals() {
        let e = exactness(&sampled(&[0.1, 1.1, 2.6, 3.6], 5.0), 1.0).unwrap();
        assert!((e.under_percent - 33.3).abs() < 0.5 && e.over_percent.abs() < 0.5, "{e:?}");
    }

    #[test]
    fn recall_and_precision_leave_out_hosts_that_accept_everything() {
        let open = BTreeSet::from([(1, 80), (1, 443), (2, 22), (3, 25)]);
        let claimed = BTreeSet::from([(1, 80), (2, 22), (2, 23), (9, 1), (9, 2)]);
        let t = truth(&claimed, &open, &BTreeSet::from([9]));
        assert_eq!((t.recall, t.on_open_hosts), (0.5, 2));
        assert!((t.precision - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(truth(&BTreeSet::new(), &BTreeSet::new(), &BTreeSet::new()).precision, 1.0);
    }
}
