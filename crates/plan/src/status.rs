//! How a task stands, as the console shows it: on time, running, late, never run, failing.
//!
//! Lateness is shown, never hidden (D15); doing something about it is left to the operator.

use model::task::{Run, RunState, Task, TaskState};
use model::{Duration, Ts};
use std::fmt;

/// Past this much after it was due, a task that has not fired is overdue. The scheduler looks every second and queues a
/// thousand hosts in less than that, so ten seconds late is not a hiccup; a minute leaves room for a database restart.
pub const TOLERANCE: Duration = Duration::minutes(1);

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Ran when it should; waits for its next time.
    Ok,
    /// A run is going.
    Running,
    /// Due, and either the previous run is still going or nothing has fired it.
    Overdue,
    /// Has never fired.
    NeverRun,
    /// The last run failed.
    Failing,
    /// A person paused it.
    Paused,
    /// One-off work that has been done.
    Finished,
}

impl TaskStatus {
    /// The one spelling used in API and console.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Ok => "ok",
            TaskStatus::Running => "running",
            TaskStatus::Overdue => "overdue",
            TaskStatus::NeverRun => "never-run",
            TaskStatus::Failing => "failing",
            TaskStatus::Paused => "paused",
            TaskStatus::Finished => "finished",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the task stands at `now`, given its run in progress or else its last one.
pub fn status(task: &Task, last_run: Option<&Run>, now: Ts) -> TaskStatus {
    let running = last_run.is_some_and(|run| run.state == RunState::Running);
    let due = task.next_due_at.filter(|&at| at <= now);
    match task.state {
        TaskState::Paused => TaskStatus::Paused,
        TaskState::Finished if !running => match last_run.map(|run| run.state) {
            Some(RunState::Failed) => TaskStatus::Failing,
            _ => TaskStatus::Finished,
        },
        _ if running && due.is_some() => TaskStatus::Overdue,
        _ if running => TaskStatus::Running,
        _ if task.last_fired_at.is_none() => TaskStatus::NeverRun,
        _ if due.is_some_and(|at| now.since(at) > TOLERANCE) => TaskStatus::Overdue,
        _ if last_run.is_some_and(|run| run.state == RunState::Failed) => TaskStatus::Failing,
        _ => TaskStatus::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::task::{Cause, TaskKind, TaskTarget, Trigger};
    use model::{RunId, TaskId};
    use uuid::Uuid;

    fn run(state: RunState) -> Run {
        Run {
            id: RunId(Uuid::nil()),
            task: TaskId(Uuid::nil()),
            cause: Cause::Schedule,
            state,
            started_at: Ts(0),
            finished_at: None,
            jobs_total: 1,
            jobs_done: 0,
            jobs_failed: 0,
            probes_sent: 0,
            error: None,
        }
    }

    #[test]
    fn lateness_is_shown() {
        use RunState::*;
        use TaskState::*;
        let minute = 60_000;
        for (state, fired, due, last, now, expected) in [
            (Active, None, Some(0), None, 10, TaskStatus::NeverRun),
            (Active, Some(0), Some(minute), Some(Running), 10, TaskStatus::Running),
            (Active, Some(0), Some(minute), Some(Running), minute, TaskStatus::Overdue),
            (Active, Some(0), Some(minute), Some(Succeeded), minute + 5, TaskStatus::Ok),
            (Active, Some(0), Some(minute), Some(Succeeded), 3 * minute, TaskStatus::Overdue),
            (Active, Some(0), Some(minute), Some(Failed), 10, TaskStatus::Failing),
            (Active, Some(0), Some(minute), Some(Cancelled), 10, TaskStatus::Ok),
            (Paused, Some(0), Some(minute), Some(Succeeded), 9 * minute, TaskStatus::Paused),
            (Finished, Some(0), None, Some(Succeeded), 10, TaskStatus::Finished),
            (Finished, Some(0), None, Some(Failed), 10, TaskStatus::Failing),
        ] {
            let task = Task {
                id: TaskId(Uuid::nil()),
                kind: TaskKind::Liveness,
                name: "alive".into(),
                target: TaskTarget::AllAssets,
                ports: None,
                trigger: Trigger::Once,
                rate_pps: None,
                retries: None,
                engine: model::task::Engine::BuiltIn,
                state,
                preset: None,
                created_at: Ts(0),
                last_fired_at: fired.map(Ts),
                next_due_at: due.map(Ts),
                last_run: None,
            };
            let last = last.map(run);
            assert_eq!(status(&task, last.as_ref(), Ts(now)), expected, "{state} {fired:?} {due:?} {last:?} at {now}");
        }
    }
}
