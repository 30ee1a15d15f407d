//! Users, sessions, tokens.
use crate::{Result, Store};
use model::audit::AuditEntry;
use model::{ApiToken, Session, SessionId, TokenId, Ts, User, UserId};

impl Store {
    pub async fn users(&self) -> Result<Vec<User>> {
        unimplemented!()
    }
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        unimplemented!()
    }
    /// Compared without case.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        unimplemented!()
    }
    pub async fn insert_user(&self, user: &User, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn update_user(&self, user: &User, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn touch_user(&self, id: UserId, last_seen_at: Ts) -> Result<()> {
        unimplemented!()
    }
    /// Sessions go with it.
    pub async fn delete_user(&self, id: UserId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn insert_session(&self, session: &Session, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// Whatever its end; the caller compares `expires_at`.
    pub async fn session_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<Session>> {
        unimplemented!()
    }
    pub async fn delete_session(&self, id: SessionId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// All of a user's, but the one to keep. Number of sessions.
    pub async fn delete_sessions_of(&self, user: UserId, keep: Option<SessionId>) -> Result<u64> {
        unimplemented!()
    }
    pub async fn purge_sessions(&self, now: Ts) -> Result<u64> {
        unimplemented!()
    }
    pub async fn tokens(&self) -> Result<Vec<ApiToken>> {
        unimplemented!()
    }
    pub async fn token(&self, id: TokenId) -> Result<Option<ApiToken>> {
        unimplemented!()
    }
    pub async fn insert_token(&self, token: &ApiToken, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn token_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiToken>> {
        unimplemented!()
    }
    pub async fn touch_token(&self, id: TokenId, last_used_at: Ts) -> Result<()> {
        unimplemented!()
    }
    pub async fn revoke_token(&self, id: TokenId, now: Ts, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
}
