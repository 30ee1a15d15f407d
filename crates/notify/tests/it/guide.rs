//! docs/guides/alerts.md is held to what the code does: its Python checks our signatures, its example has our fields.

use crate::common::{alert, notification, receiver};
use model::alert::Destination;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn block(language: &str) -> &'static str {
    let guide = include_str!("../../../../docs/guides/alerts.md");
    let (_, rest) = guide.split_once(&format!("```{language}\n")).expect("the guide has the block");
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn the_guides_python_accepts_our_signatures_and_nothing_else() {
    let body = br#"{"version":1,"summary":"redis \u4f60\u597d"}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let cases = [
        ("genuine", notify::signature("s3cret", now, body), "True"),
        ("other secret", notify::signature("other", now, body), "False"),
        ("other body", notify::signature("s3cret", now, b"{}"), "False"),
        ("old", notify::signature("s3cret", now - 3_600, body), "False"),
    ];
    for (what, header, expected) in cases {
        let program = format!("{}\nimport sys\nprint(genuine(b's3cret', sys.argv[1], sys.stdin.buffer.read()))", block("python"));
        let mut child = Command::new("python3")
            .args(["-c", &program, &header])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed for this test");
        child.stdin.take().unwrap().write_all(body).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), expected, "{what}");
    }
}

#[tokio::test]
async fn the_guides_example_has_the_fields_of_a_real_body() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut bytes = Vec::new();
        let end = |bytes: &[u8]| bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        while end(&bytes).is_none_or(|at| serde_json::from_slice::<Value>(&bytes[at..]).is_err()) {
            let n = stream.read_buf(&mut bytes).await.unwrap();
            assert!(n > 0, "the request broke off");
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        serde_json::from_slice::<Value>(&bytes[end(&bytes).unwrap()..]).unwrap()
    });
    let destination = Destination::Webhook { url, secret: None, headers: BTreeMap::new() };
    let alerts = [alert(1, 7, 0)];
    let receiver = model::alert::Receiver { destination, ..receiver(1) };
    notify::send(&notification(1, &alerts), &receiver, &alerts, None).await.unwrap();
    let real = task.await.unwrap();

    let example: Value = serde_json::from_str(block("json")).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&example), fields(&real));
    assert_eq!(fields(&example["alerts"][0]), fields(&real["alerts"][0]));
    assert_eq!(example["version"], real["version"]);
}
