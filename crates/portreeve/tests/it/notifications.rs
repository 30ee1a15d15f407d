//! Receivers that fail and recover, and storms: nothing is lost, nothing is told twice, and people are not buried.

use crate::world::{Db, SOON, World, mentions};
use lab::{Kind, LabSpec, Server, eventually};
use serde_json::Value;
use std::time::Duration;

/// The notifications to the receiver of this name.
fn to(world: &World, receiver: &str) -> Vec<Value> {
    let all = world.api.items("/notifications").unwrap();
    all.into_iter().filter(|n| n["receiver_name"] == receiver).collect()
}

#[test]
fn a_mail_server_that_is_away_is_tried_again_and_the_receipt_shows() {
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), Db::Sqlite);
    let web = world.lab.host("web").clone();
    let (mut smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.10", "payments");
    smtp.stop();
    web.serve(Server::Redis { port: 6379 }).unwrap();
    world.run("liveness", &["10.99.7.10"], None);
    world.run("high-risk-online", &["10.99.7.10"], Some("high-risk"));
    let failing = eventually("the mail's failure shows", SOON, || {
        to(&world, "soc by mail").into_iter().find(|n| n["attempts"].as_u64() > Some(0) && n["error"].is_string())
    });
    assert_eq!(failing["state"], "queued", "not given up: {failing}");
    assert!(failing["receipt"].is_null(), "{failing}");
    // The other receiver did not wait for it.
    eventually("the webhook has it", SOON, || (!webhook.messages().is_empty()).then_some(()));

    // Back, but refusing every message: still tried, still not lost.
    smtp.resume().unwrap();
    smtp.refuse(true).unwrap();
    let notification = failing["id"].as_str().unwrap().to_owned();
    world.api.post(&format!("/notifications/{notification}/retry"), &Value::Null).unwrap();
    let refused = eventually("the refusal shows with the server's words", SOON, || {
        to(&world, "soc by mail").into_iter().find(|n| n["error"].as_str().is_some_and(|e| e.contains("told to refuse")))
    });
    assert_eq!(refused["state"], "queued", "a temporary refusal is no end: {refused}");
    smtp.refuse(false).unwrap();
    world.api.post(&format!("/notifications/{notification}/retry"), &Value::Null).unwrap();
    let sent = eventually("the mail is sent", SOON, || to(&world, "soc by mail").into_iter().find(|n| n["state"] == "sent"));
    assert!(sent["receipt"].as_str().unwrap().contains("stored by the sink"), "{sent}");
    assert!(sent["sent_at"].is_string() && sent["error"].is_null(), "{sent}");
    std::thread::sleep(Duration::from_secs(3));
    let mails = smtp.messages();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_eq!(mentions([mails[0].text.as_str()], web.v4(), 6379), 1, "{mails:#?}");
    assert!(
        mails[0].message_id.as_deref().unwrap().contains(&notification),
        "the notification's id is the Message-ID: {mails:#?}"
    );
    assert_eq!(webhook.messages().len(), 1);
}

#[test]
fn a_webhook_that_fails_recovers_by_itself() {
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), Db::Sqlite);
    let web = world.lab.host("web").clone();
    let (_smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.10", "payments");
    webhook.answer(500);
    web.serve(Server::Memcached { port: 11211 }).unwrap();
    world.run("full-all", &["10.99.7.10"], Some("11211"));
    let failing =
        eventually("the failure shows", SOON, || to(&world, "soc by webhook").into_iter().find(|n| n["error"].is_string()));
    assert!(failing["error"].as_str().unwrap().contains("500"), "{failing}");
    webhook.answer(200);
    // Nobody asks for it: the next try comes by itself.
    let sent = eventually("it is sent", Duration::from_secs(90), || {
        to(&world, "soc by webhook").into_iter().find(|n| n["state"] == "sent")
    });
    assert!(sent["attempts"].as_u64().unwrap() >= 2 && sent["receipt"].is_string(), "{sent}");
    assert_eq!(webhook.messages().len(), 1, "{:#?}", webhook.posts());
    let ids: Vec<String> = webhook.posts().iter().map(|p| p.body["notification"].to_string()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "every try carries the same id: {ids:?}");
}

#[test]
fn a_storm_becomes_one_digest() {
    let mut spec = LabSpec::new();
    for n in 20..34 {
        spec = spec.host(&format!("h{n}"), n, Kind::Refusing);
    }
    let world = World::start(spec, Db::Sqlite);
    let (smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.0/24", "payments");
    for host in world.lab.hosts() {
        host.serve(Server::Redis { port: 6379 }).unwrap();
    }
    world.run("full-all", &["10.99.7.20-10.99.7.33"], Some("6379"));
    let digest = eventually("a digest is sent", SOON, || {
        to(&world, "soc by mail").into_iter().find(|n| n["digest"] == true && n["state"] == "sent")
    });
    assert!(digest["alerts"].as_array().unwrap().len() >= 4, "{digest}");
    std::thread::sleep(Duration::from_secs(5));
    // Hosts that were confirmed a moment before the others may have had a mail of their own: ten are no storm yet.
    assert!(smtp.messages().len() <= 11, "fourteen hosts, {} mails", smtp.messages().len());
    let texts: Vec<String> = smtp.messages().into_iter().map(|m| m.text).collect();
    let posts: Vec<String> = webhook.messages().iter().map(Value::to_string).collect();
    for host in world.lab.hosts() {
        assert_eq!(
            mentions(texts.iter().map(String::as_str), host.v4(), 6379),
            1,
            "{} is in exactly one mail:\n{texts:#?}",
            host.v4()
        );
        assert_eq!(mentions(posts.iter().map(String::as_str), host.v4(), 6379), 1, "{} is in exactly one post", host.v4());
    }
}

#[test]
fn a_receiver_is_tried_out_with_one_call() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    let (smtp, webhook) = world.receivers(false);
    let receivers = world.api.get("/receivers").unwrap();
    let receivers = receivers.as_array().or_else(|| receivers["items"].as_array()).unwrap().clone();
    let text = serde_json::to_string(&receivers).unwrap();
    assert!(!text.contains("a-key"), "secrets are write-only: {text}");
    webhook.answer(404);
    for receiver in &receivers {
        let result = world.api.post(&format!("/receivers/{}/test", receiver["id"].as_str().unwrap()), &Value::Null).unwrap();
        let by_mail = receiver["name"] == "soc by mail";
        assert_eq!(result["ok"], by_mail, "{result}");
        if by_mail {
            assert!(result["receipt"].is_string(), "{result}");
        } else {
            assert!(result["error"].as_str().unwrap().contains("404"), "{result}");
        }
    }
    assert_eq!(smtp.messages().len(), 1);
}
