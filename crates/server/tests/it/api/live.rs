//! The event stream over a real loopback listener, and the end of the server.

use super::{As, Harness};
use model::Role;
use serde_json::{Value, json};
use server::live::Topic;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

async fn listen(h: &Harness, who: &As) -> (TcpStream, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve_http(h.context.clone(), listener, h.cancel.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let As::Token(secret) = who else { panic!("a token") };
    let request = format!("GET /api/v1/live HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {secret}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    (stream, serving)
}

/// Reads until the text is there.
async fn until(stream: &mut TcpStream, seen: &mut String, text: &str) {
    let mut buffer = [0u8; 4096];
    while !seen.contains(text) {
        let n = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap_or_else(|_| panic!("no `{text}` in: {seen}")).unwrap();
        assert_ne!(n, 0, "the stream ended without `{text}`: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

#[tokio::test]
async fn changes_are_told_gathered_and_the_stream_ends_with_the_server() {
    let h = Harness::new().await;
    let who = h.token(Role::Viewer).await;
    let (mut stream, serving) = listen(&h, &who).await;
    let mut seen = String::new();
    until(&mut stream, &mut seen, ": listening").await;
    assert!(seen.starts_with("HTTP/1.1 200") && seen.to_lowercase().contains("content-type: text/event-stream"), "{seen}");
    seen.clear();
    for _ in 0..50 {
        h.context.live.changed(Topic::Exposures);
        h.context.live.changed(Topic::Assets);
    }
    until(&mut stream, &mut seen, "\n\n").await;
    let data = seen.lines().find_map(|l| l.strip_prefix("data: ")).unwrap_or_else(|| panic!("{seen}"));
    let data: Value = serde_json::from_str(data).unwrap();
    assert!(seen.contains("event: change"), "{seen}");
    assert_eq!(data["topics"], json!(["exposures", "assets"]));
    assert!(data["at"].as_str().unwrap().ends_with('Z'));
    // At most two a second: a second of changes every few milliseconds makes a handful of events.
    seen.clear();
    for _ in 0..100 {
        h.context.live.changed(Topic::Jobs);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&mut stream, &mut seen, "event: change").await;
    assert!(seen.matches("event: change").count() <= 4, "{seen}");
    h.cancel.cancel();
    timeout(PATIENCE, serving).await.expect("the server ends although a stream is open").unwrap().unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the stream ends").ok();
}

#[tokio::test]
async fn a_listener_that_fell_behind_is_told_to_start_afresh() {
    let h = Harness::new().await;
    let who = h.token(Role::Viewer).await;
    let (mut stream, serving) = listen(&h, &who).await;
    let mut seen = String::new();
    until(&mut stream, &mut seen, ": listening").await;
    h.context.live.changed(Topic::Jobs);
    until(&mut stream, &mut seen, "event: change").await;
    // More than the channel holds, within the half second in which the stream gathers.
    for _ in 0..5_000 {
        h.context.live.changed(Topic::Jobs);
    }
    until(&mut stream, &mut seen, "event: resync").await;
    h.cancel.cancel();
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}
