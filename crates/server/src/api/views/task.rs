//! Tasks, runs and jobs as the API shows them, and tasks as people send them.
//!
//! How a task stands is `plan`'s to say; the caller hands it in.

use super::words::{Cause, Instant, JobState, Label, Millis, RunState, TaskKind, TaskState};
use model::job::{Job, Work};
use model::task::{Run, Task, TaskTarget, Trigger};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// When a task fires.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TriggerBody {
    /// Every so often.
    Interval {
        /// Milliseconds, at least 10,000.
        every: Millis,
    },
    /// A cron expression of five fields, in UTC.
    Cron {
        /// The expression.
        #[schema(example = "0 3 * * 1")]
        expression: String,
    },
    /// Once, as soon as possible.
    Once,
}

impl From<Trigger> for TriggerBody {
    fn from(t: Trigger) -> Self {
        match t {
            Trigger::Interval { every } => TriggerBody::Interval { every: every.into() },
            Trigger::Cron { expression } => TriggerBody::Cron { expression },
            Trigger::Once => TriggerBody::Once,
        }
    }
}

impl From<TriggerBody> for Trigger {
    fn from(t: TriggerBody) -> Self {
        match t {
            TriggerBody::Interval { every } => Trigger::Interval { every: model::Duration(every.0) },
            TriggerBody::Cron { expression } => Trigger::Cron { expression },
            TriggerBody::Once => Trigger::Once,
        }
    }
}

/// Which addresses or endpoints a task works on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskTargetBody {
    /// The whole asset list.
    AllAssets,
    /// Only these ranges, as far as they are in scope.
    Ranges {
        /// The ranges.
        #[schema(example = json!(["192.0.2.0/24"]))]
        ranges: Vec<String>,
    },
    /// The assets that carry one of these tags.
    Tags {
        /// The tags.
        tags: Vec<String>,
    },
}

impl From<TaskTarget> for TaskTargetBody {
    fn from(t: TaskTarget) -> Self {
        match t {
            TaskTarget::AllAssets => TaskTargetBody::AllAssets,
            TaskTarget::Ranges { ranges } => TaskTargetBody::Ranges { ranges: ranges.iter().map(|r| r.to_string()).collect() },
            TaskTarget::Tags { tags } => TaskTargetBody::Tags { tags },
        }
    }
}

/// A task to make or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// Which of the nine.
    pub kind: TaskKind,
    /// Name.
    pub name: String,
    /// What it covers.
    pub target: TaskTargetBody,
    /// `high-risk`, `common`, `all`, `udp`, or a list such as `22,80,8000-8100,U:53`; the kind's own when absent.
    #[schema(example = "high-risk")]
    pub ports: Option<String>,
    /// When.
    pub trigger: TriggerBody,
    /// Probes per second; the global pace when absent.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe. When absent, sweeps repeat where it buys most, and everything else once.
    pub retries: Option<u8>,
    /// Who probes: `built-in`, or the name of another scanner that a node's configuration has; `built-in` when absent. Only
    /// for sweeps and liveness.
    #[schema(example = "built-in")]
    pub engine: Option<String>,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatusWord {
    /// Ran when it should.
    Ok,
    /// A run is going.
    Running,
    /// Due and not run.
    Overdue,
    /// Has never fired.
    NeverRun,
    /// The last run failed.
    Failing,
    /// A person paused it.
    Paused,
    /// One-off work that is done.
    Finished,
}

impl From<plan::TaskStatus> for TaskStatusWord {
    fn from(s: plan::TaskStatus) -> Self {
        match s {
            plan::TaskStatus::Ok => TaskStatusWord::Ok,
            plan::TaskStatus::Running => TaskStatusWord::Running,
            plan::TaskStatus::Overdue => TaskStatusWord::Overdue,
            plan::TaskStatus::NeverRun => TaskStatusWord::NeverRun,
            plan::TaskStatus::Failing => TaskStatusWord::Failing,
            plan::TaskStatus::Paused => TaskStatusWord::Paused,
            plan::TaskStatus::Finished => TaskStatusWord::Finished,
        }
    }
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskView {
    /// Id.
    pub id: Uuid,
    /// Which of the nine.
    pub kind: TaskKind,
    /// Its number, 0 to 8.
    pub number: u8,
    /// Name.
    pub name: String,
    /// What it covers.
    pub target: TaskTargetBody,
    /// Ports of a sweep.
    pub ports: Option<String>,
    /// When.
    pub trigger: TriggerBody,
    /// Probes per second.
    pub rate_pps: Option<u32>,
    /// Repetitions; null where they buy most.
    pub retries: Option<u8>,
    /// Who probes: `built-in`, or the name of another scanner.
    pub engine: String,
    /// Fires or not.
    pub state: TaskState,
    /// Preset it came from.
    pub preset: Option<String>,
    /// Label it works on.
    pub consumes: Label,
    /// Labels it gives.
    pub produces: Vec<Label>,
    /// When it was made.
    pub created_at: Instant,
    /// When it last fired.
    pub last_fired_at: Option<Instant>,
    /// When it fires next.
    pub next_due_at: Option<Instant>,
    /// How it stands.
    pub status: TaskStatusWord,
    /// The run in progress, or the last one.
    pub last_run: Option<RunView>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

impl TaskView {
    /// The view with its last run, how it stands and what there is to say about it.
    pub fn new(t: Task, status: TaskStatusWord, last_run: Option<RunView>, notes: Vec<String>) -> Self {
        TaskView {
            id: t.id.0,
            kind: t.kind.into(),
            number: t.kind.number(),
            name: t.name,
            target: t.target.into(),
            ports: t.ports.map(|p| p.to_string()),
            trigger: t.trigger.into(),
            rate_pps: t.rate_pps,
            retries: t.retries,
            engine: t.engine.to_string(),
            state: t.state.into(),
            preset: t.preset,
            consumes: t.kind.consumes().into(),
            produces: t.kind.produces().iter().map(|&l| l.into()).collect(),
            created_at: t.created_at.into(),
            last_fired_at: t.last_fired_at.map(Into::into),
            next_due_at: t.next_due_at.map(Into::into),
            status,
            last_run,
            notes,
        }
    }
}

/// One firing of a task.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// Id.
    pub id: Uuid,
    /// Of which task.
    pub task: Uuid,
    /// Its name; null once it was removed.
    pub task_name: Option<String>,
    /// Why.
    pub cause: Cause,
    /// How it stands.
    pub state: RunState,
    /// When its jobs were queued.
    pub started_at: Instant,
    /// When its last job ended.
    pub finished_at: Option<Instant>,
    /// Number of jobs.
    pub jobs_total: u32,
    /// Jobs done.
    pub jobs_done: u32,
    /// Jobs that failed for good.
    pub jobs_failed: u32,
    /// Probes sent so far.
    pub probes_sent: u64,
    /// Probes in all, without repetitions.
    pub probes_total: u64,
    /// The first error of a failed job.
    pub error: Option<String>,
}

impl RunView {
    /// The view with what is kept elsewhere.
    pub fn new(r: Run, task_name: Option<String>, probes_total: u64) -> Self {
        RunView {
            id: r.id.0,
            task: r.task.0,
            task_name,
            cause: r.cause.into(),
            state: r.state.into(),
            started_at: r.started_at.into(),
            finished_at: r.finished_at.map(Into::into),
            jobs_total: r.jobs_total,
            jobs_done: r.jobs_done,
            jobs_failed: r.jobs_failed,
            probes_sent: r.probes_sent,
            probes_total,
            error: r.error,
        }
    }
}

/// The part of a run that one node does in one go.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    /// Id.
    pub id: Uuid,
    /// Task it serves.
    pub task: Uuid,
    /// Its name; null once it was removed.
    pub task_name: Option<String>,
    /// Kind of that task.
    pub kind: TaskKind,
    /// Run it belongs to; null for a follow-up.
    pub run: Option<Uuid>,
    /// `liveness`, `sweep`, `recheck`, `identify`, `examine` or `panels`.
    pub work: String,
    /// The work in one line.
    #[schema(example = "10.0.0.0/24 × 42 ports")]
    pub summary: String,
    /// How it stands.
    pub state: JobState,
    /// Lower goes first.
    pub priority: u8,
    /// Times it was leased.
    pub attempts: u32,
    /// Times it may be leased.
    pub max_attempts: u32,
    /// Who holds it.
    pub node: Option<String>,
    /// Until when.
    pub lease_until: Option<Instant>,
    /// Probes sent, of the current attempt.
    pub probes_sent: u64,
    /// Probes in all, without repetitions.
    pub probes_total: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Queued.
    pub created_at: Instant,
    /// First leased.
    pub started_at: Option<Instant>,
    /// Ended.
    pub finished_at: Option<Instant>,
    /// Not before this instant.
    pub not_before: Instant,
}

impl JobView {
    /// The view with the name of its task.
    pub fn new(j: Job, task_name: Option<String>) -> Self {
        JobView {
            id: j.id.0,
            task: j.task.0,
            task_name,
            kind: j.kind.into(),
            run: j.run.map(|r| r.0),
            work: j.work.as_str().to_owned(),
            summary: summary(&j.work),
            state: j.state.into(),
            priority: j.priority,
            attempts: j.attempts,
            max_attempts: j.max_attempts,
            node: j.node.map(|n| n.0),
            lease_until: j.lease_until.map(Into::into),
            probes_sent: j.probes_sent,
            probes_total: j.probes_total,
            error: j.error,
            created_at: j.created_at.into(),
            started_at: j.started_at.map(Into::into),
            finished_at: j.finished_at.map(Into::into),
            not_before: j.not_before.into(),
        }
    }
}

/// The work in one line: what fits a table cell.
fn summary(work: &Work) -> String {
    // Two names and a count say enough; a list of 250 addresses does not fit.
    fn few<T: ToString>(all: &[T]) -> String {
        match all {
            [] => "nothing".to_owned(),
            [one] => one.to_string(),
            [one, two] => format!("{}, {}", one.to_string(), two.to_string()),
            [one, rest @ ..] => format!("{} and {} more", one.to_string(), rest.len()),
        }
    }
    match work {
        Work::Liveness { targets } => few(targets),
        Work::Sweep { targets, ports, .. } => match ports.len() {
            1 if ports.tcp.is_empty() => format!("{} × port {}/udp", few(targets), ports.udp),
            1 => format!("{} × port {ports}", few(targets)),
            n if ports.tcp.is_empty() => format!("{} × {n} UDP ports", few(targets)),
            n => format!("{} × {n} ports", few(targets)),
        },
        Work::Recheck { endpoints } | Work::Identify { endpoints } | Work::Examine { endpoints } | Work::Panels { endpoints } => {
            few(endpoints)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_says_in_one_line_what_it_does() {
        let range = |s: &str| s.parse().unwrap();
        for (work, line) in [
            (
                Work::Sweep { targets: vec![range("10.0.0.0/24")], ports: "1-42".parse().unwrap(), known_open: vec![] },
                "10.0.0.0/24 × 42 ports",
            ),
            (
                Work::Sweep { targets: vec![range("10.0.0.1")], ports: "22".parse().unwrap(), known_open: vec![] },
                "10.0.0.1 × port 22",
            ),
            (
                Work::Sweep { targets: vec![range("10.0.0.1")], ports: "U:53".parse().unwrap(), known_open: vec![] },
                "10.0.0.1 × port 53/udp",
            ),
            (
                Work::Sweep { targets: vec![range("10.0.0.1")], ports: "U:53,U:161".parse().unwrap(), known_open: vec![] },
                "10.0.0.1 × 2 UDP ports",
            ),
            (Work::Liveness { targets: vec![range("10.0.0.1"), range("10.0.0.3"), range("::1")] }, "10.0.0.1 and 2 more"),
            (Work::Recheck { endpoints: vec!["[::1]:22/tcp".parse().unwrap()] }, "[::1]:22/tcp"),
        ] {
            assert_eq!(summary(&work), line);
        }
    }
}
