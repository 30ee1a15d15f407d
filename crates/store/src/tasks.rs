//! Tasks: what to keep doing. When one is due is `plan`'s.

use crate::audit::append_opt;
use crate::sql::*;
use crate::{Result, Store};
use model::TaskId;
use model::audit::AuditEntry;
use model::task::{Engine, Task, Trigger};
use sea_orm::{ConnectionTrait, QueryResult, Value};

const TASK: &str = "id, kind, name, target, ports, trigger_spec, once, rate_pps, retries, state, preset, created_at, last_fired_at, \
                    next_due_at, last_run, engine";

fn values(t: &Task) -> Vec<Value> {
    vec![
        t.id.value(),
        t.kind.value(),
        text(&t.name),
        json(&t.target),
        value(&t.ports),
        json(&t.trigger),
        matches!(t.trigger, Trigger::Once).value(),
        value(&t.rate_pps),
        retries_value(t.retries),
        t.state.value(),
        value(&t.preset),
        t.created_at.value(),
        value(&t.last_fired_at),
        value(&t.next_due_at),
        value(&t.last_run),
        engine_value(&t.engine),
    ]
}

fn from(row: &QueryResult) -> Result<Task> {
    Ok(Task {
        id: get(row, "id")?,
        kind: get(row, "kind")?,
        name: get(row, "name")?,
        target: get_json(row, "target")?,
        ports: opt(row, "ports")?,
        trigger: get_json(row, "trigger_spec")?,
        rate_pps: opt(row, "rate_pps")?,
        retries: retries_from(row)?,
        engine: engine_from(row)?,
        state: get(row, "state")?,
        preset: opt(row, "preset")?,
        created_at: get(row, "created_at")?,
        last_fired_at: opt(row, "last_fired_at")?,
        next_due_at: opt(row, "next_due_at")?,
        last_run: opt(row, "last_run")?,
    })
}

/// How automatic repetitions are written: no number of repetitions is negative.
const AUTOMATIC: i64 = -1;

pub(crate) fn retries_value(retries: Option<u8>) -> Value {
    retries.map_or(AUTOMATIC, i64::from).value()
}

pub(crate) fn retries_from(row: &QueryResult) -> Result<Option<u8>> {
    Ok(u8::try_from(get::<i64>(row, "retries")?).ok())
}

/// The engine as its column holds it: nothing for our own.
pub(crate) fn engine_value(engine: &Engine) -> Value {
    value(&engine.external().map(str::to_owned))
}

pub(crate) fn engine_from(row: &QueryResult) -> Result<Engine> {
    Ok(opt::<String>(row, "engine")?.map_or(Engine::BuiltIn, Engine::External))
}

async fn delete<C: ConnectionTrait>(db: &C, id: TaskId) -> Result<()> {
    // Runs, and the jobs of runs, follow by reference; follow-ups have no run.
    run(db, "DELETE FROM jobs WHERE task = $1", vec![id.value()]).await?;
    run_one(db, "DELETE FROM tasks WHERE id = $1", vec![id.value()], || format!("task {id}")).await
}

impl Store {
    /// Every task, by kind and age.
    pub async fn tasks(&self) -> Result<Vec<Task>> {
        let rows = all(self.read(), &format!("SELECT {TASK} FROM tasks ORDER BY created_at, id"), vec![]).await?;
        let mut tasks: Vec<Task> = rows.iter().map(from).collect::<Result<_>>()?;
        tasks.sort_by_key(|t| t.kind.number());
        Ok(tasks)
    }

    /// One task.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>> {
        let row = one(self.read(), &format!("SELECT {TASK} FROM tasks WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(from).transpose()
    }

    /// Adds one.
    pub async fn insert_task(&self, task: &Task, audit: Option<&AuditEntry>) -> Result<()> {
        self.replace_tasks(&[], std::slice::from_ref(task), audit).await
    }

    /// Writes the definition, the state and `next_due_at`. `last_fired_at` and `last_run` are moved by `start_run` alone, so
    /// that an edit never undoes a firing that happened meanwhile.
    pub async fn update_task(&self, task: &Task, audit: Option<&AuditEntry>) -> Result<()> {
        let t = task;
        let sql = "UPDATE tasks SET kind = $2, name = $3, target = $4, ports = $5, trigger_spec = $6, once = $7, rate_pps = $8, \
                   retries = $9, state = $10, preset = $11, next_due_at = $12, engine = $13 WHERE id = $1";
        let mut values = values(t);
        values.truncate(11);
        values.push(value(&t.next_due_at));
        values.push(engine_value(&t.engine));
        let tx = self.begin().await?;
        run_one(&tx, sql, values, || format!("task {}", t.id)).await?;
        append_opt(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Removes it with its runs and jobs; who holds one of those is fenced.
    pub async fn delete_task(&self, id: TaskId, audit: Option<&AuditEntry>) -> Result<()> {
        self.replace_tasks(&[id], &[], audit).await
    }

    /// Removes some and adds others in one transaction, for presets.
    pub async fn replace_tasks(&self, deletes: &[TaskId], inserts: &[Task], audit: Option<&AuditEntry>) -> Result<()> {
        let tx = self.begin().await?;
        for id in deletes {
            delete(&tx, *id).await?;
        }
        insert(&tx, &format!("INSERT INTO tasks ({TASK})"), inserts.iter().map(values).collect(), "").await?;
        append_opt(&tx, audit).await?;
        Ok(tx.commit().await?)
    }
}
