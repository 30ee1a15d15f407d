//! Leases: which node works on which job, until when, under which fencing token (S5). A lost lease never blocks a job.
//!
//! What a job may probe is judged by `server` when it hands the job out, and by the node again before every probe.

use crate::jobs::{JOB, job_from};
use crate::runs::count_end;
use crate::sql::*;
use crate::{Backend, Result, Store};
use model::address::IpRange;
use model::job::{Job, URGENT, Work};
use model::{JobId, NodeName, RunId, TaskId, Ts};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::HashMap;

/// A node asks for work.
#[derive(Clone, Debug)]
pub struct LeaseQuery {
    /// Who.
    pub node: NodeName,
    /// Which start of it; leases of its earlier starts are lost.
    pub incarnation: u64,
    /// Jobs it can begin now.
    pub slots: u32,
    /// Leased jobs of one task at a time over all nodes, so that one task never keeps the others from working.
    pub per_task_slots: u32,
    /// Until when the leases last.
    pub lease_until: Ts,
    /// Now.
    pub now: Ts,
    /// Jobs that touch one of these ranges wait: the blackouts that hold now.
    pub avoid: Vec<IpRange>,
}

/// What became of a job whose lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLease {
    /// Which job.
    pub job: JobId,
    /// Of which task.
    pub task: TaskId,
    /// In which run.
    pub run: Option<RunId>,
    /// Who held it.
    pub node: Option<NodeName>,
    /// Queued again; otherwise it was the last attempt and the job has failed.
    pub requeued: bool,
}

/// Key of the lock that makes leasing one at a time on PostgreSQL, where two transactions would both count the other's task
/// slots as free. SQLite's write lock does it there.
const LEASING: i64 = 0x6c65_6173_6520_6a62;
/// Jobs looked at in one go when blackouts hold: their work has to be read to know what they touch.
const LOOK: u64 = 200;

/// A job that could be leased.
struct Candidate {
    id: JobId,
    /// What decides between tasks: priority, age, id.
    order: (i64, i64, JobId),
}

impl Store {
    /// Leases at most `slots` jobs: never more than `per_task_slots` of one task at a time ([`URGENT`] ones not counted, for an
    /// alert waits for them), then by priority, then by age.
    /// Each counts as an attempt and has a new fencing token. Jobs of paused tasks wait.
    pub async fn lease(&self, query: &LeaseQuery) -> Result<Vec<Job>> {
        let q = query;
        let tx = self.begin().await?;
        if self.backend() == Backend::Postgres {
            one(&tx, "SELECT 1 AS one FROM (SELECT pg_advisory_xact_lock($1)) AS l", vec![LEASING.value()]).await?;
        }
        let incarnation = q.incarnation.cast_signed();
        let mut earlier = Sql::new(" AND node = ");
        earlier.bind(q.node.value()).push(" AND incarnation <> ").bind(incarnation.value());
        for lost in lose(&tx, self.for_update(), earlier, q.now, "the node restarted").await? {
            tracing::info!(job = %lost.job, node = %q.node, requeued = lost.requeued, "lease of an earlier start of the node is lost");
        }

        let mut chosen = candidates(&tx, Pick::Urgent, q.slots, q).await?;
        for (task, free) in free_slots(&tx, q.per_task_slots).await? {
            chosen.extend(candidates(&tx, Pick::Of(task), free.min(q.slots), q).await?);
        }
        chosen.sort_by_key(|c| c.order);
        chosen.truncate(q.slots as usize);
        let jobs = match self.for_update() {
            "" => chosen.iter().map(|c| c.id).collect(),
            // A job that somebody cancels at this moment is left to them.
            _ => still_free(&tx, &chosen).await?,
        };
        if jobs.is_empty() {
            tx.commit().await?;
            return Ok(Vec::new());
        }
        let mut sql = Sql::new(
            "UPDATE jobs SET state = 'leased', attempts = attempts + 1, fencing = fencing + 1, probes_sent = 0, node = ",
        );
        sql.bind(q.node.value()).push(", incarnation = ").bind(incarnation.value());
        sql.push(", lease_until = ").bind(q.lease_until.value());
        sql.push(", started_at = COALESCE(started_at, ").bind(q.now.value()).push(") WHERE state = 'queued'");
        sql.and_in("id", &jobs).push(&format!(" RETURNING {JOB}"));
        let mut leased: Vec<Job> = sql.all(&tx).await?.iter().map(job_from).collect::<Result<_>>()?;
        tx.commit().await?;
        leased.sort_by_key(|j| (j.priority, j.created_at, j.id));
        Ok(leased)
    }

    /// Renews a lease and notes how far the job is. False when the lease is another's, the job has ended, or its task is
    /// paused or gone: the holder stops.
    pub async fn heartbeat(&self, job: JobId, node: &NodeName, fencing: i64, lease_until: Ts, probes_sent: u64) -> Result<bool> {
        let tx = self.begin().await?;
        let Some(held) = held(&tx, self.for_update(), job, node, fencing).await? else {
            return Ok(false);
        };
        if held.paused {
            return Ok(false);
        }
        progress(&tx, job, &held, probes_sent).await?;
        run(&tx, "UPDATE jobs SET lease_until = $2 WHERE id = $1", vec![job.value(), lease_until.value()]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Queues jobs whose lease has ended again, or fails those that had their last attempt.
    pub async fn expire_leases(&self, now: Ts) -> Result<Vec<LostLease>> {
        // Asked of a reader first: nearly always nothing has expired, and then no write lock is taken.
        let due = "SELECT 1 AS one FROM jobs WHERE state = 'leased' AND lease_until <= $1 LIMIT 1";
        if one(self.read(), due, vec![now.value()]).await?.is_none() {
            return Ok(Vec::new());
        }
        let tx = self.begin().await?;
        let mut expired = Sql::new(" AND lease_until <= ");
        expired.bind(now.value());
        let lost = lose(&tx, self.for_update(), expired, now, "the lease expired").await?;
        tx.commit().await?;
        Ok(lost)
    }

    /// A task is paused: its leased jobs go back to the queue, the attempt does not count, and their holders are fenced.
    /// Number of jobs.
    pub async fn release_jobs(&self, task: TaskId) -> Result<u64> {
        let sql = "UPDATE jobs SET state = 'queued', attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END, \
                   fencing = fencing + 1, node = NULL, incarnation = NULL, lease_until = NULL, probes_sent = 0 \
                   WHERE task = $1 AND state = 'leased'";
        run(self.write().await?, sql, vec![task.value()]).await
    }

    /// Gives one leased job back without the attempt counting, to be leased not before then. False when the lease is not
    /// the current one.
    pub async fn release_job(&self, job: JobId, fencing: i64, not_before: Ts) -> Result<bool> {
        let sql = "UPDATE jobs SET state = 'queued', attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END, \
                   fencing = fencing + 1, node = NULL, incarnation = NULL, lease_until = NULL, probes_sent = 0, not_before = $3 \
                   WHERE id = $1 AND fencing = $2 AND state = 'leased'";
        Ok(run(self.write().await?, sql, vec![job.value(), fencing.value(), not_before.value()]).await? > 0)
    }

    /// Appended to a SELECT whose rows the transaction goes on to change. SQLite's transactions hold the write lock already.
    pub(crate) fn for_update(&self) -> &'static str {
        match self.backend() {
            Backend::Sqlite => "",
            Backend::Postgres => " FOR UPDATE",
        }
    }
}

/// What the holder of a lease needs to know about its job.
pub(crate) struct Held {
    pub(crate) run: Option<RunId>,
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    probes_sent: u64,
    paused: bool,
}

/// The job, if this is its current lease.
pub(crate) async fn held<C: ConnectionTrait>(
    db: &C,
    lock: &str,
    job: JobId,
    node: &NodeName,
    fencing: i64,
) -> Result<Option<Held>> {
    let sql = format!(
        "SELECT run, attempts, max_attempts, probes_sent, \
         NOT EXISTS(SELECT 1 FROM tasks t WHERE t.id = jobs.task AND t.state <> 'paused') AS paused \
         FROM jobs WHERE id = $1 AND node = $2 AND fencing = $3 AND state = 'leased'{lock}"
    );
    let Some(row) = one(db, &sql, vec![job.value(), node.value(), fencing.value()]).await? else {
        return Ok(None);
    };
    Ok(Some(Held {
        run: opt(&row, "run")?,
        attempts: get(&row, "attempts")?,
        max_attempts: get(&row, "max_attempts")?,
        probes_sent: get(&row, "probes_sent")?,
        paused: get(&row, "paused")?,
    }))
}

/// Notes how far the job is; its run's count grows by what is new.
pub(crate) async fn progress<C: ConnectionTrait>(db: &C, job: JobId, held: &Held, probes_sent: u64) -> Result<()> {
    let more = probes_sent.saturating_sub(held.probes_sent);
    if more == 0 {
        return Ok(());
    }
    run(db, "UPDATE jobs SET probes_sent = $2 WHERE id = $1", vec![job.value(), probes_sent.value()]).await?;
    if let Some(id) = held.run {
        run(db, "UPDATE runs SET probes_sent = probes_sent + $2 WHERE id = $1", vec![id.value(), more.value()]).await?;
    }
    Ok(())
}

/// Takes the leases that `which` selects away: back to the queue, or failed when that was the last attempt.
async fn lose<C: ConnectionTrait>(db: &C, lock: &str, which: Sql, now: Ts, why: &str) -> Result<Vec<LostLease>> {
    let mut sql = which.after("SELECT id, task, run, node, attempts, max_attempts FROM jobs WHERE state = 'leased'");
    sql.push(" ORDER BY id").push(lock);
    let mut lost = Vec::new();
    for row in sql.all(db).await? {
        let attempts: u32 = get(&row, "attempts")?;
        let requeued = attempts < get(&row, "max_attempts")?;
        let lease = LostLease {
            job: get(&row, "id")?,
            task: get(&row, "task")?,
            run: opt(&row, "run")?,
            node: opt(&row, "node")?,
            requeued,
        };
        if requeued {
            let sql = "UPDATE jobs SET state = 'queued', fencing = fencing + 1, node = NULL, incarnation = NULL, lease_until = NULL, \
                       probes_sent = 0, not_before = $2, error = $3 WHERE id = $1";
            run(db, sql, vec![lease.job.value(), now.value(), text(why)]).await?;
        } else {
            let error = format!("lease lost {attempts} times, last because {why}");
            let sql = "UPDATE jobs SET state = 'failed', fencing = fencing + 1, lease_until = NULL, finished_at = $2, error = $3 WHERE id = $1";
            run(db, sql, vec![lease.job.value(), now.value(), text(&error)]).await?;
            count_end(db, lease.run, Some(&error), now).await?;
        }
        lost.push(lease);
    }
    Ok(lost)
}

/// Tasks that have jobs queued and may have more leased, with how many more.
async fn free_slots<C: ConnectionTrait>(db: &C, per_task: u32) -> Result<Vec<(TaskId, u32)>> {
    let mut leased: HashMap<TaskId, u32> = HashMap::new();
    for row in all(db, "SELECT task, COUNT(*) AS n FROM jobs WHERE state = 'leased' GROUP BY task", vec![]).await? {
        leased.insert(get(&row, "task")?, get(&row, "n")?);
    }
    let sql = "SELECT id FROM tasks WHERE state <> 'paused' AND EXISTS(SELECT 1 FROM jobs WHERE jobs.state = 'queued' AND jobs.task = tasks.id)";
    let mut free = Vec::new();
    for row in all(db, sql, vec![]).await? {
        let task = get(&row, "id")?;
        let n = per_task.saturating_sub(leased.get(&task).copied().unwrap_or(0));
        if n > 0 {
            free.push((task, n));
        }
    }
    Ok(free)
}

/// Which queued jobs are looked at.
#[derive(Clone, Copy)]
enum Pick {
    /// The scheduled ones of a task.
    Of(TaskId),
    /// The urgent ones of all tasks that are not paused.
    Urgent,
}

/// The first queued jobs picked that may be leased now.
async fn candidates<C: ConnectionTrait>(db: &C, pick: Pick, limit: u32, q: &LeaseQuery) -> Result<Vec<Candidate>> {
    let (which, key) = match pick {
        Pick::Of(task) => (format!("priority >= {URGENT} AND task = $1"), task.value()),
        Pick::Urgent => {
            let waiting = "priority < $1 AND EXISTS(SELECT 1 FROM tasks t WHERE t.id = jobs.task AND t.state <> 'paused')";
            (waiting.to_owned(), URGENT.value())
        }
    };
    let order = "ORDER BY priority, created_at, id LIMIT $3 OFFSET $4";
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let (columns, look) = if q.avoid.is_empty() { ("", u64::from(limit)) } else { (", work", LOOK) };
        let sql = format!(
            "SELECT id, priority, created_at{columns} FROM jobs WHERE state = 'queued' AND {which} AND not_before <= $2 {order}"
        );
        let rows = all(db, &sql, vec![key.clone(), q.now.value(), look.value(), offset.value()]).await?;
        for row in &rows {
            if found.len() < limit as usize && (q.avoid.is_empty() || !touches(&get_json(row, "work")?, &q.avoid)) {
                found.push(candidate(row)?);
            }
        }
        if found.len() >= limit as usize || (rows.len() as u64) < look {
            return Ok(found);
        }
        offset += look;
    }
}

fn candidate(row: &QueryResult) -> Result<Candidate> {
    let id = get(row, "id")?;
    Ok(Candidate { id, order: (get(row, "priority")?, get(row, "created_at")?, id) })
}

/// Those of the chosen that nobody else holds a lock on.
async fn still_free<C: ConnectionTrait>(db: &C, chosen: &[Candidate]) -> Result<Vec<JobId>> {
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Value> = chosen.iter().map(|c| c.id.value()).collect();
    let mut sql = Sql::new("SELECT id FROM jobs WHERE state = 'queued' AND id IN ");
    sql.tuple(ids).push(" FOR UPDATE SKIP LOCKED");
    sql.all(db).await?.iter().map(|row| get(row, "id")).collect()
}

/// Whether the work has a target in one of the ranges.
fn touches(work: &Work, ranges: &[IpRange]) -> bool {
    match work {
        Work::Liveness { targets } | Work::Sweep { targets, .. } => targets.iter().any(|t| ranges.iter().any(|r| r.overlaps(t))),
        Work::Recheck { endpoints } | Work::Identify { endpoints } | Work::Examine { endpoints } | Work::Panels { endpoints } => {
            endpoints.iter().any(|e| ranges.iter().any(|r| r.contains(e.ip)))
        }
    }
}
