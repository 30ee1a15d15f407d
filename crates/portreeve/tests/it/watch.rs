//! The main job end to end: a watched /24, doors that open in it, alerts, and doors that close again with the reason.

use crate::world::{Db, SOON, World, id, in_days};
use lab::{Kind, LabSpec, Server, SmtpSink, WebhookSink};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn doors_that_open_in_a_watched_network_are_reported_alerted_once_and_closed_on_sqlite() {
    doors_that_open_are_reported_alerted_once_and_closed(Db::Sqlite);
}

#[test]
fn doors_that_open_in_a_watched_network_are_reported_alerted_once_and_closed_on_postgresql() {
    doors_that_open_are_reported_alerted_once_and_closed(Db::Postgres);
}

/// How often mails and webhook messages have told that the endpoint opened or closed.
fn told(smtp: &SmtpSink, webhook: &WebhookSink, ip: Ipv4Addr, port: u16, kind: &str) -> (usize, usize) {
    let endpoint = format!("{ip}:{port}/tcp");
    // A mail has a line for each alert: the endpoint and what it is now.
    let word = if kind == "opened" { "open" } else { kind };
    let wanted = [endpoint.as_str(), word];
    let mails = smtp.messages();
    let lines = mails.iter().flat_map(|m| m.text.lines()).filter(|l| l.split_whitespace().eq(wanted));
    let messages = webhook.messages();
    let alerts = messages.iter().flat_map(|m| m["alerts"].as_array().unwrap());
    (lines.count(), alerts.filter(|a| a["endpoint"] == endpoint && a["kind"] == kind).count())
}

fn doors_that_open_are_reported_alerted_once_and_closed(db: Db) {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing).host("db", 20, Kind::Refusing).host("quiet", 30, Kind::Dropping);
    let mut world = World::start(spec, db);
    let (web, database) = (world.lab.host("web").clone(), world.lab.host("db").clone());
    web.serve(Server::Nginx { port: 80, title: "Shop".into() }).unwrap();
    web.serve(Server::Sshd { port: 22 }).unwrap();
    let (smtp, webhook) = world.receivers(true);
    world.settings(|s| {
        // Closings of a host follow its openings by more than a minute at the default; the scenario has no minutes.
        s["alerts"]["group_interval"] = json!(1_000);
        // A refusal closes by the default of 10 s; silence would take a minute.
        s["hysteresis"]["silent_span"] = json!(6_000);
    });

    // Onboarding: the range learns before it alerts.
    let later = in_days(30);
    let asset = json!({"range": "10.99.7.0/24", "name": "lab", "owner": "payments", "weight": 7, "observe_until": later});
    let asset_id = id(&world.api.post("/assets", &asset).unwrap());
    world.run("liveness", &["10.99.7.0/24"], None);
    let hosts = world.api.get("/hosts?limit=1").unwrap();
    // The border is a host as well.
    assert_eq!((hosts["counts"]["online"].as_u64(), hosts["counts"]["offline"].as_u64()), (Some(4), Some(252)), "{hosts}");
    world.run("high-risk-online", &["10.99.7.0/24"], Some("high-risk"));
    world.run("full-online", &["10.99.7.10", "10.99.7.20"], Some("1-4000"));
    world.until_exposure(web.v4(), 22, "the baseline knows of ssh", |e| e["phase"] == "open" && e["service"]["name"] == "ssh");
    let learnt = world.api.items("/alerts").unwrap();
    assert!(
        !learnt.is_empty() && learnt.iter().all(|a| a["state"] == "suppressed" && a["suppressed_by"] == "observe-mode"),
        "while it learns it does not alert: {learnt:?}"
    );
    let mut watched = asset.clone();
    watched["observe_until"] = Value::Null;
    world.api.put(&format!("/assets/{asset_id}"), &watched).unwrap();

    // After the baseline, two doors open.
    world.every(10, "high-risk-online", &["10.99.7.0/24"], Some("high-risk"));
    world.every(10, "full-online", &["10.99.7.20"], Some("1-4000"));
    world.every(10, "open-recheck", &["10.99.7.0/24"], None);
    let redis = web.serve(Server::Redis { port: 6379 }).unwrap();
    let mariadb = database.serve(Server::MariaDb { port: 3307 }).unwrap();
    let open_and_known = |e: &Value| e["phase"] == "open" && e["service"]["product"].is_string();
    let redis_exposure = world.until_exposure(web.v4(), 6379, "redis is seen", open_and_known);
    let mariadb_exposure = world.until_exposure(database.v4(), 3307, "MariaDB is seen", open_and_known);
    assert_eq!(redis_exposure["risk"]["kind"], "high-risk-port", "{redis_exposure}");
    assert_eq!(redis_exposure["risk"]["entry"], "redis", "{redis_exposure}");
    assert_eq!(redis_exposure["service"]["name"], "redis", "{redis_exposure}");
    assert_eq!(mariadb_exposure["risk"]["kind"], "high-risk-service", "{mariadb_exposure}");
    assert_eq!(mariadb_exposure["risk"]["entry"], "mysql", "{mariadb_exposure}");
    assert_eq!(mariadb_exposure["service"]["product"], "MariaDB", "{mariadb_exposure}");
    for exposure in [&redis_exposure, &mariadb_exposure] {
        assert_eq!((&exposure["owner"], &exposure["asset"]), (&json!("payments"), &json!(asset_id)), "{exposure}");
        assert_eq!(exposure["disposition"]["effective"], "unreviewed", "{exposure}");
        let bound = exposure["detection_bound_ms"].as_u64().expect("both doors were seen shut before, so detection is bounded");
        assert!(bound < 120_000, "detected within {bound} ms");
    }

    // Each is told once by mail and once by webhook, and stays told once while rechecks go on.
    let both = [(web.v4(), 6379), (database.v4(), 3307)];
    for (ip, port) in both {
        lab::eventually(&format!("{ip}:{port} is told by mail and webhook"), SOON, || {
            let (mails, posts) = told(&smtp, &webhook, ip, port, "opened");
            (mails > 0 && posts > 0).then_some(())
        });
    }
    let signed = webhook.posts();
    assert!(signed.iter().all(|p| p.header("x-portreeve-signature").is_some()), "every webhook is signed: {signed:?}");
    let sent = world.api.items("/notifications").unwrap();
    assert!(sent.iter().all(|n| n["state"] == "sent" && n["receipt"].is_string()), "with receipts: {sent:?}");

    // A person decides about one of them; no scan takes that back.
    let disposition = json!({"kind": "registered", "until": in_days(90), "note": "cache of the shop"});
    let redis_id = id(&redis_exposure);
    world.api.put(&format!("/exposures/{redis_id}/disposition"), &disposition).unwrap();

    // One server stops: its port refuses. The other is walled off: its port says nothing.
    redis.stop();
    database.forbid(3307).unwrap();
    let closed = world.until_exposure(web.v4(), 6379, "redis is closed", |e| e["phase"] == "closed");
    assert_eq!(closed["close_reason"], "rst", "{closed}");
    assert_eq!(closed["disposition"]["kind"], "registered", "a scan never overrides a person: {closed}");
    let seen = world.endpoint(web.v4(), 6379).unwrap();
    assert_eq!((&seen["phase"], &seen["state"], &seen["reason"]), (&json!("closed"), &json!("closed"), &json!("rst")), "{seen}");
    let walled = world.until_exposure(database.v4(), 3307, "MariaDB is closed", |e| e["phase"] == "closed");
    assert_eq!(walled["close_reason"], "timeout", "{walled}");
    assert_eq!(world.endpoint(database.v4(), 3307).unwrap()["state"], "filtered");
    drop(mariadb);

    // The event log has the whole life, in order, each with its times.
    let events = world.api.get(&format!("/exposures/{redis_id}")).unwrap()["events"].clone();
    let mut kinds: Vec<&str> = events.as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    kinds.reverse();
    let life = ["endpoint.pending", "endpoint.opened", "exposure.disposition-changed", "endpoint.closed"];
    let of_its_life: Vec<&str> = kinds.iter().copied().filter(|k| life.contains(k)).collect();
    assert!(of_its_life.ends_with(&life[1..]), "{kinds:?}");
    let closing = events.as_array().unwrap().iter().find(|e| e["kind"] == "endpoint.closed").unwrap();
    assert_eq!(closing["reason"], "rst", "{closing}");
    let time = |field: &str| closing[field].as_str().unwrap_or_else(|| panic!("{field} of {closing}")).to_owned();
    assert!(time("happened_after") <= time("happened_at") && time("happened_at") <= time("observed_at"), "{closing}");
    assert!(time("observed_at") <= time("recorded_at"), "{closing}");

    // Closings are told once as well. Nothing was ever told twice, and nothing of the baseline was told at all.
    lab::eventually("the closing of MariaDB is told", SOON, || {
        let told = told(&smtp, &webhook, database.v4(), 3307, "closed");
        (told.0 > 0 && told.1 > 0).then_some(())
    });
    std::thread::sleep(Duration::from_secs(4));
    for (ip, port) in both {
        assert_eq!(told(&smtp, &webhook, ip, port, "opened"), (1, 1), "{ip}:{port} opened: {:?}", smtp.messages());
    }
    assert_eq!(told(&smtp, &webhook, database.v4(), 3307, "closed"), (1, 1), "{:?}", smtp.messages());
    assert_eq!(told(&smtp, &webhook, web.v4(), 22, "opened"), (0, 0), "ssh was there before: {:?}", smtp.messages());

    // What is open is what the lab knows to be open.
    database.permit(3307).unwrap();
    world.until_phase(database.v4(), 3307, "open", SOON);
    let reopened = world.exposure(database.v4(), 3307).unwrap();
    assert_eq!((&reopened["id"], &reopened["opening"]), (&mariadb_exposure["id"], &json!(2)), "the same exposure, opened again");
    assert_eq!(world.open_endpoints(), world.truth());

    // Every mutation left an audit entry.
    let audit = world.api.items("/audit").unwrap();
    let text = audit.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for subject in [asset_id.as_str(), redis_id.as_str()] {
        assert!(text.contains(subject), "no audit entry about {subject}:\n{text}");
    }
    let dashboard = world.api.get("/dashboard").unwrap();
    assert_eq!(dashboard["hosts"]["online"], 4, "{dashboard}");
    assert!(dashboard["detection"]["samples"].as_u64().unwrap() >= 2, "{dashboard}");
}
