//! Canaries end to end: real servers behind a border that breaks. What we cannot see does not close; what stops does (PR-13).

use crate::world::{Db, SOON, World};
use lab::{Kind, LabSpec, Server, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const FIRST: &str = "10.99.7.0/25";
const SECOND: &str = "10.99.7.128/25";
/// From a break to the certainty that it is one: a re-check every ten seconds, then one more look ten seconds later.
const UNKNOWN_WITHIN: Duration = Duration::from_secs(75);
/// Silence closes a port in six seconds here; by then everything would be gone if nothing doubted it.
const LONG: Duration = Duration::from_secs(25);

/// The border drops what goes to those addresses, or nothing any more.
fn cut(world: &World, networks: &[&str]) {
    let drops: String = networks.iter().map(|n| format!("    ip daddr {n} drop\n")).collect();
    let chain = format!("  chain forward {{\n    type filter hook forward priority 0; policy accept;\n{drops}  }}\n");
    world.lab.border().nft(&format!("table ip cut {{ }}\ndelete table ip cut\ntable ip cut {{\n{chain}}}\n")).unwrap();
}

fn segment(world: &World, range: &str) -> Value {
    let found = world.api.items("/segments").unwrap();
    found.into_iter().find(|s| s["range"] == range).unwrap_or_else(|| panic!("segment {range} is not listed"))
}

fn until_status(world: &World, range: &str, status: &str) -> Value {
    eventually(&format!("segment {range} is {status}"), UNKNOWN_WITHIN, || {
        Some(segment(world, range)).filter(|s| s["status"] == status)
    })
}

fn alerts(world: &World, kind: &str) -> Vec<Value> {
    world.api.items("/alerts").unwrap().into_iter().filter(|a| a["kind"] == kind).collect()
}

fn events(world: &World, kind: &str) -> Vec<Value> {
    world.api.items("/events").unwrap().into_iter().filter(|e| e["kind"] == kind).collect()
}

/// Finds everything that is open, and has it re-checked every ten seconds; silence closes in six.
fn learn(world: &mut World, ranges: &[&str], ports: &str) {
    world.settings(|s| {
        s["hysteresis"]["silent_span"] = json!(6_000);
        s["alerts"]["group_interval"] = json!(1_000);
    });
    for range in ranges {
        world.asset(range, "payments");
    }
    world.run("liveness", ranges, None);
    world.run("full-online", ranges, Some(ports));
    let truth = world.truth();
    eventually("everything that is open is known", SOON, || (world.open_endpoints() == truth).then_some(()));
    world.every(10, "open-recheck", ranges, None);
}

#[test]
fn a_broken_path_closes_nothing_and_a_stopped_server_does() {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing).host("db", 20, Kind::Refusing).host("app", 30, Kind::Dropping);
    let mut world = World::start(spec, Db::Sqlite);
    let (web, db, app) = (world.lab.host("web").clone(), world.lab.host("db").clone(), world.lab.host("app").clone());
    web.serve(Server::Nginx { port: 80, title: "Shop".into() }).unwrap();
    web.serve(Server::Silent { port: 7000 }).unwrap();
    let redis = db.serve(Server::Redis { port: 6379 }).unwrap();
    app.serve(Server::Silent { port: 7001 }).unwrap();
    app.serve(Server::Silent { port: 7002 }).unwrap();
    let (_smtp, webhook) = world.receivers(true);
    learn(&mut world, &["10.99.7.0/24"], "80,6379,7000-7010");
    assert_eq!(segment(&world, "10.99.7.0/24")["guard"], "own");

    // The border stops forwarding. Within two looks that is known for what it is.
    cut(&world, &["10.99.7.0/24"]);
    let unknown = until_status(&world, "10.99.7.0/24", "unknown");
    assert_eq!((&unknown["judged_by"], &unknown["silent"]), (&json!(5), &json!(5)), "{unknown}");
    world.run("liveness", &["10.99.7.0/24"], None);
    std::thread::sleep(LONG);
    assert_eq!(world.open_endpoints(), world.truth(), "nothing closes while nobody can see");
    for exposure in world.api.items("/exposures?phase=open").unwrap() {
        assert!(exposure["unknown_since"].is_string(), "the list says so: {exposure}");
    }
    let dashboard = world.api.get("/dashboard").unwrap();
    assert_eq!(dashboard["segments"]["unknown"], 1, "{dashboard}");
    assert_eq!(dashboard["segments"]["listed"][0]["range"], "10.99.7.0/24", "{dashboard}");
    assert!(segment(&world, "10.99.7.0/24")["set_aside"].as_u64().unwrap() >= 5);
    let told = alerts(&world, "segment-unknown");
    assert_eq!(told.len(), 1, "one alert for all of it: {told:?}");
    assert_eq!((&told[0]["segment"]["range"], &told[0]["severity"]), (&json!("10.99.7.0/24"), &json!("high")));

    // Mended: known again, and nothing of that time counts.
    cut(&world, &[]);
    until_status(&world, "10.99.7.0/24", "known");
    std::thread::sleep(LONG);
    assert_eq!(world.open_endpoints(), world.truth());
    assert!(world.api.items("/exposures?phase=open").unwrap().iter().all(|e| e["unknown_since"].is_null()));
    for (kind, times) in [("endpoint.closed", 0), ("segment.unknown", 1), ("segment.known", 1)] {
        assert_eq!(events(&world, kind).len(), times, "{kind}: {:?}", events(&world, kind));
    }
    let live = world.lab.hosts().iter().map(|h| h.v4().to_string()).collect::<Vec<_>>();
    let offline = events(&world, "host.offline");
    assert!(!offline.iter().any(|e| live.contains(&e["ip"].as_str().unwrap().to_owned())), "{offline:?}");
    eventually("the end is told as well", SOON, || {
        let posts = webhook.messages();
        let of = |kind: &str| posts.iter().flat_map(|m| m["alerts"].as_array().unwrap()).filter(|a| a["kind"] == kind).count();
        assert!(of("closed") == 0, "{posts:?}");
        ((of("segment-unknown"), of("segment-known")) == (1, 1)).then_some(())
    });

    // And now two of them really go: one refuses, one is silent.
    redis.stop();
    app.forbid(7001).unwrap();
    let closed = world.until_phase(db.v4(), 6379, "closed", SOON);
    assert_eq!(closed["reason"], "rst", "{closed}");
    let closed = world.until_phase(app.v4(), 7001, "closed", SOON);
    assert_eq!(closed["reason"], "timeout", "{closed}");
    assert_eq!(segment(&world, "10.99.7.0/24")["status"], "known");
}

#[test]
fn one_segment_is_cut_off_while_the_other_goes_on() {
    let mut spec = LabSpec::new();
    for (name, number) in [("a1", 10), ("a2", 20), ("a3", 30), ("b1", 140), ("b2", 150), ("b3", 160)] {
        spec = spec.host(name, number, Kind::Refusing);
    }
    let mut world = World::start(spec, Db::Postgres);
    for host in world.lab.hosts() {
        host.serve(Server::Silent { port: 7000 }).unwrap();
    }
    learn(&mut world, &[FIRST, SECOND], "7000-7010");
    cut(&world, &[FIRST]);
    let stops = world.lab.host("b2").clone();
    stops.forbid(7000).unwrap();
    until_status(&world, FIRST, "unknown");
    world.until_phase(stops.v4(), 7000, "closed", SOON);
    std::thread::sleep(LONG);
    assert_eq!(segment(&world, SECOND)["status"], "known");
    let others: Vec<String> = world.truth().into_iter().filter(|e| !e.starts_with("10.99.7.150:")).collect();
    assert_eq!(world.open_endpoints(), others, "of the dark segment nothing has closed, of the other what stopped");

    // A person knows better: the rack behind the border is gone. The canaries of the other segment speak for it from now on.
    for ip in ["10.99.7.10", "10.99.7.20"] {
        let body = json!({"endpoint": format!("{ip}:7000/tcp"), "role": "never", "note": "dismantled"});
        world.api.post("/canaries", &body).unwrap();
    }
    // Two are left there, so nobody but silence itself can speak: it is believed.
    for number in [10, 20, 30] {
        world.until_phase([10, 99, 7, number], 7000, "closed", Duration::from_secs(90));
    }
}

#[test]
fn a_segment_with_a_single_door_is_judged_by_the_whole_vantage() {
    let mut spec = LabSpec::new().host("lonely", 200, Kind::Refusing);
    for (name, number) in [("a1", 10), ("a2", 20), ("a3", 30)] {
        spec = spec.host(name, number, Kind::Refusing);
    }
    let mut world = World::start(spec, Db::Sqlite);
    for host in world.lab.hosts() {
        host.serve(Server::Silent { port: 7000 }).unwrap();
    }
    learn(&mut world, &[FIRST, SECOND], "7000-7010");
    assert_eq!(segment(&world, SECOND)["guard"], "borrowed");
    // Everything is silent at once: the uplink, not the doors.
    cut(&world, &[FIRST, SECOND]);
    until_status(&world, SECOND, "unknown");
    until_status(&world, FIRST, "unknown");
    std::thread::sleep(LONG);
    assert_eq!(world.open_endpoints(), world.truth());
    cut(&world, &[]);
    until_status(&world, FIRST, "known");
    until_status(&world, SECOND, "known");
    // It alone falls silent: the others answer, so it is its own silence.
    let lonely = world.lab.host("lonely").clone();
    lonely.forbid(7000).unwrap();
    world.until_phase(lonely.v4(), 7000, "closed", SOON);
    assert_eq!(segment_or_none(&world, SECOND).map(|s| s["status"].clone()), None, "nothing is open there any more");
}

fn segment_or_none(world: &World, range: &str) -> Option<Value> {
    world.api.items("/segments").unwrap().into_iter().find(|s| s["range"] == range)
}
