//! What is not probed although it is owned: exclusions for good, blackouts for a time. What may be written is checked here;
//! how such lists are kept is `kept`'s.

use super::kept::{self, PageQuery};
use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::asset::{BlackoutInput, BlackoutView, ExclusionInput, ExclusionView};
use crate::api::{Answer, Api, Use};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::asset::{Blackout, Exclusion, Window};
use model::{BlackoutId, ExclusionId, IpRange};
use plan::blackout::window_until;
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

/// Lists exclusions.
#[utoipa::path(get, path = "/api/v1/exclusions", tag = "assets", operation_id = "listExclusions", params(PageQuery),
    responses((status = 200, description = "A page of exclusions.", body = Page<ExclusionView>)))]
async fn exclusions(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<ExclusionView>>> {
    kept::list(&api, q, |exclusion: Exclusion| exclusion.into()).await
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
    let exclusion = Exclusion { id: ExclusionId(Uuid::now_v7()), range, reason, created_at: api.now() };
    kept::add(&api, &caller, exclusion, Into::into).await
}

/// Removes an exclusion; the range may be probed again.
#[utoipa::path(delete, path = "/api/v1/exclusions/{id}", tag = "assets", operation_id = "deleteExclusion",
    params(("id" = Uuid, Path, description = "Exclusion.")), responses((status = 204, description = "Removed.")))]
async fn delete_exclusion(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    kept::take_back::<Exclusion>(&api, &caller, id).await
}

/// Lists blackouts.
#[utoipa::path(get, path = "/api/v1/blackouts", tag = "assets", operation_id = "listBlackouts", params(PageQuery),
    responses((status = 200, description = "A page of blackouts.", body = Page<BlackoutView>)))]
async fn blackouts(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<BlackoutView>>> {
    kept::list(&api, q, |blackout| show(&api, blackout)).await
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
    let blackout = Blackout { id: BlackoutId(Uuid::now_v7()), range, window, reason, created_at: api.now() };
    kept::add(&api, &caller, blackout, |blackout| show(&api, blackout)).await
}

/// Removes a blackout.
#[utoipa::path(delete, path = "/api/v1/blackouts/{id}", tag = "assets", operation_id = "deleteBlackout",
    params(("id" = Uuid, Path, description = "Blackout.")), responses((status = 204, description = "Removed.")))]
async fn delete_blackout(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    kept::take_back::<Blackout>(&api, &caller, id).await
}
