//! The HTTP side of the server: the API under `/api/v1`, its OpenAPI document, health, metrics, and the console's files.
//!
//! This file puts the parts together: state, layers, mounting, and the listener's life. Rights are decided in `access`,
//! what each route does in `routes`, what it shows in `views`. Probing, scheduling and alerting go on in the background
//! whether anybody looks or not.

pub mod access;
pub mod extract;
pub mod openapi;
pub mod problem;
pub mod routes;
pub mod views;

use crate::auth_limit::SignInLimit;
use crate::context::Context;
use crate::live::Topic;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use model::Ts;
use problem::Problem;
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// Longest time that a request may take: an import of 100,000 rows takes 4 s on PostgreSQL, a test message to a mail
/// server that does not answer 20 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that requests in progress get when the process ends.
const DRAIN: Duration = Duration::from_secs(10);
/// Live streams at a time; each holds a connection and a place in the channel (PR-12).
const MAX_STREAMS: usize = 256;

/// What every handler may use.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    context: Arc<Context>,
    limit: SignInLimit,
    streams: Arc<Semaphore>,
    /// Held while a decision depends on several rows that must not change under it: the last administrator, an import.
    decide: Mutex<()>,
    cancel: CancellationToken,
}

impl Api {
    /// The state of an API over this context, whose streams end when `cancel` does.
    pub fn new(context: Arc<Context>, cancel: CancellationToken) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Api { inner: Arc::new(Inner { context, limit: SignInLimit::default(), streams, decide: Mutex::new(()), cancel }) }
    }
    /// What the whole server shares.
    pub fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }
    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.context.store
    }
    /// The time.
    pub fn now(&self) -> Ts {
        self.inner.context.now()
    }
    /// Tells everybody who looks that something changed.
    pub fn changed(&self, topic: Topic) {
        self.inner.context.live.changed(topic);
    }
    fn limit(&self) -> &SignInLimit {
        &self.inner.limit
    }
    fn streams(&self) -> &Arc<Semaphore> {
        &self.inner.streams
    }
    fn cancel(&self) -> &CancellationToken {
        &self.inner.cancel
    }
    async fn deciding(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.decide.lock().await
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        match &e {
            StoreError::Unreachable { hint, .. } => {
                tracing::warn!(error = %e, "database is unreachable");
                Problem::unavailable("the database does not answer").hint(hint)
            }
            StoreError::Busy(_) => Problem::unavailable("the database is busy").hint("try again in a few seconds"),
            StoreError::Conflict(what) => Problem::conflict(format!("{what} exists already")),
            StoreError::NotFound(what) => Problem::not_found(format!("{what} does not exist")),
            StoreError::NotAllowed(why) => Problem::conflict(why),
            _ => Problem::internal(&e),
        }
    }
}

impl From<crate::auth::HashError> for Problem {
    fn from(e: crate::auth::HashError) -> Self {
        Problem::internal(e)
    }
}

/// The whole HTTP service over this state.
pub fn app(api: Api) -> Router {
    let (router, _) = openapi::mounted().split_for_parts();
    router
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(extract::JSON_LIMIT))
        .layer(from_fn_with_state(api.clone(), access::guard))
        .layer(from_fn(measured))
        .fallback(routes::files::serve)
        .layer(from_fn(bounded))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(hardened))
        .with_state(api)
}

/// Serves until `cancel`, then lets requests in progress finish.
pub async fn serve_http(context: Arc<Context>, listener: TcpListener, cancel: CancellationToken) -> std::io::Result<()> {
    routes::health::install_metrics();
    let app = app(Api::new(context, cancel.clone())).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = async { serving.await } => ended,
        () = overdue => {
            tracing::warn!("requests did not end in time and were dropped");
            Ok(())
        }
    }
}

/// Counts and times requests by route, not by path, so that the number of series is bounded.
async fn measured(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unknown".to_owned(), |p| p.as_str().to_owned());
    let (method, began) = (request.method().to_string(), Instant::now());
    let response = next.run(request).await;
    let labels = [("method", method), ("route", route), ("status", response.status().as_u16().to_string())];
    metrics::counter!("portreeve_http_requests_total", &labels).increment(1);
    metrics::histogram!("portreeve_http_request_seconds", &labels[..2]).record(began.elapsed().as_secs_f64());
    response
}

/// Gives up on requests that take too long.
async fn bounded(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long")
            .hint("try again; if it stays slow, look at the database")
            .into_response(),
    }
}

/// A defect of ours: the caller learns no more than that.
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    Problem::internal(format!("panic: {}", text.unwrap_or("unknown"))).into_response()
}

/// Headers that keep a browser from doing what the console never needs. Styles are inline because the console sizes
/// charts that way; scripts never are.
async fn hardened(request: Request, next: Next) -> Response {
    const FIXED: &[(&str, &str)] = &[
        ("content-security-policy", console::CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ];
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for &(name, value) in FIXED {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The state as handlers take it.
type Use = State<Api>;
/// What a handler answers.
type Answer<T> = Result<T, Problem>;
