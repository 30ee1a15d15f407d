//! Signing in and out, and changing one's own password.
//!
//! A refusal says the same whatever was wrong, and takes as long. How often it may be tried is `auth_limit`'s.

use crate::api::access::{COOKIE, Caller, Peer, Who};
use crate::api::extract::Body;
use crate::api::problem::{Fields, Problem};
use crate::api::views::access::{PasswordInput, SessionView, SignInInput};
use crate::api::{Answer, Api, Use};
use crate::auth;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::audit::AuditEntry;
use model::{AuditId, Duration, Session, SessionId, Ts, User};
use serde_json::json;
use std::net::IpAddr;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// A working day and the way home; a browser left open over a weekend signs in again.
const LIFETIME: Duration = Duration::hours(24);

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(sign_in, current, sign_out), routes!(change_password)]
}

/// Signs in.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", operation_id = "signIn", request_body = SignInInput,
    responses((status = 200, description = "Signed in; the session cookie is set.", body = SessionView),
              (status = 401, description = "Name or password is wrong.", body = Problem, content_type = "application/problem+json"),
              (status = 429, description = "Too many failures.", body = Problem, content_type = "application/problem+json")))]
async fn sign_in(State(api): Use, Peer(from): Peer, headers: HeaderMap, Body(input): Body<SignInInput>) -> Answer<Response> {
    let now = api.now();
    let name = input.name.trim();
    if !api.limit().attempt(from, name, now) {
        metrics::counter!("portreeve_sign_ins_total", "result" => "limited").increment(1);
        return Err(Problem::too_many("too many attempts to sign in").hint("wait five minutes and try again"));
    }
    let user = api.store().user_by_name(name).await?;
    // Longer than any password that was ever accepted: not worth hashing, and certainly wrong.
    let fits = input.password.len() <= auth::MAX_PASSWORD;
    let password = if fits { input.password.as_str() } else { "" };
    let matches = auth::verify_password(password, user.as_ref().map(|u| u.password_hash.as_str())).await?;
    let Some(user) = user.clone().filter(|u| matches && fits && !u.disabled) else {
        metrics::counter!("portreeve_sign_ins_total", "result" => "refused").increment(1);
        // A name that does not exist may be a password typed into the wrong field: it is not written down.
        let actor = user.map_or_else(|| "anonymous".to_owned(), |u| format!("user:{}", u.name));
        let mut entry = entry(now, &actor, from, "session.create", "session");
        entry.result = "refused".to_owned();
        api.store().append_audit(&entry).await?;
        return Err(Problem {
            title: "sign-in refused",
            detail: "name or password is wrong".into(),
            hint: None,
            ..Problem::unauthenticated()
        });
    };
    api.limit().succeeded(from, name);
    let (secret, secret_hash) = auth::mint_secret("");
    let session =
        Session { id: SessionId(Uuid::now_v7()), user: user.id, secret_hash, created_at: now, expires_at: now.plus(LIFETIME) };
    let actor = format!("user:{}", user.name);
    api.store().insert_session(&session, &entry(now, &actor, from, "session.create", &actor)).await?;
    api.store().touch_user(user.id, now).await?;
    api.store().purge_sessions(now).await?;
    metrics::counter!("portreeve_sign_ins_total", "result" => "ok").increment(1);
    let cookie = cookie(&secret, LIFETIME, is_https(&headers));
    Ok(([(header::SET_COOKIE, cookie)], Json(SessionView::user(&user))).into_response())
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", operation_id = "getSession",
    responses((status = 200, description = "Who asks, and what they may do.", body = SessionView)))]
async fn current(caller: Caller) -> Json<SessionView> {
    Json(match &caller.who {
        Who::User(user, _) => SessionView::user(user),
        Who::Token(token) => SessionView::token(token),
    })
}

/// Signs out. Under a token, which has no session, nothing happens.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", operation_id = "signOut",
    responses((status = 204, description = "Signed out; the cookie is cleared.")))]
async fn sign_out(State(api): Use, caller: Caller, headers: HeaderMap) -> Answer<Response> {
    if let Who::User(user, session) = &caller.who {
        let entry = caller.audit(api.now(), "session.delete", format!("user:{}", user.name), json!({}));
        api.store().delete_session(session.id, &entry).await?;
    }
    let cookie = cookie("", Duration(0), is_https(&headers));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Changes one's own password. All other sessions of the user end.
#[utoipa::path(put, path = "/api/v1/session/password", tag = "session", operation_id = "changePassword", request_body = PasswordInput,
    responses((status = 204, description = "Changed."),
              (status = 429, description = "Too many failures.", body = Problem, content_type = "application/problem+json")))]
async fn change_password(State(api): Use, caller: Caller, Body(input): Body<PasswordInput>) -> Answer<StatusCode> {
    let Who::User(user, session) = &caller.who else {
        return Err(Problem::forbidden("a token has no password"));
    };
    let now = api.now();
    if !api.limit().attempt(caller.from, &user.name, now) {
        return Err(Problem::too_many("too many wrong passwords").hint("wait five minutes and try again"));
    }
    let mut fields = Fields::default();
    if !auth::verify_password(&input.current, Some(&user.password_hash)).await? {
        fields.add("current", "wrong-password", "is not the password of this account");
    } else {
        api.limit().succeeded(caller.from, &user.name);
    }
    if let Some(fault) = auth::password_fault(&user.name, &input.new) {
        fields.add("new", "weak-password", fault);
    } else if input.new == input.current {
        fields.add("new", "weak-password", "is the password so far");
    }
    fields.done()?;
    let changed = User { password_hash: auth::hash_password(&input.new).await?, must_change_password: false, ..user.clone() };
    let entry = caller.audit(now, "user.password", format!("user:{}", user.name), json!({}));
    api.store().update_user(&changed, &entry).await?;
    api.store().delete_sessions_of(user.id, Some(session.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn entry(at: Ts, actor: &str, from: Option<IpAddr>, action: &str, subject: &str) -> AuditEntry {
    AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at,
        actor: actor.to_owned(),
        from: from.map(|ip| ip.to_string()),
        action: action.to_owned(),
        subject: subject.to_owned(),
        result: "ok".to_owned(),
        detail: json!({}),
    }
}

fn cookie(secret: &str, lifetime: Duration, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", lifetime.0 / 1_000)
}

/// Whether the browser speaks https to the proxy in front of us. A lie only makes the liar's own cookie stricter.
fn is_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"https"))
}
