//! Short lists that operators keep by hand: what is excluded, when nothing is probed, what was said of canaries. Adding to
//! one, taking back and listing is the same for all: write with an audit entry, say that something changed, answer.
//!
//! What may be added is checked by the routes themselves (`restrictions`, `segments`).

use super::assets::scope_changed;
use crate::api::access::Caller;
use crate::api::extract::page;
use crate::api::problem::Problem;
use crate::api::views::Page;
use crate::api::{Answer, Api};
use crate::live::Topic;
use axum::Json;
use axum::http::StatusCode;
use model::asset::{Blackout, Exclusion};
use model::audit::AuditEntry;
use model::segment::{CanaryChoice, CanaryRole};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::future::Future;
use store::{Store, StoreError};
use utoipa::IntoParams;
use uuid::Uuid;

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// An item of such a list.
pub(super) trait Kept: Serialize + Send + Sync + Sized {
    /// What it is called when it does not exist.
    const NAME: &'static str;
    /// Where it stands in the detail of an audit entry.
    const FIELD: &'static str;
    /// What the audit trail calls taking it back.
    const TAKEN_BACK: &'static str;

    fn id(&self) -> Uuid;
    /// What the audit trail calls adding it.
    fn added(&self) -> &'static str;
    /// What an audit entry about it is about.
    fn subject(&self) -> String;
    /// The whole list.
    fn all(store: &Store) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
    fn insert(&self, store: &Store, entry: &AuditEntry) -> impl Future<Output = Result<(), StoreError>> + Send;
    fn delete(&self, store: &Store, entry: &AuditEntry) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The list has changed: whoever goes by it is told.
    fn changed(api: &Api) -> impl Future<Output = ()> + Send;
}

/// A page of the list, as `view` shows its items.
pub(super) async fn list<T: Kept, V>(api: &Api, q: PageQuery, view: impl Fn(T) -> V) -> Answer<Json<Page<V>>> {
    let slice = page(q.offset, q.limit)?;
    let all = T::all(api.store()).await?;
    Ok(Json(Page::slice(all.into_iter().map(view).collect(), slice)))
}

/// Adds an item that has been checked, and answers with what `view` shows of it.
pub(super) async fn add<T: Kept, V>(
    api: &Api,
    caller: &Caller,
    item: T,
    view: impl FnOnce(T) -> V,
) -> Answer<(StatusCode, Json<V>)> {
    let entry = caller.audit(api.now(), item.added(), item.subject(), json!({ T::FIELD: item }));
    item.insert(api.store(), &entry).await?;
    T::changed(api).await;
    Ok((StatusCode::CREATED, Json(view(item))))
}

/// Takes the item with this id back.
pub(super) async fn take_back<T: Kept>(api: &Api, caller: &Caller, id: Uuid) -> Answer<StatusCode> {
    let found = T::all(api.store()).await?.into_iter().find(|item| item.id() == id);
    let item = found.ok_or_else(|| Problem::not_found(format!("{} {id} does not exist", T::NAME)))?;
    let entry = caller.audit(api.now(), T::TAKEN_BACK, item.subject(), json!({ T::FIELD: item }));
    item.delete(api.store(), &entry).await?;
    T::changed(api).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Kept for Exclusion {
    const NAME: &'static str = "exclusion";
    const FIELD: &'static str = "exclusion";
    const TAKEN_BACK: &'static str = "exclusion.delete";

    fn id(&self) -> Uuid {
        self.id.0
    }
    fn added(&self) -> &'static str {
        "exclusion.create"
    }
    fn subject(&self) -> String {
        format!("exclusion:{}", self.id)
    }
    async fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        store.exclusions().await
    }
    async fn insert(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.insert_exclusion(self, entry).await
    }
    async fn delete(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.delete_exclusion(self.id, entry).await
    }
    async fn changed(api: &Api) {
        scope_changed(api).await;
    }
}

impl Kept for Blackout {
    const NAME: &'static str = "blackout";
    const FIELD: &'static str = "blackout";
    const TAKEN_BACK: &'static str = "blackout.delete";

    fn id(&self) -> Uuid {
        self.id.0
    }
    fn added(&self) -> &'static str {
        "blackout.create"
    }
    fn subject(&self) -> String {
        format!("blackout:{}", self.id)
    }
    async fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        store.blackouts().await
    }
    async fn insert(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.insert_blackout(self, entry).await
    }
    async fn delete(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.delete_blackout(self.id, entry).await
    }
    async fn changed(api: &Api) {
        api.context().schedule_now.notify_one();
        api.changed(Topic::Assets);
    }
}

impl Kept for CanaryChoice {
    const NAME: &'static str = "canary choice";
    const FIELD: &'static str = "canary";
    const TAKEN_BACK: &'static str = "canary.forget";

    fn id(&self) -> Uuid {
        self.id.0
    }
    fn added(&self) -> &'static str {
        match self.role {
            CanaryRole::Named => "canary.name",
            CanaryRole::Never => "canary.refuse",
        }
    }
    fn subject(&self) -> String {
        format!("endpoint:{}", self.endpoint)
    }
    async fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        store.canary_choices().await
    }
    async fn insert(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.insert_canary_choice(self, entry).await
    }
    async fn delete(&self, store: &Store, entry: &AuditEntry) -> Result<(), StoreError> {
        store.delete_canary_choice(self.id, entry).await
    }
    async fn changed(api: &Api) {
        api.changed(Topic::Segments);
    }
}
