//! A POST of JSON, schema version 1 (docs/guides/alerts.md), signed, to one URL.
//!
//! Redirects are not followed: a signature is meant for one receiver. What the answer's body means is left to the receiver;
//! only the status counts.

use crate::error::{Receipt, SendError, chain};
use crate::message::Message;
use crate::sign::signature;
use crate::words;
use model::alert::{Alert, AlertKind, Destination, Language};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, StatusCode, Url};
use serde::Serialize;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For connecting, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For everything together.
const TOTAL: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read; a receipt keeps a line of it.
const MAX_ANSWER: usize = 4_096;
/// Alerts in one body; each takes about a kilobyte, and many receivers refuse bodies over one megabyte.
const MAX_ALERTS: usize = 500;
/// Version of the body's schema. Fields may be added under it; a field that changes or goes raises it.
const SCHEMA: u32 = 1;
/// Headers that are ours or the connection's, whatever the receiver's settings say.
const RESERVED: &[&str] =
    &["content-type", "content-length", "host", "connection", "transfer-encoding", "te", "upgrade", "user-agent"];

/// The body. Documented in docs/guides/alerts.md.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    notification: String,
    group: &'a str,
    digest: bool,
    test: bool,
    summary: String,
    language: Language,
    severity: Option<&'static str>,
    created_at: String,
    alerts_total: usize,
    alerts: Vec<Item<'a>>,
    console_url: Option<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    kind: &'static str,
    exposure: String,
    opening: u32,
    endpoint: String,
    ip: String,
    port: u16,
    proto: &'static str,
    risk: &'static str,
    severity: &'static str,
    entry: Option<&'a str>,
    service: Option<&'a str>,
    asset: Option<&'a str>,
    owner: Option<&'a str>,
    reason: Option<&'static str>,
    advice: Option<&'a str>,
    observed_at: String,
    created_at: String,
    url: Option<String>,
    segment: Option<Segment>,
    /// What checks have proved, the worst first.
    findings: Vec<Proved>,
}

/// Something that a check proved.
#[derive(Serialize)]
struct Proved {
    check: String,
    kind: &'static str,
    severity: &'static str,
    title: String,
}

/// Of an alert that speaks for a segment: which, and by how many of its canaries.
#[derive(Serialize)]
struct Segment {
    range: String,
    vantage: String,
    canaries: u32,
    silent: u32,
    since: String,
}

pub(super) async fn deliver(message: &Message<'_>) -> Result<Receipt, SendError> {
    let Destination::Webhook { url, secret, headers } = &message.receiver.destination else {
        return Err(SendError::permanent("not a webhook receiver"));
    };
    let (url, at) = address(url)?;
    let body =
        serde_json::to_vec(&body(message)).map_err(|e| SendError::permanent(format!("the body could not be written: {e}")))?;
    let mut sent_headers = HeaderMap::new();
    for (name, value) in headers {
        let (name, value) = header(name, value)?;
        sent_headers.insert(name, value);
    }
    sent_headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    sent_headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portreeve/", env!("CARGO_PKG_VERSION"))));
    let own = |value: String| HeaderValue::from_str(&value).map_err(|_| SendError::permanent("a header could not be written"));
    sent_headers.insert("x-portreeve-notification", own(message.notification.id.to_string())?);
    if let Some(secret) = secret.as_deref().filter(|s| !s.is_empty()) {
        sent_headers.insert("x-portreeve-signature", own(signature(secret, unix_seconds(), &body))?);
    }

    let request = client()?.post(url).headers(sent_headers).body(body);
    let mut response = request.send().await.map_err(|e| failed(&at, e))?;
    let status = response.status();
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => answer.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - answer.len())]),
            // the status has been given: a body that breaks off changes nothing
            Ok(None) | Err(_) => break,
        }
    }
    verdict(&at, status, &String::from_utf8_lossy(&answer))
}

/// The URL, and how errors name it: scheme, host and port, because path, query and account often are secrets.
fn address(text: &str) -> Result<(Url, String), SendError> {
    let bad =
        |why: &str| SendError::permanent(format!("the webhook's URL {why}")).hint("write it as https://alerts.example.net/path");
    let url = Url::parse(text.trim()).map_err(|e| bad(&format!("cannot be read: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is neither http nor https"));
    }
    let host = url.host_str().ok_or_else(|| bad("names no host"))?;
    let at = match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    };
    Ok((url, at))
}

/// A header of the receiver's settings. Its value is not named: it may be a token.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), SendError> {
    let lower = name.trim().to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("x-portreeve-") {
        return Err(
            SendError::permanent(format!("header `{lower}` is portreeve's own")).hint("take it out of the receiver's headers")
        );
    }
    let name = HeaderName::from_bytes(lower.as_bytes())
        .map_err(|_| SendError::permanent(format!("`{lower}` is not a header name")).hint("letters, digits and hyphens only"))?;
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| SendError::permanent(format!("the value of header `{name}` has characters that no header may have")))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// One client for all: building it reads the system's certificates. It keeps no idle connections, because alerts are rare.
fn client() -> Result<&'static Client, SendError> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let built = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .map_err(|e| {
            SendError::transient(format!("no HTTP client could be made: {}", chain(&e)))
                .hint("install the package ca-certificates: the machine has no certificates of authorities")
        })?;
    Ok(CLIENT.get_or_init(|| built))
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

fn failed(at: &str, e: reqwest::Error) -> SendError {
    let (timeout, builder) = (e.is_timeout(), e.is_builder());
    let text = chain(&e.without_url());
    let message = format!("cannot post to {at}: {text}");
    if text.contains("certificate") || text.contains("UnknownIssuer") {
        return SendError::permanent(message).hint(
            "the server's certificate is not trusted here: give the server one for this name from a known authority, or add the \
             organisation's own authority to this machine's trust store (ca-certificates)",
        );
    }
    if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return SendError::permanent(message).hint("the server does not speak TLS on this port: write http:// or another port");
    }
    match (timeout, builder) {
        (true, _) => SendError::transient(format!("no answer from {at} within {} s", TOTAL.as_secs())),
        (_, true) => SendError::permanent(message),
        _ => SendError::transient(message),
    }
}

fn verdict(at: &str, status: StatusCode, answer: &str) -> Result<Receipt, SendError> {
    let said = if answer.trim().is_empty() { String::new() } else { format!(": {answer}") };
    if status.is_success() {
        return Ok(Receipt::new(&format!("{status}{said}")));
    }
    let message = format!("{at} answered {status}{said}");
    let transient = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    let error = SendError { transient, ..SendError::permanent(message) };
    Err(match status {
        s if s.is_redirection() => error.hint("redirects are not followed: set the URL that it points to"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error.hint("check the receiver's secret and headers"),
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED => error.hint("check the path of the URL"),
        _ => error,
    })
}

fn body<'a>(message: &'a Message<'a>) -> Body<'a> {
    let notification = message.notification;
    Body {
        version: SCHEMA,
        notification: notification.id.to_string(),
        group: &notification.group,
        digest: notification.digest,
        test: message.is_test(),
        summary: message.subject(),
        language: message.receiver.language,
        severity: message.severity().map(|s| s.as_str()),
        created_at: notification.created_at.to_string(),
        alerts_total: message.total(),
        alerts: message.sorted().into_iter().take(MAX_ALERTS).map(|alert| item(message, alert)).collect(),
        console_url: message.console_url,
    }
}

fn item<'a>(message: &Message<'a>, alert: &'a Alert) -> Item<'a> {
    Item {
        id: alert.id.to_string(),
        kind: alert.kind.as_str(),
        exposure: alert.exposure.to_string(),
        opening: alert.opening,
        endpoint: alert.endpoint.to_string(),
        ip: alert.endpoint.ip.to_string(),
        port: alert.endpoint.port,
        proto: alert.endpoint.proto.as_str(),
        risk: alert.risk.as_str(),
        severity: alert.severity.as_str(),
        entry: alert.entry.as_deref(),
        service: alert.service.as_deref(),
        asset: alert.asset_name.as_deref(),
        owner: alert.owner.as_deref(),
        reason: alert.reason.map(|r| r.as_str()),
        advice: (alert.kind == AlertKind::Opened).then(|| message.advice(alert)).flatten(),
        observed_at: alert.observed_at.to_string(),
        created_at: alert.created_at.to_string(),
        url: message.url(alert),
        findings: alert
            .findings
            .iter()
            .map(|f| Proved {
                check: f.check.clone(),
                kind: f.kind.as_str(),
                severity: f.severity.as_str(),
                title: words::finding(f, message.receiver.language),
            })
            .collect(),
        segment: alert.segment.as_ref().map(|s| Segment {
            range: s.range.to_string(),
            vantage: s.vantage.to_string(),
            canaries: s.canaries,
            silent: s.silent,
            since: s.since.to_string(),
        }),
    }
}
