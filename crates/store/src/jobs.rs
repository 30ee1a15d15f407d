//! Jobs as rows: queueing them and looking at them. Who may work on one is [`crate::lease`]'s.

use crate::sql::*;
use crate::tasks::{engine_from, engine_value, retries_from, retries_value};
use crate::{Page, Paging, Result, Store};
use model::job::{Job, JobState};
use model::{JobId, RunId, TaskId};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeSet, HashSet};

/// Which jobs.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this task.
    pub task: Option<TaskId>,
    /// Of this run.
    pub run: Option<RunId>,
    /// In one of these states; any when empty.
    pub states: Vec<JobState>,
}

pub(crate) const JOB: &str = "id, task, kind, run, work, state, priority, rate_pps, retries, not_before, attempts, max_attempts, \
                              fencing, node, lease_until, probes_sent, probes_total, error, created_at, started_at, finished_at, engine";

fn values(j: &Job) -> Vec<Value> {
    vec![
        j.id.value(),
        j.task.value(),
        j.kind.value(),
        value(&j.run),
        json(&j.work),
        j.state.value(),
        j.priority.value(),
        value(&j.rate_pps),
        retries_value(j.retries),
        j.not_before.value(),
        j.attempts.value(),
        j.max_attempts.value(),
        j.fencing.value(),
        value(&j.node),
        value(&j.lease_until),
        j.probes_sent.value(),
        j.probes_total.value(),
        value(&j.error),
        j.created_at.value(),
        value(&j.started_at),
        value(&j.finished_at),
        engine_value(&j.engine),
    ]
}

pub(crate) fn job_from(row: &QueryResult) -> Result<Job> {
    Ok(Job {
        id: get(row, "id")?,
        task: get(row, "task")?,
        kind: get(row, "kind")?,
        run: opt(row, "run")?,
        work: get_json(row, "work")?,
        state: get(row, "state")?,
        priority: get(row, "priority")?,
        rate_pps: opt(row, "rate_pps")?,
        retries: retries_from(row)?,
        engine: engine_from(row)?,
        not_before: get(row, "not_before")?,
        attempts: get(row, "attempts")?,
        max_attempts: get(row, "max_attempts")?,
        fencing: get(row, "fencing")?,
        node: opt(row, "node")?,
        lease_until: opt(row, "lease_until")?,
        probes_sent: get(row, "probes_sent")?,
        probes_total: get(row, "probes_total")?,
        error: opt(row, "error")?,
        created_at: get(row, "created_at")?,
        started_at: opt(row, "started_at")?,
        finished_at: opt(row, "finished_at")?,
    })
}

pub(crate) async fn insert_jobs<C: ConnectionTrait>(db: &C, jobs: &[Job]) -> Result<()> {
    let rows = jobs.iter().map(values).collect();
    insert(db, &format!("INSERT INTO jobs ({JOB})"), rows, "ON CONFLICT DO NOTHING").await.map(drop)
}

/// Queues follow-ups. One whose task has been deleted meanwhile is dropped: nobody wants its result any more.
pub(crate) async fn insert_follow_ups<C: ConnectionTrait>(db: &C, jobs: &[Job]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let tasks: Vec<TaskId> = jobs.iter().map(|j| j.task).collect::<BTreeSet<_>>().into_iter().collect();
    let mut sql = Sql::new("SELECT id FROM tasks WHERE 1 = 1");
    sql.and_in("id", &tasks);
    let alive: HashSet<TaskId> = sql.all(db).await?.iter().map(|row| get(row, "id")).collect::<Result<_>>()?;
    let jobs: Vec<Job> = jobs.iter().filter(|j| alive.contains(&j.task)).cloned().collect();
    insert_jobs(db, &jobs).await
}

impl Store {
    /// Queues follow-ups: jobs outside a run.
    pub async fn enqueue(&self, jobs: &[Job]) -> Result<()> {
        let tx = self.begin().await?;
        insert_follow_ups(&tx, jobs).await?;
        Ok(tx.commit().await?)
    }

    /// Newest first.
    pub async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let mut sql = Sql::new(" FROM jobs WHERE 1 = 1");
        sql.and("task =", &filter.task).and("run =", &filter.run).and_in("state", &filter.states);
        self.page(&sql, JOB, "created_at DESC, id DESC", paging, job_from).await
    }

    /// One job.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>> {
        let row = one(self.read(), &format!("SELECT {JOB} FROM jobs WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(job_from).transpose()
    }
}
