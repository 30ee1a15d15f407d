//! What handlers take out of a request: bodies, queries and path parameters, each refused with a problem document that
//! names the field.
//!
//! The grammar is checked here (syntax, unknown names, types); what the values mean is left to each handler.

use super::problem::{FieldError, Problem};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

/// Longest body of a JSON route, in bytes: 500 ids of a bulk decision need 20 kB.
pub const JSON_LIMIT: usize = 1 << 20;
/// Longest body of a CSV route, in bytes: about 200,000 rows of assets.
pub const CSV_LIMIT: usize = 16 << 20;

/// A JSON body. Unknown fields are refused by the types' `deny_unknown_fields`.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        // A form that a foreign page submits cannot carry this type without the browser asking first.
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::unsupported_media("application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|e| too_large(e, JSON_LIMIT))?;
        read_json(&bytes).map(Body)
    }
}

/// A body of CSV text in UTF-8, with or without a byte-order mark.
pub struct Csv(pub String);

impl<S: Send + Sync> FromRequest<S> for Csv {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/csv") {
            return Err(Problem::unsupported_media("text/csv"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|e| too_large(e, CSV_LIMIT))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            Problem::bad_request(format!("the file is not UTF-8: byte {} does not belong to a character", e.valid_up_to()))
                .hint("save the spreadsheet as `CSV UTF-8`")
        })?;
        Ok(Csv(text.trim_start_matches('\u{feff}').to_owned()))
    }
}

fn too_large(rejection: BytesRejection, limit: usize) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::too_large(limit)
    } else {
        Problem::bad_request(format!("the body could not be read: {rejection}"))
    }
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| {
        let (path, inner) = (e.path().to_string(), e.inner());
        if inner.is_data() {
            refused(&path, &strip_position(inner))
        } else {
            Problem::bad_request(format!("the body is not JSON: {inner}"))
        }
    })?;
    de.end().map_err(|e| Problem::bad_request(format!("the body is not JSON: {e}")))?;
    Ok(value)
}

/// serde_json adds ` at line 1 column 9`, which says nothing to who filled in a form.
fn strip_position(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// Unknown and repeated names make a request unreadable (400); a known field with a wrong value is that field's error.
fn refused(path: &str, message: &str) -> Problem {
    let word = message.split('`').nth(1).unwrap_or_default();
    let field =
        |name: &str, code: &str| FieldError { field: name.to_owned(), code: code.to_owned(), message: message.to_owned() };
    if message.starts_with("unknown field") || message.starts_with("duplicate field") {
        let mut problem = Problem::bad_request(message);
        problem.fields = vec![field(word, "unknown-field")];
        problem
    } else if message.starts_with("missing field") {
        let name = if path == "." || path == "?" { word.to_owned() } else { format!("{path}.{word}") };
        Problem::bad_fields(vec![FieldError { field: name, code: "missing".into(), message: "is missing".into() }])
    } else {
        let name = if path == "." || path == "?" { "body" } else { path };
        Problem::bad_fields(vec![field(name, "bad-value")])
    }
}

/// The query string. Unknown and repeated parameters are refused.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let de = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(de).map(Query).map_err(|e| refused(&e.path().to_string(), &e.inner().to_string()))
    }
}

/// Path parameters, each parsed from its word.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(value) = axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|e| Problem::bad_request(format!("the address has a part that is not of its kind: {}", e.body_text())))?;
        Ok(Path(value))
    }
}

/// Most items that one page holds.
pub const MAX_LIMIT: u64 = 500;

/// Offset and limit within their bounds.
pub fn page(offset: Option<u64>, limit: Option<u64>) -> Result<(u64, u64), Problem> {
    let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(50));
    let mut fields = super::problem::Fields::default();
    fields.check(
        (1..=MAX_LIMIT).contains(&limit),
        "limit",
        "out-of-range",
        format!("`{limit}` is not between 1 and {MAX_LIMIT}"),
    );
    // Rows have 63-bit numbers in both databases.
    fields.check(offset <= i64::MAX as u64, "offset", "out-of-range", format!("`{offset}` is beyond any list"));
    fields.done()?;
    Ok((offset, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        name: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        port: u16,
    }

    #[test]
    fn a_refusal_names_the_field_and_tells_syntax_from_value() {
        for (json, status, field) in [
            (r#"{"name":"#, 400, None),
            (r#"{"name":"a"} x"#, 400, None),
            (r#"{"name":"a","nmae":1}"#, 400, Some("nmae")),
            (r#"{"name":"a","name":"b"}"#, 400, Some("name")),
            (r#"{}"#, 422, Some("name")),
            (r#"{"name":3}"#, 422, Some("name")),
            (r#"{"name":"a","inner":{"port":70000}}"#, 422, Some("inner.port")),
            (r#"{"name":"a","inner":{}}"#, 422, Some("inner.port")),
            ("[]", 422, Some("name")),
            ("3", 422, Some("body")),
        ] {
            let problem = read_json::<Sample>(json.as_bytes()).unwrap_err();
            assert_eq!(problem.status, status, "{json}: {problem:?}");
            if json != "[]" {
                assert_eq!(problem.fields.first().map(|f| f.field.as_str()), field, "{json}: {problem:?}");
            }
            assert!(!problem.detail.contains(" at line ") || status == 400, "{problem:?}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page(None, None).ok(), Some((0, 50)));
        assert_eq!(page(Some(10), Some(500)).ok(), Some((10, 500)));
        for (offset, limit) in [(None, Some(0)), (None, Some(501)), (Some(u64::MAX), None)] {
            assert_eq!(page(offset, limit).unwrap_err().status, 422);
        }
    }
}
