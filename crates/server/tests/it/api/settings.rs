//! Settings, receivers, and what the system says about itself.

use super::{As, Harness};
use model::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn settings_change_in_part_and_come_back_whole() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let before = h.get(&who, "/api/v1/settings").await;
    let after = h.send(&who, "PUT", "/api/v1/settings", Some(json!({"alerts": {"group_wait": 1000}}))).await.expect(200);
    assert_eq!(after["alerts"]["group_wait"], 1000);
    assert_eq!(after["pace"], before["pace"]);
    assert_eq!(h.send(&who, "PUT", "/api/v1/settings", Some(before.clone())).await.expect(200), before);
    for (body, status, field) in [
        (json!({"pace": {"node_pps": 0}}), 422, "pace.node_pps"),
        (json!({"pace": {"node_pps": "fast"}}), 422, "pace.node_pps"),
        (json!({"alerts": {"min_severity": "dire"}}), 422, "alerts.min_severity"),
        (json!({"paec": {}}), 400, "paec"),
    ] {
        assert_eq!(
            h.send(&who, "PUT", "/api/v1/settings", Some(body.clone())).await.problem(),
            (status, "bad-input".into(), vec![field.into()]),
            "{body}"
        );
    }
    assert_eq!(h.audited().await[0], "settings.update");
}

fn webhook(url: &str, extra: Value) -> Value {
    let mut destination = json!({"type": "webhook", "url": url});
    destination.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"name": "SOC", "destination": destination, "language": "zh-CN", "min_severity": "high"})
}

#[tokio::test]
async fn a_receivers_secrets_go_in_and_never_come_out() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let secrets = json!({"secret": "s3cr3t-key", "headers": {"Authorization": "Bearer h34d3r"}});
    let made =
        h.send(&who, "POST", "/api/v1/receivers", Some(webhook("https://soc.example.net/hook", secrets))).await.expect(201);
    let path = format!("/api/v1/receivers/{}", made["id"].as_str().unwrap());
    assert_eq!(
        (made["secret_set"].as_bool(), made["destination"]["headers"]["Authorization"].as_str()),
        (Some(true), Some("********"))
    );
    let id = model::ReceiverId(made["id"].as_str().unwrap().parse().unwrap());
    let kept = async || match h.store().receiver(id).await.unwrap().unwrap().destination {
        model::alert::Destination::Webhook { secret, headers, .. } => (secret, headers.get("Authorization").cloned()),
        other => panic!("{other:?}"),
    };
    let same = json!({"headers": {"Authorization": "********"}});
    let put = h.send(&who, "PUT", &path, Some(webhook("https://soc.example.net/other", same))).await.expect(200);
    assert_eq!(put["secret_set"], true);
    assert_eq!(kept().await, (Some("s3cr3t-key".into()), Some("Bearer h34d3r".into())), "what is not sent is kept");
    let cleared =
        h.send(&who, "PUT", &path, Some(webhook("https://soc.example.net/", json!({"secret": null})))).await.expect(200);
    assert_eq!(cleared["secret_set"], false);
    assert_eq!(kept().await, (None, None));
    let mail = json!({"name": "Mail", "destination": {"type": "mail", "host": "mail.example.net", "port": 587, "security": "starttls",
        "username": "portreeve", "password": "p4ssw0rd", "from": "portreeve@example.net", "to": ["soc@example.net"]}});
    assert_eq!(h.send(&who, "POST", "/api/v1/receivers", Some(mail.clone())).await.expect(201)["password_set"], true);
    assert_eq!(h.send(&who, "POST", "/api/v1/receivers", Some(mail)).await.problem().0, 409, "names are unique");
    let shown = h.get(&who, "/api/v1/receivers").await.to_string();
    let trail = h.store().audit(&store::AuditFilter::default(), store::Paging::first(100)).await.unwrap().items;
    for secret in ["s3cr3t", "h34d3r", "p4ssw0rd"] {
        assert!(!shown.contains(secret) && !format!("{trail:?}").contains(secret), "{secret} came out");
    }
    assert_eq!(h.send(&who, "DELETE", &path, None).await.status, 204);
}

#[tokio::test]
async fn bad_receivers_are_refused_at_the_field() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let mail = |key: &str, value: Value| {
        let mut destination = json!({"type": "mail", "host": "mail.example.net", "port": 25, "security": "none", "from": "a@example.net", "to": ["b@example.net"]});
        destination[key] = value;
        json!({"name": "Mail", "destination": destination})
    };
    for (body, field) in [
        (mail("host", json!("mail server")), "destination.host"),
        (mail("port", json!(0)), "destination.port"),
        (mail("from", json!("nobody")), "destination.from"),
        (mail("to", json!([])), "destination.to"),
        (mail("to", json!(["b@example.net\r\nBcc: c@example.net"])), "destination.to"),
        (mail("password", json!("without account")), "destination.username"),
        (webhook("ftp://example.net", json!({})), "destination.url"),
        (webhook("https://u:p@example.net", json!({})), "destination.url"),
        (webhook("https://example.net", json!({"headers": {"Host": "x"}})), "destination.headers.Host"),
    ] {
        let reply = h.send(&who, "POST", "/api/v1/receivers", Some(body.clone())).await;
        assert_eq!(reply.problem(), (422, "bad-input".into(), vec![field.into()]), "{body}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_test_message_is_really_sent_and_its_failure_explained() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let sink = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        let mut buffer = [0u8; 8192];
        while !text.windows(4).any(|w| w == b"\r\n\r\n") || text.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut buffer).await.unwrap();
            text.extend_from_slice(&buffer[..n]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let made = h.send(&who, "POST", "/api/v1/receivers", Some(webhook(&url, json!({})))).await.expect(201);
    let path = format!("/api/v1/receivers/{}", made["id"].as_str().unwrap());
    let sent = h.send(&who, "POST", &format!("{path}/test"), None).await.expect(200);
    assert_eq!((sent["ok"].as_bool(), sent["error"].clone()), (Some(true), Value::Null), "{sent}");
    assert!(sink.await.unwrap().starts_with("POST /hook"));
    let failed = h.send(&who, "POST", &format!("{path}/test"), None).await.expect(200);
    assert_eq!(failed["ok"], false, "nobody listens any more");
    assert!(failed["error"].is_string(), "{failed}");
    assert_eq!(h.audited().await[..2], ["receiver.test", "receiver.test"]);
}

#[tokio::test]
async fn the_system_its_health_its_metrics_and_the_catalogue_are_shown() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    h.send(&who, "POST", "/api/v1/assets", Some(json!({"range": "10.0.0.0/24", "name": "Lab"}))).await.expect(201);
    h.send(&who, "POST", "/api/v1/exclusions", Some(json!({"range": "10.0.0.0/25", "reason": "quiet"}))).await.expect(201);
    let system = h.get(&who, "/api/v1/system").await;
    assert_eq!((system["database"].as_str(), system["vantage"].as_str()), (Some("sqlite"), Some("lab")));
    assert_eq!(system["scope"], json!({"ranges": ["10.0.0.128/25"], "addresses": "128"}));
    assert_eq!(h.get(&As::Nobody, "/healthz").await, json!({"status": "ok"}));
    server::api::routes::health::install_metrics();
    let metrics = h.send(&who, "GET", "/metrics", None).await;
    assert!(metrics.text.contains("portreeve_hosts{liveness=\"online\"} 0"), "{}", metrics.text);
    assert!(metrics.text.contains("portreeve_jobs{state=\"queued\"} 0"), "{}", metrics.text);
    let catalogue = h.get(&who, "/api/v1/catalog/services").await;
    let redis = catalogue.as_array().unwrap().iter().find(|e| e["id"] == "redis").unwrap();
    assert!(redis["ports"].as_array().unwrap().contains(&json!(6379)) && redis["advice"]["zh"].is_string(), "{redis}");
    let dashboard = h.get(&who, "/api/v1/dashboard?days=3").await;
    assert_eq!(dashboard["trend"].as_array().unwrap().len(), 3);
    assert_eq!(dashboard["exposures"]["by_risk"], json!({"exposed-port": 0, "high-risk-port": 0, "high-risk-service": 0}));
    assert_eq!(h.send(&who, "GET", "/api/v1/dashboard?days=0", None).await.problem().2, ["days"]);
}
