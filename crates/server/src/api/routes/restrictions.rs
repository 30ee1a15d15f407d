//! What is not probed although it is owned: exclusions for good, blackouts for a time.

use super::assets::scope_changed;
use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::asset::{BlackoutInput, BlackoutView, ExclusionInput, ExclusionView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::asset::{Blackout, Exclusion, Window};
use model::{BlackoutId, ExclusionId, IpRange};
use plan::blackout::window_until;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

const DAY_MINUTES: u16 = 24 * 60;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![
        routes!(exclusions, create_exclusion),
        routes!(delete_exclusion),
        routes!(blackouts, create_blackout),
        routes!(delete_blackout),
    ]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists exclusions.
#[utoipa::path(get, path = "/api/v1/exclusions", tag = "assets", operation_id = "listExclusions", params(PageQuery),
    responses((status = 200, description = "A page of exclusions.", body = Page<ExclusionView>)))]
async fn exclusions(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<ExclusionView>>> {
    let slice = page(q.offset, q.limit)?;
    let all = api.store().exclusions().await?;
    Ok(Json(Page::slice(all.into_iter().map(ExclusionView::from).collect(), slice)))
}

/// Excludes a range from all probing.
#[utoipa::path(post, path = "/api/v1/exclusions", tag = "assets", operation_id = "createExclusion", request_body = ExclusionInput,
    responses((status = 201, description = "The exclusion.", body = ExclusionView),
              (status = 409, description = "The range is excluded already.", body = Problem, content_type = "application/problem+json")))]
async fn create_exclusion(
    State(api): Use,
    caller: Caller,
    Body(input): Body<ExclusionInput>,
) -> Answer<(StatusCode, Json<ExclusionView>)> {
    let mut fields = Fields::default();
    let range = fields.parse::<IpRange>("range", "bad-range", input.range.trim());
    let reason = fields.text("reason", &input.reason, 500);
    let (range, reason) = fields.finish(range.zip(reason))?;
    let now = api.now();
    let exclusion = Exclusion { id: ExclusionId(Uuid::now_v7()), range, reason, created_at: now };
    let entry = caller.audit(now, "exclusion.create", format!("exclusion:{}", exclusion.id), json!({ "exclusion": exclusion }));
    api.store().insert_exclusion(&exclusion, &entry).await?;
    scope_changed(&api).await;
    Ok((StatusCode::CREATED, Json(exclusion.into())))
}

/// Removes an exclusion; the range may be probed again.
#[utoipa::path(delete, path = "/api/v1/exclusions/{id}", tag = "assets", operation_id = "deleteExclusion",
    params(("id" = Uuid, Path, description = "Exclusion.")), responses((status = 204, description = "Removed.")))]
async fn delete_exclusion(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let id = ExclusionId(id);
    let found = api.store().exclusions().await?.into_iter().find(|e| e.id == id);
    let exclusion = found.ok_or_else(|| Problem::not_found(format!("exclusion {id} does not exist")))?;
    let entry = caller.audit(api.now(), "exclusion.delete", format!("exclusion:{id}"), json!({ "exclusion": exclusion }));
    api.store().delete_exclusion(id, &entry).await?;
    scope_changed(&api).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists blackouts.
#[utoipa::path(get, path = "/api/v1/blackouts", tag = "assets", operation_id = "listBlackouts", params(PageQuery),
    responses((status = 200, description = "A page of blackouts.", body = Page<BlackoutView>)))]
async fn blackouts(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<BlackoutView>>> {
    let slice = page(q.offset, q.limit)?;
    let all = api.store().blackouts().await?;
    Ok(Json(Page::slice(all.into_iter().map(|b| show(&api, b)).collect(), slice)))
}

fn show(api: &Api, blackout: Blackout) -> BlackoutView {
    let active = window_until(&blackout.window, api.now()).is_some();
    BlackoutView::new(blackout, active)
}

fn check_window(fields: &mut Fields, window: &Window) {
    match window {
        Window::Once { from, until } => {
            fields.check(from < until, "window.until", "bad-window", format!("`{until}` is not after `{from}`"));
        }
        Window::Weekly { days, start_minute, end_minute } => {
            fields.check(!days.is_empty(), "window.days", "empty", "names no day");
            let mut distinct = days.clone();
            distinct.sort_unstable();
            distinct.dedup();
            fields.check(distinct.len() == days.len(), "window.days", "repeated", "names a day twice");
            for day in days.iter().filter(|d| !(1..=7).contains(*d)) {
                fields.add("window.days", "out-of-range", format!("`{day}` is not a day from 1 (Monday) to 7 (Sunday)"));
            }
            let late = |minute: u16, last: u16| minute > last;
            if late(*start_minute, DAY_MINUTES - 1) {
                fields.add("window.start_minute", "out-of-range", format!("`{start_minute}` is not a minute from 0 to 1439"));
            }
            if late(*end_minute, DAY_MINUTES) {
                fields.add("window.end_minute", "out-of-range", format!("`{end_minute}` is not a minute from 0 to 1440"));
            }
        }
    }
}

/// Keeps a range from being probed for a time.
#[utoipa::path(post, path = "/api/v1/blackouts", tag = "assets", operation_id = "createBlackout", request_body = BlackoutInput,
    responses((status = 201, description = "The blackout.", body = BlackoutView)))]
async fn create_blackout(
    State(api): Use,
    caller: Caller,
    Body(input): Body<BlackoutInput>,
) -> Answer<(StatusCode, Json<BlackoutView>)> {
    let mut fields = Fields::default();
    let range = fields.parse::<IpRange>("range", "bad-range", input.range.trim());
    let reason = fields.text("reason", &input.reason, 500);
    let window = Window::from(input.window);
    check_window(&mut fields, &window);
    let (range, reason) = fields.finish(range.zip(reason))?;
    let now = api.now();
    let blackout = Blackout { id: BlackoutId(Uuid::now_v7()), range, window, reason, created_at: now };
    let entry = caller.audit(now, "blackout.create", format!("blackout:{}", blackout.id), json!({ "blackout": blackout }));
    api.store().insert_blackout(&blackout, &entry).await?;
    changed(&api);
    Ok((StatusCode::CREATED, Json(show(&api, blackout))))
}

fn changed(api: &Api) {
    api.context().schedule_now.notify_one();
    api.changed(Topic::Assets);
}

/// Removes a blackout.
#[utoipa::path(delete, path = "/api/v1/blackouts/{id}", tag = "assets", operation_id = "deleteBlackout",
    params(("id" = Uuid, Path, description = "Blackout.")), responses((status = 204, description = "Removed.")))]
async fn delete_blackout(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let id = BlackoutId(id);
    let found = api.store().blackouts().await?.into_iter().find(|b| b.id == id);
    let blackout = found.ok_or_else(|| Problem::not_found(format!("blackout {id} does not exist")))?;
    let entry = caller.audit(api.now(), "blackout.delete", format!("blackout:{id}"), json!({ "blackout": blackout }));
    api.store().delete_blackout(id, &entry).await?;
    changed(&api);
    Ok(StatusCode::NO_CONTENT)
}
