//! Whether a task makes sense: every field that is wrong, by name, with what would be right.
//!
//! Whether its ranges are in scope is not judged here: scope changes, and `expand` restricts every run to it anyway.

use crate::schedule::first_due;
use model::task::{Engine, PortChoice, TaskKind, TaskTarget, Trigger};
use model::{Duration, Ts};

/// The shortest interval. Below it one run of a /24 would still be going when the next is due.
pub const MIN_INTERVAL: Duration = Duration::secs(10);
/// The longest interval: a year. A task that runs less often is better written as cron.
pub const MAX_INTERVAL: Duration = Duration::days(366);
/// Most repetitions of an unanswered probe.
pub const MAX_RETRIES: u8 = 10;

/// One thing that is wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Field, as the API names it.
    pub field: &'static str,
    /// Stable word for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a task goes about it.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// Probes per second.
    pub rate_pps: Option<u32>,
    /// Repetitions; `None` where they buy most.
    pub retries: Option<u8>,
    /// Who probes.
    pub engine: &'a Engine,
}

/// What is wrong with a task of this kind and these parameters; empty when nothing is.
pub fn validate(
    kind: TaskKind,
    name: &str,
    target: &TaskTarget,
    ports: Option<&PortChoice>,
    trigger: &Trigger,
    how: &How<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |field, code, message: String| problems.push(Problem { field, code, message });
    if name.trim().is_empty() {
        problem("name", "required", "a task needs a name".into());
    } else if name.chars().count() > 200 {
        problem("name", "too-long", "a name has at most 200 characters".into());
    }
    match target {
        TaskTarget::Ranges { ranges } if ranges.is_empty() => {
            problem("target", "required", "name at least one range, or take all assets".into());
        }
        TaskTarget::Ranges { ranges } => {
            for range in ranges {
                if let Err(e) = range.require_unicast(&range.to_string()) {
                    problem("target", "bad-range", e.to_string());
                }
            }
        }
        TaskTarget::Tags { tags } if tags.is_empty() => {
            problem("target", "required", "name at least one tag, or take all assets".into());
        }
        _ => {}
    }
    match (kind.default_ports().is_some(), ports) {
        (true, None) => problem(
            "ports",
            "required",
            format!("a {kind} task sweeps, so it needs ports: high-risk, common, all, udp or a list"),
        ),
        (true, Some(PortChoice::List(list))) if list.is_empty() => {
            problem("ports", "required", "the list of ports is empty".into())
        }
        (false, Some(_)) => problem("ports", "not-applicable", format!("a {kind} task does not sweep, so it takes no ports")),
        _ => {}
    }
    match trigger {
        Trigger::Interval { every } if *every < MIN_INTERVAL => {
            problem(
                "trigger",
                "too-short",
                format!("an interval of {} ms is too short: at least {} ms", every.0, MIN_INTERVAL.0),
            );
        }
        Trigger::Interval { every } if *every > MAX_INTERVAL => {
            problem("trigger", "too-long", format!("an interval of {} ms is too long: at most {} ms", every.0, MAX_INTERVAL.0));
        }
        // Any instant shows whether the expression can be read and ever fires.
        Trigger::Cron { .. } => {
            if let Err(e) = first_due(trigger, Ts(0)) {
                problem("trigger", "bad-cron", e.to_string());
            }
        }
        _ => {}
    }
    let How { rate_pps, retries, engine } = *how;
    if rate_pps == Some(0) {
        problem("rate_pps", "too-small", "a rate is at least 1 probe per second; leave it out for the global pace".into());
    }
    match retries {
        Some(n) if n > MAX_RETRIES => {
            problem("retries", "too-large", format!("{n} repetitions are too many: at most {MAX_RETRIES}"))
        }
        // Where they buy most shows only in the many probes of a sweep.
        None if kind.default_retries().is_some() => {
            problem("retries", "not-applicable", format!("a {kind} task does not sweep, so it needs a number of repetitions"))
        }
        _ => {}
    }
    if let Some(name) = engine.external()
        && !kind.takes_engines()
    {
        problem("engine", "not-applicable", format!("a {kind} task is done by portreeve itself, not by `{name}`"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let all = TaskTarget::AllAssets;
        let hourly = Trigger::Interval { every: Duration::hours(1) };
        let every = |n| Trigger::Interval { every: Duration::millis(n) };
        let cron = |e: &str| Trigger::Cron { expression: e.into() };
        let ranges = |words: &[&str]| TaskTarget::Ranges { ranges: words.iter().map(|w| w.parse().unwrap()).collect() };
        let high_risk = Some(PortChoice::HighRisk);
        for (kind, name, target, ports, trigger, rate_pps, retries, wrong) in [
            (TaskKind::Liveness, "alive", &all, &None, &hourly, None, Some(1), vec![]),
            (TaskKind::FullAll, "all", &all, &Some(PortChoice::All), &cron("0 3 * * 0"), Some(1), Some(10), vec![]),
            (
                TaskKind::Liveness,
                " ",
                &all,
                &high_risk,
                &every(9_999),
                Some(0),
                Some(11),
                vec!["name", "ports", "trigger", "rate_pps", "retries"],
            ),
            (TaskKind::FullOnline, "x", &all, &None, &hourly, None, Some(1), vec!["ports"]),
            (TaskKind::FullOnline, "x", &ranges(&[]), &high_risk, &cron("never"), None, Some(1), vec!["target", "trigger"]),
            (
                TaskKind::FullOnline,
                "x",
                &ranges(&["10.0.0.0/8", "224.0.0.0/4"]),
                &high_risk,
                &hourly,
                None,
                Some(1),
                vec!["target"],
            ),
            (TaskKind::FullOnline, "x", &TaskTarget::Tags { tags: vec![] }, &high_risk, &hourly, None, Some(1), vec!["target"]),
        ] {
            let how = How { rate_pps, retries, engine: &Engine::BuiltIn };
            let problems = validate(kind, name, target, ports.as_ref(), trigger, &how);
            assert_eq!(problems.iter().map(|p| p.field).collect::<Vec<_>>(), wrong, "{kind} {name}: {problems:?}");
        }
    }
    #[test]
    fn engines_and_automatic_repetitions_are_for_what_they_fit() {
        let (all, hourly) = (TaskTarget::AllAssets, Trigger::Interval { every: Duration::hours(1) });
        let masscan: Engine = "masscan".parse().unwrap();
        for &kind in TaskKind::ALL {
            let ports = kind.default_ports();
            let of = |retries, engine: &Engine| {
                let how = How { rate_pps: None, retries, engine };
                validate(kind, "x", &all, ports.as_ref(), &hourly, &how).iter().map(|p| p.field).collect::<Vec<_>>()
            };
            assert_eq!(of(kind.default_retries(), &Engine::BuiltIn), Vec::<&str>::new(), "{kind}");
            assert_eq!(of(None, &Engine::BuiltIn).is_empty(), ports.is_some(), "{kind}");
            let probes = matches!(kind, TaskKind::Liveness) || ports.is_some();
            assert_eq!(of(kind.default_retries(), &masscan).is_empty(), probes, "{kind}");
        }
        for (word, ok) in [("nmap-6", true), ("built-in", true), ("Nmap", false), ("", false), ("a b", false), ("../x", false)] {
            assert_eq!(word.parse::<Engine>().is_ok(), ok, "{word}");
        }
    }
}
