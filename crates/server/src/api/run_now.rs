//! A run because a person asked for it: the same snapshot, expansion and transaction as a scheduled one.
//!
//! Whether a run may begin is decided by the route that calls this; leasing the jobs is left to the dispatcher.

use super::Api;
use super::problem::Problem;
use crate::authority::Authority;
use model::audit::AuditEntry;
use model::job::{Job, JobState};
use model::task::{Cause, Run, RunState, Task, TaskState};
use model::{JobId, Liveness, RunId};
use plan::{Snapshot, expand};
use uuid::Uuid;

/// Times a job is leased before it is given up: a node that dies twice over the same job may be dying of it.
const MAX_ATTEMPTS: u32 = 3;

/// Starts a run of the task now.
pub(super) async fn run_now(api: &Api, task: &Task, audit: &AuditEntry) -> Result<(), Problem> {
    let (store, context, now) = (api.store(), api.context(), api.now());
    let authority = Authority::load(store).await?;
    let vantage = Some(&context.vantage);
    let online = store.hosts_with(Liveness::Online, vantage).await?;
    let offline = store.hosts_with(Liveness::Offline, vantage).await?;
    let open: Vec<_> = store.port_states_open(vantage).await?.into_iter().map(|p| p.endpoint).collect();
    let expansion = expand(
        task,
        &Snapshot {
            now,
            assets: &authority.assets,
            scope: &authority.scope,
            blackouts: &authority.blackouts,
            online: &online,
            offline: &offline,
            open: &open,
            catalog: context.catalog,
        },
    );
    if expansion.jobs.is_empty() {
        let why =
            if expansion.notes.is_empty() { "nothing of it can be probed now".to_owned() } else { expansion.notes.join("; ") };
        let waits = expansion.waits_for.map(|label| format!("no address or endpoint has the label {label} yet"));
        return Err(Problem::conflict(format!("the run would do nothing: {}", waits.unwrap_or(why)))
            .hint("run the liveness task first, or check assets, exclusions and blackouts"));
    }
    let run = Run {
        id: RunId(Uuid::now_v7()),
        task: task.id,
        cause: Cause::Manual,
        state: RunState::Running,
        started_at: now,
        finished_at: None,
        jobs_total: u32::try_from(expansion.jobs.len()).unwrap_or(u32::MAX),
        jobs_done: 0,
        jobs_failed: 0,
        probes_sent: 0,
        error: None,
    };
    let job = |plan: plan::JobPlan| Job {
        id: JobId(Uuid::now_v7()),
        task: task.id,
        kind: task.kind,
        run: Some(run.id),
        probes_total: plan.work.probes(),
        work: plan.work,
        state: JobState::Queued,
        priority: plan.priority,
        rate_pps: plan.rate_pps,
        retries: plan.retries,
        not_before: plan.not_before,
        attempts: 0,
        max_attempts: MAX_ATTEMPTS,
        fencing: 0,
        node: None,
        lease_until: None,
        probes_sent: 0,
        error: None,
        created_at: now,
        started_at: None,
        finished_at: None,
    };
    let jobs: Vec<_> = expansion.jobs.into_iter().map(job).collect();
    let next_due_at = plan::next_due(&task.trigger, Some(now), now).map_err(Problem::internal)?;
    let state = if task.state == TaskState::Finished { TaskState::Active } else { task.state };
    store.start_run(&run, &jobs, now, next_due_at, state, Some(audit)).await?;
    Ok(())
}
