//! What checks proved: lists, one in detail, and the checks that there are.
//!
//! Whether something is proved is never decided here; that only what endpoints answer does.

use super::{order, paging};
use crate::api::extract::{Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::finding::{CheckView, FindingView};
use crate::api::views::words::Instant;
use crate::api::{Answer, Api, Use};
use assess::exposure::one_line;
use axum::Json;
use axum::extract::State;
use model::check::Checks;
use model::finding::{Finding, FindingKind};
use model::observation::SeenFrom;
use model::{AssetId, FindingId};
use serde::Deserialize;
use store::{FindingFilter, FindingSort, Proved, ServiceFilter};
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list), routes!(get), routes!(checks)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `present` or `gone`; both when absent.
    phase: Option<String>,
    /// Kinds, separated by commas.
    kind: Option<String>,
    /// Severities, separated by commas.
    severity: Option<String>,
    /// Ids of checks, separated by commas.
    check: Option<String>,
    /// Service name, exactly.
    service: Option<String>,
    /// Product, exactly, without case.
    product: Option<String>,
    /// Version, or how it begins: `7.0` finds `7.0.15`.
    version: Option<String>,
    /// Address, CIDR, port number, or words of the check or its evidence.
    search: Option<String>,
    /// Id of an asset.
    asset: Option<String>,
    /// First proved at this instant or later.
    first_seen_since: Option<Instant>,
    /// `severity`, `first_seen_at`, `last_seen_at`, `ip` or `check`, with `-` before it for descending.
    sort: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// What answers, as the lists ask for it.
pub(super) fn service(fields: &mut Fields, name: Option<&str>, product: Option<&str>, version: Option<&str>) -> ServiceFilter {
    ServiceFilter {
        name: fields.optional_text("service", name, 100),
        product: fields.optional_text("product", product, 200),
        version: fields.optional_text("version", version, 100),
    }
}

/// Ids of checks; one that no catalogue could have is refused.
fn check_ids(fields: &mut Fields, field: &str, words: Option<&str>) -> Vec<String> {
    let words = words.unwrap_or_default().split(',').map(str::trim).filter(|w| !w.is_empty());
    words.filter_map(|word| fields.text(field, word, 100)).collect()
}

/// Whether something is proved, as the lists ask for it: `any`, `none`, or kinds and ids of checks.
pub(super) fn proved(fields: &mut Fields, words: Option<&str>) -> Option<Proved> {
    let words = check_ids(fields, "finding", words);
    match words.as_slice() {
        [] => None,
        [word] if word == "any" => Some(Proved::Any),
        [word] if word == "none" => Some(Proved::Nothing),
        words => {
            let (mut kinds, mut checks) = (Vec::new(), Vec::new());
            for word in words {
                match word.parse::<FindingKind>() {
                    Ok(kind) => kinds.push(kind),
                    Err(_) if Checks::in_use().get(word).is_some() => checks.push(word.clone()),
                    Err(_) => fields.add(
                        "finding",
                        "bad-word",
                        format!("`{word}` is neither `any`, `none`, a kind of finding nor the id of a check"),
                    ),
                }
            }
            Some(Proved::Of { kinds, checks })
        }
    }
}

/// The findings with what is around them.
pub(super) async fn show(api: &Api, findings: Vec<Finding>) -> Answer<Vec<FindingView>> {
    let key = |f: &Finding| SeenFrom { endpoint: f.endpoint, vantage: f.vantage.clone() };
    let mut keys: Vec<SeenFrom> = findings.iter().map(key).collect();
    keys.sort_by(|a, b| (a.endpoint, &a.vantage).cmp(&(b.endpoint, &b.vantage)));
    keys.dedup();
    let ports = api.store().port_states(&keys).await?;
    let exposures = api.store().exposures_by(&keys).await?;
    let assets = api.store().assets().await?;
    let view = |f: Finding| {
        let key = key(&f);
        let asset = assess::asset_for(f.endpoint.ip, &assets);
        let service = ports.get(&key).and_then(|p| p.service.as_ref()).map(one_line).filter(|line| !line.is_empty());
        FindingView {
            exposure: exposures.get(&key).map(|e| e.id.0),
            service,
            asset: asset.map(|a| a.id.0),
            asset_name: asset.map(|a| a.name.clone()),
            owner: asset.and_then(|a| a.owner.clone()),
            ..FindingView::new(f)
        }
    };
    Ok(findings.into_iter().map(view).collect())
}

/// Lists findings.
#[utoipa::path(get, path = "/api/v1/findings", tag = "findings", operation_id = "listFindings", params(ListQuery),
    responses((status = 200, description = "A page of findings.", body = Page<FindingView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<FindingView>>> {
    let mut fields = Fields::default();
    let keys = [
        ("severity", FindingSort::Severity),
        ("first_seen_at", FindingSort::FirstSeenAt),
        ("last_seen_at", FindingSort::LastSeenAt),
        ("ip", FindingSort::Ip),
        ("check", FindingSort::Check),
    ];
    let filter = FindingFilter {
        phase: q.phase.as_deref().and_then(|word| fields.parse("phase", "bad-word", word)),
        kinds: fields.list("kind", "bad-word", q.kind.as_deref()),
        severities: fields.list("severity", "bad-word", q.severity.as_deref()),
        checks: check_ids(&mut fields, "check", q.check.as_deref()),
        service: service(&mut fields, q.service.as_deref(), q.product.as_deref(), q.version.as_deref()),
        search: fields.optional_text("search", q.search.as_deref(), 200),
        asset: q.asset.as_deref().and_then(|id| fields.parse::<AssetId>("asset", "bad-id", id)),
        endpoint: None,
        first_seen_since: q.first_seen_since.map(|t| t.0),
        sort: order(&mut fields, q.sort.as_deref(), &keys),
    };
    fields.done()?;
    let page = api.store().findings(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page { items: show(&api, page.items).await?, total: page.total }))
}

/// One finding.
#[utoipa::path(get, path = "/api/v1/findings/{id}", tag = "findings", operation_id = "getFinding", params(("id" = Uuid, Path, description = "Finding.")),
    responses((status = 200, description = "The finding.", body = FindingView)))]
async fn get(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<FindingView>> {
    let id = FindingId(id);
    let found = api.store().finding(id).await?.ok_or_else(|| Problem::not_found(format!("finding {id} does not exist")))?;
    let mut views = show(&api, vec![found]).await?;
    views.pop().map(Json).ok_or_else(|| Problem::internal("the finding just read is gone"))
}

/// Lists the checks of the catalogue.
#[utoipa::path(get, path = "/api/v1/catalog/checks", tag = "findings", operation_id = "listCatalogChecks",
    responses((status = 200, description = "All checks, in the order in which they run.", body = Vec<CheckView>)))]
async fn checks() -> Json<Vec<CheckView>> {
    Json(Checks::in_use().all().iter().map(CheckView::from).collect())
}
