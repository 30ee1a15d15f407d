//! Users and tokens: who may sign in, and which programs may call.
//!
//! There is always an administrator who can sign in: the last one is neither removed, nor demoted, nor disabled.

use crate::api::access::{Caller, Who};
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::access::{TokenInput, TokenView, UserInput, UserView};
use crate::api::{Answer, Api, Use};
use crate::auth;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{ApiToken, Role, TokenId, User, UserId};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(users, create_user), routes!(update_user, delete_user), routes!(tokens, create_token), routes!(revoke_token)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists users.
#[utoipa::path(get, path = "/api/v1/users", tag = "access", operation_id = "listUsers", params(PageQuery),
    responses((status = 200, description = "A page of users.", body = Page<UserView>)))]
async fn users(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<UserView>>> {
    let slice = page(q.offset, q.limit)?;
    let all = api.store().users().await?;
    Ok(Json(Page::slice(all.into_iter().map(|u| UserView::new(u, None)).collect(), slice)))
}

fn user_name(fields: &mut Fields, name: &str) -> Option<String> {
    let name = fields.text("name", name, 64)?;
    match name.chars().find(|c| !c.is_alphanumeric() && !"._-@".contains(*c)) {
        Some(c) => {
            fields.add("name", "bad-name", format!("`{name}` holds `{c}`; letters, digits and `._-@` may be used"));
            None
        }
        None => Some(name),
    }
}

fn check_password(fields: &mut Fields, name: &str, password: Option<&str>) {
    if let Some(fault) = password.and_then(|p| auth::password_fault(name, p)) {
        fields.add("password", "weak-password", fault);
    }
}

/// Adds a user. Without a password one is generated and returned once; either way the user sets a new one at the first sign-in.
#[utoipa::path(post, path = "/api/v1/users", tag = "access", operation_id = "createUser", request_body = UserInput,
    responses((status = 201, description = "The user.", body = UserView),
              (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
async fn create_user(State(api): Use, caller: Caller, Body(input): Body<UserInput>) -> Answer<(StatusCode, Json<UserView>)> {
    let _one_at_a_time = api.deciding().await;
    let mut fields = Fields::default();
    let name = user_name(&mut fields, &input.name);
    check_password(&mut fields, input.name.trim(), input.password.as_deref());
    let name = fields.finish(name)?;
    if let Some(other) = api.store().user_by_name(&name).await? {
        return Err(Problem::conflict(format!("user `{}` exists already", other.name)));
    }
    let generated = input.password.is_none().then(auth::random_password);
    let password = generated.as_deref().or(input.password.as_deref()).unwrap_or_default();
    let now = api.now();
    let user = User {
        id: UserId(Uuid::now_v7()),
        name,
        role: input.role.0,
        password_hash: auth::hash_password(password).await?,
        disabled: input.disabled.unwrap_or(false),
        // Somebody else knows it.
        must_change_password: true,
        created_at: now,
        last_seen_at: None,
    };
    let entry = caller.audit(now, "user.create", subject(&user), json!({ "role": user.role, "disabled": user.disabled }));
    api.store().insert_user(&user, &entry).await?;
    Ok((StatusCode::CREATED, Json(UserView::new(user, generated))))
}

fn subject(user: &User) -> String {
    format!("user:{}", user.name)
}

/// Refuses what would leave nobody who can manage users.
async fn keep_an_admin(api: &Api, without: UserId) -> Answer<()> {
    let others = api.store().users().await?.into_iter().any(|u| u.id != without && u.role == Role::Admin && !u.disabled);
    if others {
        return Ok(());
    }
    Err(Problem::conflict("this is the last administrator who can sign in").hint("make another user an administrator first"))
}

async fn find(api: &Api, id: Uuid) -> Answer<User> {
    let id = UserId(id);
    api.store().user(id).await?.ok_or_else(|| Problem::not_found(format!("user {id} does not exist")))
}

/// Changes a user. A new role, a new password or being disabled ends their sessions.
#[utoipa::path(put, path = "/api/v1/users/{id}", tag = "access", operation_id = "updateUser", params(("id" = Uuid, Path, description = "User.")),
    request_body = UserInput,
    responses((status = 200, description = "The user.", body = UserView),
              (status = 409, description = "The name is taken, or it is the last administrator.", body = Problem, content_type = "application/problem+json")))]
async fn update_user(
    State(api): Use,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(input): Body<UserInput>,
) -> Answer<Json<UserView>> {
    let _one_at_a_time = api.deciding().await;
    let before = find(&api, id).await?;
    let mut fields = Fields::default();
    let name = user_name(&mut fields, &input.name);
    check_password(&mut fields, input.name.trim(), input.password.as_deref());
    let name = fields.finish(name)?;
    if let Some(other) = api.store().user_by_name(&name).await?.filter(|u| u.id != before.id) {
        return Err(Problem::conflict(format!("user `{}` exists already", other.name)));
    }
    let (role, disabled) = (input.role.0, input.disabled.unwrap_or(before.disabled));
    let was_admin = before.role == Role::Admin && !before.disabled;
    if was_admin && (role != Role::Admin || disabled) {
        keep_an_admin(&api, before.id).await?;
    }
    let mut user = User { name, role, disabled, ..before.clone() };
    let own_session = match &caller.who {
        Who::User(me, session) if me.id == before.id => Some(session.id),
        _ => None,
    };
    if let Some(password) = &input.password {
        user.password_hash = auth::hash_password(password).await?;
        // A password that somebody else set is known to somebody else.
        user.must_change_password = own_session.is_none();
    }
    let detail = json!({
        "from": { "name": before.name, "role": before.role, "disabled": before.disabled },
        "to": { "name": user.name, "role": user.role, "disabled": user.disabled },
        "password": input.password.is_some(),
    });
    let entry = caller.audit(api.now(), "user.update", subject(&user), detail);
    api.store().update_user(&user, &entry).await?;
    if user.role != before.role || user.disabled || input.password.is_some() {
        api.store().delete_sessions_of(user.id, own_session.filter(|_| !user.disabled)).await?;
    }
    Ok(Json(UserView::new(user, None)))
}

/// Removes a user with their sessions.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "access", operation_id = "deleteUser", params(("id" = Uuid, Path, description = "User.")),
    responses((status = 204, description = "Removed."),
              (status = 409, description = "It is the last administrator.", body = Problem, content_type = "application/problem+json")))]
async fn delete_user(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let _one_at_a_time = api.deciding().await;
    let user = find(&api, id).await?;
    if user.role == Role::Admin && !user.disabled {
        keep_an_admin(&api, user.id).await?;
    }
    let entry = caller.audit(api.now(), "user.delete", subject(&user), json!({ "role": user.role }));
    api.store().delete_user(user.id, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists tokens, revoked ones too.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "access", operation_id = "listTokens", params(PageQuery),
    responses((status = 200, description = "A page of tokens.", body = Page<TokenView>)))]
async fn tokens(State(api): Use, Query(q): Query<PageQuery>) -> Answer<Json<Page<TokenView>>> {
    let slice = page(q.offset, q.limit)?;
    let all = api.store().tokens().await?;
    Ok(Json(Page::slice(all.into_iter().map(|t| TokenView::new(t, None)).collect(), slice)))
}

/// Makes a token; its secret is in this reply and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", operation_id = "createToken", request_body = TokenInput,
    responses((status = 201, description = "The token with its secret.", body = TokenView),
              (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
async fn create_token(State(api): Use, caller: Caller, Body(input): Body<TokenInput>) -> Answer<(StatusCode, Json<TokenView>)> {
    let now = api.now();
    let mut fields = Fields::default();
    let name = fields.text("name", &input.name, 100);
    let expires_at = input.expires_at.map(|t| t.0);
    if let Some(end) = expires_at {
        fields.check(end > now, "expires_at", "in-the-past", format!("`{end}` is in the past"));
    }
    let name = fields.finish(name)?;
    let (secret, secret_hash) = auth::mint_secret(auth::TOKEN_PREFIX);
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name,
        role: input.role.0,
        secret_hash,
        created_at: now,
        created_by: caller.actor(),
        expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    let detail = json!({ "role": token.role, "expires_at": token.expires_at });
    let entry = caller.audit(now, "token.create", format!("token:{}", token.name), detail);
    api.store().insert_token(&token, &entry).await?;
    Ok((StatusCode::CREATED, Json(TokenView::new(token, Some(secret)))))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "access", operation_id = "revokeToken", params(("id" = Uuid, Path, description = "Token.")),
    responses((status = 204, description = "Revoked.")))]
async fn revoke_token(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<StatusCode> {
    let id = TokenId(id);
    let token = api.store().token(id).await?.ok_or_else(|| Problem::not_found(format!("token {id} does not exist")))?;
    if token.revoked_at.is_none() {
        let now = api.now();
        let entry = caller.audit(now, "token.revoke", format!("token:{}", token.name), json!({ "role": token.role }));
        api.store().revoke_token(id, now, &entry).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
