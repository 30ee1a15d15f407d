//! Alerts and notifications: what had to be told, and whether it was.

use super::paging;
use crate::api::access::Caller;
use crate::api::extract::{Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::alert::{AlertView, NotificationView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use model::NotificationId;
use model::alert::{Notification, NotificationState};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use store::{AlertFilter, NotificationFilter};
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(alerts), routes!(notifications), routes!(retry)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlertQuery {
    /// States, separated by commas.
    state: Option<String>,
    /// Raised at this instant or later.
    since: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists alerts, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", operation_id = "listAlerts", params(AlertQuery),
    responses((status = 200, description = "A page of alerts.", body = Page<AlertView>)))]
async fn alerts(State(api): Use, Query(q): Query<AlertQuery>) -> Answer<Json<Page<AlertView>>> {
    let mut fields = Fields::default();
    let filter = AlertFilter {
        states: fields.list("state", "bad-word", q.state.as_deref()),
        since: q.since.as_deref().and_then(|t| fields.parse("since", "bad-instant", t)),
        ..AlertFilter::default()
    };
    fields.done()?;
    let page = api.store().alerts(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page::of(page, AlertView::from)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NotificationQuery {
    /// States, separated by commas.
    state: Option<String>,
    /// Id of a receiver.
    receiver: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

async fn show(api: &Api, notifications: Vec<Notification>) -> Answer<Vec<NotificationView>> {
    let names: HashMap<_, _> = api.store().receivers().await?.into_iter().map(|r| (r.id, r.name)).collect();
    let mut ids: Vec<_> = notifications.iter().flat_map(|n| n.alerts.iter().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    let alerts = api.store().alerts_by(&ids).await?;
    let view = |n: Notification| {
        let carried = n.alerts.iter().filter_map(|id| alerts.get(id).cloned()).map(AlertView::from).collect();
        let name = names.get(&n.receiver).cloned();
        NotificationView::new(n, name, carried)
    };
    Ok(notifications.into_iter().map(view).collect())
}

/// Lists notifications with their receipts, newest first.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "alerts", operation_id = "listNotifications", params(NotificationQuery),
    responses((status = 200, description = "A page of notifications.", body = Page<NotificationView>)))]
async fn notifications(State(api): Use, Query(q): Query<NotificationQuery>) -> Answer<Json<Page<NotificationView>>> {
    let mut fields = Fields::default();
    let filter = NotificationFilter {
        states: fields.list("state", "bad-word", q.state.as_deref()),
        receiver: q.receiver.as_deref().and_then(|id| fields.parse("receiver", "bad-id", id)),
    };
    fields.done()?;
    let page = api.store().notifications(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page { items: show(&api, page.items).await?, total: page.total }))
}

async fn find(api: &Api, id: NotificationId) -> Answer<Notification> {
    api.store().notification(id).await?.ok_or_else(|| Problem::not_found(format!("notification {id} does not exist")))
}

/// Tries a notification again now.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/retry", tag = "alerts", operation_id = "retryNotification",
    params(("id" = Uuid, Path, description = "Notification.")),
    responses((status = 200, description = "The notification.", body = NotificationView),
              (status = 409, description = "It was taken already.", body = Problem, content_type = "application/problem+json")))]
async fn retry(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<NotificationView>> {
    let id = NotificationId(id);
    let notification = find(&api, id).await?;
    if matches!(notification.state, NotificationState::Sent | NotificationState::Sending) {
        return Err(Problem::conflict(format!("the notification is {}", notification.state)));
    }
    let now = api.now();
    let entry =
        caller.audit(now, "notification.retry", format!("notification:{id}"), json!({ "receiver": notification.receiver }));
    api.store().retry_notification(id, now, &entry).await?;
    api.context().alert_now.notify_one();
    api.changed(Topic::Notifications);
    let notification = find(&api, id).await?;
    show(&api, vec![notification]).await?.pop().map(Json).ok_or_else(|| Problem::internal("a notification has no view"))
}
