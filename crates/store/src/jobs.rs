//! Jobs and leases.
use crate::{Page, Paging, Result, Store};
use model::address::IpRange;
use model::job::{Job, JobState};
use model::{JobId, NodeName, RunId, TaskId, Ts};

/// Which jobs.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub task: Option<TaskId>,
    pub run: Option<RunId>,
    pub states: Vec<JobState>,
}

/// A node asks for work.
#[derive(Clone, Debug)]
pub struct LeaseQuery {
    pub node: NodeName,
    pub incarnation: u64,
    /// Jobs to lease at most.
    pub slots: u32,
    /// Leased jobs of one task at a time, over all nodes.
    pub per_task_slots: u32,
    pub lease_until: Ts,
    pub now: Ts,
    /// Jobs that touch one of these ranges wait (blackouts that hold now).
    pub avoid: Vec<IpRange>,
}

/// What became of a job whose lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLease {
    pub job: JobId,
    pub task: TaskId,
    pub run: Option<RunId>,
    /// Who held it.
    pub node: Option<NodeName>,
    /// Queued again; otherwise failed for good.
    pub requeued: bool,
}

impl Store {
    /// Queues jobs outside `start_run` (follow-ups).
    pub async fn enqueue(&self, jobs: &[Job]) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        unimplemented!()
    }
    pub async fn job(&self, id: JobId) -> Result<Option<Job>> {
        unimplemented!()
    }
    /// Fairly: at most `per_task_slots` leased jobs of one task, then priority, then age. Leases of earlier incarnations of the node are lost first.
    pub async fn lease(&self, query: &LeaseQuery) -> Result<Vec<Job>> {
        unimplemented!()
    }
    /// Renews; false when the lease is not ours any more, the job ended, or its task is paused.
    pub async fn heartbeat(&self, job: JobId, node: &NodeName, fencing: i64, lease_until: Ts, probes_sent: u64) -> Result<bool> {
        unimplemented!()
    }
    /// Requeues jobs whose lease ended, or fails them when that was their last attempt.
    pub async fn expire_leases(&self, now: Ts) -> Result<Vec<LostLease>> {
        unimplemented!()
    }
    /// Leased jobs of the task go back to the queue without the attempt counting; their holders are fenced. Number of jobs.
    pub async fn release_jobs(&self, task: TaskId) -> Result<u64> {
        unimplemented!()
    }
    /// Gives one leased job back without the attempt counting, to be leased not before then. False when the lease is not current.
    pub async fn release_job(&self, job: JobId, fencing: i64, not_before: Ts) -> Result<bool> {
        unimplemented!()
    }
}
