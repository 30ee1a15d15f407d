//! Everything that goes wrong, as RFC 9457 problem documents: one type that every handler returns as its error.
//!
//! It names the offending field and word and carries a hint where the caller can act. What is worth logging is logged
//! here, once; which status a store's failure deserves is decided here as well. Panics are caught by the layers in `super`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Display;
use utoipa::ToSchema;

/// A field of the request that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field in the body, or name of the query parameter.
    #[schema(example = "range")]
    pub field: String,
    /// Stable word for programs.
    #[schema(example = "bad-range")]
    pub code: String,
    /// Sentence for people; names the offending word.
    pub message: String,
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable word for programs.
    #[schema(example = "bad-input")]
    pub code: &'static str,
    /// The kind of problem in a few words.
    pub title: &'static str,
    /// This problem in particular.
    pub detail: String,
    /// What the caller or the operator can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The fields that cannot be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub fields: Vec<FieldError>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Display) -> Self {
        Problem { status: status.as_u16(), code, title, detail: detail.to_string(), hint: None, fields: Vec::new() }
    }
    /// The same problem with advice.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
    /// No credentials, or none that hold.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "not signed in", "no valid session or token came with the request")
            .hint("sign in with POST /api/v1/session, or send `Authorization: Bearer prt_…`")
    }
    /// Known, but not allowed to.
    pub fn forbidden(detail: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "not allowed", detail)
    }
    /// A mutation under a cookie that may come from another site.
    pub fn csrf(detail: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "csrf", "request may come from another site", detail)
    }
    /// A password must be changed before anything else.
    pub fn password_change_required() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "password-change-required",
            "a new password is needed",
            "this account must set a new password before it may do anything else",
        )
        .hint("set one with PUT /api/v1/session/password")
    }
    /// There is no such thing.
    pub fn not_found(what: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "not found", what)
    }
    /// It does not fit what is there.
    pub fn conflict(detail: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "conflicts with what is there", detail)
    }
    /// The request cannot be read at all.
    pub fn bad_request(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-input", "request cannot be read", detail)
    }
    /// The request can be read, but some of its fields cannot be accepted.
    pub fn bad_fields(fields: Vec<FieldError>) -> Self {
        let detail = fields.iter().map(|f| format!("{}: {}", f.field, f.message)).collect::<Vec<_>>().join("; ");
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-input", "some fields cannot be accepted", detail);
        problem.fields = fields;
        problem
    }
    /// One field that cannot be accepted.
    pub fn bad_field(field: &str, code: &str, message: impl Display) -> Self {
        Self::bad_fields(vec![FieldError { field: field.to_owned(), code: code.to_owned(), message: message.to_string() }])
    }
    /// Too often.
    pub fn too_many(detail: impl Display) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "too many requests", detail)
    }
    /// More bytes than the route takes.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is longer than the {limit} bytes that this route takes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "request too large", detail)
    }
    /// Not the content type that the route takes.
    pub fn unsupported_media(expected: &str) -> Self {
        let detail = format!("this route takes {expected}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "content type not supported", detail)
            .hint(format!("send the header `Content-Type: {expected}`"))
    }
    /// The path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "method not allowed",
            "the path does not take this method",
        )
    }
    /// Cannot be answered now; later perhaps.
    pub fn unavailable(detail: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "cannot answer now", detail)
    }
    /// A fault of ours. The particulars go to the log, not to the caller.
    pub fn internal(cause: impl Display) -> Self {
        tracing::error!(cause = %cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error",
            "the server failed to answer; its log says why",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            // Long enough that a client which obeys does not make things worse, short enough for a person to wait.
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(if self.status == 429 { "60" } else { "5" }));
        }
        response
    }
}

/// Collects what is wrong with the fields of one request, so that the caller learns all of it at once.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Notes a field that cannot be accepted.
    pub fn add(&mut self, field: &str, code: &str, message: impl Display) {
        self.0.push(FieldError { field: field.to_owned(), code: code.to_owned(), message: message.to_string() });
    }
    /// Notes it unless the condition holds.
    pub fn check(&mut self, holds: bool, field: &str, code: &str, message: impl Display) {
        if !holds {
            self.add(field, code, message);
        }
    }
    /// The value, or a note of why there is none.
    pub fn take<T, E: Display>(&mut self, field: &str, code: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.add(field, code, e)).ok()
    }
    /// The value parsed from its word.
    pub fn parse<T>(&mut self, field: &str, code: &str, word: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        self.take(field, code, word.parse::<T>())
    }
    /// The values of a comma-separated list of words; empty when the parameter is missing.
    pub fn list<T>(&mut self, field: &str, code: &str, words: Option<&str>) -> Vec<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        let words = words.unwrap_or_default().split(',').map(str::trim).filter(|w| !w.is_empty());
        words.filter_map(|word| self.parse(field, code, word)).collect()
    }
    /// The text trimmed, if it has between one and `max` characters and no control characters.
    pub fn text(&mut self, field: &str, value: &str, max: usize) -> Option<String> {
        let text = value.trim();
        if text.is_empty() {
            self.add(field, "empty", "must not be empty");
        } else if text.chars().count() > max {
            self.add(field, "too-long", format!("has {} characters; at most {max} fit", text.chars().count()));
        } else if let Some(c) = text.chars().find(|c| c.is_control()) {
            self.add(field, "control-character", format!("holds the control character {:?}", c));
        } else {
            return Some(text.to_owned());
        }
        None
    }
    /// The same for a text that may be missing; blank counts as missing.
    pub fn optional_text(&mut self, field: &str, value: Option<&str>, max: usize) -> Option<String> {
        value.filter(|v| !v.trim().is_empty()).and_then(|v| self.text(field, v, max))
    }
    /// Whether nothing is wrong so far.
    pub fn ok(&self) -> bool {
        self.0.is_empty()
    }
    /// The notes.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.0
    }
    /// Ends the collection: a problem if there is any note.
    pub fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::bad_fields(self.0)) }
    }
    /// Ends the collection with a value that is there exactly when there is no note.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        self.done()?;
        value.ok_or_else(|| Problem::internal("a field was refused without a note"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut fields = Fields::default();
        fields.parse::<model::IpRange>("range", "bad-range", "10.0.0.0/33");
        fields.text("name", " ", 10);
        let words: Vec<model::port_state::Phase> = fields.list("phase", "bad-word", Some("open, opne,,closed"));
        assert_eq!(words.len(), 2);
        let problem = fields.done().unwrap_err();
        assert_eq!(problem.status, 422);
        assert_eq!(problem.fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["range", "name", "phase"]);
        assert!(problem.fields[0].message.contains("`10.0.0.0/33`") && problem.fields[2].message.contains("`opne`"));
    }

    #[test]
    fn text_is_trimmed_and_bounded() {
        for (given, kept) in [(" ab ", Some("ab")), ("", None), ("abcdef", None), ("a\u{7}b", None), ("支付", Some("支付"))] {
            assert_eq!(Fields::default().text("name", given, 5).as_deref(), kept, "{given:?}");
        }
    }
}
