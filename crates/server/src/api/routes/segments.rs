//! Segments and their canaries: what can be seen at the moment, and by which endpoints that is judged.
//!
//! A status is never set here; only what canaries answer moves it. Operators name canaries, and say which are none.

use super::kept::{self, PageQuery};
use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::segment::{CanaryChoiceInput, CanaryChoiceView, CanaryView, Doubts, SegmentView};
use crate::api::{Answer, Api, Use};
use crate::authority::Authority;
use crate::segments::{Roster, sightings};
use assess::segments::Watch;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::asset::Asset;
use model::segment::{CanaryChoice, CanaryRole, SegmentState, SegmentStatus};
use model::{CanaryId, Endpoint, IpRange, Proto, Vantage};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Longest note, in characters.
const MAX_NOTE: usize = 500;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(segments), routes!(choices, choose), routes!(forget)]
}

/// The segments that are unknown now.
pub(super) async fn doubts(api: &Api, assets: Vec<Asset>) -> Answer<Doubts> {
    Ok(Doubts { unknown: api.store().segments(&[SegmentStatus::Unknown], None).await?, assets })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `known`, `suspect` or `unknown`, separated by commas.
    status: Option<String>,
    /// An address or range that they share addresses with.
    range: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// A segment before its canaries have been looked up.
struct Found {
    state: SegmentState,
    doubted: bool,
    open: u64,
}

/// Lists the segments in which something is open, or that are doubted; doubted ones first, then by range.
#[utoipa::path(get, path = "/api/v1/segments", tag = "assets", operation_id = "listSegments", params(ListQuery),
    responses((status = 200, description = "A page of segments with their canaries.", body = Page<SegmentView>)))]
async fn segments(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<SegmentView>>> {
    let mut fields = Fields::default();
    let statuses: Vec<SegmentStatus> = fields.list("status", "bad-word", q.status.as_deref());
    let within = q.range.as_deref().and_then(|word| fields.parse::<IpRange>("range", "bad-range", word.trim()));
    fields.done()?;
    let slice = page(q.offset, q.limit)?;
    let (store, now) = (api.store(), api.now());
    let authority = Authority::load(store).await?;
    let roster = Roster::load(store, &authority, now).await?;

    let mut found: BTreeMap<(IpRange, Vantage), Found> = BTreeMap::new();
    for state in store.segments(&[], None).await? {
        found.insert((state.range, state.vantage.clone()), Found { state, doubted: true, open: 0 });
    }
    let ranges: Vec<IpRange> = authority.assets.iter().map(|a| a.range).collect();
    let mut of: HashMap<IpAddr, Option<IpRange>> = HashMap::new();
    for seen in store.open_endpoints_in(&ranges).await? {
        let ip = seen.endpoint.ip;
        let Some(range) = *of.entry(ip).or_insert_with(|| roster.segment(ip)) else { continue };
        let fresh = || Found { state: Watch::fresh(range, seen.vantage.clone(), now), doubted: false, open: 0 };
        found.entry((range, seen.vantage.clone())).or_insert_with(fresh).open += 1;
    }
    let wanted = |f: &Found| {
        (f.open > 0 || f.state.status != SegmentStatus::Known)
            && (statuses.is_empty() || statuses.contains(&f.state.status))
            && within.is_none_or(|r| r.overlaps(&f.state.range))
    };
    let mut all: Vec<Found> = found.into_values().filter(wanted).collect();
    // Stable, so that ranges stay in order.
    all.sort_by_key(|f| std::cmp::Reverse(f.state.status));
    let listed = Page::slice(all, slice);

    let mut pools: HashMap<Vantage, Option<Vec<Endpoint>>> = HashMap::new();
    let mut items = Vec::with_capacity(listed.items.len());
    for mut f in listed.items {
        let vantage = f.state.vantage.clone();
        let canaries = roster.canaries(store, &vantage, f.state.range, pools.entry(vantage.clone()).or_default()).await?;
        let seen = sightings(store, &vantage, &canaries.endpoints, &Default::default()).await?;
        f.state.guard = canaries.guard;
        let shown = seen.iter().map(|s| CanaryView::new(s, roster.role(s.endpoint) == Some(CanaryRole::Named))).collect();
        let asset = assess::asset_for(f.state.range.first(), &authority.assets);
        items.push(SegmentView::new(f.state, f.doubted, f.open, shown, asset));
    }
    Ok(Json(Page { items, total: listed.total }))
}

/// Lists what operators said about endpoints as canaries.
#[utoipa::path(get, path = "/api/v1/canaries", tag = "assets", operation_id = "listCanaryChoices", params(PageQuery),
    responses((status = 200, description = "A page of choices.", body = Page<CanaryChoiceView>)))]
async fn choices(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<CanaryChoiceView>>> {
    kept::list(&api, q, |choice: CanaryChoice| choice.into()).await
}

/// Names an endpoint as a canary, or says that it is none.
#[utoipa::path(post, path = "/api/v1/canaries", tag = "assets", operation_id = "createCanaryChoice", request_body = CanaryChoiceInput,
    responses((status = 201, description = "The choice.", body = CanaryChoiceView),
              (status = 409, description = "Something was said of the endpoint already.", body = Problem, content_type = "application/problem+json")))]
async fn choose(
    State(api): Use,
    caller: Caller,
    Body(input): Body<CanaryChoiceInput>,
) -> Answer<(StatusCode, Json<CanaryChoiceView>)> {
    let mut fields = Fields::default();
    let endpoint = fields.parse::<Endpoint>("endpoint", "bad-endpoint", input.endpoint.trim());
    let note = fields.optional_text("note", input.note.as_deref(), MAX_NOTE);
    if let Some(endpoint) = endpoint {
        fields.check(
            endpoint.proto == Proto::Tcp,
            "endpoint",
            "not-tcp",
            format!("`{endpoint}` is not a TCP endpoint: silence over UDP says nothing"),
        );
        let assets = api.store().assets().await?;
        let owned = assess::asset_for(endpoint.ip, &assets).is_some();
        fields.check(owned, "endpoint", "no-asset", format!("`{endpoint}` is in no asset"));
    }
    let endpoint = fields.finish(endpoint)?;
    let choice = CanaryChoice { id: CanaryId(Uuid::now_v7()), endpoint, role: input.role.0, note, created_at: api.now() };
    kept::add(&api, &caller, choice, Into::into).await
}

/// Takes back what was said about an endpoint; canaries are found automatically again.
#[utoipa::path(delete, path = "/api/v1/canaries/{id}", tag = "assets", operation_id = "deleteCanaryChoice",
    params(("id" = Uuid, Path, description = "Choice.")), responses((status = 204, description = "Taken back.")))]
async fn forget(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    kept::take_back::<CanaryChoice>(&api, &caller, id).await
}
