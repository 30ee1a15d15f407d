//! Requests that nobody sane sends: every route × random bodies, queries and parts of paths. Nothing may be a 500.

use super::{As, Harness, document};
use axum::body::Body;
use axum::http::Request;
use model::Role;
use serde_json::{Map, Value, json};

/// A small generator of our own (xorshift), so that a failing case comes back with its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn word(&mut self) -> String {
        const WORDS: &[&str] = &[
            "",
            " ",
            "a",
            "10.0.0.0/24",
            "10.0.0.0/33",
            "::/0",
            "0.0.0.0/0",
            "224.0.0.1",
            "22,80",
            "0-70000",
            "high-risk",
            "common",
            "all",
            "liveness",
            "full-all",
            "once",
            "interval",
            "cron",
            "* * * * *",
            "99 99 99 99 99",
            "ranges",
            "tags",
            "all-assets",
            "weekly",
            "mail",
            "webhook",
            "http://[",
            "https://example.net",
            "a@b",
            "admin",
            "viewer",
            "registered",
            "accepted",
            "unreviewed",
            "2026-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "-9999-01-01T00:00:00Z",
            "critical",
            "dmz",
            "\u{0}",
            "\r\n",
            "'; DROP TABLE assets; --",
            "%",
            "_",
            "\\",
            "\u{202e}",
            "支付",
            "💣",
            "NaN",
            "-1",
            "18446744073709551615",
            "null",
            "00000000-0000-0000-0000-000000000000",
        ];
        match self.below(12) {
            0 => "x".repeat(self.below(5_000)),
            _ => (*self.pick(WORDS)).to_owned(),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next()),
            3 => json!(-(self.below(1_000) as i64)),
            4 => json!(self.below(70_000)),
            5 => json!(1e308),
            6 => json!(self.word()),
            7 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(4)).map(|_| (self.word(), self.value(depth - 1))).collect::<Map<_, _>>().into(),
        }
    }

    /// A body with the fields of the schema, each sometimes left out, sometimes something else.
    fn body(&mut self, document: &Value, schema: &Value, depth: usize) -> Value {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        if self.below(12) == 0 {
            return self.value(2);
        }
        if let Some(variants) = schema["oneOf"].as_array().filter(|v| depth > 0 && !v.is_empty()) {
            let variant = self.pick(variants).clone();
            return self.body(document, &variant, depth - 1);
        }
        if let Some(words) = schema["enum"].as_array() {
            return self.pick(words).clone();
        }
        if let Some(properties) = schema["properties"].as_object().filter(|_| depth > 0) {
            let mut body = Map::new();
            for (name, inner) in properties {
                if self.below(6) > 0 {
                    body.insert(name.clone(), self.body(document, inner, depth - 1));
                }
            }
            return body.into();
        }
        if schema["type"] == "array" && depth > 0 {
            return (0..self.below(3)).map(|_| self.body(document, &schema["items"], depth - 1)).collect();
        }
        match schema["type"].as_str() {
            Some("string") => json!(self.word()),
            Some("integer") => json!(self.below(70_000)),
            Some("boolean") => json!(self.below(2) == 0),
            _ => self.value(1),
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

#[tokio::test]
async fn no_body_query_or_path_makes_the_server_fail() {
    let h = Harness::new().await;
    let admin = h.token(Role::Admin).await;
    let document: Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let operations = document::operations(&document);
    let (mut succeeded, mut refused) = (0, 0);
    // A test of a receiver would go out to whatever host the dice name; everything else stays in this process.
    let quiet = |path: &str| path.ends_with("/test") || path.ends_with("/live");
    for seed in 1..=25u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (method, path, operation) in operations.iter().filter(|(_, path, _)| !quiet(path)) {
            let mut target: String = path
                .split('/')
                .map(
                    |part| if part.starts_with('{') { encode(&dice.word()).chars().take(900).collect() } else { part.to_owned() },
                )
                .collect::<Vec<_>>()
                .join("/");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut separator = '?';
            for parameter in parameters.iter().filter(|p| p["in"] == "query") {
                if dice.below(4) == 0 {
                    let value: String = encode(&dice.word()).chars().take(900).collect();
                    target.push_str(&format!("{separator}{}={value}", parameter["name"].as_str().unwrap()));
                    separator = '&';
                }
            }
            let content = &operation["requestBody"]["content"];
            let request = Request::builder().method(method.as_str()).uri(&target);
            let (request, sent) = if content.get("text/csv").is_some() {
                let text: String =
                    (0..dice.below(5)).map(|_| format!("{},{},{}\n", dice.word(), dice.word(), dice.word())).collect();
                let text = if dice.below(2) == 0 { format!("range,name,owner\n{text}") } else { text };
                (request.header("content-type", "text/csv"), text)
            } else {
                let body = dice.body(&document, &content["application/json"]["schema"], 5);
                (request.header("content-type", "application/json"), body.to_string())
            };
            let Ok(request) = request.body(Body::from(sent.clone())) else { continue };
            let reply = h.raw(&admin, request).await;
            assert!(reply.status != 500 && reply.status != 503, "seed {seed}: {method} {target}\n{sent}\n{}", reply.text);
            if reply.status.is_client_error() {
                reply.problem();
                refused += 1;
            } else {
                succeeded += 1;
            }
        }
    }
    assert!(succeeded > 200 && refused > 200, "{succeeded} succeeded, {refused} were refused: the dice hit only one side");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_reason() {
    let h = Harness::new().await;
    let admin = h.token(Role::Admin).await;
    let send = async |content_type: &str, body: &[u8]| {
        let request = Request::post("/api/v1/exclusions").header("content-type", content_type);
        h.raw(&admin, request.body(Body::from(body.to_vec())).unwrap()).await
    };
    assert_eq!(send("application/json", b"{").await.problem().0, 400);
    assert_eq!(send("application/json", b"\xff\xfe").await.problem().0, 400);
    assert_eq!(send("application/json; charset=utf-8", b"{}").await.problem().0, 422);
    assert_eq!(send("application/x-www-form-urlencoded", b"range=1").await.problem().1, "unsupported-media-type");
    assert_eq!(send("application/json", &vec![b' '; 2 << 20]).await.problem().1, "too-large");
    let deep = "[".repeat(10_000);
    assert!(send("application/json", deep.as_bytes()).await.status.is_client_error(), "depth is bounded");
    assert_eq!(
        h.send(&admin, "GET", "/api/v1/exposures?colour=red", None).await.problem(),
        (400, "bad-input".into(), vec!["colour".into()])
    );
    assert_eq!(h.send(&admin, "GET", "/api/v1/exposures?limit=501", None).await.problem().2, ["limit"]);
    assert_eq!(h.send(&admin, "GET", "/api/v1/exposures?limit=x", None).await.problem().2, ["limit"]);
    assert_eq!(h.send(&admin, "GET", "/api/v1/exposures?severity=dire", None).await.problem().2, ["severity"]);
    assert_eq!(h.send(&admin, "PATCH", "/api/v1/exposures", None).await.problem().1, "method-not-allowed");
    assert_eq!(h.send(&admin, "GET", "/api/v1/nowhere", None).await.problem().1, "not-found");
    assert_eq!(h.send(&As::Nobody, "GET", "/api/v1/exposures", None).await.headers["www-authenticate"], "Bearer");
}
