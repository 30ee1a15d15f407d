//! When a task fires: intervals, cron expressions of five fields in UTC, and once.
//!
//! What a firing covers is left to `expand`; whether the previous run is still going, to whoever fires.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use model::task::{Task, TaskState, Trigger};
use model::{Duration, Ts};

/// Why a trigger cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields, or a field that cannot be read.
    #[error(
        "`{expression}` is not a cron expression: {why}\nhint: five fields, minute hour day month weekday, in UTC; `30 2 * * 1` is every Monday at 02:30"
    )]
    BadCron {
        /// What was written.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// Five good fields that no instant satisfies, such as 30 February.
    #[error("cron expression `{expression}` never fires")]
    Never {
        /// What was written.
        expression: String,
    },
}

/// Reads a cron expression, or says what is wrong with it.
fn parse(expression: &str) -> Result<Cron, ScheduleError> {
    let bad = |why: String| ScheduleError::BadCron { expression: expression.to_owned(), why };
    // Nicknames (`@daily`) and six or seven fields are refused: one way to write a thing keeps what is stored comparable.
    let fields = expression.split_whitespace().count();
    if fields != 5 {
        return Err(bad(format!("it has {fields} field{}, not 5", if fields == 1 { "" } else { "s" })));
    }
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(expression)
        .map_err(|e| bad(e.to_string().to_lowercase()))
}

/// The first instant strictly after `after` that satisfies the expression.
fn next_cron(expression: &str, after: Ts) -> Result<Ts, ScheduleError> {
    let cron = parse(expression)?;
    let never = || ScheduleError::Never { expression: expression.to_owned() };
    let start = jiff::Timestamp::from_millisecond(after.0).map_err(|_| never())?.to_zoned(jiff::tz::TimeZone::UTC);
    let next = cron.find_next_occurrence(&start, false).map_err(|_| never())?;
    Ok(Ts(next.timestamp().as_millisecond()))
}

/// When a trigger fires next, having last fired at `last_fired`; `None` when never again.
///
/// An interval counts from the start of the previous run and is due at once when there was none. A cron expression that
/// has never fired counts from `now`. Firings missed while nothing ran are made up by one, not by many: the next firing
/// after `last_fired` may lie in the past.
pub fn next_due(trigger: &Trigger, last_fired: Option<Ts>, now: Ts) -> Result<Option<Ts>, ScheduleError> {
    Ok(match (trigger, last_fired) {
        (Trigger::Interval { every }, Some(last)) => Some(last.plus(*every)),
        (Trigger::Interval { .. }, None) | (Trigger::Once, None) => Some(now),
        (Trigger::Once, Some(_)) => None,
        (Trigger::Cron { expression }, last) => Some(next_cron(expression, last.unwrap_or(now))?),
    })
}

/// When a task that has just been made, or whose trigger has just been changed, fires first.
pub fn first_due(trigger: &Trigger, now: Ts) -> Result<Option<Ts>, ScheduleError> {
    next_due(trigger, None, now)
}

/// Since when the task has been due; `None` when it is not due at `now`, paused or finished.
pub fn due(task: &Task, now: Ts) -> Option<Ts> {
    (task.state == TaskState::Active).then_some(task.next_due_at?).filter(|&at| at <= now)
}

/// How often the trigger fires a day; 0 for one-off work. A cron expression is counted over the week after `now`.
pub fn firings_per_day(trigger: &Trigger, now: Ts) -> Result<f64, ScheduleError> {
    Ok(match trigger {
        Trigger::Once => 0.0,
        Trigger::Interval { every } => Duration::days(1).0 as f64 / every.0.max(1) as f64,
        Trigger::Cron { expression } => {
            let end = now.plus(Duration::days(7));
            // A minute is the finest a cron expression can say, so a week holds at most 10,080 firings.
            let (mut count, mut at) = (0u32, now);
            while let Ok(next) = next_cron(expression, at) {
                if next > end {
                    break;
                }
                count += 1;
                at = next;
            }
            if count == 0 {
                next_cron(expression, now)?;
            }
            f64::from(count) / 7.0
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(s: &str) -> Ts {
        s.parse().unwrap()
    }

    fn cron(expression: &str) -> Trigger {
        Trigger::Cron { expression: expression.into() }
    }

    #[test]
    fn cron_expressions_fire_in_utc_strictly_after_the_last_firing() {
        for (expression, after, next) in [
            ("*/10 * * * *", "2026-11-21T08:00:00Z", "2026-11-21T08:10:00Z"),
            ("*/10 * * * *", "2026-11-21T08:09:59.999Z", "2026-11-21T08:10:00Z"),
            ("30 2 * * 1", "2026-11-21T08:00:00Z", "2026-11-23T02:30:00Z"),
            ("0 0 1 1 *", "2026-11-21T08:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 12 29 2 *", "2026-11-21T08:00:00Z", "2028-02-29T12:00:00Z"),
            ("15 4 * * MON-FRI", "2026-11-20T04:15:00Z", "2026-11-23T04:15:00Z"),
        ] {
            let due = next_due(&cron(expression), Some(ts(after)), ts(after)).unwrap();
            assert_eq!(due, Some(ts(next)), "{expression} after {after}");
        }
    }

    #[test]
    fn bad_cron_expressions_are_named_with_a_hint() {
        for (expression, word) in [
            ("* * * *", "4 fields"),
            ("0 * * * * *", "6 fields"),
            ("@daily", "1 field,"),
            ("61 * * * *", "61 * * * *"),
            ("a b c d e", "a b c d e"),
            ("", "0 fields"),
        ] {
            let err = first_due(&cron(expression), Ts(0)).unwrap_err().to_string();
            assert!(err.contains(&format!("`{expression}`")) && err.contains(word) && err.contains("hint:"), "{err}");
        }
        assert!(matches!(first_due(&cron("0 0 30 2 *"), Ts(0)), Err(ScheduleError::Never { .. })));
    }

    #[test]
    fn an_interval_counts_from_the_last_firing_and_missed_ones_are_made_up_once() {
        let every = Trigger::Interval { every: Duration::minutes(10) };
        assert_eq!(next_due(&every, None, Ts(5)).unwrap(), Some(Ts(5)));
        assert_eq!(next_due(&every, Some(Ts(5)), Ts(9)).unwrap(), Some(Ts(600_005)));
        // A day of downtime: due in the past, fired once, then in step again.
        let now = Ts(86_400_000);
        assert!(next_due(&every, Some(Ts(0)), now).unwrap().unwrap() < now);
        assert_eq!(next_due(&every, Some(now), now).unwrap(), Some(now.plus(Duration::minutes(10))));
    }

    #[test]
    fn once_is_once() {
        assert_eq!(next_due(&Trigger::Once, None, Ts(7)).unwrap(), Some(Ts(7)));
        assert_eq!(next_due(&Trigger::Once, Some(Ts(7)), Ts(9)).unwrap(), None);
    }

    #[test]
    fn firings_are_counted_per_day() {
        let now = ts("2026-11-21T08:00:00Z");
        for (trigger, expected) in [
            (Trigger::Interval { every: Duration::minutes(10) }, 144.0),
            (cron("0 3 * * *"), 1.0),
            (cron("0 3 * * 0"), 1.0 / 7.0),
            (Trigger::Once, 0.0),
        ] {
            let per_day = firings_per_day(&trigger, now).unwrap();
            assert!((per_day - expected).abs() < 1e-9, "{trigger:?}: {per_day}");
        }
    }
}
