//! Runs: one firing of a task, from its first job to its last. Cutting the firing into jobs is `plan`'s.

use crate::audit::{append, append_opt};
use crate::jobs::insert_jobs;
use crate::sql::*;
use crate::{Page, Paging, Result, Store, StoreError};
use model::audit::AuditEntry;
use model::job::Job;
use model::task::{Run, RunState, TaskState};
use model::{RunId, TaskId, Ts};
use sea_orm::{ConnectionTrait, QueryResult};
use std::collections::HashMap;

const RUN: &str = "id, task, cause, state, started_at, finished_at, jobs_total, jobs_done, jobs_failed, probes_sent, error";

fn from(row: &QueryResult) -> Result<Run> {
    Ok(Run {
        id: get(row, "id")?,
        task: get(row, "task")?,
        cause: get(row, "cause")?,
        state: get(row, "state")?,
        started_at: get(row, "started_at")?,
        finished_at: opt(row, "finished_at")?,
        jobs_total: get(row, "jobs_total")?,
        jobs_done: get(row, "jobs_done")?,
        jobs_failed: get(row, "jobs_failed")?,
        probes_sent: get(row, "probes_sent")?,
        error: opt(row, "error")?,
    })
}

/// Counts the end of a job in its run, and ends the run with its last job. A follow-up has no run.
pub(crate) async fn count_end<C: ConnectionTrait>(db: &C, run_id: Option<RunId>, failure: Option<&str>, now: Ts) -> Result<()> {
    let Some(id) = run_id else { return Ok(()) };
    let (done, failed) = if failure.is_some() { (0_u32, 1_u32) } else { (1, 0) };
    let sql = "UPDATE runs SET jobs_done = jobs_done + $2, jobs_failed = jobs_failed + $3, error = COALESCE(error, $4) \
               WHERE id = $1 AND state = 'running'";
    let error = value(&failure.map(str::to_owned));
    run(db, sql, vec![id.value(), done.value(), failed.value(), error]).await?;
    settle(db, id, now).await
}

/// Ends the run, and one-off work with it, when all its jobs have ended.
async fn settle<C: ConnectionTrait>(db: &C, id: RunId, now: Ts) -> Result<()> {
    let sql = "UPDATE runs SET state = CASE WHEN jobs_failed > 0 THEN 'failed' ELSE 'succeeded' END, finished_at = $2 \
               WHERE id = $1 AND state = 'running' AND jobs_done + jobs_failed >= jobs_total";
    if run(db, sql, vec![id.value(), now.value()]).await? > 0 {
        finish_once(db, id).await?;
    }
    Ok(())
}

async fn finish_once<C: ConnectionTrait>(db: &C, id: RunId) -> Result<()> {
    let sql = "UPDATE tasks SET state = 'finished', next_due_at = NULL WHERE once AND id = (SELECT task FROM runs WHERE id = $1)";
    run(db, sql, vec![id.value()]).await.map(drop)
}

impl Store {
    /// One transaction: the run, its jobs, and the task's `last_fired_at`, `next_due_at`, `state` and `last_run`. A run
    /// without jobs has succeeded at once. A task that was paused stays so.
    pub async fn start_run(
        &self,
        run: &Run,
        jobs: &[Job],
        last_fired_at: Ts,
        next_due_at: Option<Ts>,
        state: TaskState,
        audit: Option<&AuditEntry>,
    ) -> Result<()> {
        let tx = self.begin().await?;
        // Whoever paused the task since it was read meant it: the jobs wait until the task is resumed.
        let sql = "UPDATE tasks SET last_fired_at = $2, next_due_at = $3, last_run = $5, \
                   state = CASE WHEN state = 'paused' THEN state ELSE $4 END WHERE id = $1";
        let values = vec![run.task.value(), last_fired_at.value(), value(&next_due_at), state.value(), run.id.value()];
        run_one(&tx, sql, values, || format!("task {}", run.task)).await?;
        let row = vec![
            run.id.value(),
            run.task.value(),
            run.cause.value(),
            run.state.value(),
            run.started_at.value(),
            value(&run.finished_at),
            // What is queued is what will be counted.
            jobs.len().try_into().unwrap_or(u32::MAX).value(),
            run.jobs_done.value(),
            run.jobs_failed.value(),
            run.probes_sent.value(),
            value(&run.error),
        ];
        insert(&tx, &format!("INSERT INTO runs ({RUN})"), vec![row], "").await?;
        insert_jobs(&tx, jobs).await?;
        settle(&tx, run.id, run.started_at).await?;
        append_opt(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Newest first.
    pub async fn runs(&self, task: Option<TaskId>, paging: Paging) -> Result<Page<Run>> {
        let mut sql = Sql::new(" FROM runs WHERE 1 = 1");
        sql.and("task =", &task);
        self.page(&sql, RUN, "started_at DESC, id DESC", paging, from).await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>> {
        let row = one(self.read(), &format!("SELECT {RUN} FROM runs WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(from).transpose()
    }

    /// Runs with jobs that have not ended, oldest first.
    pub async fn running_runs(&self) -> Result<Vec<Run>> {
        let sql = format!("SELECT {RUN} FROM runs WHERE state = 'running' ORDER BY started_at, id");
        all(self.read(), &sql, vec![]).await?.iter().map(from).collect()
    }

    /// The run in progress, or the last one, of each task that ever ran.
    pub async fn last_runs(&self) -> Result<HashMap<TaskId, Run>> {
        let sql = format!("SELECT {RUN} FROM runs WHERE id IN (SELECT last_run FROM tasks WHERE last_run IS NOT NULL)");
        let runs = all(self.read(), &sql, vec![]).await?;
        runs.iter().map(|row| from(row).map(|run| (run.task, run))).collect()
    }

    /// Probes that all jobs of each run come to without repetitions: the total that progress is measured against.
    pub async fn probes_total_of(&self, runs: &[RunId]) -> Result<HashMap<RunId, u64>> {
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = Sql::new("SELECT run, CAST(SUM(probes_total) AS BIGINT) AS total FROM jobs WHERE 1 = 1");
        sql.and_in("run", runs).push(" GROUP BY run");
        sql.all(self.read()).await?.iter().map(|row| Ok((get(row, "run")?, get(row, "total")?))).collect()
    }

    /// Its queued and leased jobs and the run itself become cancelled; who holds one is fenced. Number of jobs cancelled.
    pub async fn cancel_run(&self, id: RunId, now: Ts, audit: &AuditEntry) -> Result<u64> {
        let tx = self.begin().await?;
        let sql = "UPDATE runs SET state = 'cancelled', finished_at = $2 WHERE id = $1 AND state = 'running'";
        if run(&tx, sql, vec![id.value(), now.value()]).await? == 0 {
            return Err(match self.run(id).await? {
                Some(run) => StoreError::NotAllowed(format!("run {id} has {} already", run.state)),
                None => StoreError::NotFound(format!("run {id}")),
            });
        }
        let sql = "UPDATE jobs SET state = 'cancelled', finished_at = $2, fencing = fencing + 1, lease_until = NULL \
                   WHERE run = $1 AND state IN ('queued', 'leased')";
        let cancelled = run(&tx, sql, vec![id.value(), now.value()]).await?;
        finish_once(&tx, id).await?;
        append(&tx, audit).await?;
        tx.commit().await?;
        Ok(cancelled)
    }

    /// Its failed and cancelled jobs are queued again with all their attempts, and the run runs. Number of jobs queued.
    pub async fn retry_run(&self, id: RunId, now: Ts, audit: &AuditEntry) -> Result<u64> {
        let tx = self.begin().await?;
        let sql = "UPDATE jobs SET state = 'queued', not_before = $2, attempts = 0, fencing = fencing + 1, node = NULL, \
                   incarnation = NULL, lease_until = NULL, probes_sent = 0, error = NULL, finished_at = NULL \
                   WHERE run = $1 AND state IN ('failed', 'cancelled')";
        let queued = run(&tx, sql, vec![id.value(), now.value()]).await?;
        if queued == 0 {
            return Err(match self.run(id).await? {
                Some(_) => StoreError::NotAllowed(format!("run {id} has no failed or cancelled job")),
                None => StoreError::NotFound(format!("run {id}")),
            });
        }
        let sql = "UPDATE runs SET state = $2, finished_at = NULL, jobs_failed = 0, error = NULL WHERE id = $1";
        run(&tx, sql, vec![id.value(), RunState::Running.value()]).await?;
        append(&tx, audit).await?;
        tx.commit().await?;
        Ok(queued)
    }
}
