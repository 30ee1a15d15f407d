//! The event stream: which topics changed, so that the console asks again only for those.
//!
//! Changes are gathered to at most two events a second; a listener that fell behind is told to ask for everything.

use crate::api::access::{Caller, Who};
use crate::api::problem::Problem;
use crate::api::{Answer, Api, Use};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, unfold};
use serde_json::json;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use crate::live::LiveEvent;

/// Least time between two events of one stream.
const GATHER: Duration = Duration::from_millis(500);
/// Silence after which a comment is sent, so that proxies keep the connection; most give up after 30 to 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this and the browser opens another, whose credentials are checked again: who was signed out or
/// disabled does not listen for ever.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(live)]
}

struct Listener {
    changes: Receiver<LiveEvent>,
    cancel: tokio_util::sync::CancellationToken,
    sent: Option<Instant>,
    ends: Instant,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

/// Tells what changes, as it changes (server-sent events).
#[utoipa::path(get, path = "/api/v1/live", tag = "system", operation_id = "live",
    responses((status = 200, description = "`event: change` with `{\"topics\":[…],\"at\":…}`, at most two a second; `event: resync` when events were missed; a comment every 15 seconds.", body = String, content_type = "text/event-stream"),
              (status = 429, description = "Too many listeners.", body = Problem, content_type = "application/problem+json")))]
async fn live(State(api): Use, caller: Caller) -> Answer<Response> {
    let place = api.streams().clone().try_acquire_owned();
    let place =
        place.map_err(|_| Problem::too_many("too many live streams are open").hint("close other windows of the console"))?;
    let lifetime = match &caller.who {
        Who::User(_, session) => LIFETIME.min(session.expires_at.since(api.now()).to_std()),
        Who::Token(_) => LIFETIME,
    };
    let listener = Listener {
        changes: api.context().live.subscribe(),
        cancel: api.cancel().clone(),
        sent: None,
        ends: Instant::now() + lifetime,
        greeted: false,
        _place: place,
    };
    let stream = Sse::new(events(listener)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // nginx would otherwise hold events back until its buffer is full.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no"), (header::CACHE_CONTROL, "no-store")], stream).into_response())
}

fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(listener, |mut l| async move {
        let event = tokio::select! {
            () = l.cancel.cancelled() => None,
            () = tokio::time::sleep_until(l.ends) => None,
            event = next(&mut l.changes, l.sent, l.greeted) => event,
        }?;
        (l.sent, l.greeted) = (Some(Instant::now()), true);
        Some((Ok(event), l))
    })
}

/// The next event: a greeting first, so that the listener knows that it listens; then what changed since the last one.
async fn next(changes: &mut Receiver<LiveEvent>, sent: Option<Instant>, greeted: bool) -> Option<Event> {
    if !greeted {
        return Some(Event::default().comment("listening"));
    }
    let resync = || Some(Event::default().event("resync").data("{}"));
    let first = match changes.recv().await {
        Ok(change) => change,
        Err(RecvError::Lagged(_)) => return resync(),
        Err(RecvError::Closed) => return None,
    };
    if let Some(sent) = sent {
        tokio::time::sleep_until(sent + GATHER).await;
    }
    let (mut topics, mut at) = (BTreeSet::from([first.topic]), first.at);
    loop {
        match changes.try_recv() {
            Ok(change) => {
                topics.insert(change.topic);
                at = at.max(change.at);
            }
            Err(TryRecvError::Lagged(_)) => return resync(),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    let topics: Vec<_> = topics.into_iter().map(crate::live::Topic::as_str).collect();
    Some(Event::default().event("change").data(json!({ "topics": topics, "at": at }).to_string()))
}
