//! Runs.
use crate::{Page, Paging, Result, Store};
use model::audit::AuditEntry;
use model::job::Job;
use model::task::{Run, TaskState};
use model::{RunId, TaskId, Ts};
use std::collections::HashMap;

impl Store {
    /// One transaction: the run, its jobs, and the task's `last_fired_at`, `next_due_at`, `state`, `last_run`. A run without jobs is recorded as succeeded.
    pub async fn start_run(
        &self,
        run: &Run,
        jobs: &[Job],
        last_fired_at: Ts,
        next_due_at: Option<Ts>,
        state: TaskState,
        audit: Option<&AuditEntry>,
    ) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn runs(&self, task: Option<TaskId>, paging: Paging) -> Result<Page<Run>> {
        unimplemented!()
    }
    pub async fn run(&self, id: RunId) -> Result<Option<Run>> {
        unimplemented!()
    }
    pub async fn running_runs(&self) -> Result<Vec<Run>> {
        unimplemented!()
    }
    /// The run in progress or the last one of each task.
    pub async fn last_runs(&self) -> Result<HashMap<TaskId, Run>> {
        unimplemented!()
    }
    /// Sum of `probes_total` over the jobs of each run.
    pub async fn probes_total_of(&self, runs: &[RunId]) -> Result<HashMap<RunId, u64>> {
        unimplemented!()
    }
    /// Queued and leased jobs and the run become cancelled; holders are fenced. Number of jobs cancelled.
    pub async fn cancel_run(&self, run: RunId, now: Ts, audit: &AuditEntry) -> Result<u64> {
        unimplemented!()
    }
    /// Failed and cancelled jobs are queued again with all their attempts, the run runs again. Number of jobs queued.
    pub async fn retry_run(&self, run: RunId, now: Ts, audit: &AuditEntry) -> Result<u64> {
        unimplemented!()
    }
}
