//! Webhooks against a listener on loopback that answers what the case says: the request as it arrives, and every refusal.

use crate::common::{alert, notification, receiver};
use model::alert::{Alert, Destination, Receiver};
use notify::{SendError, send, verify};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came over the wire.
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Takes one request, answers with the bytes given, and hands the request back.
async fn listener(answer: &'static str) -> (u16, JoinHandle<Request>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut bytes = Vec::new();
        let request = loop {
            let mut chunk = [0; 8192];
            let n = stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "the request broke off");
            bytes.extend_from_slice(&chunk[..n]);
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let (line, headers) = head.split_once("\r\n").unwrap();
            let headers: BTreeMap<String, String> = headers
                .lines()
                .map(|h| h.split_once(": ").unwrap())
                .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
                .collect();
            let length: usize = headers["content-length"].parse().unwrap();
            if bytes.len() >= end + 4 + length {
                break Request { line: line.to_owned(), headers, body: bytes[end + 4..].to_vec() };
            }
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.ok();
        request
    });
    (port, task)
}

fn hook(url: String, secret: Option<&str>, headers: &[(&str, &str)]) -> Receiver {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Receiver { destination: Destination::Webhook { url, secret: secret.map(str::to_owned), headers }, ..receiver(1) }
}

async fn post(receiver: &Receiver, alerts: &[Alert]) -> Result<String, SendError> {
    send(&notification(0xabc, alerts), receiver, alerts, Some("https://portreeve.example.net")).await.map(|r| r.0)
}

#[tokio::test]
async fn the_body_follows_schema_1_and_its_signature_holds() {
    let (port, task) = listener("HTTP/1.1 202 Accepted\r\ncontent-length: 6\r\n\r\nqueued").await;
    let receiver = hook(format!("http://127.0.0.1:{port}/in/T0k3n?x=1"), Some("s3cret"), &[("X-Team", "soc")]);
    assert_eq!(post(&receiver, &[alert(1, 7, 1_500)]).await.unwrap(), "202 Accepted: queued");

    let request = task.await.unwrap();
    assert_eq!(request.line, "POST /in/T0k3n?x=1 HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("x-team"), Some("soc"));
    assert_eq!(header("x-portreeve-notification"), Some("00000000-0000-7000-8000-000000000abc"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(verify("s3cret", header("x-portreeve-signature").unwrap(), &request.body, now, 60));
    assert!(!verify("another", header("x-portreeve-signature").unwrap(), &request.body, now, 60));

    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = serde_json::json!({
        "version": 1,
        "notification": "00000000-0000-7000-8000-000000000abc",
        "group": "10.0.0.1/payments",
        "digest": false,
        "test": false,
        "summary": "portreeve [high] 10.0.0.7:6379/tcp open Redis 7.0.15 (payments)",
        "language": "en",
        "severity": "high",
        "created_at": "2025-11-21T08:00:00.000Z",
        "alerts_total": 1,
        "console_url": "https://portreeve.example.net",
        "alerts": [{
            "id": "00000000-0000-7000-8000-000000000001",
            "kind": "opened",
            "exposure": "00000000-0000-7000-8000-000000000001",
            "opening": 1,
            "endpoint": "10.0.0.7:6379/tcp",
            "ip": "10.0.0.7",
            "port": 6379,
            "proto": "tcp",
            "risk": "high-risk-service",
            "severity": "high",
            "entry": "redis",
            "service": "Redis 7.0.15",
            "asset": "office",
            "owner": "payments",
            "reason": null,
            "advice": body["alerts"][0]["advice"],
            "observed_at": "1970-01-01T00:00:01.500Z",
            "created_at": "1970-01-01T00:00:01.500Z",
            "url": "https://portreeve.example.net/endpoints/10.0.0.7/tcp/6379",
            "segment": null,
            "findings": []
        }]
    });
    assert_eq!(body, expected);
    assert!(body["alerts"][0]["advice"].as_str().unwrap().contains("protected-mode"));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let (port, task) = listener("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(post(&hook(format!("http://127.0.0.1:{port}/"), None, &[]), &[alert(1, 7, 0)]).await.unwrap(), "204 No Content");
    assert!(!task.await.unwrap().headers.contains_key("x-portreeve-signature"));
}

#[tokio::test]
async fn every_refusal_names_its_status_and_whether_to_try_again() {
    let cases = [
        ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops", true, "500", None),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", true, "503", None),
        ("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", true, "429", None),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", false, "401", Some("secret")),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false, "404", Some("path")),
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", false, "302", Some("redirect")),
        ("SSH-2.0-OpenSSH_9.2\r\n", true, "cannot post", None),
    ];
    for (answer, transient, named, hint) in cases {
        let (port, task) = listener(answer).await;
        let receiver =
            hook(format!("http://127.0.0.1:{port}/in/T0k3n?key=T0k3n"), Some("T0k3n"), &[("authorization", "Bearer T0k3n")]);
        let err = post(&receiver, &[alert(1, 7, 0)]).await.unwrap_err();
        task.await.unwrap();
        assert_eq!(err.transient, transient, "{answer}: {err}");
        assert!(err.message.contains(named) && err.message.contains(&format!("127.0.0.1:{port}")), "{answer}: {err}");
        assert_eq!(hint.is_some(), err.hint.is_some(), "{answer}: {err}");
        assert!(hint.is_none_or(|h| err.hint.as_deref().unwrap().contains(h)), "{answer}: {err}");
        assert!(!format!("{err:?}").contains("T0k3n"), "{err:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_short() {
    let long =
        Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: 4000000000\r\n\r\n{}", "a".repeat(100_000)).into_boxed_str());
    let (port, task) = listener(long).await;
    let begun = Instant::now();
    let receipt = post(&hook(format!("http://127.0.0.1:{port}/"), None, &[]), &[alert(1, 7, 0)]).await.unwrap();
    assert!(receipt.starts_with("200 OK: aaaa") && receipt.chars().count() < 400, "{} characters", receipt.len());
    assert!(begun.elapsed() < Duration::from_secs(10));
    task.abort();
}

#[tokio::test]
async fn what_cannot_be_reached_or_says_nothing_is_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let err = post(&hook(format!("http://u5er:pa55@127.0.0.1:{free}/in"), None, &[]), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.transient && err.message.to_lowercase().contains("refused"), "{err}");
    assert!(!err.message.contains("pa55") && !err.message.contains("u5er"), "{err}");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let begun = Instant::now();
    let err = post(&hook(format!("http://127.0.0.1:{port}/"), None, &[]), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.transient && err.message.contains("within 15 s"), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_receiver_that_cannot_be_right_is_refused_before_anything_is_sent() {
    for (url, headers, named) in [
        ("hooks.example.net/x", &[][..], "URL"),
        ("ftp://127.0.0.1/", &[], "neither http nor https"),
        ("file:///etc/passwd", &[], "neither http nor https"),
        ("http://127.0.0.1:9/", &[("Host", "other")], "host"),
        ("http://127.0.0.1:9/", &[("X-Portreeve-Signature", "t=1,v1=00")], "x-portreeve-signature"),
        ("http://127.0.0.1:9/", &[("bad name", "v")], "bad name"),
        ("http://127.0.0.1:9/", &[("x-token", "a\r\nb: T0k3n")], "x-token"),
    ] {
        let err = post(&hook(url.into(), None, headers), &[alert(1, 7, 0)]).await.unwrap_err();
        assert!(!err.transient && err.message.contains(named), "{url} {headers:?}: {err}");
        assert!(!err.to_string().contains("T0k3n"), "{err}");
    }
}

#[tokio::test]
async fn a_large_digest_stays_a_body_that_receivers_take() {
    let (port, task) = listener("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let alerts: Vec<Alert> = (1..=5_000).map(|n| alert(n, (n % 250) as u8, 0)).collect();
    post(&hook(format!("http://127.0.0.1:{port}/"), None, &[]), &alerts).await.unwrap();
    let body = task.await.unwrap().body;
    assert!(body.len() < 1_000_000, "{} bytes", body.len());
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((body["alerts_total"].as_u64(), body["alerts"].as_array().unwrap().len()), (Some(5_000), 500));
}
