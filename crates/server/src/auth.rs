//! Secrets: hashing passwords, minting and recognising session cookies and tokens, and making the first administrator.
//!
//! Who may call which route is decided in `api::access`; how often a sign-in may be tried, in `auth_limit`. The store sees
//! hashes only, and nothing here is ever logged.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::audit::AuditEntry;
use model::{ApiToken, AuditId, Role, TokenId, Ts, User, UserId};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;
use store::Store;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Least length of a password that a person chooses, in characters.
pub const MIN_PASSWORD: usize = 10;
/// Most, in bytes: longer ones only cost hashing time.
pub const MAX_PASSWORD: usize = 1_024;
/// Every API token begins with this, so that secret scanners recognise one that got into a repository.
pub const TOKEN_PREFIX: &str = "prt_";

/// Hashings at a time. Each takes 19 MiB and about 20 ms: a flood of sign-ins must not take the memory of the scanner.
static HASHING: Semaphore = Semaphore::const_new(4);

/// Hashing failed; only lack of memory or a broken random source does that.
#[derive(Debug, thiserror::Error)]
#[error("password could not be hashed: {0}")]
pub struct HashError(String);

/// Argon2id hash of the password in PHC form, with the parameters that OWASP recommends (19 MiB, 2 passes).
pub async fn hash_password(password: &str) -> Result<String, HashError> {
    let password = password.to_owned();
    hashing(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string()).map_err(|e| HashError(e.to_string()))
    })
    .await?
}

/// Whether the password belongs to the hash. Without a hash the same work is done for nothing, so that an answer takes
/// as long for a name that does not exist.
pub async fn verify_password(password: &str, hash: Option<&str>) -> Result<bool, HashError> {
    let (password, hash) = (password.to_owned(), hash.map(str::to_owned));
    hashing(move || {
        static NOBODY: OnceLock<String> = OnceLock::new();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| {
            let make =
                || Argon2::default().hash_password(random_password().as_bytes()).map(|h| h.to_string()).unwrap_or_default();
            NOBODY.get_or_init(make).clone()
        });
        let matches = PasswordHash::new(&hash).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok());
        known && matches
    })
    .await
}

async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
    let _slot = HASHING.acquire().await.map_err(|e| HashError(e.to_string()))?;
    tokio::task::spawn_blocking(work).await.map_err(|e| HashError(e.to_string()))
}

/// What is wrong with a password that a person chose; `None` when nothing is.
pub fn password_fault(name: &str, password: &str) -> Option<String> {
    let length = password.chars().count();
    if length < MIN_PASSWORD {
        Some(format!("has {length} characters; at least {MIN_PASSWORD} are needed"))
    } else if password.len() > MAX_PASSWORD {
        Some(format!("is longer than {MAX_PASSWORD} bytes"))
    } else if password.to_lowercase() == name.to_lowercase() {
        Some("is the name".to_owned())
    } else {
        None
    }
}

/// A password of 20 characters (100 bits and more) without those that are mistaken for one another in print.
pub fn random_password() -> String {
    const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut rng = rand::rng();
    (0..20).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// A fresh secret of 32 random bytes, base64url, and the hash that is kept of it.
pub fn mint_secret(prefix: &str) -> (String, [u8; 32]) {
    let bytes: [u8; 32] = rand::rng().random();
    let secret = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = secret_hash(&secret);
    (secret, hash)
}

/// What is kept of a secret. 256 random bits need no salt and no slow hash, and looking a hash up tells nothing about
/// how much of a guess was right.
pub fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// An audit entry of the system itself or of the command line.
pub fn audit(at: Ts, actor: &str, action: &str, subject: String, detail: serde_json::Value) -> AuditEntry {
    AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at,
        actor: actor.to_owned(),
        from: None,
        action: action.to_owned(),
        subject,
        result: "ok".to_owned(),
        detail,
    }
}

fn now() -> Ts {
    Ts(jiff::Timestamp::now().as_millisecond())
}

/// The administrator that the first start made.
#[derive(Debug)]
pub struct InitialAdmin {
    /// Name to sign in with.
    pub name: String,
    /// Generated password, shown once.
    pub password: String,
}

/// Why an account or a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database did not take it.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The name cannot be used.
    #[error("`{0}` cannot be the name of a token: 1 to 100 characters, no control characters")]
    BadName(String),
    /// There is no such user.
    #[error("there is no user `{0}`\nhint: the names are under Users in the console")]
    NoSuchUser(String),
}

/// Makes the administrator `admin` with a random password if there are no users yet.
pub async fn ensure_admin(store: &Store) -> Result<Option<InitialAdmin>, AccountError> {
    if !store.users().await?.is_empty() {
        return Ok(None);
    }
    let (name, password, at) = ("admin".to_owned(), random_password(), now());
    let user = User {
        id: UserId(Uuid::now_v7()),
        name: name.clone(),
        role: Role::Admin,
        password_hash: hash_password(&password).await?,
        disabled: false,
        // The password is strong and nobody but the operator saw it; a forced change would only make a weaker one likely.
        must_change_password: false,
        created_at: at,
        last_seen_at: None,
    };
    let entry = audit(at, "system", "user.create", format!("user:{name}"), serde_json::json!({ "role": "admin" }));
    store.insert_user(&user, &entry).await?;
    Ok(Some(InitialAdmin { name, password }))
}

/// Gives a user a random password that has to be changed at the next sign-in, ends the user's sessions, and returns it.
pub async fn reset_password(store: &Store, name: &str, actor: &str) -> Result<String, AccountError> {
    let Some(mut user) = store.user_by_name(name).await? else { return Err(AccountError::NoSuchUser(name.to_owned())) };
    let password = random_password();
    user.password_hash = hash_password(&password).await?;
    user.must_change_password = true;
    user.disabled = false;
    let entry = audit(now(), actor, "user.reset-password", format!("user:{}", user.name), serde_json::json!({}));
    store.update_user(&user, &entry).await?;
    store.delete_sessions_of(user.id, None).await?;
    Ok(password)
}

/// Makes a token and returns its secret, which is not kept. `actor` is who asked: `system`, or an operator at the shell.
pub async fn create_token(store: &Store, name: &str, role: Role, actor: &str) -> Result<String, AccountError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(AccountError::BadName(name.to_owned()));
    }
    let at = now();
    let (secret, secret_hash) = mint_secret(TOKEN_PREFIX);
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: name.to_owned(),
        role,
        secret_hash,
        created_at: at,
        created_by: actor.to_owned(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    let entry = audit(at, actor, "token.create", format!("token:{name}"), serde_json::json!({ "role": role }));
    store.insert_token(&token, &entry).await?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_recognised_by_its_hash_and_a_wrong_one_is_not() {
        let hash = hash_password("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("correct horse", Some(&hash)).await.unwrap());
        assert!(!verify_password("correct horsf", Some(&hash)).await.unwrap());
        assert!(!verify_password("correct horse", None).await.unwrap());
        assert!(!verify_password("correct horse", Some("not a hash")).await.unwrap());
    }

    #[test]
    fn secrets_are_long_distinct_and_hashed() {
        let (a, hash) = mint_secret(TOKEN_PREFIX);
        let (b, _) = mint_secret(TOKEN_PREFIX);
        assert_ne!(a, b);
        assert_eq!(a.len(), TOKEN_PREFIX.len() + 43);
        assert_eq!(hash, secret_hash(&a));
        assert_ne!(random_password(), random_password());
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        for (password, fault) in [("short", Some("characters")), ("Alexandria", Some("is the name")), ("long enough", None)] {
            let found = password_fault("alexandria", password);
            assert_eq!(found.is_some(), fault.is_some(), "{password}: {found:?}");
            assert!(fault.is_none_or(|f| found.unwrap().contains(f)));
        }
    }
}
