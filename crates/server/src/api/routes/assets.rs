//! Assets: the ranges that somebody owns and that may therefore be probed.
//!
//! A file of them comes in through `import`; what must not be probed although it is owned is `restrictions`'.

use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::asset::{AssetInput, AssetView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::address::{PUBLIC_WITHOUT_AUTHORISATION, public_addresses};
use model::asset::{Asset, CheckCeiling, Zone};
use model::{AssetId, Duration, IpRange, Ts};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Highest cap that makes sense: no node sends faster.
pub(super) const MAX_PPS: u32 = 10_000_000;
/// Longest observe mode.
const MAX_OBSERVE: Duration = Duration::days(366);

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list, create), routes!(get, update, delete)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Address that the range covers, or words of range, name, owner or tags.
    search: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists assets.
#[utoipa::path(get, path = "/api/v1/assets", tag = "assets", operation_id = "listAssets", params(ListQuery),
    responses((status = 200, description = "A page of assets.", body = Page<AssetView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<AssetView>>> {
    let slice = page(q.offset, q.limit)?;
    let mut assets = api.store().assets().await?;
    if let Some(search) = q.search.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
        assets.retain(|a| matches(a, search));
    }
    assets.sort_by_key(|a| (a.range, a.id));
    let now = api.now();
    Ok(Json(Page::slice(assets.into_iter().map(|a| AssetView::new(a, now)).collect(), slice)))
}

fn matches(asset: &Asset, search: &str) -> bool {
    if let Ok(ip) = search.parse::<IpAddr>() {
        return asset.range.contains(ip.to_canonical());
    }
    let search = search.to_lowercase();
    let texts = [asset.range.to_string(), asset.name.clone(), asset.owner.clone().unwrap_or_default()];
    texts.iter().chain(&asset.tags).any(|text| text.to_lowercase().contains(&search))
}

/// The fields of an asset as they were checked.
pub(super) struct Checked {
    pub range: IpRange,
    pub name: String,
    pub owner: Option<String>,
    pub tags: Vec<String>,
}

/// Checks what one asset asks for, whether it came as JSON or as a row of a file.
#[allow(clippy::too_many_arguments)]
pub(super) fn check(
    fields: &mut Fields,
    range: &str,
    name: &str,
    owner: Option<&str>,
    tags: &[String],
    weight: u8,
    caps: [(&'static str, Option<u32>); 2],
    observe_until: Option<Ts>,
    authorized: bool,
    now: Ts,
) -> Option<Checked> {
    let word = range.trim();
    let range = fields.take("range", "bad-range", word.parse::<IpRange>().and_then(|r| r.require_unicast(word)));
    if let Some(range) = range {
        let public = public_addresses(&[range]);
        let text = format!("`{word}` holds {public} public addresses; say that probing them is authorised");
        fields.check(authorized || public <= PUBLIC_WITHOUT_AUTHORISATION, "authorized", "needs-authorization", text);
    }
    let name = fields.text("name", name, 200);
    let owner = fields.optional_text("owner", owner, 200);
    fields.check(weight <= 10, "weight", "out-of-range", format!("`{weight}` is not between 0 and 10"));
    fields.check(tags.len() <= 50, "tags", "too-many", format!("has {} tags; at most 50 fit", tags.len()));
    let mut kept: Vec<String> = Vec::new();
    for tag in tags {
        if let Some(tag) = fields.text("tags", tag, 100) {
            fields.check(!tag.contains([';', ',']), "tags", "bad-tag", format!("`{tag}` holds `;` or `,`, which separate tags"));
            if !kept.contains(&tag) {
                kept.push(tag);
            }
        }
    }
    for (field, cap) in caps {
        if let Some(cap) = cap {
            fields.check((1..=MAX_PPS).contains(&cap), field, "out-of-range", format!("`{cap}` is not between 1 and {MAX_PPS}"));
        }
    }
    if let Some(until) = observe_until {
        fields.check(until <= now.plus(MAX_OBSERVE), "observe_until", "too-far", format!("`{until}` is more than a year ahead"));
    }
    fields.ok().then_some(Checked { range: range?, name: name?, owner, tags: kept })
}

/// What the input makes of an asset: a new one, or what becomes of the one there is.
async fn build(api: &Api, input: &AssetInput, before: Option<&Asset>) -> Answer<Asset> {
    let now = api.now();
    let mut fields = Fields::default();
    let weight = input.weight.unwrap_or(5);
    let tags = input.tags.clone().unwrap_or_default();
    let caps = [("rate_pps", input.rate_pps), ("per_target_pps", input.per_target_pps)];
    let given = input.observe_until.flatten().map(|t| t.0);
    // Who may probe a range today need not say so again to rename it.
    let word = input.range.trim();
    let known = before.is_some_and(|b| word.parse::<IpRange>().is_ok_and(|r| r == b.range));
    let authorized = known || input.authorized == Some(true);
    let owner = input.owner.as_deref();
    let checked = check(&mut fields, word, &input.name, owner, &tags, weight, caps, given, authorized, now);
    let checked = fields.finish(checked)?;
    let observe_until = match (input.observe_until, before) {
        (Some(given), _) => given.map(|t| t.0),
        (None, Some(before)) => before.observe_until,
        (None, None) => Some(now.plus(api.store().settings().await?.alerts.observe)),
    };
    Ok(Asset {
        id: before.map_or_else(|| AssetId(Uuid::now_v7()), |b| b.id),
        range: checked.range,
        name: checked.name,
        owner: checked.owner,
        zone: input.zone.map_or(Zone::Dmz, |z| z.0),
        weight,
        tags: checked.tags,
        observe_until,
        rate_pps: input.rate_pps,
        per_target_pps: input.per_target_pps,
        check_ceiling: match (input.check_ceiling, before) {
            (Some(word), _) => word.0,
            (None, Some(before)) => before.check_ceiling,
            (None, None) => CheckCeiling::default(),
        },
        created_at: before.map_or(now, |b| b.created_at),
        updated_at: now,
    })
}

/// Refuses the range that another asset has already; an overlap is fine, the most specific range wins.
async fn same_range(api: &Api, asset: &Asset) -> Answer<()> {
    match api.store().assets().await?.iter().find(|a| a.range == asset.range && a.id != asset.id) {
        Some(other) => Err(Problem::conflict(format!("range `{}` is asset `{}` already", other.range, other.name))),
        None => Ok(()),
    }
}

/// Adds an asset. From then on its addresses may be probed.
#[utoipa::path(post, path = "/api/v1/assets", tag = "assets", operation_id = "createAsset", request_body = AssetInput,
    responses((status = 201, description = "The asset.", body = AssetView),
              (status = 409, description = "The range is there already.", body = Problem, content_type = "application/problem+json")))]
async fn create(State(api): Use, caller: Caller, Body(input): Body<AssetInput>) -> Answer<(StatusCode, Json<AssetView>)> {
    let _one_at_a_time = api.deciding().await;
    let asset = build(&api, &input, None).await?;
    same_range(&api, &asset).await?;
    let entry = caller.audit(api.now(), "asset.create", subject(&asset), json!({ "asset": asset }));
    api.store().insert_asset(&asset, &entry).await?;
    scope_changed(&api).await;
    Ok((StatusCode::CREATED, Json(AssetView::new(asset, api.now()))))
}

fn subject(asset: &Asset) -> String {
    format!("asset:{}", asset.id)
}

/// What follows from a change of the scope: exposures get their new owner and weight, the scheduler looks again.
///
/// The change itself is written: a failure here is logged, and the next report or the next change makes up for it. It goes
/// on in a task of its own, so that a caller who hangs up does not leave half of the exposures with their old owner.
pub(super) async fn scope_changed(api: &Api) {
    let context = api.context().clone();
    let again = tokio::spawn(async move { crate::reassess::reassess(&context).await });
    match again.await {
        Ok(Ok(changed)) => tracing::debug!(changed, "exposures reassessed"),
        Ok(Err(error)) => tracing::error!(%error, "exposures could not be reassessed after a change of the assets"),
        Err(error) => tracing::error!(%error, "reassessing the exposures ended early"),
    }
    api.context().schedule_now.notify_one();
    api.changed(Topic::Assets);
}

async fn find(api: &Api, id: Uuid) -> Answer<Asset> {
    let id = AssetId(id);
    api.store().asset(id).await?.ok_or_else(|| Problem::not_found(format!("asset {id} does not exist")))
}

/// One asset.
#[utoipa::path(get, path = "/api/v1/assets/{id}", tag = "assets", operation_id = "getAsset", params(("id" = Uuid, Path, description = "Asset.")),
    responses((status = 200, description = "The asset.", body = AssetView)))]
async fn get(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<AssetView>> {
    Ok(Json(AssetView::new(find(&api, id).await?, api.now())))
}

/// Changes an asset.
#[utoipa::path(put, path = "/api/v1/assets/{id}", tag = "assets", operation_id = "updateAsset", params(("id" = Uuid, Path, description = "Asset.")),
    request_body = AssetInput,
    responses((status = 200, description = "The asset.", body = AssetView),
              (status = 409, description = "Another asset has the range.", body = Problem, content_type = "application/problem+json")))]
async fn update(State(api): Use, caller: Caller, Path(id): Path<Uuid>, Body(input): Body<AssetInput>) -> Answer<Json<AssetView>> {
    let _one_at_a_time = api.deciding().await;
    let before = find(&api, id).await?;
    let asset = build(&api, &input, Some(&before)).await?;
    same_range(&api, &asset).await?;
    let entry = caller.audit(api.now(), "asset.update", subject(&asset), json!({ "from": before, "to": asset }));
    api.store().update_asset(&asset, &entry).await?;
    scope_changed(&api).await;
    Ok(Json(AssetView::new(asset, api.now())))
}

/// Removes an asset. Its addresses are not probed any more; what was found there stays.
#[utoipa::path(delete, path = "/api/v1/assets/{id}", tag = "assets", operation_id = "deleteAsset", params(("id" = Uuid, Path, description = "Asset.")),
    responses((status = 204, description = "Removed.")))]
async fn delete(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let _one_at_a_time = api.deciding().await;
    let asset = find(&api, id).await?;
    let entry = caller.audit(api.now(), "asset.delete", subject(&asset), json!({ "asset": asset }));
    api.store().delete_asset(asset.id, &entry).await?;
    scope_changed(&api).await;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_by_address_and_by_word() {
        let asset = Asset {
            id: AssetId(Uuid::nil()),
            range: "10.0.0.0/24".parse().unwrap(),
            name: "Shop".into(),
            owner: Some("Payments".into()),
            zone: Zone::Dmz,
            weight: 5,
            tags: vec!["eu".into()],
            observe_until: None,
            rate_pps: None,
            per_target_pps: None,
            check_ceiling: Default::default(),
            created_at: Ts(0),
            updated_at: Ts(0),
        };
        for (search, found) in
            [("10.0.0.7", true), ("10.0.1.7", false), ("pay", true), ("EU", true), ("10.0.0", true), ("none", false)]
        {
            assert_eq!(matches(&asset, search), found, "{search}");
        }
    }
}
