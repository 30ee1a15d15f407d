//! Times to keep quiet: which ranges must not be probed at an instant, and until when.
//!
//! Taking them out of a job's scope and putting the job off is left to whoever leases it.

use model::address::{IpRange, subtract};
use model::asset::{Blackout, Window};
use model::{Duration, Ts};

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// How far windows are followed: by then a weekly one has come round.
const AHEAD: Duration = Duration::days(8);

/// The end of the window's occurrence that holds `now`; `None` when it does not hold.
pub fn window_until(window: &Window, now: Ts) -> Option<Ts> {
    match window {
        Window::Once { from, until } => (*from <= now && now < *until).then_some(*until),
        Window::Weekly { days, start_minute, end_minute } => {
            let today = now.0.div_euclid(DAY_MS);
            let (start, mut end) = (i64::from(*start_minute), i64::from(*end_minute));
            if end <= start {
                end += 24 * 60;
            }
            // A window lasts at most a day, so it began today or yesterday.
            [today - 1, today].into_iter().find_map(|day| {
                // 1970-01-01 was a Thursday, day 4 of 1 Monday to 7 Sunday.
                let weekday = (day + 3).rem_euclid(7) as u8 + 1;
                let (from, until) = (day * DAY_MS + start * MINUTE_MS, day * DAY_MS + end * MINUTE_MS);
                (days.contains(&weekday) && from <= now.0 && now.0 < until).then_some(Ts(until))
            })
        }
    }
}

/// The ranges that must not be probed at `now`.
pub fn silent_ranges(blackouts: &[Blackout], now: Ts) -> Vec<IpRange> {
    blackouts.iter().filter(|b| window_until(&b.window, now).is_some()).map(|b| b.range).collect()
}

/// When the window's next occurrence begins, within the eight days after `now`; `None` when it does not.
pub fn window_from(window: &Window, now: Ts) -> Option<Ts> {
    match window {
        Window::Once { from, until } => (now < *from && from < until && from.since(now) <= AHEAD).then_some(*from),
        Window::Weekly { days, start_minute, .. } => {
            let today = now.0.div_euclid(DAY_MS);
            (today..=today + 7).find_map(|day| {
                let weekday = (day + 3).rem_euclid(7) as u8 + 1;
                let from = Ts(day * DAY_MS + i64::from(*start_minute) * MINUTE_MS);
                (days.contains(&weekday) && now < from).then_some(from)
            })
        }
    }
}

/// When something of `targets` has to be left in peace next, after `now`: the start of the next window that touches it.
pub fn silent_from(blackouts: &[Blackout], targets: &[IpRange], now: Ts) -> Option<Ts> {
    let touching = blackouts.iter().filter(|b| targets.iter().any(|t| t.overlaps(&b.range)));
    touching.filter_map(|b| window_from(&b.window, now)).min()
}

/// When something of `targets` may be probed again, if nothing of it may be probed at `now`; `None` when something may.
///
/// Windows that follow each other without a gap are followed, up to eight days ahead: a weekly window has come round
/// by then, and a job that is put off that far is looked at again anyway.
pub fn silent_until(blackouts: &[Blackout], targets: &[IpRange], now: Ts) -> Option<Ts> {
    if targets.is_empty() {
        return None;
    }
    let horizon = now.plus(AHEAD);
    let mut at = now;
    loop {
        if !subtract(targets, &silent_ranges(blackouts, at)).is_empty() {
            return (at > now).then_some(at);
        }
        let ends = blackouts.iter().filter(|b| targets.iter().any(|t| t.overlaps(&b.range)));
        at = ends.filter_map(|b| window_until(&b.window, at)).min()?;
        if at >= horizon {
            return Some(horizon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::BlackoutId;

    fn blackout(range: &str, window: Window) -> Blackout {
        Blackout {
            id: BlackoutId(uuid::Uuid::nil()),
            range: range.parse().unwrap(),
            window,
            reason: "test".into(),
            created_at: Ts(0),
        }
    }

    fn ts(s: &str) -> Ts {
        s.parse().unwrap()
    }

    #[test]
    fn weekly_windows_hold_on_their_days_and_past_midnight() {
        // 2026-11-21 is a Saturday (6).
        let office = Window::Weekly { days: vec![1, 2, 3, 4, 5], start_minute: 9 * 60, end_minute: 17 * 60 };
        let night = Window::Weekly { days: vec![6], start_minute: 22 * 60, end_minute: 6 * 60 };
        let all_day = Window::Weekly { days: vec![6], start_minute: 0, end_minute: 0 };
        for (window, now, until) in [
            (&office, "2026-11-20T09:00:00Z", Some("2026-11-20T17:00:00Z")),
            (&office, "2026-11-20T17:00:00Z", None),
            (&office, "2026-11-21T10:00:00Z", None),
            (&night, "2026-11-21T21:59:59.999Z", None),
            (&night, "2026-11-21T22:00:00Z", Some("2026-11-22T06:00:00Z")),
            (&night, "2026-11-22T05:59:00Z", Some("2026-11-22T06:00:00Z")),
            (&night, "2026-11-22T22:30:00Z", None),
            (&all_day, "2026-11-21T00:00:00Z", Some("2026-11-22T00:00:00Z")),
            (&all_day, "2026-11-22T00:00:00Z", None),
        ] {
            assert_eq!(window_until(window, ts(now)), until.map(ts), "{window:?} at {now}");
        }
    }

    #[test]
    fn the_next_window_is_known_before_it_begins() {
        // 2026-11-21 is a Saturday (6).
        let office = Window::Weekly { days: vec![1, 2, 3, 4, 5], start_minute: 9 * 60, end_minute: 17 * 60 };
        let once = Window::Once { from: ts("2026-11-21T12:00:00Z"), until: ts("2026-11-21T13:00:00Z") };
        for (window, now, from) in [
            (&office, "2026-11-20T08:59:00Z", Some("2026-11-20T09:00:00Z")),
            (&office, "2026-11-20T09:00:00Z", Some("2026-11-23T09:00:00Z")),
            (&office, "2026-11-21T10:00:00Z", Some("2026-11-23T09:00:00Z")),
            (&once, "2026-11-21T11:59:59.999Z", Some("2026-11-21T12:00:00Z")),
            (&once, "2026-11-21T12:00:00Z", None),
            (&once, "2026-11-01T12:00:00Z", None),
        ] {
            assert_eq!(window_from(window, ts(now)), from.map(ts), "{window:?} at {now}");
        }
        let blackouts = [blackout("10.0.0.0/24", once), blackout("10.0.1.0/24", office)];
        let now = ts("2026-11-21T10:00:00Z");
        let next = |range: &str| silent_from(&blackouts, &[range.parse().unwrap()], now);
        assert_eq!(next("10.0.0.7"), Some(ts("2026-11-21T12:00:00Z")));
        assert_eq!(next("10.0.1.7"), Some(ts("2026-11-23T09:00:00Z")));
        assert_eq!(next("10.0.0.0/23"), Some(ts("2026-11-21T12:00:00Z")));
        assert_eq!(next("10.0.2.7"), None);
    }

    #[test]
    fn a_job_waits_only_when_all_of_it_is_silent() {
        let hour = |range: &str| blackout(range, Window::Once { from: Ts(0), until: Ts(3_600_000) });
        let r = |s: &str| vec![s.parse::<IpRange>().unwrap()];
        let whole = [hour("10.0.0.0/24")];
        assert_eq!(silent_until(&whole, &r("10.0.0.7"), Ts(1)), Some(Ts(3_600_000)));
        assert_eq!(silent_until(&whole, &r("10.0.0.0/23"), Ts(1)), None, "half of it may be probed");
        assert_eq!(silent_until(&whole, &r("10.0.0.7"), Ts(3_600_000)), None);
        assert_eq!(silent_until(&whole, &[], Ts(1)), None);
        let halves = [hour("10.0.0.0/25"), blackout("10.0.0.128/25", Window::Once { from: Ts(0), until: Ts(60_000) })];
        assert_eq!(silent_until(&halves, &r("10.0.0.0/24"), Ts(1)), Some(Ts(60_000)), "the first half to be free is enough");
    }

    #[test]
    fn windows_without_a_gap_are_one() {
        let always = [blackout("10.0.0.0/8", Window::Weekly { days: (1..=7).collect(), start_minute: 0, end_minute: 0 })];
        let now = ts("2026-11-21T08:00:00Z");
        assert_eq!(silent_until(&always, &["10.1.1.1".parse().unwrap()], now), Some(now.plus(Duration::days(8))));
    }
}
