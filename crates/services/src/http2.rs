//! What speaks through HTTP/2: a GET of the front page, and gRPC's documented health question, on one connection.
//!
//! Whether the endpoint speaks HTTP/2 at all is proved before, by `protocol/http2`. The framing is the h2 crate's.

use crate::connection::{Stream, Visit};
use crate::http::{self, Response};
use ::http::{Method, Request, Version};
use h2::client::{Builder, SendRequest};
use std::time::Duration;
use tokio::time::timeout;

/// The name of the protocol in [`model::Service::name`].
pub(crate) const NAME: &str = "http2";

/// How much of a page is read: a title is near the top.
const PAGE: usize = 64 * 1024;

/// What the two questions brought.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The front page, taken apart like one of HTTP/1.
    pub(crate) response: Option<Response>,
    /// A gRPC server answered the health question, whatever it said.
    pub(crate) grpc: bool,
    health: Option<Response>,
}

impl Seen {
    /// The answer that proved gRPC, as evidence shows it.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.health.as_ref().map(http::shown).unwrap_or_default()
    }
}

/// Asks both questions on a fresh connection, within the wait.
pub(crate) async fn converse(visit: &mut Visit<'_>, stream: Stream, encrypted: bool, wait: Duration) -> Seen {
    let authority = http::host(visit.endpoint());
    let mut seen = Seen::default();
    let limit = wait.min(visit.time_left());
    let talk = async {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .max_header_list_size(16 * 1024)
            .initial_window_size(PAGE as u32)
            .max_concurrent_reset_streams(4);
        let Ok((send, connection)) = builder.handshake::<_, bytes::Bytes>(stream).await else { return };
        let scheme = if encrypted { "https" } else { "http" };
        let ask = async {
            let (page, health) = tokio::join!(page(send.clone(), &authority, scheme), health(send.clone(), &authority, scheme));
            seen.response = page;
            if let Some(health) = health {
                seen.grpc = health.header("content-type").is_some_and(|v| v.starts_with("application/grpc"))
                    && health.header("grpc-status").is_some_and(|v| v.parse::<u8>().is_ok());
                seen.health = Some(health);
            }
        };
        // The connection moves the frames; when it ends, nobody answers any more.
        tokio::select! { () = ask => {} , _ = connection => {} }
    };
    timeout(limit, talk).await.ok();
    seen
}

fn request(authority: &str, scheme: &str, method: Method, path: &str) -> ::http::request::Builder {
    Request::builder()
        .version(Version::HTTP_2)
        .method(method)
        .uri(format!("{scheme}://{authority}{path}"))
        .header("user-agent", http::AGENT)
}

async fn page(send: SendRequest<bytes::Bytes>, authority: &str, scheme: &str) -> Option<Response> {
    let request = request(authority, scheme, Method::GET, "/").header("accept", "*/*").body(()).ok()?;
    let (answer, _) = send.ready().await.ok()?.send_request(request, true).ok()?;
    receive(answer.await.ok()?).await
}

/// `grpc.health.v1.Health/Check` for the whole server: a documented question that reads. A server without that service
/// answers that it has no such method, which proves gRPC as well.
async fn health(send: SendRequest<bytes::Bytes>, authority: &str, scheme: &str) -> Option<Response> {
    let request = request(authority, scheme, Method::POST, "/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .ok()?;
    let (answer, mut body) = send.ready().await.ok()?.send_request(request, false).ok()?;
    // An uncompressed message of no bytes: the empty service name.
    body.send_data(bytes::Bytes::from_static(&[0, 0, 0, 0, 0]), true).ok()?;
    receive(answer.await.ok()?).await
}

/// A response with as much of its body as is wanted, its trailers behind its headers.
async fn receive(answer: ::http::Response<h2::RecvStream>) -> Option<Response> {
    let status = answer.status().as_u16();
    let mut headers = listed(answer.headers());
    let mut stream = answer.into_body();
    let mut body = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        body.extend_from_slice(&piece);
        if body.len() >= PAGE {
            body.truncate(PAGE);
            return Some(Response { status, headers, body });
        }
        stream.flow_control().release_capacity(piece.len()).ok();
    }
    if let Ok(Some(trailers)) = stream.trailers().await {
        headers.extend(listed(&trailers));
    }
    Some(Response { status, headers, body })
}

fn listed(map: &::http::HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(n, v)| (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).trim().to_owned())).collect()
}
