//! Runs and jobs: what the scheduler made of the tasks, and how far the nodes are.

use super::paging;
use super::tasks::task_names;
use crate::api::access::Caller;
use crate::api::extract::{Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::task::{JobView, RunView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use model::task::{Run, RunState};
use model::{JobId, RunId, TaskId};
use serde::Deserialize;
use serde_json::json;
use store::JobFilter;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list), routes!(get), routes!(cancel), routes!(retry), routes!(jobs), routes!(job)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// Id of a task.
    task: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

async fn show(api: &Api, runs: Vec<Run>) -> Answer<Vec<RunView>> {
    let names = task_names(api).await?;
    let ids: Vec<_> = runs.iter().map(|r| r.id).collect();
    let totals = api.store().probes_total_of(&ids).await?;
    let view = |r: Run| {
        let (name, total) = (names.get(&r.task).cloned(), totals.get(&r.id).copied().unwrap_or(0));
        RunView::new(r, name, total)
    };
    Ok(runs.into_iter().map(view).collect())
}

async fn show_one(api: &Api, id: Uuid) -> Answer<Json<RunView>> {
    let run = find(api, id).await?;
    show(api, vec![run]).await?.pop().map(Json).ok_or_else(|| Problem::internal("a run has no view"))
}

async fn find(api: &Api, id: Uuid) -> Answer<Run> {
    let id = RunId(id);
    api.store().run(id).await?.ok_or_else(|| Problem::not_found(format!("run {id} does not exist")))
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "tasks", operation_id = "listRuns", params(RunQuery),
    responses((status = 200, description = "A page of runs.", body = Page<RunView>)))]
async fn list(State(api): Use, Query(q): Query<RunQuery>) -> Answer<Json<Page<RunView>>> {
    let mut fields = Fields::default();
    let task = q.task.as_deref().and_then(|id| fields.parse::<TaskId>("task", "bad-id", id));
    fields.done()?;
    let page = api.store().runs(task, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page { items: show(&api, page.items).await?, total: page.total }))
}

/// One run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "tasks", operation_id = "getRun", params(("id" = Uuid, Path, description = "Run.")),
    responses((status = 200, description = "The run.", body = RunView)))]
async fn get(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<RunView>> {
    show_one(&api, id).await
}

/// Ends a run: its queued and running jobs are cancelled.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "tasks", operation_id = "cancelRun", params(("id" = Uuid, Path, description = "Run.")),
    responses((status = 200, description = "The run.", body = RunView),
              (status = 409, description = "It has ended.", body = Problem, content_type = "application/problem+json")))]
async fn cancel(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<RunView>> {
    let run = find(&api, id).await?;
    if run.state != RunState::Running {
        return Err(Problem::conflict(format!("the run has ended: it is {}", run.state)));
    }
    let now = api.now();
    let entry = caller.audit(now, "run.cancel", format!("run:{}", run.id), json!({ "task": run.task }));
    api.store().cancel_run(run.id, now, &entry).await?;
    changed(&api);
    show_one(&api, id).await
}

/// Queues the failed and cancelled jobs of a run again.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "tasks", operation_id = "retryRun", params(("id" = Uuid, Path, description = "Run.")),
    responses((status = 200, description = "The run.", body = RunView),
              (status = 409, description = "Nothing of it failed, or a newer run of the task is going.", body = Problem, content_type = "application/problem+json")))]
async fn retry(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<RunView>> {
    let run = find(&api, id).await?;
    if !matches!(run.state, RunState::Failed | RunState::Cancelled) {
        return Err(Problem::conflict(format!("only a failed or cancelled run can be retried; this one is {}", run.state)));
    }
    let _one_at_a_time = api.deciding().await;
    let last = api.store().last_runs().await?.remove(&run.task);
    if let Some(other) = last.filter(|r| r.state == RunState::Running) {
        return Err(Problem::conflict(format!("run {} of the same task is going", other.id)));
    }
    let now = api.now();
    let entry = caller.audit(now, "run.retry", format!("run:{}", run.id), json!({ "task": run.task }));
    let queued = api.store().retry_run(run.id, now, &entry).await?;
    tracing::info!(run = %run.id, queued, "run is retried");
    changed(&api);
    show_one(&api, id).await
}

fn changed(api: &Api) {
    api.context().schedule_now.notify_one();
    api.changed(Topic::Jobs);
    api.changed(Topic::Tasks);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobQuery {
    /// Id of a task.
    task: Option<String>,
    /// Id of a run.
    run: Option<String>,
    /// States, separated by commas.
    state: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists jobs.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "tasks", operation_id = "listJobs", params(JobQuery),
    responses((status = 200, description = "A page of jobs.", body = Page<JobView>)))]
async fn jobs(State(api): Use, Query(q): Query<JobQuery>) -> Answer<Json<Page<JobView>>> {
    let mut fields = Fields::default();
    let filter = JobFilter {
        task: q.task.as_deref().and_then(|id| fields.parse("task", "bad-id", id)),
        run: q.run.as_deref().and_then(|id| fields.parse("run", "bad-id", id)),
        states: fields.list("state", "bad-word", q.state.as_deref()),
    };
    fields.done()?;
    let page = api.store().jobs(&filter, paging(q.offset, q.limit)?).await?;
    let names = task_names(&api).await?;
    Ok(Json(Page::of(page, |j| {
        let name = names.get(&j.task).cloned();
        JobView::new(j, name)
    })))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "tasks", operation_id = "getJob", params(("id" = Uuid, Path, description = "Job.")),
    responses((status = 200, description = "The job.", body = JobView)))]
async fn job(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<JobView>> {
    let id = JobId(id);
    let job = api.store().job(id).await?.ok_or_else(|| Problem::not_found(format!("job {id} does not exist")))?;
    let name = task_names(&api).await?.remove(&job.task);
    Ok(Json(JobView::new(job, name)))
}
