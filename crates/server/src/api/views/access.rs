//! Sessions, users and tokens as the API shows and takes them. A secret is shown once, in the reply that made it.

use super::words::{Instant, Permission, Role};
use model::{ApiToken, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInInput {
    /// Name, compared without case.
    pub name: String,
    /// Password.
    #[schema(write_only)]
    pub password: String,
}

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordInput {
    /// The password so far.
    #[schema(write_only)]
    pub current: String,
    /// The new one, at least 10 characters.
    #[schema(write_only)]
    pub new: String,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionUserView {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Whether a new password is needed first.
    pub must_change_password: bool,
}

/// Which token speaks.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionTokenView {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
}

/// Who asks, and what they may do.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// The user, under a session.
    pub user: Option<SessionUserView>,
    /// The token, under a token.
    pub token: Option<SessionTokenView>,
    /// What the role grants.
    pub permissions: Vec<Permission>,
    /// Version of portreeve.
    pub version: String,
}

impl SessionView {
    /// Of a signed-in user.
    pub fn user(user: &User) -> Self {
        let view = SessionUserView {
            id: user.id.0,
            name: user.name.clone(),
            role: user.role.into(),
            must_change_password: user.must_change_password,
        };
        SessionView { user: Some(view), token: None, permissions: granted(user.role), version: crate::VERSION.to_owned() }
    }
    /// Of a token.
    pub fn token(token: &ApiToken) -> Self {
        let view = SessionTokenView { name: token.name.clone(), role: token.role.into() };
        SessionView { user: None, token: Some(view), permissions: granted(token.role), version: crate::VERSION.to_owned() }
    }
}

fn granted(role: model::Role) -> Vec<Permission> {
    model::Permission::ALL.iter().filter(|&&p| role.grants(p)).map(|&p| p.into()).collect()
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// May not sign in.
    pub disabled: bool,
    /// Must set a new password first.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: Instant,
    /// Last sign-in.
    pub last_seen_at: Option<Instant>,
    /// The generated password; only in the reply that made the user, and only when none was given.
    pub initial_password: Option<String>,
}

impl UserView {
    /// The view, with the generated password in the reply that made the user.
    pub fn new(u: User, initial_password: Option<String>) -> Self {
        UserView {
            id: u.id.0,
            name: u.name,
            role: u.role.into(),
            disabled: u.disabled,
            must_change_password: u.must_change_password,
            created_at: u.created_at.into(),
            last_seen_at: u.last_seen_at.map(Into::into),
            initial_password,
        }
    }
}

/// A user to make or to change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserInput {
    /// Name, unique without case: letters, digits and `._-@`.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Password, at least 10 characters. Absent: generated for a new user, kept for an existing one.
    #[schema(write_only)]
    pub password: Option<String>,
    /// May not sign in; absent is no for a new user, as it is for an existing one.
    pub disabled: Option<bool>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Role.
    pub role: Role,
    /// When it was made.
    pub created_at: Instant,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Option<Instant>,
    /// Last use, to the minute.
    pub last_used_at: Option<Instant>,
    /// When it was revoked.
    pub revoked_at: Option<Instant>,
    /// The secret; only in the reply that made the token.
    pub secret: Option<String>,
}

impl TokenView {
    /// The view, with the secret in the reply that made the token.
    pub fn new(t: ApiToken, secret: Option<String>) -> Self {
        TokenView {
            id: t.id.0,
            name: t.name,
            role: t.role.into(),
            created_at: t.created_at.into(),
            created_by: t.created_by,
            expires_at: t.expires_at.map(Into::into),
            last_used_at: t.last_used_at.map(Into::into),
            revoked_at: t.revoked_at.map(Into::into),
            secret,
        }
    }
}

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenInput {
    /// What it is for.
    pub name: String,
    /// Role.
    pub role: Role,
    /// When it ends; never when absent.
    pub expires_at: Option<Instant>,
}
