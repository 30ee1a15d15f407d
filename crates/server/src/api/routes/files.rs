//! The console's files, for every path that is not the API's: the page itself for its deep links, hashed files for ever.

use crate::api::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The page that all deep links of the console are.
const PAGE: &str = "index.html";

/// Answers whatever no route of the API takes.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Problem::not_found(format!("there is no `/{path}`"))
            .hint("GET /api/openapi.json lists what there is")
            .into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Problem::method_not_allowed().into_response();
    }
    let path = if path.is_empty() { PAGE } else { path };
    // A deep link such as /exposures/… has no file of its own; a missing script has, and must not come back as a page.
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let found = lookup(path).map(|asset| (path, asset));
    let found = found.or_else(|| if is_file { None } else { lookup(PAGE).map(|asset| (PAGE, asset)) });
    match found {
        Some((path, asset)) => file(path, asset.bytes, asset.content_type, &headers),
        None => Problem::not_found(format!("there is no `/{path}`")).into_response(),
    }
}

struct Found {
    bytes: Cow<'static, [u8]>,
    content_type: &'static str,
}

fn lookup(_path: &str) -> Option<Found> {
    None
}

fn file(path: &str, bytes: Cow<'static, [u8]>, content_type: &str, headers: &HeaderMap) -> Response {
    let digest: String = Sha256::digest(&bytes).iter().take(16).map(|b| format!("{b:02x}")).collect();
    let etag = format!("\"{digest}\"");
    // The build puts a hash of the content into the names under assets/, so a name never means another content.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let same =
        headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.split(',').any(|t| t.trim() == etag));
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_owned().into_response() };
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, value);
    }
    if !same && let Ok(value) = HeaderValue::from_str(content_type) {
        out.insert(header::CONTENT_TYPE, value);
    }
    response
}
