//! What checks prove of real servers, from the probe to the console's API and to people: a redis that lets anybody in, one
//! that asks for a password, and what becomes of the finding when a password is set. Nothing is ever written to either.

use crate::world::{Db, SOON, World};
use lab::{Host, Kind, LabSpec, Server, eventually};
use serde_json::{Value, json};
use std::process::Command;

const CHECK: &str = "redis-unauthenticated";

/// What `redis-cli` on the host itself says: an administrator's way in, not portreeve's.
fn redis_cli(host: &Host, port: u16, password: Option<&str>, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    if let Some(password) = password {
        command.args(["-a", password, "--no-auth-warning"]);
    }
    host.namespace().run(command.args(words)).unwrap()
}

/// The commands that a redis has served since it started, sorted; those of `redis_cli` among them.
fn commands(host: &Host, port: u16, password: Option<&str>) -> Vec<String> {
    let said = redis_cli(host, port, password, &["INFO", "commandstats"]);
    let mut names: Vec<String> =
        said.lines().filter_map(|l| l.strip_prefix("cmdstat_")?.split(':').next().map(str::to_lowercase)).collect();
    names.sort();
    names
}

fn changes(host: &Host, port: u16, password: Option<&str>) -> String {
    let said = redis_cli(host, port, password, &["INFO", "persistence"]);
    let line = said.lines().find(|l| l.starts_with("rdb_changes_since_last_save:"));
    line.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
}

fn findings(world: &World, query: &str) -> Vec<Value> {
    world.api.items(&format!("/findings?{query}")).unwrap()
}

fn events(world: &World, kind: &str) -> Vec<Value> {
    world.api.items(&format!("/events?kind={kind}")).unwrap()
}

fn a_redis_without_password_is_found_told_and_gone_when_it_has_one(db: Db) {
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), db);
    let web = world.lab.host("web").clone();
    let (_smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.10", "payments");
    web.serve(Server::Redis { port: 6379 }).unwrap();
    web.serve(Server::Redis { port: 16_379 }).unwrap();
    redis_cli(&web, 16_379, None, &["CONFIG", "SET", "requirepass", "s3cret"]);
    redis_cli(&web, 6379, None, &["SET", "orders", "17"]);
    let before = changes(&web, 6379, None);

    world.run("liveness", &["10.99.7.10"], None);
    world.run("full-all", &["10.99.7.10"], Some("6379,16379"));
    let found = eventually("the open redis is proved to be open", SOON, || findings(&world, "phase=present").into_iter().next());
    assert_eq!((found["check"].as_str(), found["port"].as_u64()), (Some(CHECK), Some(6379)), "{found}");
    assert_eq!((found["severity"].as_str(), found["owner"].as_str()), (Some("critical"), Some("payments")));
    assert!(found["evidence"]["sha256"].as_str().unwrap().len() == 64, "{found}");
    assert!(!found["evidence"].to_string().contains("orders"), "counts are kept, not keys: {found}");
    for language in ["en", "zh"] {
        assert!(!found["advice"][language].as_str().unwrap().is_empty(), "{found}");
    }
    world.until_exposure(web.v4(), 16_379, "the guarded redis is identified", |e| e["service"]["name"] == "redis");
    let detail = world.api.get(&format!("/endpoints/{}/tcp/6379", web.v4())).unwrap();
    assert_eq!(detail["findings"].as_array().map(Vec::len), Some(1), "{detail}");
    assert_eq!(detail["exposures"][0]["risk"]["severity"], "critical");
    let proved = events(&world, "finding.proved");
    assert_eq!(proved.len(), 1, "{proved:?}");
    assert_eq!(proved[0]["detail"]["check"], CHECK);
    eventually("somebody is told", SOON, || webhook.posts().iter().any(|p| p.body.to_string().contains(CHECK)).then_some(()));
    // The guarded one was asked as well, and is no finding.
    eventually("both were identified", SOON, || {
        let asked = commands(&web, 16_379, Some("s3cret"));
        asked.contains(&"info".to_owned()).then_some(())
    });
    assert_eq!(findings(&world, "").len(), 1);

    // The same again: no news, and still nothing written.
    world.run("service-identification", &["10.99.7.10"], None);
    assert_eq!(events(&world, "finding.proved").len(), 1);
    assert_eq!(changes(&web, 6379, None), before, "the dirty count is as it was");
    for (port, password) in [(6379, None), (16_379, Some("s3cret"))] {
        let served = commands(&web, port, password);
        let known = ["auth", "command", "command|docs", "config|set", "hello", "info", "ping", "quit", "set"];
        assert!(served.iter().all(|c| known.contains(&c.as_str())), "port {port} was asked for {served:?}");
    }

    redis_cli(&web, 6379, None, &["CONFIG", "SET", "requirepass", "s3cret"]);
    world.run("service-identification", &["10.99.7.10"], None);
    let gone = eventually("the finding is gone", SOON, || findings(&world, "phase=gone").into_iter().next());
    assert_eq!(gone["id"], found["id"]);
    assert!(gone["gone_reason"].as_str().unwrap().starts_with("not-proved"), "{gone}");
    assert_eq!(events(&world, "finding.gone").len(), 1);
    let after = world.exposure(web.v4(), 6379).unwrap();
    assert_eq!(after["phase"], "open", "the door itself is as open as before");
    assert!(!after["risk"]["reasons"].to_string().contains("finding-proved"), "{after}");
    assert_eq!(changes(&web, 6379, Some("s3cret")), before);

    // And back: it is proved again, with an event.
    redis_cli(&web, 6379, Some("s3cret"), &["CONFIG", "SET", "requirepass", ""]);
    world.run("service-identification", &["10.99.7.10"], None);
    eventually("it is proved again", SOON, || (events(&world, "finding.proved").len() == 2).then_some(()));
    assert_eq!(findings(&world, "phase=present")[0]["id"], found["id"]);
}

#[test]
fn a_redis_without_password_is_found_told_and_gone_when_it_has_one_on_sqlite() {
    a_redis_without_password_is_found_told_and_gone_when_it_has_one(Db::Sqlite);
}

#[test]
fn a_redis_without_password_is_found_told_and_gone_when_it_has_one_on_postgresql() {
    a_redis_without_password_is_found_told_and_gone_when_it_has_one(Db::Postgres);
}

#[test]
fn where_the_owner_wants_no_checks_there_are_none() {
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), Db::Sqlite);
    let web = world.lab.host("web").clone();
    let body = json!({"range": "10.99.7.10", "name": "quiet", "observe_until": null, "check_ceiling": "none"});
    world.api.post("/assets", &body).unwrap();
    web.serve(Server::Redis { port: 6379 }).unwrap();
    world.run("full-all", &["10.99.7.10"], Some("6379"));
    world.until_exposure(web.v4(), 6379, "it is identified", |e| e["service"]["version"].is_string());
    world.run("service-identification", &["10.99.7.10"], None);
    assert!(findings(&world, "").is_empty());
    assert!(!redis_cli(&web, 6379, None, &["INFO", "commandstats"]).contains("cmdstat_auth"));
}
