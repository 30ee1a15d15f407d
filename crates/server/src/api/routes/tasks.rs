//! Tasks: the nine kinds, their schedules, and what people do with them.
//!
//! When a task is due and what it covers is `plan`'s; making it fire is the scheduler's.

use crate::api::access::Caller;
use crate::api::extract::{Body, Path};
use crate::api::problem::{Fields, Problem};
use crate::api::views::task::{RunView, TaskInput, TaskTargetBody, TaskView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use crate::scheduler::{self, FireError};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::task::{Cause, Engine, PortChoice, RunState, Task, TaskState, TaskTarget, Trigger};
use model::{IpRange, Scope, TaskId, Ts};
use plan::preset::Preset;
use plan::validate::How;
use serde_json::json;
use std::collections::HashMap;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Tasks that may exist at a time: each is looked at every tick of the scheduler (PR-12).
const MAX_TASKS: usize = 1_000;
/// Ranges or tags of one task.
const MAX_TARGETS: usize = 1_000;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![
        routes!(list, create),
        routes!(get, update, delete),
        routes!(run),
        routes!(pause),
        routes!(resume),
        routes!(cancel),
        routes!(preset),
    ]
}

/// The views of these tasks, each with its last run and what there is to say about it.
pub(super) async fn show(api: &Api, tasks: Vec<Task>) -> Answer<Vec<TaskView>> {
    let mut runs = api.store().last_runs().await?;
    let ids: Vec<_> = runs.values().map(|r| r.id).collect();
    let totals = api.store().probes_total_of(&ids).await?;
    let scope = scope(api).await?;
    let now = api.now();
    let view = |task: Task| {
        let run = runs.remove(&task.id);
        let status = plan::status(&task, run.as_ref(), now).into();
        let notes = notes(&task, &scope, now);
        let run = run.map(|r| {
            let total = totals.get(&r.id).copied().unwrap_or(0);
            RunView::new(r, Some(task.name.clone()), total)
        });
        TaskView::new(task, status, run, notes)
    };
    Ok(tasks.into_iter().map(view).collect())
}

/// One task, with what its next firing would leave out; for a list that would mean expanding every task.
async fn show_one(api: &Api, task: Task) -> Answer<Json<TaskView>> {
    let left_out = scheduler::notes(api.context(), &task).await?;
    let view = show(api, vec![task]).await?.pop();
    let mut view = view.ok_or_else(|| Problem::internal("a task has no view"))?;
    for note in left_out {
        if !view.notes.contains(&note) {
            view.notes.push(note);
        }
    }
    Ok(Json(view))
}

pub(super) async fn scope(api: &Api) -> Answer<Scope> {
    let allowed: Vec<_> = api.store().assets().await?.iter().map(|a| a.range).collect();
    let excluded: Vec<_> = api.store().exclusions().await?.iter().map(|e| e.range).collect();
    Ok(Scope::new(&allowed, &excluded))
}

/// What an operator should know of a task that would otherwise do nothing without saying why.
fn notes(task: &Task, scope: &Scope, now: Ts) -> Vec<String> {
    let mut notes = Vec::new();
    if scope.is_empty() {
        notes.push("no asset is in scope: nothing is probed until one is added".to_owned());
    } else if let TaskTarget::Ranges { ranges } = &task.target {
        let outside: Vec<_> = ranges.iter().filter(|r| scope.restrict(&[**r]).is_empty()).map(IpRange::to_string).collect();
        if !outside.is_empty() {
            notes.push(format!("not covered by any asset, so not probed: {}", outside.join(", ")));
        }
    }
    if let Some(due) = task.next_due_at.filter(|&at| task.state == TaskState::Active && at < now) {
        notes.push(format!("due since {due}"));
    }
    notes
}

/// Lists all tasks.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", operation_id = "listTasks",
    responses((status = 200, description = "All tasks.", body = Vec<TaskView>)))]
async fn list(State(api): Use) -> Answer<Json<Vec<TaskView>>> {
    let tasks = api.store().tasks().await?;
    show(&api, tasks).await.map(Json)
}

struct Checked {
    target: TaskTarget,
    ports: Option<PortChoice>,
    trigger: Trigger,
    retries: Option<u8>,
    engine: Engine,
}

fn check(input: &TaskInput) -> Answer<Checked> {
    let mut fields = Fields::default();
    let kind = input.kind.0;
    let target = match &input.target {
        TaskTargetBody::AllAssets => Some(TaskTarget::AllAssets),
        TaskTargetBody::Ranges { ranges } => {
            fields.check(ranges.len() <= MAX_TARGETS, "target.ranges", "too-many", format!("at most {MAX_TARGETS} ranges"));
            let parsed: Vec<_> = ranges
                .iter()
                .enumerate()
                .filter_map(|(i, word)| fields.parse::<IpRange>(&format!("target.ranges[{i}]"), "bad-range", word.trim()))
                .collect();
            (parsed.len() == ranges.len()).then_some(TaskTarget::Ranges { ranges: parsed })
        }
        TaskTargetBody::Tags { tags } => {
            fields.check(tags.len() <= MAX_TARGETS, "target.tags", "too-many", format!("at most {MAX_TARGETS} tags"));
            let tags: Vec<_> = tags.iter().filter_map(|tag| fields.text("target.tags", tag, 100)).collect();
            Some(TaskTarget::Tags { tags })
        }
    };
    let ports = match input.ports.as_deref().map(str::trim).filter(|p| !p.is_empty()) {
        None => kind.default_ports(),
        Some(word) => fields.parse::<PortChoice>("ports", "bad-ports", word),
    };
    let trigger = Trigger::from(input.trigger.clone());
    let retries = input.retries.or(kind.default_retries());
    let engine = match input.engine.as_deref().map(str::trim).filter(|e| !e.is_empty()) {
        None => Some(Engine::BuiltIn),
        Some(word) => fields.parse::<Engine>("engine", "bad-word", word),
    };
    fields.text("name", &input.name, 200);
    if let (Some(target), Some(engine)) = (&target, &engine)
        && fields.ok()
    {
        let how = How { rate_pps: input.rate_pps, retries, engine };
        for p in plan::validate::validate(kind, &input.name, target, ports.as_ref(), &trigger, &how) {
            fields.add(p.field, p.code, p.message);
        }
    }
    let checked = target.zip(engine).map(|(target, engine)| Checked { target, ports, trigger, retries, engine });
    fields.finish(checked)
}

/// Makes a task. One with the trigger `once` starts at once.
#[utoipa::path(post, path = "/api/v1/tasks", tag = "tasks", operation_id = "createTask", request_body = TaskInput,
    responses((status = 201, description = "The task.", body = TaskView)))]
async fn create(State(api): Use, caller: Caller, Body(input): Body<TaskInput>) -> Answer<(StatusCode, Json<TaskView>)> {
    let checked = check(&input)?;
    if api.store().tasks().await?.len() >= MAX_TASKS {
        return Err(Problem::conflict(format!("there are {MAX_TASKS} tasks already")).hint("remove finished one-off tasks"));
    }
    let now = api.now();
    let next_due_at = plan::first_due(&checked.trigger, now).map_err(|e| Problem::bad_field("trigger", "bad-cron", e))?;
    let task = Task {
        id: TaskId(Uuid::now_v7()),
        kind: input.kind.0,
        name: input.name.trim().to_owned(),
        target: checked.target,
        ports: checked.ports,
        trigger: checked.trigger,
        rate_pps: input.rate_pps,
        retries: checked.retries,
        engine: checked.engine,
        state: TaskState::Active,
        preset: None,
        created_at: now,
        last_fired_at: None,
        next_due_at,
        last_run: None,
    };
    let entry = caller.audit(now, "task.create", subject(&task), json!({ "task": task }));
    api.store().insert_task(&task, Some(&entry)).await?;
    scheduled(&api);
    Ok((StatusCode::CREATED, show_one(&api, task).await?))
}

fn subject(task: &Task) -> String {
    format!("task:{}", task.id)
}

/// Tells the scheduler not to wait for its tick, and everybody who looks.
fn scheduled(api: &Api) {
    api.context().schedule_now.notify_one();
    api.changed(Topic::Tasks);
}

async fn find(api: &Api, id: Uuid) -> Answer<Task> {
    let id = TaskId(id);
    api.store().task(id).await?.ok_or_else(|| Problem::not_found(format!("task {id} does not exist")))
}

/// One task.
#[utoipa::path(get, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "getTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 200, description = "The task.", body = TaskView)))]
async fn get(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<TaskView>> {
    show_one(&api, find(&api, id).await?).await
}

/// Changes a task. A run in progress goes on as it began.
#[utoipa::path(put, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "updateTask", params(("id" = Uuid, Path, description = "Task.")),
    request_body = TaskInput, responses((status = 200, description = "The task.", body = TaskView)))]
async fn update(State(api): Use, caller: Caller, Path(id): Path<Uuid>, Body(input): Body<TaskInput>) -> Answer<Json<TaskView>> {
    let before = find(&api, id).await?;
    let checked = check(&input)?;
    let now = api.now();
    let retriggered = checked.trigger != before.trigger;
    let mut task = Task {
        kind: input.kind.0,
        name: input.name.trim().to_owned(),
        target: checked.target,
        ports: checked.ports,
        trigger: checked.trigger,
        rate_pps: input.rate_pps,
        retries: checked.retries,
        engine: checked.engine,
        ..before.clone()
    };
    if retriggered {
        let due = plan::next_due(&task.trigger, task.last_fired_at, now);
        task.next_due_at = due.map_err(|e| Problem::bad_field("trigger", "bad-cron", e))?;
        // A new schedule wakes one-off work that was done; the same one-off work is done once.
        if task.state == TaskState::Finished && task.next_due_at.is_some() {
            task.state = TaskState::Active;
        }
    }
    let entry = caller.audit(now, "task.update", subject(&task), json!({ "from": before, "to": task }));
    api.store().update_task(&task, Some(&entry)).await?;
    scheduled(&api);
    show_one(&api, task).await
}

/// Removes a task with its queued work; what it found stays.
#[utoipa::path(delete, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "deleteTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 204, description = "Removed.")))]
async fn delete(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let task = find(&api, id).await?;
    let entry = caller.audit(api.now(), "task.delete", subject(&task), json!({ "task": task }));
    api.store().delete_task(task.id, Some(&entry)).await?;
    scheduled(&api);
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a task now, whatever its schedule.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/run", tag = "tasks", operation_id = "runTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 200, description = "The task with its new run.", body = TaskView),
              (status = 409, description = "A run is going, or the task is paused.", body = Problem, content_type = "application/problem+json")))]
async fn run(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<TaskView>> {
    let task = find(&api, id).await?;
    if task.state == TaskState::Paused {
        return Err(Problem::conflict("the task is paused, so its jobs would only wait").hint("resume it first"));
    }
    let entry = caller.audit(api.now(), "task.run", subject(&task), json!({ "name": task.name }));
    scheduler::run_now(api.context(), task.id, Cause::Manual, Some(&entry)).await.map_err(|e| match e {
        FireError::Running => Problem::conflict("a run of this task is going").hint("wait for it, or cancel it first"),
        FireError::Waits(why) => Problem::conflict(why).hint("run the liveness task first: nobody has looked which hosts answer"),
        FireError::Gone => Problem::not_found(format!("task {} does not exist", task.id)),
        FireError::Schedule(e) => Problem::conflict(e),
        FireError::Store(e) => e.into(),
    })?;
    scheduled(&api);
    show_one(&api, find(&api, id).await?).await
}

async fn running(api: &Api, task: TaskId) -> Answer<Option<model::RunId>> {
    Ok(api.store().last_runs().await?.remove(&task).filter(|r| r.state == RunState::Running).map(|r| r.id))
}

/// Pauses a task: it does not fire, its running jobs go back to the queue and wait.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/pause", tag = "tasks", operation_id = "pauseTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 200, description = "The task.", body = TaskView),
              (status = 409, description = "It is done.", body = Problem, content_type = "application/problem+json")))]
async fn pause(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<TaskView>> {
    let task = find(&api, id).await?;
    if task.state == TaskState::Finished && running(&api, task.id).await?.is_none() {
        return Err(Problem::conflict("a one-off task that is done cannot be paused"));
    }
    let paused = Task { state: TaskState::Paused, ..task };
    let entry = caller.audit(api.now(), "task.pause", subject(&paused), json!({ "name": paused.name }));
    api.store().update_task(&paused, Some(&entry)).await?;
    api.store().release_jobs(paused.id).await?;
    api.changed(Topic::Jobs);
    scheduled(&api);
    show_one(&api, paused).await
}

/// Resumes a paused task.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/resume", tag = "tasks", operation_id = "resumeTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 200, description = "The task.", body = TaskView),
              (status = 409, description = "It is not paused.", body = Problem, content_type = "application/problem+json")))]
async fn resume(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<TaskView>> {
    let task = find(&api, id).await?;
    if task.state != TaskState::Paused {
        return Err(Problem::conflict(format!("the task is {}, not paused", task.state)));
    }
    let now = api.now();
    let next_due_at = plan::next_due(&task.trigger, task.last_fired_at, now).map_err(Problem::internal)?;
    // One-off work that had fired before it was paused finishes its run and is done.
    let state = if next_due_at.is_none() { TaskState::Finished } else { TaskState::Active };
    let resumed = Task { state, next_due_at, ..task };
    let entry = caller.audit(now, "task.resume", subject(&resumed), json!({ "name": resumed.name }));
    api.store().update_task(&resumed, Some(&entry)).await?;
    scheduled(&api);
    show_one(&api, resumed).await
}

/// Ends the current run of a task; the task fires again when it is due.
#[utoipa::path(post, path = "/api/v1/tasks/{id}/cancel", tag = "tasks", operation_id = "cancelTask", params(("id" = Uuid, Path, description = "Task.")),
    responses((status = 200, description = "The task.", body = TaskView),
              (status = 409, description = "No run is going.", body = Problem, content_type = "application/problem+json")))]
async fn cancel(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<TaskView>> {
    let task = find(&api, id).await?;
    let Some(run) = running(&api, task.id).await? else {
        return Err(Problem::conflict("no run of this task is going"));
    };
    let now = api.now();
    let entry = caller.audit(now, "run.cancel", format!("run:{run}"), json!({ "task": task.name }));
    api.store().cancel_run(run, now, &entry).await?;
    api.changed(Topic::Jobs);
    scheduled(&api);
    show_one(&api, find(&api, id).await?).await
}

/// Replaces the tasks that came from a preset by those of this one; tasks that people made stay.
#[utoipa::path(post, path = "/api/v1/tasks/presets/{preset}", tag = "tasks", operation_id = "applyPreset",
    params(("preset" = String, Path, description = "`standard` or `daily-weekly`.")),
    responses((status = 200, description = "All tasks.", body = Vec<TaskView>)))]
async fn preset(State(api): Use, caller: Caller, Path(name): Path<String>) -> Answer<Json<Vec<TaskView>>> {
    let Some(preset) = Preset::ALL.iter().find(|p| p.as_str() == name) else {
        let known = Preset::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Problem::not_found(format!("`{name}` is not a preset: one of {known}")));
    };
    let now = api.now();
    let _one_at_a_time = api.deciding().await;
    let deletes: Vec<_> = api.store().tasks().await?.into_iter().filter(|t| t.preset.is_some()).map(|t| t.id).collect();
    let inserts = preset.tasks(now, || TaskId(Uuid::now_v7()));
    let detail = json!({ "removed": deletes.len(), "added": inserts.len() });
    let entry = caller.audit(now, "task.preset", format!("preset:{name}"), detail);
    api.store().replace_tasks(&deletes, &inserts, Some(&entry)).await?;
    scheduled(&api);
    let tasks = api.store().tasks().await?;
    show(&api, tasks).await.map(Json)
}

/// Names of tasks by id.
pub(super) async fn task_names(api: &Api) -> Answer<HashMap<TaskId, String>> {
    Ok(api.store().tasks().await?.into_iter().map(|t| (t.id, t.name)).collect())
}
