//! What must not be probed is not: exclusions, blackouts and everything outside the assets, counted on the wire at the border.

use crate::world::{Db, World, id};
use lab::{Kind, LabSpec};
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, Instant};

#[test]
fn nothing_leaves_for_excluded_blacked_out_or_foreign_addresses() {
    let spec =
        LabSpec::new().host("web", 10, Kind::Refusing).host("printer", 11, Kind::Refusing).host("night", 12, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let packets = |n: u8| world.lab.packets_to(IpAddr::from([10, 99, 7, n])).unwrap();
    let exclusion = json!({"range": "10.99.7.11", "reason": "prints what it is sent"});
    world.api.post("/exclusions", &exclusion).unwrap();
    let window = json!({"type": "once", "from": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"});
    let blackout = json!({"range": "10.99.7.12", "window": window, "reason": "batch run"});
    let blackout = world.api.post("/blackouts", &blackout).unwrap();
    assert_eq!(blackout["active_now"], true, "{blackout}");
    world.asset("10.99.7.8/29", "payments");
    world.run("liveness", &["10.99.7.8/29"], None);
    world.run("full-all", &["10.99.7.8/29"], Some("1-100"));
    // A task that asks for more than the assets cover gets what they cover.
    world.run("full-all", &["10.99.7.0/27"], Some("1-100"));
    assert!(packets(10) >= 100, "the live host is probed: {} packets", packets(10));
    assert!(packets(13) > 0, "a dead address in scope is asked: {} packets", packets(13));
    for (n, why) in [(11, "excluded"), (12, "blacked out"), (7, "no asset"), (16, "no asset"), (20, "no asset")] {
        assert_eq!(packets(n), 0, "10.99.7.{n}: {why}");
    }
    // When the quiet time is over, it is probed like the others.
    world.api.delete(&format!("/blackouts/{}", id(&blackout))).unwrap();
    world.run("full-all", &["10.99.7.8/29"], Some("1-100"));
    assert!(packets(12) >= 100, "{}", packets(12));
    assert_eq!(packets(11), 0, "an exclusion has no end");
}

#[test]
fn the_pace_of_a_range_is_kept_on_the_wire() {
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), Db::Sqlite);
    let body = json!({"range": "10.99.7.10", "name": "fragile", "observe_until": null, "per_target_pps": 200});
    world.api.post("/assets", &body).unwrap();
    let ip = IpAddr::from([10, 99, 7, 10]);
    let task = world.once("full-all", &["10.99.7.10"], Some("1-3000"));
    let mut before = (world.lab.packets_to(ip).unwrap(), Instant::now());
    let mut rates = Vec::new();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(2));
        let now = (world.lab.packets_to(ip).unwrap(), Instant::now());
        rates.push(((now.0 - before.0) as f64 / (now.1 - before.1).as_secs_f64()) as u64);
        before = now;
    }
    // A refused probe is one packet: the refusal needs no answer. Ten per cent for where the windows of measurement fall.
    assert!(rates.iter().all(|r| *r <= 220), "at most 200 probes a second were allowed, {rates:?} were seen");
    assert!(rates.iter().any(|r| *r >= 100), "it did probe: {rates:?}");
    world.api.post(&format!("/tasks/{task}/cancel"), &serde_json::Value::Null).unwrap();
}
