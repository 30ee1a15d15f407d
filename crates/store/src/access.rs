//! Users, their sessions, and tokens for programs. Secrets are only ever kept as hashes; checking them is `server`'s.

use crate::audit::append;
use crate::sql::*;
use crate::{Result, Store};
use model::audit::AuditEntry;
use model::{ApiToken, Session, SessionId, TokenId, Ts, User, UserId};
use sea_orm::{QueryResult, Value};

const USER: &str = "id, name, role, password_hash, disabled, must_change_password, created_at, last_seen_at";
const SESSION: &str = "id, user_id, secret_hash, created_at, expires_at";
const TOKEN: &str = "id, name, role, secret_hash, created_at, created_by, expires_at, last_used_at, revoked_at";

/// Names are compared without case, of any script.
fn key(name: &str) -> Value {
    text(&name.to_lowercase())
}

fn user_values(u: &User) -> Vec<Value> {
    vec![
        u.id.value(),
        text(&u.name),
        u.role.value(),
        text(&u.password_hash),
        u.disabled.value(),
        u.must_change_password.value(),
        u.created_at.value(),
        value(&u.last_seen_at),
        key(&u.name),
    ]
}

fn user_from(row: &QueryResult) -> Result<User> {
    Ok(User {
        id: get(row, "id")?,
        name: get(row, "name")?,
        role: get(row, "role")?,
        password_hash: get(row, "password_hash")?,
        disabled: get(row, "disabled")?,
        must_change_password: get(row, "must_change_password")?,
        created_at: get(row, "created_at")?,
        last_seen_at: opt(row, "last_seen_at")?,
    })
}

fn session_from(row: &QueryResult) -> Result<Session> {
    Ok(Session {
        id: get(row, "id")?,
        user: get(row, "user_id")?,
        secret_hash: get(row, "secret_hash")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
    })
}

fn token_from(row: &QueryResult) -> Result<ApiToken> {
    Ok(ApiToken {
        id: get(row, "id")?,
        name: get(row, "name")?,
        role: get(row, "role")?,
        secret_hash: get(row, "secret_hash")?,
        created_at: get(row, "created_at")?,
        created_by: get(row, "created_by")?,
        expires_at: opt(row, "expires_at")?,
        last_used_at: opt(row, "last_used_at")?,
        revoked_at: opt(row, "revoked_at")?,
    })
}

impl Store {
    /// Every user, by name.
    pub async fn users(&self) -> Result<Vec<User>> {
        all(self.read(), &format!("SELECT {USER} FROM users ORDER BY name_key"), vec![]).await?.iter().map(user_from).collect()
    }

    /// One user.
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        let row = one(self.read(), &format!("SELECT {USER} FROM users WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(user_from).transpose()
    }

    /// One user by name, compared without case.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        let row = one(self.read(), &format!("SELECT {USER} FROM users WHERE name_key = $1"), vec![key(name)]).await?;
        row.as_ref().map(user_from).transpose()
    }

    /// [`crate::StoreError::Conflict`] when somebody has the name.
    pub async fn insert_user(&self, user: &User, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        let inserted = insert(&tx, &format!("INSERT INTO users ({USER}, name_key)"), vec![user_values(user)], "").await;
        naming(inserted, || format!("user `{}`", user.name))?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Replaces all but the time of the last sign-in.
    pub async fn update_user(&self, user: &User, audit: &AuditEntry) -> Result<()> {
        let u = user;
        let sql = "UPDATE users SET name = $2, role = $3, password_hash = $4, disabled = $5, must_change_password = $6, name_key = $7 \
                   WHERE id = $1";
        let mut values = user_values(u);
        values.truncate(6);
        values.push(key(&u.name));
        let tx = self.begin().await?;
        let updated = run_one(&tx, sql, values, || format!("user {}", u.id)).await;
        naming(updated, || format!("user `{}`", u.name))?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Notes a sign-in.
    pub async fn touch_user(&self, id: UserId, last_seen_at: Ts) -> Result<()> {
        let sql = "UPDATE users SET last_seen_at = $2 WHERE id = $1";
        run(self.write().await?, sql, vec![id.value(), last_seen_at.value()]).await.map(drop)
    }

    /// Removes the user with its sessions.
    pub async fn delete_user(&self, id: UserId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("users", "user", id.value(), audit).await
    }

    /// Somebody signed in.
    pub async fn insert_session(&self, session: &Session, audit: &AuditEntry) -> Result<()> {
        let s = session;
        let row = vec![s.id.value(), s.user.value(), s.secret_hash.value(), s.created_at.value(), s.expires_at.value()];
        let tx = self.begin().await?;
        insert(&tx, &format!("INSERT INTO sessions ({SESSION})"), vec![row], "").await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// The session with the secret, whether it has ended or not: the caller compares `expires_at`.
    pub async fn session_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<Session>> {
        let row = one(self.read(), &format!("SELECT {SESSION} FROM sessions WHERE secret_hash = $1"), vec![secret_hash.value()])
            .await?;
        row.as_ref().map(session_from).transpose()
    }

    /// Somebody signed out.
    pub async fn delete_session(&self, id: SessionId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("sessions", "session", id.value(), audit).await
    }

    /// Ends all sessions of a user but the one to keep. Number of sessions.
    pub async fn delete_sessions_of(&self, user: UserId, keep: Option<SessionId>) -> Result<u64> {
        let mut sql = Sql::new("DELETE FROM sessions WHERE user_id = ");
        sql.bind(user.value()).and("id <>", &keep);
        sql.run(self.write().await?).await
    }

    /// Removes sessions that have ended. Number of sessions.
    pub async fn purge_sessions(&self, now: Ts) -> Result<u64> {
        run(self.write().await?, "DELETE FROM sessions WHERE expires_at <= $1", vec![now.value()]).await
    }

    /// Every token, newest first, revoked ones too.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        let sql = format!("SELECT {TOKEN} FROM tokens ORDER BY created_at DESC, id DESC");
        all(self.read(), &sql, vec![]).await?.iter().map(token_from).collect()
    }

    /// One token.
    pub async fn token(&self, id: TokenId) -> Result<Option<ApiToken>> {
        let row = one(self.read(), &format!("SELECT {TOKEN} FROM tokens WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(token_from).transpose()
    }

    /// Adds one.
    pub async fn insert_token(&self, token: &ApiToken, audit: &AuditEntry) -> Result<()> {
        let t = token;
        let row = vec![
            t.id.value(),
            text(&t.name),
            t.role.value(),
            t.secret_hash.value(),
            t.created_at.value(),
            text(&t.created_by),
            value(&t.expires_at),
            value(&t.last_used_at),
            value(&t.revoked_at),
        ];
        let tx = self.begin().await?;
        insert(&tx, &format!("INSERT INTO tokens ({TOKEN})"), vec![row], "").await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// The token with the secret, whether it still holds or not: the caller compares `expires_at` and `revoked_at`.
    pub async fn token_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiToken>> {
        let row =
            one(self.read(), &format!("SELECT {TOKEN} FROM tokens WHERE secret_hash = $1"), vec![secret_hash.value()]).await?;
        row.as_ref().map(token_from).transpose()
    }

    /// Notes its use.
    pub async fn touch_token(&self, id: TokenId, last_used_at: Ts) -> Result<()> {
        let sql = "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
        run(self.write().await?, sql, vec![id.value(), last_used_at.value()]).await.map(drop)
    }

    /// It holds no more. The first revocation counts.
    pub async fn revoke_token(&self, id: TokenId, now: Ts, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        let sql = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
        run_one(&tx, sql, vec![id.value(), now.value()], || format!("token {id}")).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }
}
