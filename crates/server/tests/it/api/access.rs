//! Who may do what: every route × every role, sessions, passwords, tokens, and the last administrator.

use super::{As, Harness, document};
use axum::body::Body;
use axum::http::Request;
use model::{Permission, Role};
use serde_json::{Value, json};
use server::api::access::{Access, access_of};

/// The path with every parameter filled in.
fn concrete(path: &str) -> String {
    path.replace("{id}", "00000000-0000-0000-0000-000000000000")
        .replace("{ip}", "192.0.2.1")
        .replace("{proto}", "tcp")
        .replace("{port}", "22")
        .replace("{preset}", "none")
}

#[tokio::test]
async fn every_route_asks_every_role_for_exactly_its_permission() {
    let h = Harness::new().await;
    let document: Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let mut tokens = Vec::new();
    for &role in Role::ALL {
        tokens.push((role, h.token(role).await));
    }
    let mut asked = 0;
    for (method, path, _) in document::operations(&document) {
        let access = access_of(&method, &path).unwrap();
        let target = concrete(&path);
        let nobody = h.send(&As::Nobody, &method, &target, Some(json!({}))).await;
        assert_eq!(nobody.status == 401, access != Access::Public, "{method} {path} without credentials: {}", nobody.text);
        let forged =
            h.send(&As::Token("prt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()), &method, &target, Some(json!({}))).await;
        assert_eq!(forged.status == 401, access != Access::Public, "{method} {path} with a forged token");
        for (role, token) in &tokens {
            let reply = if path.ends_with("/live") && role.grants(Permission::Read) {
                continue; // It never ends; `live` looks at it.
            } else {
                h.send(token, &method, &target, Some(json!({}))).await
            };
            let allowed = match access {
                Access::Public | Access::SignedIn => true,
                Access::Needs(permission) => role.grants(permission),
            };
            assert_eq!(reply.status != 403, allowed, "{method} {path} as {role}: {}", reply.text);
            assert_ne!(reply.status, 500, "{method} {path} as {role}: {}", reply.text);
            asked += 1;
        }
    }
    assert!(asked > 390, "{asked}");
}

#[tokio::test]
async fn signing_in_shows_who_one_is_and_signing_out_ends_it() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let session = h.get(&admin, "/api/v1/session").await;
    assert_eq!(session["user"]["name"], "admin");
    assert_eq!(session["token"], Value::Null);
    assert_eq!(session["permissions"].as_array().unwrap().len(), Permission::ALL.len());
    assert_eq!(h.send(&admin, "DELETE", "/api/v1/session", None).await.status, 204);
    assert_eq!(h.send(&admin, "GET", "/api/v1/session", None).await.problem().1, "unauthenticated");
    assert_eq!(h.audited().await[..2], ["session.delete", "session.create"]);
}

#[tokio::test]
async fn a_refusal_says_the_same_whatever_was_wrong() {
    let h = Harness::new().await;
    let wrong = h.sign_in("admin", "not the password").await.unwrap_err();
    let nobody = h.sign_in("nobody", "not the password").await.unwrap_err();
    assert_eq!(wrong.text, nobody.text);
    assert_eq!((wrong.status.as_u16(), wrong.problem().1.as_str()), (401, "unauthenticated"));
    let trail = h.store().audit(&store::AuditFilter::default(), store::Paging::first(10)).await.unwrap().items;
    assert_eq!((trail[0].actor.as_str(), trail[0].result.as_str()), ("anonymous", "refused"));
    assert_eq!((trail[1].actor.as_str(), trail[1].result.as_str()), ("user:admin", "refused"));
    assert_eq!(trail[0].from.as_deref(), Some("192.0.2.200"));
    assert!(!format!("{trail:?}").contains("nobody"), "a name that does not exist may be a password");
}

#[tokio::test]
async fn guessing_is_slowed_even_with_the_right_password_at_last() {
    let h = Harness::new().await;
    for _ in 0..10 {
        assert_eq!(h.sign_in("admin", "wrong wrong").await.unwrap_err().status, 401);
    }
    let limited = h.sign_in("admin", &h.password).await.unwrap_err();
    assert_eq!(limited.problem().1, "too-many-requests");
    assert!(limited.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_change_under_a_cookie_must_come_from_the_console() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let post = |range: &str, headers: &[(&str, &str)]| {
        let mut request =
            Request::post("/api/v1/exclusions").header("content-type", "application/json").header("host", "here:8460");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(json!({"range": range, "reason": "printer"}).to_string())).unwrap()
    };
    for (headers, status) in [
        (&[][..], 403),
        (&[("x-portreeve-csrf", "0")], 403),
        (&[("x-portreeve-csrf", "1"), ("origin", "http://elsewhere")], 403),
        (&[("x-portreeve-csrf", "1"), ("sec-fetch-site", "cross-site")], 403),
        (&[("x-portreeve-csrf", "1"), ("origin", "http://here:8460")], 201),
    ] {
        let reply = h.raw(&admin, post("192.0.2.1", headers)).await;
        assert_eq!(reply.status.as_u16(), status, "{headers:?}: {}", reply.text);
        if status == 403 {
            assert_eq!(reply.problem().1, "csrf", "{headers:?}");
        }
    }
    let token = h.token(Role::Operator).await;
    assert_eq!(h.raw(&token, post("192.0.2.2", &[])).await.status, 201, "a program needs no such header");
}

#[tokio::test]
async fn a_new_user_sets_a_password_before_anything_else() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let made = h.send(&admin, "POST", "/api/v1/users", Some(json!({"name": "alice", "role": "viewer"}))).await.expect(201);
    let initial = made["initial_password"].as_str().unwrap().to_owned();
    let listed = h.get(&admin, "/api/v1/users").await;
    assert!(!listed.to_string().contains(&initial) && !listed.to_string().contains("argon2"), "{listed}");
    let alice = h.sign_in("Alice", &initial).await.unwrap();
    assert_eq!(h.send(&alice, "GET", "/api/v1/exposures", None).await.problem().1, "password-change-required");
    assert_eq!(h.get(&alice, "/api/v1/session").await["user"]["must_change_password"], true);
    let change = |current: &str, new: &str| Some(json!({ "current": current, "new": new }));
    for (current, new, field) in
        [("wrong", "long enough now", "current"), (&initial, "short", "new"), (&initial, &initial, "new")]
    {
        let reply = h.send(&alice, "PUT", "/api/v1/session/password", change(current, new)).await;
        assert_eq!(reply.problem(), (422, "bad-input".into(), vec![field.into()]));
    }
    let other = h.sign_in("alice", &initial).await.unwrap();
    let reply = h.send(&alice, "PUT", "/api/v1/session/password", change(&initial, "long enough now")).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    h.get(&alice, "/api/v1/exposures").await;
    assert_eq!(h.send(&other, "GET", "/api/v1/session", None).await.status, 401, "other sessions end with the old password");
    assert!(h.sign_in("alice", &initial).await.is_err());
}

#[tokio::test]
async fn bad_users_are_refused_at_the_field() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    for (body, status, field) in [
        (json!({"name": "", "role": "viewer"}), 422, "name"),
        (json!({"name": "a b", "role": "viewer"}), 422, "name"),
        (json!({"name": "bob", "role": "king"}), 422, "role"),
        (json!({"name": "bob", "role": "viewer", "password": "short"}), 422, "password"),
        (json!({"name": "bob"}), 422, "role"),
        (json!({"name": "bob", "role": "viewer", "admin": true}), 400, "admin"),
    ] {
        let reply = h.send(&admin, "POST", "/api/v1/users", Some(body.clone())).await;
        assert_eq!(reply.problem(), (status, "bad-input".into(), vec![field.into()]), "{body}");
    }
    let reply = h.send(&admin, "POST", "/api/v1/users", Some(json!({"name": "ADMIN", "role": "viewer"}))).await;
    assert_eq!(reply.problem().0, 409, "names are compared without case");
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let me = h.get(&admin, "/api/v1/session").await["user"]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/{me}");
    let put = |role: &str, disabled: bool| Some(json!({"name": "admin", "role": role, "disabled": disabled}));
    assert_eq!(h.send(&admin, "DELETE", &path, None).await.problem().0, 409);
    assert_eq!(h.send(&admin, "PUT", &path, put("viewer", false)).await.problem().0, 409);
    assert_eq!(h.send(&admin, "PUT", &path, put("admin", true)).await.problem().0, 409);
    let disabled = json!({"name": "second", "role": "admin", "disabled": true});
    let second = h.send(&admin, "POST", "/api/v1/users", Some(disabled)).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(h.send(&admin, "DELETE", &path, None).await.problem().0, 409, "a disabled administrator does not count");
    let enable = json!({"name": "second", "role": "admin", "disabled": false});
    h.send(&admin, "PUT", &format!("/api/v1/users/{second}"), Some(enable)).await.expect(200);
    assert_eq!(h.send(&admin, "DELETE", &path, None).await.status, 204);
    assert_eq!(h.send(&admin, "GET", "/api/v1/session", None).await.status, 401, "sessions go with the user");
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let made = h.send(&admin, "POST", "/api/v1/users", Some(json!({"name": "bob", "role": "operator"}))).await.expect(201);
    let password = made["initial_password"].as_str().unwrap();
    let bob = h.sign_in("bob", password).await.unwrap();
    let body = json!({"name": "bob", "role": "operator", "disabled": true});
    h.send(&admin, "PUT", &format!("/api/v1/users/{}", made["id"].as_str().unwrap()), Some(body)).await.expect(200);
    assert_eq!(h.send(&bob, "GET", "/api/v1/session", None).await.status, 401);
    assert_eq!(h.sign_in("bob", password).await.unwrap_err().status, 401);
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_ends_when_revoked_or_expired() {
    let h = Harness::new().await;
    let admin = h.admin().await;
    let made = h.send(&admin, "POST", "/api/v1/tokens", Some(json!({"name": "ci", "role": "viewer"}))).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("prt_") && secret.len() == 47, "{secret}");
    assert!(!h.get(&admin, "/api/v1/tokens").await.to_string().contains(&secret));
    let token = As::Token(secret.clone());
    assert_eq!(h.get(&token, "/api/v1/session").await["token"], json!({"name": "ci", "role": "viewer"}));
    assert_ne!(h.get(&admin, "/api/v1/tokens").await["items"][0]["last_used_at"], Value::Null);
    let id = made["id"].as_str().unwrap();
    assert_eq!(h.send(&admin, "DELETE", &format!("/api/v1/tokens/{id}"), None).await.status, 204);
    assert_eq!(h.send(&token, "GET", "/api/v1/session", None).await.status, 401);
    let past = json!({"name": "old", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(h.send(&admin, "POST", "/api/v1/tokens", Some(past)).await.problem().2, ["expires_at"]);
    let soon = model::Ts(h.now().0 + 300).to_string();
    let brief = json!({"name": "brief", "role": "viewer", "expires_at": soon});
    let brief = h.send(&admin, "POST", "/api/v1/tokens", Some(brief)).await.expect(201)["secret"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(h.send(&As::Token(brief), "GET", "/api/v1/session", None).await.status, 401);
    let trail = h.store().audit(&store::AuditFilter::default(), store::Paging::first(100)).await.unwrap().items;
    assert!(!format!("{trail:?}").contains(&secret), "a secret got into the audit trail");
    assert!(h.audited().await.contains(&"token.revoke".to_owned()));
}

#[tokio::test]
async fn replies_carry_the_headers_that_keep_browsers_safe() {
    let h = Harness::new().await;
    for path in ["/api/v1/session", "/healthz", "/nowhere.js", "/api/v1/nowhere"] {
        let reply = h.send(&As::Nobody, "GET", path, None).await;
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{path}");
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'") && !policy.contains("script"),
            "{policy}"
        );
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
        assert_eq!(reply.headers["referrer-policy"], "no-referrer", "{path}");
    }
}
