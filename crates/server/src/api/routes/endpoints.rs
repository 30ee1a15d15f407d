//! Endpoints, hosts and the event log, and what people say of endpoints that nothing could be found out about.

use super::findings::{proved, service};
use super::segments::doubts;
use super::{order, paging};
use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::endpoint::{EndpointDetail, EndpointView, HostCountsView, HostPageView, HostView, names};
use crate::api::views::event::EventView;
use crate::api::views::exposure::ExposureView;
use crate::api::views::finding::{EndpointNoteInput, EndpointNoteView, in_order};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::finding::EndpointNote;
use model::observation::SeenFrom;
use model::port_state::{Host, PortState};
use model::{Endpoint, ExposureId, Proto};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use store::{EventFilter, HostFilter, Paging, PortFilter, PortSort};
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

/// Longest note, in characters.
const MAX_NOTE: usize = 500;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list), routes!(get), routes!(say, unsay), routes!(hosts), routes!(events)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Phases, separated by commas.
    phase: Option<String>,
    /// Address, CIDR, port number, or words of the service.
    search: Option<String>,
    /// Service name, exactly.
    service: Option<String>,
    /// Product, exactly, without case.
    product: Option<String>,
    /// Version, or how it begins: `7.0` finds `7.0.15`.
    version: Option<String>,
    /// How the last identification ended: words separated by commas.
    identity: Option<String>,
    /// `any`, `none`, or kinds of findings and ids of checks, separated by commas, that hold.
    finding: Option<String>,
    /// Only endpoints that a person has said something of, or only the others.
    noted: Option<bool>,
    /// Product of the front page, exactly, without case.
    panel_product: Option<String>,
    /// Hash of the front page's icon, as search engines for exposed services write it.
    favicon: Option<i32>,
    /// What the front page is made with, with or without a version, without case: `jetty` finds `Jetty 10.0.18`.
    technology: Option<String>,
    /// Only endpoints whose front page is a product's that the catalogue knows, or only the others.
    panel_known: Option<bool>,
    /// Address, exactly.
    ip: Option<String>,
    /// Only endpoints of hosts that answer on every port, or only of others.
    pseudo_open: Option<bool>,
    /// Only endpoints with a front page, or only those without.
    panel: Option<bool>,
    /// `ip`, `port`, `opened_at` or `last_observed_at`, with `-` before it for descending.
    sort: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

fn key(p: &PortState) -> SeenFrom {
    SeenFrom { endpoint: p.endpoint, vantage: p.vantage.clone() }
}

async fn show(api: &Api, states: Vec<PortState>) -> Answer<Vec<EndpointView>> {
    let keys: Vec<_> = states.iter().map(key).collect();
    let exposures = api.store().exposures_by(&keys).await?;
    let mut endpoints: Vec<Endpoint> = states.iter().map(|p| p.endpoint).collect();
    endpoints.dedup();
    let notes = api.store().endpoint_notes(&endpoints).await?;
    let findings = api.store().findings_by(&keys).await?;
    let view = |p: PortState| {
        let exposure = exposures.get(&key(&p)).map(|e| e.id);
        let note = notes.get(&p.endpoint).cloned();
        let proved = findings.get(&key(&p)).map_or(&[][..], Vec::as_slice);
        EndpointView::new(p, exposure, note, proved)
    };
    Ok(states.into_iter().map(view).collect())
}

/// Lists endpoints.
#[utoipa::path(get, path = "/api/v1/endpoints", tag = "endpoints", operation_id = "listEndpoints", params(ListQuery),
    responses((status = 200, description = "A page of endpoints.", body = Page<EndpointView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<EndpointView>>> {
    let mut fields = Fields::default();
    let keys = [
        ("ip", PortSort::Ip),
        ("port", PortSort::Port),
        ("opened_at", PortSort::OpenedAt),
        ("last_observed_at", PortSort::LastObservedAt),
    ];
    let filter = PortFilter {
        phases: fields.list("phase", "bad-word", q.phase.as_deref()),
        search: fields.optional_text("search", q.search.as_deref(), 200),
        service: service(&mut fields, q.service.as_deref(), q.product.as_deref(), q.version.as_deref()),
        identities: fields.list("identity", "bad-word", q.identity.as_deref()),
        proved: proved(&mut fields, q.finding.as_deref()),
        noted: q.noted,
        panel_known: q.panel_known,
        panel_product: fields.optional_text("panel_product", q.panel_product.as_deref(), 200),
        favicon: q.favicon,
        technology: fields.optional_text("technology", q.technology.as_deref(), 100),
        ip: q.ip.as_deref().and_then(|ip| fields.parse::<IpAddr>("ip", "bad-address", ip)),
        pseudo_open: q.pseudo_open,
        panel: q.panel,
        sort: order(&mut fields, q.sort.as_deref(), &keys),
        ..PortFilter::default()
    };
    fields.done()?;
    let page = api.store().ports(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page { items: show(&api, page.items).await?, total: page.total }))
}

/// The endpoint that a path names.
fn named((ip, proto, port): (String, String, String)) -> Answer<Endpoint> {
    let mut fields = Fields::default();
    let address = ip.parse::<IpAddr>().map_err(|_| format!("`{ip}` is not an address"));
    let address = fields.take("ip", "bad-address", address);
    let proto = fields.parse::<Proto>("proto", "bad-word", &proto);
    let number = port.parse::<u16>().ok().filter(|&p| p > 0).ok_or_else(|| format!("`{port}` is not a port between 1 and 65535"));
    let port = fields.take("port", "bad-port", number);
    let endpoint = address.zip(proto).zip(port).map(|((ip, proto), port)| Endpoint { ip: ip.to_canonical(), port, proto });
    fields.finish(endpoint)
}

/// One endpoint with its exposures, findings, history and host.
#[utoipa::path(get, path = "/api/v1/endpoints/{ip}/{proto}/{port}", tag = "endpoints", operation_id = "getEndpoint",
    params(("ip" = String, Path, description = "Address."), ("proto" = String, Path, description = "`tcp` or `udp`."), ("port" = u16, Path, description = "Port.")),
    responses((status = 200, description = "The endpoint.", body = EndpointDetail)))]
async fn get(State(api): Use, Path(path): Path<(String, String, String)>) -> Answer<Json<EndpointDetail>> {
    let endpoint = named(path)?;
    let filter = PortFilter { endpoint: Some(endpoint), ..PortFilter::default() };
    let states = api.store().ports(&filter, Paging::first(100)).await?.items;
    let keys: Vec<_> = states.iter().map(key).collect();
    let exposures = api.store().exposures_by(&keys).await?;
    let mut findings: Vec<_> = api.store().findings_by(&keys).await?.into_values().flatten().collect();
    in_order(&mut findings);
    let events = EventFilter { endpoint: Some(endpoint), ..EventFilter::default() };
    let events = api.store().events(&events, Paging::first(500)).await?.items;
    if states.is_empty() && events.is_empty() {
        return Err(Problem::not_found(format!("{endpoint} has never been seen open")));
    }
    let assets = api.store().assets().await?;
    let (names, doubts, now) = (names(&assets), doubts(&api, assets.clone()).await?, api.now());
    let hosts = HostFilter { search: Some(endpoint.ip.to_string()), ..HostFilter::default() };
    let hosts = api.store().hosts(&hosts, Paging::first(500)).await?.items;
    let hosts: Vec<_> = hosts.into_iter().filter(|h| h.ip == endpoint.ip).collect();
    let open = api.store().open_counts(&[endpoint.ip]).await?.get(&endpoint.ip).copied().unwrap_or(0);
    let mut shown: Vec<ExposureView> = Vec::new();
    for state in &states {
        if let Some(e) = exposures.get(&key(state)) {
            shown.push(ExposureView::new(e.clone(), Some(state.last_observed_at), &names, &doubts, now));
        }
    }
    Ok(Json(EndpointDetail {
        endpoints: show(&api, states).await?,
        exposures: shown,
        findings: super::findings::show(&api, findings).await?,
        events: events.into_iter().map(EventView::from).collect(),
        host: hosts.into_iter().map(|h| HostView::new(h, &assets, open)).collect(),
    }))
}

/// Writes down what a person says that an endpoint is, where nothing could be found out. It leaves the queue; its state,
/// exposure and findings are not touched.
#[utoipa::path(put, path = "/api/v1/endpoints/{ip}/{proto}/{port}/note", tag = "endpoints", operation_id = "setEndpointNote",
    params(("ip" = String, Path, description = "Address."), ("proto" = String, Path, description = "`tcp` or `udp`."), ("port" = u16, Path, description = "Port.")),
    request_body = EndpointNoteInput, responses((status = 200, description = "The note.", body = EndpointNoteView)))]
async fn say(
    State(api): Use,
    caller: Caller,
    Path(path): Path<(String, String, String)>,
    Body(input): Body<EndpointNoteInput>,
) -> Answer<Json<EndpointNoteView>> {
    let endpoint = named(path)?;
    let mut fields = Fields::default();
    let text = fields.text("text", &input.text, MAX_NOTE);
    let text = fields.finish(text)?;
    let filter = PortFilter { endpoint: Some(endpoint), ..PortFilter::default() };
    if api.store().ports(&filter, Paging::first(1)).await?.total == 0 {
        return Err(Problem::not_found(format!("{endpoint} has never been seen open")));
    }
    let before = api.store().endpoint_notes(&[endpoint]).await?.remove(&endpoint);
    let now = api.now();
    let note = EndpointNote { endpoint, text, by: caller.actor(), at: now };
    let detail = json!({ "from": before.map(|n| n.text), "to": note.text });
    let entry = caller.audit(now, "endpoint.note", format!("endpoint:{endpoint}"), detail);
    api.store().set_endpoint_note(&note, &entry).await?;
    api.changed(Topic::Endpoints);
    Ok(Json(note.into()))
}

/// Takes back what was said of an endpoint. It is on the queue again if nothing can be found out about it.
#[utoipa::path(delete, path = "/api/v1/endpoints/{ip}/{proto}/{port}/note", tag = "endpoints", operation_id = "deleteEndpointNote",
    params(("ip" = String, Path, description = "Address."), ("proto" = String, Path, description = "`tcp` or `udp`."), ("port" = u16, Path, description = "Port.")),
    responses((status = 204, description = "Taken back.")))]
async fn unsay(State(api): Use, caller: Caller, Path(path): Path<(String, String, String)>) -> Answer<StatusCode> {
    let endpoint = named(path)?;
    let before = api.store().endpoint_notes(&[endpoint]).await?.remove(&endpoint);
    let before = before.ok_or_else(|| Problem::not_found(format!("nobody has said anything of {endpoint}")))?;
    let detail = json!({ "from": before.text, "to": null });
    let entry = caller.audit(api.now(), "endpoint.unnote", format!("endpoint:{endpoint}"), detail);
    api.store().delete_endpoint_note(endpoint, &entry).await?;
    api.changed(Topic::Endpoints);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HostQuery {
    /// `online` or `offline`.
    liveness: Option<String>,
    /// Address, start of one, or CIDR.
    search: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists hosts, with the counts of all.
#[utoipa::path(get, path = "/api/v1/hosts", tag = "endpoints", operation_id = "listHosts", params(HostQuery),
    responses((status = 200, description = "A page of hosts.", body = HostPageView)))]
async fn hosts(State(api): Use, Query(q): Query<HostQuery>) -> Answer<Json<HostPageView>> {
    let mut fields = Fields::default();
    let filter = HostFilter {
        liveness: q.liveness.as_deref().and_then(|word| fields.parse("liveness", "bad-word", word)),
        search: fields.optional_text("search", q.search.as_deref(), 200),
        ..HostFilter::default()
    };
    fields.done()?;
    let page = api.store().hosts(&filter, paging(q.offset, q.limit)?).await?;
    let ips: Vec<_> = page.items.iter().map(|h| h.ip).collect();
    let open = api.store().open_counts(&ips).await?;
    let assets = api.store().assets().await?;
    let counts = api.store().host_counts().await?;
    let view = |h: Host| {
        let n = open.get(&h.ip).copied().unwrap_or(0);
        HostView::new(h, &assets, n)
    };
    Ok(Json(HostPageView {
        items: page.items.into_iter().map(view).collect(),
        total: page.total,
        counts: HostCountsView { online: counts.online, offline: counts.offline },
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Address, exactly.
    ip: Option<String>,
    /// Kinds, separated by commas.
    kind: Option<String>,
    /// Id of an exposure.
    exposure: Option<String>,
    /// Recorded at this instant or later.
    since: Option<String>,
    /// Recorded before this instant.
    until: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists events, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "endpoints", operation_id = "listEvents", params(EventQuery),
    responses((status = 200, description = "A page of events.", body = Page<EventView>)))]
async fn events(State(api): Use, Query(q): Query<EventQuery>) -> Answer<Json<Page<EventView>>> {
    let mut fields = Fields::default();
    let filter = EventFilter {
        ip: q.ip.as_deref().and_then(|ip| fields.parse::<IpAddr>("ip", "bad-address", ip)).map(|ip| ip.to_canonical()),
        kinds: fields.list("kind", "bad-word", q.kind.as_deref()),
        exposure: q.exposure.as_deref().and_then(|id| fields.parse::<ExposureId>("exposure", "bad-id", id)),
        since: q.since.as_deref().and_then(|t| fields.parse("since", "bad-instant", t)),
        until: q.until.as_deref().and_then(|t| fields.parse("until", "bad-instant", t)),
        ..EventFilter::default()
    };
    fields.done()?;
    let page = api.store().events(&filter, paging(q.offset, q.limit)?).await?;
    Ok(Json(Page::of(page, EventView::from)))
}
