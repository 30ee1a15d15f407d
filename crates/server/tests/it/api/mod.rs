//! The API over a real database, without a socket where none is needed: requests go into the same service that listens.

mod access;
mod assets;
mod document;
mod exposures;
mod findings;
mod hostile;
mod live;
mod segments;
mod settings;
mod tasks;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use model::{Role, Ts, Vantage};
use serde_json::Value;
use server::api::{Api, app};
use server::context::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A server over a fresh SQLite database, with an administrator.
pub struct Harness {
    pub app: Router,
    pub context: Arc<Context>,
    pub password: String,
    pub cancel: CancellationToken,
    _directory: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    /// The value, if the status is the one expected.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
    /// The code of a problem and the fields it names.
    pub fn problem(&self) -> (u16, String, Vec<String>) {
        assert_eq!(self.headers.get(header::CONTENT_TYPE).unwrap(), "application/problem+json", "{}", self.text);
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        let fields = json["fields"].as_array().cloned().unwrap_or_default();
        let names = fields.iter().map(|f| f["field"].as_str().unwrap_or_default().to_owned()).collect();
        (self.status.as_u16(), json["code"].as_str().unwrap().to_owned(), names)
    }
}

/// By what a request is known.
#[derive(Clone, Debug)]
pub enum As {
    Nobody,
    Cookie(String),
    Token(String),
}

impl Harness {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("portreeve.db").display());
        let store = Store::open(&url).await.unwrap();
        let admin = server::ensure_admin(&store).await.unwrap().expect("a fresh database has no users");
        assert_eq!(admin.name, "admin");
        let context = Context::new(store, Vantage("lab".into()));
        let cancel = CancellationToken::new();
        let app = app(Api::new(context.clone(), cancel.clone()));
        Harness { app, context, password: admin.password, cancel, _directory: directory }
    }

    pub fn store(&self) -> &Store {
        &self.context.store
    }

    pub fn now(&self) -> Ts {
        self.context.now()
    }

    /// A token of the role.
    pub async fn token(&self, role: Role) -> As {
        let name = format!("{role}-{}", uuid::Uuid::now_v7());
        As::Token(server::create_token(self.store(), &name, role, "system").await.unwrap())
    }

    /// Signs in and keeps the cookie.
    pub async fn sign_in(&self, name: &str, password: &str) -> Result<As, Reply> {
        let body = serde_json::json!({ "name": name, "password": password });
        let reply = self.send(&As::Nobody, "POST", "/api/v1/session", Some(body)).await;
        if reply.status != StatusCode::OK {
            return Err(reply);
        }
        let cookie = reply.headers.get(header::SET_COOKIE).unwrap().to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/"), "{cookie}");
        Ok(As::Cookie(cookie.split(';').next().unwrap().to_owned()))
    }

    pub async fn admin(&self) -> As {
        self.sign_in("admin", &self.password).await.unwrap()
    }

    /// Sends a request with JSON, carrying what a well-behaved client carries.
    pub async fn send(&self, who: &As, method: &str, path: &str, body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if matches!(who, As::Cookie(_)) {
            request = request.header("x-portreeve-csrf", "1");
        }
        let body = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.raw(who, request.body(body).unwrap()).await
    }

    pub async fn csv(&self, who: &As, path: &str, text: &str) -> Reply {
        let request = Request::post(path).header(header::CONTENT_TYPE, "text/csv").header("x-portreeve-csrf", "1");
        self.raw(who, request.body(Body::from(text.to_owned())).unwrap()).await
    }

    /// Sends a request as it is, but for the credentials.
    pub async fn raw(&self, who: &As, mut request: Request<Body>) -> Reply {
        match who {
            As::Nobody => {}
            As::Cookie(cookie) => drop(request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap())),
            As::Token(secret) => {
                drop(request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap()))
            }
        }
        let peer: SocketAddr = "192.0.2.200:40000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    pub async fn get(&self, who: &As, path: &str) -> Value {
        self.send(who, "GET", path, None).await.expect(200)
    }

    /// The actions in the audit trail, newest first.
    pub async fn audited(&self) -> Vec<String> {
        let page = self.store().audit(&store::AuditFilter::default(), store::Paging::first(500)).await.unwrap();
        page.items.into_iter().map(|e| e.action).collect()
    }
}
