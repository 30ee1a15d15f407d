//! Exposures: lists, groups, exports, one in detail, and the decisions of people about them.
//!
//! Whether an exposure is open is never decided here; that only observations do.

use super::findings::{proved, service};
use super::segments::doubts;
use super::{order, paging};
use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::alert::AlertView;
use crate::api::views::endpoint::{EndpointView, names};
use crate::api::views::event::EventView;
use crate::api::views::exposure::{
    AddressGroupView, AssetNames, BulkDispositionInput, ChangedView, DispositionInput, ExposureDetail, ExposureView,
};
use crate::api::views::finding::in_order;
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::body::{Body as Bytes, Bytes as Chunk};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::try_unfold;
use model::event::{Event, EventKind};
use model::exposure::{Disposition, DispositionKind, Exposure};
use model::observation::SeenFrom;
use model::{AssetId, Duration, EventId, ExposureId, Ts};
use serde::Deserialize;
use serde_json::json;
use store::{AlertFilter, EventFilter, ExposureFilter, ExposureSort, Paging};
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Longest time a decision may hold: long enough for any real need, short enough that somebody looks again.
const MAX_UNTIL: Duration = Duration::days(3 * 366);
/// Most exposures that one call decides about.
const MAX_BULK: usize = 500;
/// Longest note, in characters.
const MAX_NOTE: usize = 2_000;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list), routes!(by_address), routes!(export), routes!(get), routes!(decide), routes!(decide_many)]
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `open` or `closed`.
    phase: Option<String>,
    /// Risk kinds, separated by commas.
    risk: Option<String>,
    /// Severities, separated by commas.
    severity: Option<String>,
    /// Decisions as they hold now, separated by commas.
    disposition: Option<String>,
    /// Address, CIDR, port number, or words of service, product or owner.
    search: Option<String>,
    /// Owner, exactly.
    owner: Option<String>,
    /// Id of an asset.
    asset: Option<String>,
    /// Service name, exactly.
    service: Option<String>,
    /// Product, exactly, without case.
    product: Option<String>,
    /// Version, or how it begins: `7.0` finds `7.0.15`.
    version: Option<String>,
    /// `any`, `none`, or kinds of findings and ids of checks, separated by commas, that hold.
    finding: Option<String>,
    /// `severity`, `opened_at`, `ip`, `port` or `updated_at`, with `-` before it for descending.
    sort: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `csv` or `jsonl`; `csv` when absent.
    format: Option<String>,
    /// As for the list.
    phase: Option<String>,
    /// As for the list.
    risk: Option<String>,
    /// As for the list.
    severity: Option<String>,
    /// As for the list.
    disposition: Option<String>,
    /// As for the list.
    search: Option<String>,
    /// As for the list.
    owner: Option<String>,
    /// As for the list.
    asset: Option<String>,
    /// As for the list.
    service: Option<String>,
    /// As for the list.
    product: Option<String>,
    /// As for the list.
    version: Option<String>,
    /// As for the list.
    finding: Option<String>,
    /// As for the list.
    sort: Option<String>,
}

fn filter(q: &ListQuery, now: Ts) -> Answer<ExposureFilter> {
    let mut fields = Fields::default();
    let phase = q.phase.as_deref().and_then(|word| fields.parse("phase", "bad-word", word));
    let mut filter = ExposureFilter::all(now);
    filter.phase = phase;
    filter.risks = fields.list("risk", "bad-word", q.risk.as_deref());
    filter.severities = fields.list("severity", "bad-word", q.severity.as_deref());
    filter.dispositions = fields.list("disposition", "bad-word", q.disposition.as_deref());
    filter.search = fields.optional_text("search", q.search.as_deref(), 200);
    filter.owner = fields.optional_text("owner", q.owner.as_deref(), 200);
    filter.asset = q.asset.as_deref().and_then(|id| fields.parse::<AssetId>("asset", "bad-id", id));
    filter.service = service(&mut fields, q.service.as_deref(), q.product.as_deref(), q.version.as_deref());
    filter.proved = proved(&mut fields, q.finding.as_deref());
    let keys = [
        ("severity", ExposureSort::Severity),
        ("opened_at", ExposureSort::OpenedAt),
        ("ip", ExposureSort::Ip),
        ("port", ExposureSort::Port),
        ("updated_at", ExposureSort::UpdatedAt),
    ];
    filter.sort = order(&mut fields, q.sort.as_deref(), &keys);
    fields.done()?;
    Ok(filter)
}

/// The exposures with the latest observation of each endpoint.
async fn show(api: &Api, exposures: Vec<Exposure>, names: &AssetNames) -> Answer<Vec<ExposureView>> {
    let keys: Vec<_> = exposures.iter().map(key).collect();
    let states = api.store().port_states(&keys).await?;
    let doubts = doubts(api, api.store().assets().await?).await?;
    let now = api.now();
    let view = |e: Exposure| {
        let observed = states.get(&key(&e)).map(|s| s.last_observed_at);
        ExposureView::new(e, observed, names, &doubts, now)
    };
    Ok(exposures.into_iter().map(view).collect())
}

fn key(e: &Exposure) -> SeenFrom {
    SeenFrom { endpoint: e.endpoint, vantage: e.vantage.clone() }
}

pub(super) async fn asset_names(api: &Api) -> Answer<AssetNames> {
    Ok(names(&api.store().assets().await?))
}

/// Lists exposures.
#[utoipa::path(get, path = "/api/v1/exposures", tag = "exposures", operation_id = "listExposures", params(ListQuery),
    responses((status = 200, description = "A page of exposures.", body = Page<ExposureView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<ExposureView>>> {
    let page = api.store().exposures(&filter(&q, api.now())?, paging(q.offset, q.limit)?).await?;
    let items = show(&api, page.items, &asset_names(&api).await?).await?;
    Ok(Json(Page { items, total: page.total }))
}

/// Lists exposures by address.
#[utoipa::path(get, path = "/api/v1/exposures/by-address", tag = "exposures", operation_id = "listExposuresByAddress", params(ListQuery),
    responses((status = 200, description = "A page of addresses with their exposures.", body = Page<AddressGroupView>)))]
async fn by_address(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<AddressGroupView>>> {
    let page = api.store().exposures_by_address(&filter(&q, api.now())?, paging(q.offset, q.limit)?).await?;
    let names = asset_names(&api).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for g in page.items {
        items.push(AddressGroupView {
            ip: g.ip,
            vantage: g.vantage.0,
            liveness: g.liveness.map(Into::into),
            asset: g.asset.map(|a| a.0),
            asset_name: g.asset.and_then(|a| names.get(&a).cloned()),
            owner: g.owner,
            open_count: g.open_count,
            worst_severity: g.worst_severity.into(),
            worst_risk: g.worst_risk.into(),
            unreviewed: g.unreviewed,
            exposures: show(&api, g.exposures, &names).await?,
        });
    }
    Ok(Json(Page { items, total: page.total }))
}

/// Exports exposures as CSV or JSON lines.
#[utoipa::path(get, path = "/api/v1/exposures/export", tag = "exposures", operation_id = "exportExposures", params(ExportQuery),
    responses((status = 200, description = "All exposures that match.", content((String = "text/csv"), (String = "application/x-ndjson")))))]
async fn export(State(api): Use, Query(q): Query<ExportQuery>) -> Answer<Response> {
    let list = ListQuery {
        phase: q.phase,
        risk: q.risk,
        severity: q.severity,
        disposition: q.disposition,
        search: q.search,
        owner: q.owner,
        asset: q.asset,
        service: q.service,
        product: q.product,
        version: q.version,
        finding: q.finding,
        sort: q.sort,
        ..ListQuery::default()
    };
    let filter = filter(&list, api.now())?;
    let csv = match q.format.as_deref().unwrap_or("csv") {
        "csv" => true,
        "jsonl" => false,
        other => return Err(Problem::bad_field("format", "bad-word", format!("`{other}` is not a format: csv or jsonl"))),
    };
    let names = asset_names(&api).await?;
    // A page at a time, so that an export of everything holds 500 rows in memory and not all of them.
    let pages = try_unfold(Some(0u64), move |offset| {
        let (api, filter, names) = (api.clone(), filter.clone(), names.clone());
        async move {
            let Some(offset) = offset else { return Ok::<_, std::io::Error>(None) };
            let failed = |e: Problem| std::io::Error::other(e.detail);
            let page = api.store().exposures(&filter, Paging { offset, limit: 500 }).await.map_err(|e| failed(e.into()))?;
            let last = page.items.len() < 500;
            let views = show(&api, page.items, &names).await.map_err(failed)?;
            let text = if csv { csv_rows(&views, offset == 0)? } else { json_lines(&views)? };
            Ok(Some((Chunk::from(text), (!last).then_some(offset + 500))))
        }
    });
    let (kind, name) =
        if csv { ("text/csv; charset=utf-8", "exposures.csv") } else { ("application/x-ndjson", "exposures.jsonl") };
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], Bytes::from_stream(pages))
        .into_response())
}

fn json_lines(views: &[ExposureView]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for view in views {
        serde_json::to_writer(&mut out, view)?;
        out.push(b'\n');
    }
    Ok(out)
}

const COLUMNS: &[&str] = &[
    "ip",
    "port",
    "proto",
    "vantage",
    "phase",
    "severity",
    "risk",
    "entry",
    "service",
    "product",
    "version",
    "asset",
    "owner",
    "zone",
    "disposition",
    "until",
    "by",
    "note",
    "opening",
    "first_opened_at",
    "opened_at",
    "closed_at",
    "close_reason",
    "detection_bound_ms",
    "last_observed_at",
    "unknown_since",
    "id",
];

fn csv_rows(views: &[ExposureView], header: bool) -> std::io::Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    if header {
        out.write_record(COLUMNS)?;
    }
    let instant = |t: Option<crate::api::views::words::Instant>| t.map(|t| t.0.to_string()).unwrap_or_default();
    for e in views {
        let service = e.service.as_ref();
        let text = |s: Option<&String>| super::import::guard(s.map_or("", String::as_str));
        out.write_record([
            e.ip.clone(),
            e.port.to_string(),
            e.proto.clone(),
            super::import::guard(&e.vantage),
            e.phase.0.to_string(),
            e.risk.severity.0.to_string(),
            e.risk.kind.0.to_string(),
            text(e.risk.entry.as_ref()),
            text(service.map(|s| &s.name)),
            text(service.and_then(|s| s.product.as_ref())),
            text(service.and_then(|s| s.version.as_ref())),
            text(e.asset_name.as_ref()),
            text(e.owner.as_ref()),
            e.zone.map(|z| z.0.to_string()).unwrap_or_default(),
            e.disposition.effective.0.to_string(),
            instant(e.disposition.until),
            text(e.disposition.by.as_ref()),
            text(e.disposition.note.as_ref()),
            e.opening.to_string(),
            instant(Some(e.first_opened_at)),
            instant(Some(e.opened_at)),
            instant(e.closed_at),
            e.close_reason.map(|r| r.0.to_string()).unwrap_or_default(),
            e.detection_bound_ms.map(|d| d.0.to_string()).unwrap_or_default(),
            instant(e.last_observed_at),
            instant(e.unknown_since),
            e.id.to_string(),
        ])?;
    }
    out.into_inner().map_err(|e| std::io::Error::other(e.to_string()))
}

async fn find(api: &Api, id: ExposureId) -> Answer<Exposure> {
    api.store().exposure(id).await?.ok_or_else(|| Problem::not_found(format!("exposure {id} does not exist")))
}

/// One exposure with its endpoint, history and alerts.
#[utoipa::path(get, path = "/api/v1/exposures/{id}", tag = "exposures", operation_id = "getExposure", params(("id" = Uuid, Path, description = "Exposure.")),
    responses((status = 200, description = "The exposure.", body = ExposureDetail)))]
async fn get(State(api): Use, Path(id): Path<Uuid>) -> Answer<Json<ExposureDetail>> {
    let exposure = find(&api, ExposureId(id)).await?;
    let state = api.store().port_state(&key(&exposure)).await?;
    let events = EventFilter { exposure: Some(exposure.id), ..EventFilter::default() };
    let alerts = AlertFilter { exposure: Some(exposure.id), ..AlertFilter::default() };
    let events = api.store().events(&events, Paging::first(500)).await?.items;
    let alerts = api.store().alerts(&alerts, Paging::first(500)).await?.items;
    let key = key(&exposure);
    let mut findings = api.store().findings_by(std::slice::from_ref(&key)).await?.remove(&key).unwrap_or_default();
    in_order(&mut findings);
    let notes = api.store().endpoint_notes(&[exposure.endpoint]).await?;
    let note = notes.get(&exposure.endpoint).cloned();
    let assets = api.store().assets().await?;
    let (names, doubts) = (names(&assets), doubts(&api, assets).await?);
    let (observed, exposure_id) = (state.as_ref().map(|s| s.last_observed_at), exposure.id);
    Ok(Json(ExposureDetail {
        exposure: ExposureView::new(exposure, observed, &names, &doubts, api.now()),
        endpoint: state.map(|s| EndpointView::new(s, Some(exposure_id), note, &findings)),
        findings: super::findings::show(&api, findings).await?,
        events: events.into_iter().map(EventView::from).collect(),
        alerts: alerts.into_iter().map(AlertView::from).collect(),
    }))
}

/// The decision, if everything it needs is there.
fn disposition(kind: DispositionKind, until: Option<Ts>, note: Option<&str>, by: String, now: Ts) -> Answer<Disposition> {
    let mut fields = Fields::default();
    let note = fields.optional_text("note", note, MAX_NOTE);
    let needs_until = matches!(kind, DispositionKind::Registered | DispositionKind::Accepted);
    let needs_note = matches!(kind, DispositionKind::Accepted | DispositionKind::FalsePositive);
    match until {
        None => fields.check(!needs_until, "until", "missing", format!("a decision `{kind}` holds until a date")),
        Some(_) if kind == DispositionKind::Unreviewed => fields.add("until", "not-applicable", "what is unreviewed has no date"),
        Some(until) if until <= now => fields.add("until", "in-the-past", format!("`{until}` is in the past")),
        Some(until) if until > now.plus(MAX_UNTIL) => {
            fields.add("until", "too-far", format!("`{until}` is more than three years ahead"))
        }
        Some(_) => {}
    }
    fields.check(!needs_note || note.is_some() || !fields.ok(), "note", "missing", format!("a decision `{kind}` needs a reason"));
    fields.done()?;
    Ok(match kind {
        DispositionKind::Unreviewed => Disposition { by: Some(by), note, at: Some(now), ..Disposition::unreviewed() },
        _ => Disposition { kind, until, by: Some(by), note, at: Some(now) },
    })
}

fn action(kind: DispositionKind) -> &'static str {
    match kind {
        DispositionKind::Unreviewed => "exposure.reset",
        DispositionKind::Registered => "exposure.register",
        DispositionKind::Accepted => "exposure.accept",
        DispositionKind::FalsePositive => "exposure.false-positive",
    }
}

fn event(e: &Exposure, to: &Disposition, now: Ts) -> Event {
    Event {
        id: EventId(Uuid::now_v7()),
        kind: EventKind::DispositionChanged,
        ip: e.endpoint.ip,
        endpoint: Some(e.endpoint),
        vantage: e.vantage.clone(),
        exposure: Some(e.id),
        happened_after: None,
        happened_at: now,
        observed_at: now,
        recorded_at: now,
        reason: None,
        detail: json!({ "from": e.disposition.kind, "to": to.kind, "until": to.until, "by": to.by, "note": to.note }),
    }
}

/// Decides about an exposure.
#[utoipa::path(put, path = "/api/v1/exposures/{id}/disposition", tag = "exposures", operation_id = "setDisposition",
    params(("id" = Uuid, Path, description = "Exposure.")), request_body = DispositionInput,
    responses((status = 200, description = "The exposure with its decision.", body = ExposureView)))]
async fn decide(
    State(api): Use,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(input): Body<DispositionInput>,
) -> Answer<Json<ExposureView>> {
    let now = api.now();
    let exposure = find(&api, ExposureId(id)).await?;
    let to = disposition(input.kind.0, input.until.map(|t| t.0), input.note.as_deref(), caller.actor(), now)?;
    let detail = json!({ "endpoint": exposure.endpoint.to_string(), "from": exposure.disposition.kind, "to": to.kind, "until": to.until, "note": to.note });
    let entry = caller.audit(now, action(to.kind), format!("exposure:{}", exposure.id), detail);
    api.store().set_disposition(exposure.id, &to, &event(&exposure, &to, now), &entry).await?;
    api.changed(Topic::Exposures);
    let exposure = find(&api, exposure.id).await?;
    let mut views = show(&api, vec![exposure], &asset_names(&api).await?).await?;
    views.pop().map(Json).ok_or_else(|| Problem::internal("the exposure just decided about is gone"))
}

/// Makes one decision about many exposures, all or none.
#[utoipa::path(post, path = "/api/v1/exposures/dispositions", tag = "exposures", operation_id = "setDispositions", request_body = BulkDispositionInput,
    responses((status = 200, description = "How many were changed.", body = ChangedView),
              (status = 404, description = "One of the exposures does not exist.", body = Problem, content_type = "application/problem+json")))]
async fn decide_many(State(api): Use, caller: Caller, Body(input): Body<BulkDispositionInput>) -> Answer<Json<ChangedView>> {
    let now = api.now();
    let mut ids: Vec<_> = input.ids.iter().map(|&id| ExposureId(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut fields = Fields::default();
    fields.check(!ids.is_empty(), "ids", "empty", "names no exposure");
    fields.check(
        input.ids.len() <= MAX_BULK,
        "ids",
        "too-many",
        format!("names {} exposures; at most {MAX_BULK} at once", input.ids.len()),
    );
    fields.done()?;
    let to = disposition(input.kind.0, input.until.map(|t| t.0), input.note.as_deref(), caller.actor(), now)?;
    let exposures = api.store().exposures_by_ids(&ids).await?;
    if let Some(missing) = ids.iter().find(|id| !exposures.contains_key(id)) {
        return Err(Problem::not_found(format!("exposure {missing} does not exist")));
    }
    let events: Vec<_> = ids.iter().filter_map(|id| exposures.get(id)).map(|e| event(e, &to, now)).collect();
    let endpoints: Vec<_> = events.iter().filter_map(|e| e.endpoint).map(|e| e.to_string()).collect();
    let detail = json!({ "endpoints": endpoints, "to": to.kind, "until": to.until, "note": to.note });
    let entry = caller.audit(now, action(to.kind), format!("exposures:{}", ids.len()), detail);
    api.store().set_dispositions(&ids, &to, &events, &entry).await?;
    api.changed(Topic::Exposures);
    Ok(Json(ChangedView { changed: ids.len() as u64 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_needs_its_date_and_its_reason() {
        use DispositionKind::{Accepted, FalsePositive, Registered, Unreviewed};
        let (now, later, past) = (Ts(1_000_000), Some(Ts(2_000_000)), Some(Ts(999_999)));
        let far = Some(now.plus(MAX_UNTIL).plus(Duration(1)));
        for (kind, until, note, bad) in [
            (Registered, later, None, None),
            (Registered, None, None, Some("until")),
            (Registered, past, None, Some("until")),
            (Registered, far, None, Some("until")),
            (Accepted, later, Some("no budget"), None),
            (Accepted, later, Some("  "), Some("note")),
            (Accepted, None, Some("no budget"), Some("until")),
            (FalsePositive, None, Some("test host"), None),
            (FalsePositive, None, None, Some("note")),
            (Unreviewed, None, None, None),
            (Unreviewed, later, None, Some("until")),
        ] {
            let result = disposition(kind, until, note, "user:a".into(), now);
            let field = result.err().and_then(|p| p.fields.into_iter().next()).map(|f| f.field);
            assert_eq!(field.as_deref(), bad, "{kind} {until:?} {note:?}");
        }
    }
}
