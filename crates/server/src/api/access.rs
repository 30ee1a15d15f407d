//! Who may call what: one table from route to permission, and the layer that holds every request to it.
//!
//! A route without an entry cannot be mounted (`super::mount` refuses it) and a request without one is refused, so that
//! forgetting means locked, not open. The OpenAPI document takes its security from the same table. What a handler does
//! is left to `routes`.

use super::Api;
use super::problem::Problem;
use crate::auth;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::audit::AuditEntry;
use model::{ApiToken, AuditId, Duration, Permission, Role, Session, Ts, User};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Name of the session cookie.
pub const COOKIE: &str = "portreeve_session";
/// Header that mutations under the cookie must carry: a foreign page cannot set it without the browser asking us first.
pub const CSRF_HEADER: &str = "x-portreeve-csrf";
/// A token's last use is written down at most this often, so that reading costs no write.
const TOUCH_EVERY: Duration = Duration::minutes(1);

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// To be somebody, even one who has to change the password first.
    SignedIn,
    /// A permission.
    Needs(Permission),
}

use Access::{Needs, Public, SignedIn};
use Permission::{
    Approve, Decide, ManageAlerts, ManageAssets, ManageSettings, ManageTasks, ManageUsers, Read, ReadAudit, ReadMetrics,
};

/// Every route of the API.
pub const ROUTES: &[(&str, &str, Access)] = &[
    ("POST", "/api/v1/session", Public),
    ("GET", "/api/v1/session", SignedIn),
    ("DELETE", "/api/v1/session", SignedIn),
    ("PUT", "/api/v1/session/password", SignedIn),
    ("GET", "/api/v1/system", Needs(Read)),
    ("GET", "/api/v1/dashboard", Needs(Read)),
    ("GET", "/api/v1/exposures", Needs(Read)),
    ("GET", "/api/v1/exposures/by-address", Needs(Read)),
    ("GET", "/api/v1/exposures/export", Needs(Read)),
    ("GET", "/api/v1/exposures/{id}", Needs(Read)),
    ("PUT", "/api/v1/exposures/{id}/disposition", Needs(Decide)),
    ("POST", "/api/v1/exposures/dispositions", Needs(Decide)),
    ("GET", "/api/v1/endpoints", Needs(Read)),
    ("GET", "/api/v1/endpoints/{ip}/{proto}/{port}", Needs(Read)),
    ("PUT", "/api/v1/endpoints/{ip}/{proto}/{port}/note", Needs(Decide)),
    ("DELETE", "/api/v1/endpoints/{ip}/{proto}/{port}/note", Needs(Decide)),
    ("GET", "/api/v1/findings", Needs(Read)),
    ("GET", "/api/v1/findings/{id}", Needs(Read)),
    ("GET", "/api/v1/approvals", Needs(Read)),
    ("POST", "/api/v1/approvals", Needs(Decide)),
    ("POST", "/api/v1/approvals/{id}/grant", Needs(Approve)),
    ("POST", "/api/v1/approvals/{id}/revoke", Needs(Decide)),
    ("GET", "/api/v1/hosts", Needs(Read)),
    ("GET", "/api/v1/events", Needs(Read)),
    ("GET", "/api/v1/tasks", Needs(Read)),
    ("POST", "/api/v1/tasks", Needs(ManageTasks)),
    ("GET", "/api/v1/tasks/{id}", Needs(Read)),
    ("PUT", "/api/v1/tasks/{id}", Needs(ManageTasks)),
    ("DELETE", "/api/v1/tasks/{id}", Needs(ManageTasks)),
    ("POST", "/api/v1/tasks/{id}/run", Needs(ManageTasks)),
    ("POST", "/api/v1/tasks/{id}/pause", Needs(ManageTasks)),
    ("POST", "/api/v1/tasks/{id}/resume", Needs(ManageTasks)),
    ("POST", "/api/v1/tasks/{id}/cancel", Needs(ManageTasks)),
    ("POST", "/api/v1/tasks/presets/{preset}", Needs(ManageTasks)),
    ("POST", "/api/v1/results/import", Needs(ManageTasks)),
    ("GET", "/api/v1/runs", Needs(Read)),
    ("GET", "/api/v1/runs/{id}", Needs(Read)),
    ("POST", "/api/v1/runs/{id}/cancel", Needs(ManageTasks)),
    ("POST", "/api/v1/runs/{id}/retry", Needs(ManageTasks)),
    ("GET", "/api/v1/jobs", Needs(Read)),
    ("GET", "/api/v1/jobs/{id}", Needs(Read)),
    ("GET", "/api/v1/assets", Needs(Read)),
    ("POST", "/api/v1/assets", Needs(ManageAssets)),
    ("GET", "/api/v1/assets/{id}", Needs(Read)),
    ("PUT", "/api/v1/assets/{id}", Needs(ManageAssets)),
    ("DELETE", "/api/v1/assets/{id}", Needs(ManageAssets)),
    ("POST", "/api/v1/assets/import/preview", Needs(ManageAssets)),
    ("POST", "/api/v1/assets/import", Needs(ManageAssets)),
    ("GET", "/api/v1/assets/export", Needs(Read)),
    ("GET", "/api/v1/exclusions", Needs(Read)),
    ("POST", "/api/v1/exclusions", Needs(ManageAssets)),
    ("DELETE", "/api/v1/exclusions/{id}", Needs(ManageAssets)),
    ("GET", "/api/v1/blackouts", Needs(Read)),
    ("POST", "/api/v1/blackouts", Needs(ManageAssets)),
    ("DELETE", "/api/v1/blackouts/{id}", Needs(ManageAssets)),
    ("GET", "/api/v1/segments", Needs(Read)),
    ("GET", "/api/v1/canaries", Needs(Read)),
    ("POST", "/api/v1/canaries", Needs(ManageAssets)),
    ("DELETE", "/api/v1/canaries/{id}", Needs(ManageAssets)),
    ("GET", "/api/v1/settings", Needs(Read)),
    ("PUT", "/api/v1/settings", Needs(ManageSettings)),
    ("GET", "/api/v1/receivers", Needs(ManageAlerts)),
    ("POST", "/api/v1/receivers", Needs(ManageAlerts)),
    ("PUT", "/api/v1/receivers/{id}", Needs(ManageAlerts)),
    ("DELETE", "/api/v1/receivers/{id}", Needs(ManageAlerts)),
    ("POST", "/api/v1/receivers/{id}/test", Needs(ManageAlerts)),
    ("GET", "/api/v1/alerts", Needs(Read)),
    ("GET", "/api/v1/notifications", Needs(Read)),
    ("POST", "/api/v1/notifications/{id}/retry", Needs(ManageAlerts)),
    ("GET", "/api/v1/users", Needs(ManageUsers)),
    ("POST", "/api/v1/users", Needs(ManageUsers)),
    ("PUT", "/api/v1/users/{id}", Needs(ManageUsers)),
    ("DELETE", "/api/v1/users/{id}", Needs(ManageUsers)),
    ("GET", "/api/v1/tokens", Needs(ManageUsers)),
    ("POST", "/api/v1/tokens", Needs(ManageUsers)),
    ("DELETE", "/api/v1/tokens/{id}", Needs(ManageUsers)),
    ("GET", "/api/v1/audit", Needs(ReadAudit)),
    ("GET", "/api/v1/catalog/services", Needs(Read)),
    ("GET", "/api/v1/catalog/checks", Needs(Read)),
    ("GET", "/api/v1/live", Needs(Read)),
    ("GET", "/healthz", Public),
    ("GET", "/metrics", Needs(ReadMetrics)),
    ("GET", "/api/openapi.json", Public),
];

/// What the route asks for; `None` when the table does not know it.
pub fn access_of(method: &str, path: &str) -> Option<Access> {
    // The router answers HEAD with what GET would, so the same right is needed.
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|(m, p, _)| *m == method && *p == path).map(|&(_, _, access)| access)
}

/// By what a caller is known.
#[derive(Clone, Debug)]
pub enum Who {
    /// A person with a session.
    User(User, Session),
    /// A program with a token.
    Token(ApiToken),
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// By what they are known.
    pub who: Who,
    /// Address of the connection.
    pub from: Option<IpAddr>,
}

impl Caller {
    /// Their role.
    pub fn role(&self) -> Role {
        match &self.who {
            Who::User(user, _) => user.role,
            Who::Token(token) => token.role,
        }
    }
    /// As the audit trail names them.
    pub fn actor(&self) -> String {
        match &self.who {
            Who::User(user, _) => format!("user:{}", user.name),
            Who::Token(token) => format!("token:{}", token.name),
        }
    }
    /// The person behind it: the user, or who made the token.
    pub fn person(&self) -> String {
        match &self.who {
            Who::User(..) => self.actor(),
            Who::Token(token) => token.created_by.clone(),
        }
    }
    /// An audit entry of something they did.
    pub fn audit(&self, at: Ts, action: &str, subject: impl ToString, detail: serde_json::Value) -> AuditEntry {
        AuditEntry {
            id: AuditId(Uuid::now_v7()),
            at,
            actor: self.actor(),
            from: self.from.map(|ip| ip.to_string()),
            action: action.to_owned(),
            subject: subject.to_string(),
            result: "ok".to_owned(),
            detail,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::unauthenticated)
    }
}

/// Address of the connection, as far as the listener knows it.
pub struct Peer(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Peer(peer(&parts.extensions)))
    }
}

fn peer(extensions: &axum::http::Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(addr)| addr.ip().to_canonical())
}

/// The layer around every route of the API.
pub async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    // The body stays out of the decision: it is not read before the caller is known.
    let (mut parts, body) = request.into_parts();
    match admit(&api, &parts).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admit(api: &Api, request: &Parts) -> Result<Option<Caller>, Problem> {
    let path = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let access = access_of(request.method.as_str(), path);
    let headers = &request.headers;
    let mutates = !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let bearer = headers.contains_key(header::AUTHORIZATION);
    if mutates && !bearer {
        same_origin(headers)?;
    }
    if access == Some(Public) {
        return Ok(None);
    }
    let caller = identify(api, headers, peer(&request.extensions)).await?.ok_or_else(Problem::unauthenticated)?;
    let access = access.ok_or_else(Problem::method_not_allowed)?;
    if let Who::User(user, _) = &caller.who {
        if mutates && headers.get(CSRF_HEADER).is_none_or(|v| v != "1") {
            return Err(Problem::csrf("a change under a session must carry the header `X-Portreeve-Csrf: 1`"));
        }
        if user.must_change_password && access != SignedIn {
            return Err(Problem::password_change_required());
        }
    }
    if let Needs(permission) = access
        && !caller.role().grants(permission)
    {
        let detail = format!("the role `{}` does not include the permission `{permission}`", caller.role());
        return Err(Problem::forbidden(detail).hint("ask an administrator for a role that includes it"));
    }
    Ok(Some(caller))
}

/// Refuses what a browser says comes from another site. Requests of programs carry neither header and pass.
fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("unreadable"));
    if let Some(origin) = text("origin") {
        let authority = origin.split_once("://").map(|(_, rest)| rest);
        if authority.is_none() || authority != text("host") {
            return Err(Problem::csrf(format!("the request comes from `{origin}`, not from this console"))
                .hint("behind a proxy, pass the Host header on unchanged"));
        }
    }
    match text("sec-fetch-site") {
        Some("cross-site") => Err(Problem::csrf("the browser says that the request comes from another site")),
        _ => Ok(()),
    }
}

/// Who the credentials belong to, if they hold.
async fn identify(api: &Api, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Option<Caller>, Problem> {
    let now = api.now();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let secret =
            value.to_str().ok().and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, secret)) = secret else { return Ok(None) };
        let token = api.store().token_by_hash(&auth::secret_hash(secret.trim())).await?;
        let Some(token) = token.filter(|t| t.revoked_at.is_none() && t.expires_at.is_none_or(|end| end > now)) else {
            return Ok(None);
        };
        if token.last_used_at.is_none_or(|at| now.since(at) >= TOUCH_EVERY)
            && let Err(e) = api.store().touch_token(token.id, now).await
        {
            tracing::warn!(token = %token.name, error = %e, "last use of a token could not be written down");
        }
        return Ok(Some(Caller { who: Who::Token(token), from }));
    }
    let Some(secret) = session_cookie(headers) else { return Ok(None) };
    let Some(session) = api.store().session_by_hash(&auth::secret_hash(&secret)).await? else { return Ok(None) };
    if session.expires_at <= now {
        return Ok(None);
    }
    let user = api.store().user(session.user).await?.filter(|u| !u.disabled);
    Ok(user.map(|user| Caller { who: Who::User(user, session), from }))
}

/// The secret of the session cookie.
fn session_cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sign_in_the_health_check_and_the_document_are_public() {
        let public: Vec<_> = ROUTES.iter().filter(|r| r.2 == Public).map(|r| r.1).collect();
        assert_eq!(public, ["/api/v1/session", "/healthz", "/api/openapi.json"]);
    }

    #[test]
    fn nothing_that_changes_is_open_to_those_who_only_look() {
        for (method, path, access) in ROUTES.iter().filter(|r| r.0 != "GET") {
            match access {
                Needs(p) => assert!(!Role::Viewer.grants(*p) && !Role::Auditor.grants(*p), "{method} {path}"),
                SignedIn | Public => assert!(path.starts_with("/api/v1/session"), "{method} {path}"),
            }
        }
    }

    #[test]
    fn a_foreign_origin_is_refused_and_our_own_is_not() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|&(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap())).collect::<HeaderMap>()
        };
        for (pairs, ok) in [
            (&[("host", "a:8460")][..], true),
            (&[("host", "a:8460"), ("origin", "http://a:8460")], true),
            (&[("host", "a:8460"), ("origin", "http://b")], false),
            (&[("host", "a:8460"), ("origin", "null")], false),
            (&[("host", "a:8460"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "a:8460"), ("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(same_origin(&headers(pairs)).is_ok(), ok, "{pairs:?}");
        }
    }
}
