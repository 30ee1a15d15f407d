//! Keeping the tasks going: firing what is due, giving lost jobs to others, and looking at what has just been added.
//!
//! When a task is due and what it covers is decided by `plan`; here it is asked every second and written down. A task that
//! cannot be fired is logged, shown and tried again later; the others are fired all the same (S1).

use crate::authority::Authority;
use crate::context::Context;
use crate::dispatch::LEASE;
use crate::ingest_follow_up::job;
use crate::live::Topic;
use model::audit::AuditEntry;
use model::port_state::PortState;
use model::task::{Cause, Label, Run, RunState, Task, TaskKind, TaskState};
use model::{AssetId, Duration, IpRange, Liveness, RunId, TaskId, Ts};
use plan::expand::{JobPlan, LIVENESS_ADDRESSES, targets_of};
use plan::follow_up::FIRST_LOOK_PRIORITY;
use plan::{Expansion, Snapshot, due, expand, next_due};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use store::StoreError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the tasks are looked at.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// First and longest wait before a task that could not be fired is tried again, and before the database is asked again
/// while it does not answer.
const BACKOFF: (Duration, Duration) = (Duration::secs(5), Duration::minutes(5));
const DATABASE_BACKOFF: (Duration, Duration) = (Duration::secs(1), Duration::secs(10));
/// How often old jobs, coverage and sessions are removed.
const PRUNE: Duration = Duration::hours(1);
/// How long a task's first firing waits for a liveness pass to end.
const PASS: Duration = Duration::minutes(5);
/// By how much a run that a person asked for goes before the scheduled runs of its kind.
const MANUAL_LEAD: u8 = 10;

/// Why a task was not fired.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// Its previous run is still going.
    #[error("the previous run of the task is still going")]
    Running,
    /// The label it works on has no members yet, because nobody has looked.
    #[error("{0}")]
    Waits(String),
    /// It was deleted meanwhile.
    #[error("the task does not exist")]
    Gone,
    /// Its trigger cannot be followed.
    #[error(transparent)]
    Schedule(#[from] plan::ScheduleError),
    /// The database did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A task that is left alone for a while.
struct Held {
    until: Ts,
    wait: Duration,
    /// Held because it waits for its label; a look at hosts ends that.
    waits: bool,
}

/// Everything that decides what tasks cover, read once for all that are due together.
struct World {
    authority: Authority,
    online: Vec<IpAddr>,
    offline: Vec<IpAddr>,
    open: Vec<PortState>,
}

impl World {
    async fn load(context: &Context) -> Result<World, StoreError> {
        let store = &context.store;
        let vantage = Some(&context.vantage);
        Ok(World {
            authority: Authority::load(store).await?,
            online: store.hosts_with(Liveness::Online, vantage).await?,
            offline: store.hosts_with(Liveness::Offline, vantage).await?,
            open: store.port_states_open(vantage).await?,
        })
    }

    fn expand(&self, context: &Context, task: &Task, now: Ts) -> Expansion {
        let snapshot = Snapshot {
            now,
            assets: &self.authority.assets,
            scope: &self.authority.scope,
            blackouts: &self.authority.blackouts,
            online: &self.online,
            offline: &self.offline,
            open: &self.open,
            catalog: context.catalog,
        };
        expand(task, &snapshot)
    }
}

/// Fires tasks until cancelled.
pub async fn run(context: Arc<Context>, cancel: CancellationToken) {
    let mut scheduler = Scheduler::new(context);
    let mut outage: Option<Duration> = None;
    while !cancel.is_cancelled() {
        let wait = match scheduler.tick().await {
            Ok(()) => {
                if outage.take().is_some() {
                    tracing::info!("the database answers again; scheduling goes on");
                }
                TICK
            }
            Err(error) => {
                scheduler.outage = true;
                let wait = outage.map_or(DATABASE_BACKOFF.0, |w| Duration::millis(w.0 * 2).min(DATABASE_BACKOFF.1));
                if outage.replace(wait).is_none() {
                    tracing::error!(%error, "scheduling waits for the database");
                }
                wait.to_std()
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = scheduler.context.schedule_now.notified() => scheduler.woken(),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Fires a task now because a person asks for it. The scheduler goes on counting from this firing.
pub async fn run_now(context: &Context, id: TaskId, cause: Cause, audit: Option<&AuditEntry>) -> Result<Run, FireError> {
    let world = World::load(context).await?;
    let run = fire(context, &world, id, cause, audit).await?;
    context.live.changed(Topic::Tasks);
    context.live.changed(Topic::Jobs);
    Ok(run)
}

/// What to tell people about a task beside its status: what its next firing would leave out, and why it waits.
pub async fn notes(context: &Context, task: &Task) -> Result<Vec<String>, StoreError> {
    Ok(World::load(context).await?.expand(context, task, context.now()).notes)
}

/// Fires one task: expands it and writes run and jobs in one transaction.
async fn fire(context: &Context, world: &World, id: TaskId, cause: Cause, audit: Option<&AuditEntry>) -> Result<Run, FireError> {
    // One firing at a time, so that a person and the schedule do not fire the same task together.
    let _turn = context.firing.lock().await;
    let task = context.store.task(id).await?.ok_or(FireError::Gone)?;
    if let Some(last) = task.last_run
        && context.store.run(last).await?.is_some_and(|run| run.state == RunState::Running)
    {
        return Err(FireError::Running);
    }
    let now = context.now();
    let expansion = world.expand(context, &task, now);
    if expansion.waits_for.is_some() {
        return Err(FireError::Waits(expansion.notes.join("; ")));
    }
    for note in &expansion.notes {
        tracing::info!(task = %task.name, note, "what this run leaves out");
    }
    let run = Run {
        id: RunId(Uuid::now_v7()),
        task: task.id,
        cause,
        state: RunState::Running,
        started_at: now,
        finished_at: None,
        jobs_total: 0,
        jobs_done: 0,
        jobs_failed: 0,
        probes_sent: 0,
        error: None,
    };
    let lead = if cause == Cause::Schedule { 0 } else { MANUAL_LEAD };
    let jobs: Vec<_> = expansion
        .jobs
        .into_iter()
        .map(|plan| {
            // Still after everything urgent and after a first look.
            let priority = (plan.priority.saturating_sub(lead)).max(FIRST_LOOK_PRIORITY + 2);
            let mut job = job(task.id, task.kind, JobPlan { priority, ..plan }, now);
            job.run = Some(run.id);
            job
        })
        .collect();
    let next = next_due(&task.trigger, Some(now), now)?;
    // A one-off task is finished by the end of its run, and works again when a person runs it again.
    let state = if task.state == TaskState::Finished { TaskState::Active } else { task.state };
    context.store.start_run(&run, &jobs, now, next, state, audit).await?;
    metrics::counter!("portreeve_runs_started_total", "kind" => task.kind.as_str()).increment(1);
    tracing::info!(task = %task.name, run = %run.id, jobs = jobs.len(), %cause, "task fired");
    Ok(Run { jobs_total: jobs.len() as u32, ..run })
}

/// Whether the task's first firing is better put off until the liveness pass that is going on has ended: fired in the middle
/// of it, it would cover the hosts found so far and be done until its next time. Not for longer than [`PASS`], though; a
/// pass over a large network takes hours.
fn wants_whole_pass(task: &Task, now: Ts) -> bool {
    let first = task.last_fired_at.is_none() && task.kind.consumes() != Label::IpAssets;
    first && task.next_due_at.is_some_and(|at| now.since(at) < PASS)
}

struct Scheduler {
    context: Arc<Context>,
    held: HashMap<TaskId, Held>,
    /// Ranges of assets that have had their first look, or need none.
    looked: Option<HashMap<AssetId, IpRange>>,
    pruned_at: Option<Ts>,
    /// The database has not answered since the last tick.
    outage: bool,
    /// Until when leases are not taken away.
    patient_until: Ts,
}

impl Scheduler {
    fn new(context: Arc<Context>) -> Self {
        Scheduler { context, held: HashMap::new(), looked: None, pruned_at: None, outage: false, patient_until: Ts(0) }
    }

    /// Something happened: what waited for it need not wait longer.
    fn woken(&mut self) {
        self.held.retain(|_, held| !held.waits);
    }

    async fn tick(&mut self) -> Result<(), StoreError> {
        let now = self.context.now();
        self.fire_due(now).await?;
        self.expire(now).await?;
        self.first_looks(now).await?;
        if self.pruned_at.is_none_or(|at| now.since(at) >= PRUNE) {
            self.prune(now).await?;
            self.pruned_at = Some(now);
        }
        Ok(())
    }

    /// Gives jobs whose node has fallen silent to others. While the database was away nobody could beat, so after an outage
    /// every node gets the length of a lease to be heard.
    async fn expire(&mut self, now: Ts) -> Result<(), StoreError> {
        if std::mem::take(&mut self.outage) {
            self.patient_until = now.plus(LEASE);
        }
        if now < self.patient_until {
            return Ok(());
        }
        let lost = self.context.store.expire_leases(now).await?;
        for lease in &lost {
            let node = lease.node.as_ref().map_or("unknown", |n| n.0.as_str());
            tracing::warn!(job = %lease.job, node, requeued = lease.requeued, "lease lost: no heartbeat in time");
            metrics::counter!("portreeve_leases_lost_total").increment(1);
        }
        if !lost.is_empty() {
            self.context.live.changed(Topic::Jobs);
        }
        Ok(())
    }

    /// Fires every task that is due. One that cannot be is held back by itself.
    async fn fire_due(&mut self, now: Ts) -> Result<(), StoreError> {
        let tasks = self.context.store.tasks().await?;
        let due: Vec<&Task> = tasks.iter().filter(|t| due(t, now).is_some()).collect();
        self.held.retain(|id, _| due.iter().any(|t| t.id == *id));
        let ready: Vec<&Task> = due.into_iter().filter(|t| self.held.get(&t.id).is_none_or(|h| h.until <= now)).collect();
        if ready.is_empty() {
            return Ok(());
        }
        // Asked before the world is read: a run may go on for hours while its task is overdue.
        let running: HashSet<TaskId> = self.context.store.running_runs().await?.into_iter().map(|r| r.task).collect();
        let (waiting, ready): (Vec<&Task>, Vec<&Task>) = ready.into_iter().partition(|t| running.contains(&t.id));
        for task in waiting {
            self.hold(task, &FireError::Running, now);
        }
        let looking = tasks.iter().any(|t| t.kind == TaskKind::Liveness && running.contains(&t.id));
        let (waiting, ready): (Vec<&Task>, Vec<&Task>) = ready.into_iter().partition(|t| looking && wants_whole_pass(t, now));
        for task in waiting {
            self.hold(task, &FireError::Waits("waits for the liveness pass that is going on".to_owned()), now);
        }
        if ready.is_empty() {
            return Ok(());
        }
        let world = World::load(&self.context).await?;
        let mut fired = false;
        for task in ready {
            match fire(&self.context, &world, task.id, Cause::Schedule, None).await {
                Ok(_) => {
                    fired = true;
                    self.held.remove(&task.id);
                    self.context.note_task(task.id, None);
                }
                // The whole system waits for the database, not this task alone.
                Err(FireError::Store(error)) if error.is_transient() => return Err(error),
                Err(error) => self.hold(task, &error, now),
            }
        }
        if fired {
            self.context.live.changed(Topic::Tasks);
            self.context.live.changed(Topic::Jobs);
        }
        Ok(())
    }

    fn hold(&mut self, task: &Task, error: &FireError, now: Ts) {
        let (wait, waits) = match error {
            // Looked at again as soon as the run has ended; until then the task shows as overdue.
            FireError::Running => (Duration::secs(1), false),
            FireError::Waits(_) => (Duration::secs(10), true),
            _ => {
                let before = self.held.get(&task.id).filter(|h| h.wait >= BACKOFF.0).map(|h| h.wait);
                (before.map_or(BACKOFF.0, |w| Duration::millis(w.0 * 2).min(BACKOFF.1)), false)
            }
        };
        match error {
            FireError::Running | FireError::Gone => {}
            FireError::Waits(note) => self.context.note_task(task.id, Some(note.clone())),
            _ => {
                tracing::error!(task = %task.name, %error, "task could not be fired; the others go on");
                metrics::counter!("portreeve_firings_failed_total").increment(1);
                self.context.note_task(task.id, Some(error.to_string()));
            }
        }
        self.held.insert(task.id, Held { until: now.plus(wait), wait, waits });
    }

    /// A range that has just been added gets a liveness pass at once, so that the other tasks have something to work on.
    async fn first_looks(&mut self, now: Ts) -> Result<(), StoreError> {
        let assets = self.context.store.assets().await?;
        let current: HashMap<AssetId, IpRange> = assets.iter().map(|a| (a.id, a.range)).collect();
        if self.looked.as_ref() == Some(&current) {
            return Ok(());
        }
        let tasks = self.context.store.tasks().await?;
        let liveness = tasks.iter().find(|t| t.kind == TaskKind::Liveness && t.state == TaskState::Active);
        let fresh = |a: &&model::asset::Asset| match &self.looked {
            Some(looked) => looked.get(&a.id) != Some(&a.range),
            // After a start: what was added since the last pass began, if anything.
            None => liveness.is_none_or(|t| t.last_fired_at.is_none_or(|at| a.created_at >= at)),
        };
        let wanted: Vec<IpRange> = assets
            .iter()
            .filter(fresh)
            // A pass that fired after the range was written down covers it already.
            .filter(|a| liveness.is_none_or(|t| t.last_fired_at.is_none_or(|at| at <= a.updated_at)))
            .map(|a| a.range)
            .collect();
        if let (Some(task), false) = (liveness, wanted.is_empty()) {
            let world = World::load(&self.context).await?;
            let target = model::task::TaskTarget::Ranges { ranges: wanted };
            let expansion = world.expand(&self.context, &Task { target, ..task.clone() }, now);
            let jobs: Vec<_> = expansion
                .jobs
                .into_iter()
                .take((LIVENESS_ADDRESSES / 8) as usize)
                .map(|plan| job(task.id, task.kind, JobPlan { priority: FIRST_LOOK_PRIORITY, ..plan }, now))
                .collect();
            if !jobs.is_empty() {
                let targets: usize = jobs.iter().map(|j| targets_of(&j.work).len()).sum();
                tracing::info!(ranges = targets, jobs = jobs.len(), "new ranges get a first look");
                self.context.store.enqueue(&jobs).await?;
                self.context.live.changed(Topic::Jobs);
            }
        }
        self.looked = Some(current);
        Ok(())
    }

    async fn prune(&self, now: Ts) -> Result<(), StoreError> {
        let retention = self.context.store.settings().await?.retention;
        let pruned = self.context.store.prune(now, &retention).await?;
        let sessions = self.context.store.purge_sessions(now).await?;
        tracing::debug!(jobs = pruned.jobs, runs = pruned.runs, coverage = pruned.coverage, sessions, "old records removed");
        Ok(())
    }
}
