//! Tasks.
use crate::{Result, Store};
use model::TaskId;
use model::audit::AuditEntry;
use model::task::Task;

impl Store {
    pub async fn tasks(&self) -> Result<Vec<Task>> {
        unimplemented!()
    }
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>> {
        unimplemented!()
    }
    pub async fn insert_task(&self, task: &Task, audit: Option<&AuditEntry>) -> Result<()> {
        unimplemented!()
    }
    /// Writes the definition, the state and `next_due_at`; `last_fired_at` and `last_run` are only moved by `start_run`.
    pub async fn update_task(&self, task: &Task, audit: Option<&AuditEntry>) -> Result<()> {
        unimplemented!()
    }
    /// Its runs and jobs go with it.
    pub async fn delete_task(&self, id: TaskId, audit: Option<&AuditEntry>) -> Result<()> {
        unimplemented!()
    }
    /// Deletes and inserts in one transaction, for presets.
    pub async fn replace_tasks(&self, deletes: &[TaskId], inserts: &[Task], audit: Option<&AuditEntry>) -> Result<()> {
        unimplemented!()
    }
}
