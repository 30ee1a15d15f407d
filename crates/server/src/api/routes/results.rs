//! Results of other scanners, imported part by part: each part is recorded once, however often it is sent.
//!
//! The files are read by whoever sends them (`portreeve import`); what the sightings mean is `ingest`'s.

use crate::api::access::Caller;
use crate::api::extract::Body;
use crate::api::problem::{Fields, Problem};
use crate::api::views::result::{ResultsInput, ResultsOutcome, ServiceInput};
use crate::api::{Answer, Api, Use};
use crate::ingest_import::{Import, PortsSaid};
use axum::Json;
use axum::extract::State;
use model::audit::AuditEntry;
use model::service::{Identification, Source};
use model::{Endpoint, HostObservation, Observation, PortSet, Proto, Service, Vantage};
use serde_json::json;
use std::net::IpAddr;
use store::ImportPart;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use wire::PseudoOpenHost;

/// Sightings of one part: two statements' worth of rows, so that a part is one short transaction.
const MAX_SIGHTINGS: usize = 1_000;
/// Longest name or version, in characters, and longest banner.
const MAX_TEXT: usize = 256;
const MAX_BANNER: usize = 2_048;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(import)]
}

/// Imports a part of another scanner's results. What lies outside the scope is refused and counted; what a file does not
/// mention stays as it is.
#[utoipa::path(post, path = "/api/v1/results/import", tag = "tasks", operation_id = "importResults", request_body = ResultsInput,
    responses((status = 200, description = "What became of the part.", body = ResultsOutcome)))]
async fn import(State(api): Use, caller: Caller, Body(input): Body<ResultsInput>) -> Answer<Json<ResultsOutcome>> {
    let subject = format!("results:{}", input.digest.chars().take(12).collect::<String>());
    let audit = caller.audit(api.now(), "results.import", subject, json!({}));
    let import = check(input, audit)?;
    let Some(ingest) = api.context().ingest() else {
        return Err(Problem::unavailable("nobody takes results in yet").hint("try again in a few seconds"));
    };
    let outcome = ingest.import(import).await?;
    Ok(Json(ResultsOutcome { recorded: outcome.recorded, taken: outcome.taken, refused: outcome.refused }))
}

/// Reads the part; every field that is wrong is named.
fn check(input: ResultsInput, audit: AuditEntry) -> Answer<Import> {
    let mut fields = Fields::default();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    fields.check(
        input.digest.len() == 64 && input.digest.bytes().all(hex),
        "digest",
        "bad-digest",
        "a digest is a SHA-256 of 64 lower-case hex digits",
    );
    fields.check(input.part >= 1, "part", "too-small", "parts are counted from 1");
    let name = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fields.check(
        !input.vantage.is_empty() && input.vantage.len() <= 64 && name(&input.vantage),
        "vantage",
        "bad-name",
        format!("`{}` is not a name of at most 64 letters, digits, `-`, `_` and `.`", input.vantage),
    );
    let scanner = input.source.strip_prefix("import:").filter(|s| !s.is_empty() && s.len() <= 32 && name(s));
    fields.check(
        scanner.is_some(),
        "source",
        "bad-name",
        format!("`{}` is not `import:` and the name of a scanner", input.source),
    );
    let count = input.observations.len() + input.ports.len() + input.hosts.len() + input.services.len() + input.pseudo_open.len();
    fields.check(count <= MAX_SIGHTINGS, "observations", "too-many", format!("a part has at most {MAX_SIGHTINGS} sightings"));
    fields.done()?;

    let mut fields = Fields::default();
    let mut observations = Vec::with_capacity(input.observations.len());
    for (i, o) in input.observations.into_iter().enumerate() {
        if let Some(endpoint) = door(&mut fields, &format!("observations[{i}].endpoint"), &o.endpoint) {
            observations.push(Observation { endpoint, state: o.state.0, reason: o.reason.0, observed_at: o.observed_at.0 });
        }
    }
    let mut ports = Vec::with_capacity(input.ports.len());
    for (i, p) in input.ports.into_iter().enumerate() {
        let ip = fields.parse::<IpAddr>(&format!("ports[{i}].ip"), "bad-address", &p.ip);
        let proto = fields.parse::<Proto>(&format!("ports[{i}].proto"), "bad-word", &p.proto);
        let set = fields.parse::<PortSet>(&format!("ports[{i}].ports"), "bad-ports", &p.ports);
        if let (Some(ip), Some(proto), Some(set)) = (ip, proto, set) {
            let ip = ip.to_canonical();
            let observed_at = p.observed_at.0;
            ports.push(PortsSaid { ip, proto, ports: set, state: p.state.0, reason: p.reason.0, observed_at });
        }
    }
    let mut hosts = Vec::with_capacity(input.hosts.len());
    for (i, h) in input.hosts.into_iter().enumerate() {
        if let Some(ip) = fields.parse::<IpAddr>(&format!("hosts[{i}].ip"), "bad-address", &h.ip) {
            let ip = ip.to_canonical();
            hosts.push(HostObservation { ip, liveness: h.liveness.0, reason: h.reason.0, observed_at: h.observed_at.0 });
        }
    }
    let mut identifications = Vec::with_capacity(input.services.len());
    for (i, s) in input.services.into_iter().enumerate() {
        identifications.extend(identification(&mut fields, &format!("services[{i}]"), s, &input.source));
    }
    let mut pseudo_open = Vec::with_capacity(input.pseudo_open.len());
    for (i, p) in input.pseudo_open.into_iter().enumerate() {
        if let Some(ip) = fields.parse::<IpAddr>(&format!("pseudo_open[{i}].ip"), "bad-address", &p.ip) {
            let ip = ip.to_canonical();
            pseudo_open.push(PseudoOpenHost { ip, open_ports: p.open_ports, observed_at: p.observed_at.0 });
        }
    }
    fields.done()?;
    let part = ImportPart { digest: input.digest, part: input.part, vantage: Vantage(input.vantage) };
    Ok(Import { part, source: input.source, observations, ports, hosts, identifications, pseudo_open, audit })
}

fn door(fields: &mut Fields, field: &str, word: &str) -> Option<Endpoint> {
    let endpoint = fields.parse::<Endpoint>(field, "bad-endpoint", word)?;
    fields.check(endpoint.port > 0, field, "bad-endpoint", format!("`{word}` has no port"));
    Some(Endpoint { ip: endpoint.ip.to_canonical(), ..endpoint })
}

fn identification(fields: &mut Fields, field: &str, s: ServiceInput, source: &str) -> Option<Identification> {
    let endpoint = door(fields, &format!("{field}.endpoint"), &s.endpoint)?;
    for (part, text, most) in [
        ("name", &s.name, MAX_TEXT),
        ("product", &s.product, MAX_TEXT),
        ("version", &s.version, MAX_TEXT),
        ("evidence", &s.evidence, MAX_TEXT),
        ("banner", &s.banner, MAX_BANNER),
    ] {
        let fits = text.as_ref().is_none_or(|t| t.chars().count() <= most && !t.chars().any(char::is_control));
        fields.check(fits, &format!("{field}.{part}"), "bad-text", format!("at most {most} characters, none of them a control"));
    }
    let sure = s.confidence.is_none_or(|c| c <= 10);
    fields.check(sure, &format!("{field}.confidence"), "out-of-range", "a confidence is between 0 and 10");
    let known = s.name.is_some() || s.product.is_some();
    let service = known.then(|| Service {
        name: s.name.unwrap_or_default(),
        product: s.product,
        version: s.version,
        source: Some(Source { name: source.to_owned(), confidence: s.confidence }),
        ..Service::default()
    });
    Some(Identification {
        service,
        evidence: s.evidence,
        banner: s.banner,
        ..Identification::bare(endpoint, s.identity.0, s.observed_at.0)
    })
}
