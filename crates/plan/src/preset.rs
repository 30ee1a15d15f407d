//! The two schedules that ship: `standard` (the published one, all nine tasks, and the UDP services of D9) and `daily-weekly`
//! (common ports daily, all ports weekly).
//!
//! They are templates: giving them ids and storing them is left to the server.

use crate::schedule::first_due;
use model::task::{Engine, PortChoice, Task, TaskKind, TaskState, TaskTarget, Trigger};
use model::{Duration, TaskId, Ts};

/// A task before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Which of the nine.
    pub kind: TaskKind,
    /// Name shown to people.
    pub name: &'static str,
    /// Ports of a sweep.
    pub ports: Option<PortChoice>,
    /// How often.
    pub every: Duration,
    /// How long after it was made it fires first: the most timely work comes first, and the catch-all sweeps do not
    /// compete with it for the first minutes of a fresh installation.
    pub first_after: Duration,
}

/// A preset by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The published schedule, all nine tasks.
    Standard,
    /// Common ports daily, all ports weekly.
    DailyWeekly,
}

impl Preset {
    /// Every preset.
    pub const ALL: &'static [Preset] = &[Preset::Standard, Preset::DailyWeekly];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::Standard => "standard",
            Preset::DailyWeekly => "daily-weekly",
        }
    }

    /// Its templates.
    pub fn templates(self) -> Vec<Template> {
        use PortChoice::{All, Common, HighRisk, Udp};
        let of = |kind, name, ports, every, first_after| Template { kind, name, ports, every, first_after };
        let (now, minutes, hours, days) = (Duration(0), Duration::minutes, Duration::hours, Duration::days);
        match self {
            Preset::Standard => vec![
                of(TaskKind::Liveness, "Liveness of all assets", None, hours(2), now),
                of(TaskKind::HighRiskOnline, "High-risk ports of live hosts", Some(HighRisk), minutes(10), now),
                of(TaskKind::FullOnline, "All ports of live hosts", Some(All), days(1), minutes(2)),
                of(TaskKind::Panels, "Admin back ends on open ports", None, hours(2), minutes(3)),
                of(TaskKind::OpenRecheck, "Re-check of known-open ports", None, minutes(30), minutes(5)),
                of(TaskKind::ServiceIdentification, "Services on open ports", None, hours(2), minutes(10)),
                // Most UDP ports stay silent and are asked again slowly, so this takes longest for what it finds.
                of(TaskKind::FullOnline, "UDP services of live hosts", Some(Udp), hours(6), minutes(12)),
                of(TaskKind::HighRiskOffline, "High-risk ports of dead-looking addresses", Some(HighRisk), days(7), minutes(15)),
                of(TaskKind::FullOffline, "All ports of dead-looking addresses", Some(All), days(7), minutes(30)),
                of(TaskKind::FullAll, "All ports of all assets", Some(All), days(7), hours(1)),
            ],
            Preset::DailyWeekly => vec![
                of(TaskKind::Liveness, "Liveness of all assets", None, hours(2), now),
                of(TaskKind::FullOnline, "Common ports of live hosts, daily", Some(Common), days(1), now),
                of(TaskKind::OpenRecheck, "Re-check of known-open ports", None, minutes(30), minutes(5)),
                of(TaskKind::ServiceIdentification, "Services on open ports", None, hours(2), minutes(10)),
                of(TaskKind::FullOnline, "UDP services of live hosts, daily", Some(Udp), days(1), minutes(12)),
                of(TaskKind::FullAll, "All ports of all assets, weekly", Some(All), days(7), hours(1)),
            ],
        }
    }

    /// Its tasks as they are stored first. `mint` gives each an id.
    pub fn tasks(self, now: Ts, mut mint: impl FnMut() -> TaskId) -> Vec<Task> {
        let task = |t: Template| Task {
            id: mint(),
            kind: t.kind,
            name: t.name.to_owned(),
            target: TaskTarget::AllAssets,
            ports: t.ports,
            trigger: Trigger::Interval { every: t.every },
            rate_pps: None,
            retries: t.kind.default_retries(),
            engine: Engine::BuiltIn,
            state: TaskState::Active,
            preset: Some(self.as_str().to_owned()),
            created_at: now,
            last_fired_at: None,
            next_due_at: first_due(&Trigger::Interval { every: t.every }, now.plus(t.first_after)).unwrap_or(Some(now)),
            last_run: None,
        };
        self.templates().into_iter().map(task).collect()
    }
}

impl std::str::FromStr for Preset {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let names = || Preset::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
        Preset::ALL.iter().copied().find(|p| p.as_str() == s).ok_or_else(|| format!("`{s}` is not a preset: one of {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{How, validate};

    #[test]
    fn standard_has_all_nine_tasks_at_the_published_times() {
        let templates = Preset::Standard.templates();
        for (kind, every) in [
            (TaskKind::Liveness, Duration::hours(2)),
            (TaskKind::FullOnline, Duration::days(1)),
            (TaskKind::HighRiskOnline, Duration::minutes(10)),
            (TaskKind::ServiceIdentification, Duration::hours(2)),
            (TaskKind::OpenRecheck, Duration::minutes(30)),
            (TaskKind::Panels, Duration::hours(2)),
            (TaskKind::HighRiskOffline, Duration::days(7)),
            (TaskKind::FullOffline, Duration::days(7)),
            (TaskKind::FullAll, Duration::days(7)),
        ] {
            let found: Vec<_> = templates.iter().filter(|t| t.kind == kind && t.ports != Some(PortChoice::Udp)).collect();
            assert_eq!(found.len(), 1, "{kind}");
            assert_eq!(found[0].every, every, "{kind}");
        }
        assert_eq!(templates.len(), TaskKind::ALL.len() + 1, "the nine, and UDP");
    }

    #[test]
    fn every_template_is_a_task_that_a_person_could_have_made() {
        for &preset in Preset::ALL {
            assert_eq!(preset.as_str().parse(), Ok(preset));
            let mut n = 0u128;
            let tasks = preset.tasks(Ts(1_000), || {
                n += 1;
                TaskId(uuid::Uuid::from_u128(n))
            });
            for t in &tasks {
                let how = How { rate_pps: t.rate_pps, retries: t.retries, engine: &t.engine };
                assert_eq!(validate(t.kind, &t.name, &t.target, t.ports.as_ref(), &t.trigger, &how), [], "{}", t.name);
                assert!(t.next_due_at >= Some(Ts(1_000)));
            }
            assert!(
                tasks.iter().any(|t| t.kind == TaskKind::Liveness && t.next_due_at == Some(Ts(1_000))),
                "liveness comes first"
            );
        }
        assert!("weekly".parse::<Preset>().unwrap_err().contains("daily-weekly"));
    }
}
