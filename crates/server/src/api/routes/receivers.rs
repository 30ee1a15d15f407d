//! Receivers: where notifications go. Their secrets come in and never go out, nor into the audit trail.
//!
//! Carrying a message is `notify`'s; which alerts go where is decided in the background.

use crate::api::access::Caller;
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::alert::{DestinationInput, MASK, ReceiverInput, ReceiverTestView, ReceiverView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use model::alert::{Destination, Language, Receiver};
use model::exposure::Severity;
use model::{NotificationId, ReceiverId};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// A person waits for the answer; a mail server that greylists does not answer sooner by waiting longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Receivers that may exist: each alert is matched against all of them.
const MAX_RECEIVERS: usize = 1_000;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list, create), routes!(update, delete), routes!(test)]
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

/// Lists receivers.
#[utoipa::path(get, path = "/api/v1/receivers", tag = "alerts", operation_id = "listReceivers", params(PageQuery),
    responses((status = 200, description = "A page of receivers.", body = Page<ReceiverView>)))]
async fn list(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<ReceiverView>>> {
    let slice = page(q.offset, q.limit)?;
    let all = api.store().receivers().await?;
    Ok(Json(Page::slice(all.into_iter().map(ReceiverView::from).collect(), slice)))
}

/// Whether the text can be a mail address: one `@` with something on both sides, nothing that could end a header.
fn mail_address(word: &str) -> Result<String, String> {
    let bad = || format!("`{word}` is not a mail address such as security@example.com");
    let word = word.trim();
    let (local, domain) = word.rsplit_once('@').ok_or_else(bad)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c) || (!c.is_ascii() && !c.is_control());
    let local_ok = !local.is_empty() && local.chars().all(plain) && !local.starts_with('.') && !local.ends_with('.');
    let domain_ok = host_name(domain).is_ok();
    if local_ok && domain_ok && word.len() <= 254 { Ok(word.to_owned()) } else { Err(bad()) }
}

/// Whether the text can be a host: a name or an address.
fn host_name(word: &str) -> Result<String, String> {
    let bad = || format!("`{word}` is not a host name or an address");
    let word = word.trim();
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    let label = |l: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && c.is_alphanumeric());
        !l.is_empty() && l.len() <= 63 && l.chars().all(inside) && !l.starts_with('-') && !l.ends_with('-')
    };
    let name = word.strip_suffix('.').unwrap_or(word);
    if name.len() <= 253 && name.split('.').all(label) { Ok(word.to_owned()) } else { Err(bad()) }
}

fn web_address(word: &str) -> Result<String, String> {
    let word = word.trim();
    let uri: Uri = word.parse().map_err(|_| format!("`{word}` is not a URL such as https://example.com/hook"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("`{word}` is not an http or https URL"));
    }
    let authority = uri.authority().ok_or_else(|| format!("`{word}` names no host"))?;
    if authority.as_str().contains('@') {
        return Err("the URL holds an account; send it in the header `Authorization` instead".to_owned());
    }
    host_name(authority.host())?;
    Ok(word.to_owned())
}

/// Headers that the client sets itself; another value would break the request or forge the signature.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "x-portreeve-signature",
];

fn header(fields: &mut Fields, name: &str, value: &str) -> Option<(String, String)> {
    let path = format!("destination.headers.{name}");
    let lower = name.trim().to_ascii_lowercase();
    if lower.parse::<HeaderName>().is_err() {
        fields.add(&path, "bad-header", format!("`{name}` is not a header name"));
    } else if RESERVED.contains(&lower.as_str()) {
        fields.add(&path, "bad-header", format!("`{name}` is set by portreeve itself"));
    } else if HeaderValue::from_str(value).is_err() || value.len() > 4_096 {
        fields.add(
            &path,
            "bad-header",
            format!("the value of `{name}` cannot be sent: printable ASCII, at most 4096 characters"),
        );
    } else {
        return Some((name.trim().to_owned(), value.to_owned()));
    }
    None
}

/// A secret after a change: absent keeps, null and the empty text clear.
fn secret(given: Option<Option<String>>, before: Option<&String>) -> Option<String> {
    match given {
        None => before.cloned(),
        Some(new) => new.filter(|s| !s.is_empty()),
    }
}

fn destination(fields: &mut Fields, input: DestinationInput, before: Option<&Destination>) -> Option<Destination> {
    match input {
        DestinationInput::Mail { host, port, security, username, password, from, to } => {
            let kept = match before {
                Some(Destination::Mail { password, .. }) => password.as_ref(),
                _ => None,
            };
            let host = fields.take("destination.host", "bad-host", host_name(&host));
            fields.check(port > 0, "destination.port", "bad-port", "`0` is not a port");
            let username = fields.optional_text("destination.username", username.as_deref(), 250);
            let password = secret(password, kept);
            fields.check(
                password.as_ref().is_none_or(|p| p.len() <= 1_024),
                "destination.password",
                "too-long",
                "is longer than 1024 bytes",
            );
            fields.check(
                password.is_none() || username.is_some(),
                "destination.username",
                "missing",
                "a password needs the account it belongs to",
            );
            let from = fields.take("destination.from", "bad-address", mail_address(&from));
            fields.check(!to.is_empty(), "destination.to", "empty", "names no recipient");
            fields.check(to.len() <= 100, "destination.to", "too-many", "names more than 100 recipients");
            let to: Vec<_> = to.iter().filter_map(|a| fields.take("destination.to", "bad-address", mail_address(a))).collect();
            Some(Destination::Mail { host: host?, port, security: security.0, username, password, from: from?, to })
        }
        DestinationInput::Webhook { url, secret: given, headers } => {
            let (kept, values) = match before {
                Some(Destination::Webhook { secret, headers, .. }) => (secret.as_ref(), Some(headers)),
                _ => (None, None),
            };
            let url = fields.take("destination.url", "bad-url", web_address(&url));
            let secret = secret(given, kept);
            fields.check(
                secret.as_ref().is_none_or(|s| s.len() <= 1_024),
                "destination.secret",
                "too-long",
                "is longer than 1024 bytes",
            );
            fields.check(headers.len() <= 50, "destination.headers", "too-many", "names more than 50 headers");
            let mut checked = BTreeMap::new();
            for (name, value) in headers {
                let old = values.and_then(|v| v.get(&name)).filter(|_| value == MASK);
                checked.extend(header(fields, &name, old.unwrap_or(&value)));
            }
            Some(Destination::Webhook { url: url?, secret, headers: checked })
        }
    }
}

fn build(api: &Api, input: ReceiverInput, before: Option<&Receiver>) -> Answer<Receiver> {
    let mut fields = Fields::default();
    let name = fields.text("name", &input.name, 200);
    fields.check(input.owners.len() <= 500, "owners", "too-many", "names more than 500 owners");
    let owners: Vec<_> = input.owners.iter().filter_map(|o| fields.text("owners", o, 200)).collect();
    let destination = destination(&mut fields, input.destination, before.map(|b| &b.destination));
    let (name, destination) = fields.finish(name.zip(destination))?;
    Ok(Receiver {
        id: before.map_or_else(|| ReceiverId(Uuid::now_v7()), |b| b.id),
        name,
        enabled: input.enabled,
        destination,
        language: input.language.map_or(Language::En, |l| l.0),
        min_severity: input.min_severity.map_or(Severity::Low, |s| s.0),
        send_closed: input.send_closed,
        owners,
        created_at: before.map_or_else(|| api.now(), |b| b.created_at),
    })
}

/// What the audit trail may know of a receiver: what the API shows of it.
fn shown(receiver: &Receiver) -> serde_json::Value {
    serde_json::to_value(ReceiverView::from(receiver.clone())).unwrap_or_default()
}

fn subject(receiver: &Receiver) -> String {
    format!("receiver:{}", receiver.id)
}

/// Adds a receiver.
#[utoipa::path(post, path = "/api/v1/receivers", tag = "alerts", operation_id = "createReceiver", request_body = ReceiverInput,
    responses((status = 201, description = "The receiver.", body = ReceiverView),
              (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
async fn create(State(api): Use, caller: Caller, Body(input): Body<ReceiverInput>) -> Answer<(StatusCode, Json<ReceiverView>)> {
    let _one_at_a_time = api.deciding().await;
    let receiver = build(&api, input, None)?;
    let all = api.store().receivers().await?;
    if all.len() >= MAX_RECEIVERS {
        return Err(Problem::conflict(format!("there are {MAX_RECEIVERS} receivers already")));
    }
    free_name(&all, &receiver)?;
    let entry = caller.audit(api.now(), "receiver.create", subject(&receiver), json!({ "receiver": shown(&receiver) }));
    api.store().insert_receiver(&receiver, &entry).await?;
    changed(&api);
    Ok((StatusCode::CREATED, Json(receiver.into())))
}

fn free_name(all: &[Receiver], receiver: &Receiver) -> Answer<()> {
    match all.iter().find(|r| r.id != receiver.id && r.name.to_lowercase() == receiver.name.to_lowercase()) {
        Some(other) => Err(Problem::conflict(format!("receiver `{}` exists already", other.name))),
        None => Ok(()),
    }
}

fn changed(api: &Api) {
    api.context().alert_now.notify_one();
    api.changed(Topic::Notifications);
}

async fn find(api: &Api, id: Uuid) -> Answer<Receiver> {
    let id = ReceiverId(id);
    api.store().receiver(id).await?.ok_or_else(|| Problem::not_found(format!("receiver {id} does not exist")))
}

/// Changes a receiver. A secret that is absent is kept, one that is null is cleared.
#[utoipa::path(put, path = "/api/v1/receivers/{id}", tag = "alerts", operation_id = "updateReceiver",
    params(("id" = Uuid, Path, description = "Receiver.")), request_body = ReceiverInput,
    responses((status = 200, description = "The receiver.", body = ReceiverView),
              (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
async fn update(
    State(api): Use,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(input): Body<ReceiverInput>,
) -> Answer<Json<ReceiverView>> {
    let _one_at_a_time = api.deciding().await;
    let before = find(&api, id).await?;
    let receiver = build(&api, input, Some(&before))?;
    free_name(&api.store().receivers().await?, &receiver)?;
    let detail = json!({ "from": shown(&before), "to": shown(&receiver) });
    let entry = caller.audit(api.now(), "receiver.update", subject(&receiver), detail);
    api.store().update_receiver(&receiver, &entry).await?;
    changed(&api);
    Ok(Json(receiver.into()))
}

/// Removes a receiver.
#[utoipa::path(delete, path = "/api/v1/receivers/{id}", tag = "alerts", operation_id = "deleteReceiver",
    params(("id" = Uuid, Path, description = "Receiver.")), responses((status = 204, description = "Removed.")))]
async fn delete(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let receiver = find(&api, id).await?;
    let entry = caller.audit(api.now(), "receiver.delete", subject(&receiver), json!({ "receiver": shown(&receiver) }));
    api.store().delete_receiver(receiver.id, &entry).await?;
    changed(&api);
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message now and says what became of it.
#[utoipa::path(post, path = "/api/v1/receivers/{id}/test", tag = "alerts", operation_id = "testReceiver",
    params(("id" = Uuid, Path, description = "Receiver.")), responses((status = 200, description = "What became of it.", body = ReceiverTestView)))]
async fn test(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<ReceiverTestView>> {
    let receiver = find(&api, id).await?;
    let message = notify::test_message(receiver.id, NotificationId(Uuid::now_v7()), api.now());
    let sent = tokio::time::timeout(TEST_TIMEOUT, notify::send(&message, &receiver, &[], None)).await;
    let view = match sent {
        Ok(Ok(receipt)) => ReceiverTestView { ok: true, receipt: Some(receipt.0), error: None, hint: None },
        Ok(Err(e)) => ReceiverTestView { ok: false, receipt: None, error: Some(e.message), hint: e.hint },
        Err(_) => ReceiverTestView {
            ok: false,
            receipt: None,
            error: Some(format!("no answer within {} seconds", TEST_TIMEOUT.as_secs())),
            hint: Some("check host, port and the firewall between".to_owned()),
        },
    };
    let mut entry = caller.audit(api.now(), "receiver.test", subject(&receiver), json!({ "name": receiver.name }));
    if let Some(error) = &view.error {
        entry.result = error.clone();
    }
    api.store().append_audit(&entry).await?;
    Ok(Json(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses_that_could_end_a_header_are_refused() {
        for (word, ok) in [
            ("security@example.com", true),
            ("a.b+c@mail.example.co.uk", true),
            ("root@localhost", true),
            ("安全@例子.中国", true),
            ("a@[192.0.2.1]", true),
            ("", false),
            ("example.com", false),
            ("@example.com", false),
            ("a@", false),
            ("a b@example.com", false),
            ("a@example.com\r\nBcc: x@y", false),
            ("Name <a@example.com>", false),
            ("a@exa mple.com", false),
        ] {
            assert_eq!(mail_address(word).is_ok(), ok, "{word:?}");
        }
    }

    #[test]
    fn only_web_addresses_without_an_account_are_taken() {
        for (word, ok) in [
            ("https://example.com/hook?x=1", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("ftp://example.com", false),
            ("example.com/hook", false),
            ("https://", false),
            ("https://user:pw@example.com", false),
            ("file:///etc/passwd", false),
            ("http://exa mple", false),
        ] {
            assert_eq!(web_address(word).is_ok(), ok, "{word}: {:?}", web_address(word));
        }
    }

    #[test]
    fn a_header_that_we_set_ourselves_is_refused() {
        for (name, value, ok) in [
            ("Authorization", "Bearer x", true),
            ("X-Team", "a", true),
            ("Host", "x", false),
            ("content-length", "1", false),
            ("X Y", "a", false),
            ("X-Y", "a\r\nb", false),
        ] {
            assert_eq!(header(&mut Fields::default(), name, value).is_some(), ok, "{name}");
        }
    }

    #[test]
    fn a_secret_that_is_absent_is_kept_and_null_clears_it() {
        let before = "old".to_owned();
        for (given, after) in [
            (None, Some("old")),
            (Some(None), None),
            (Some(Some("new".to_owned())), Some("new")),
            (Some(Some(String::new())), None),
        ] {
            assert_eq!(secret(given, Some(&before)).as_deref(), after);
        }
    }
}
