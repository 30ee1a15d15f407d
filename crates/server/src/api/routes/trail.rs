//! The audit trail: who did what, and with what result.

use super::paging;
use crate::api::extract::Query;
use crate::api::problem::Fields;
use crate::api::views::Page;
use crate::api::views::event::AuditView;
use crate::api::{Answer, Api, Use};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use store::AuditFilter;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Who, e.g. `user:alice`.
    actor: Option<String>,
    /// What, e.g. `asset.create`.
    action: Option<String>,
    /// On what.
    subject: Option<String>,
    /// At this instant or later.
    since: Option<String>,
    /// Before this instant.
    until: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists the audit trail, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", operation_id = "listAudit", params(ListQuery),
    responses((status = 200, description = "A page of entries.", body = Page<AuditView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<AuditView>>> {
    let mut fields = Fields::default();
    let filter = AuditFilter {
        actor: fields.optional_text("actor", q.actor.as_deref(), 200),
        action: fields.optional_text("action", q.action.as_deref(), 200),
        subject: fields.optional_text("subject", q.subject.as_deref(), 200),
        since: q.since.as_deref().and_then(|t| fields.parse("since", "bad-instant", t)),
        until: q.until.as_deref().and_then(|t| fields.parse("until", "bad-instant", t)),
    };
    fields.done()?;
    let page = api.store().audit(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page::of(page, AuditView::from)))
}
