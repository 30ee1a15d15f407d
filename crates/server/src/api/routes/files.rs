//! The console's files, for every path that is not the API's: the page itself for its deep links, hashed files for ever.
//!
//! Which file belongs to a path is decided by `console`; here it is only served.

use crate::api::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// Answers whatever no route of the API takes.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if path == "/api" || path.starts_with("/api/") {
        return Problem::not_found(format!("there is no `{path}`"))
            .hint("GET /api/openapi.json lists what there is")
            .into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Problem::method_not_allowed().into_response();
    }
    match console::asset(path) {
        Some(asset) => file(asset, &headers),
        None => Problem::not_found(format!("there is no `{path}`")).into_response(),
    }
}

fn file(asset: console::Asset, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let same = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag));
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { asset.bytes.into_owned().into_response() };
    let out = response.headers_mut();
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(value) = HeaderValue::from_str(&asset.etag) {
        out.insert(header::ETAG, value);
    }
    if same {
        out.remove(header::CONTENT_TYPE);
    } else {
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.mime));
    }
    response
}
