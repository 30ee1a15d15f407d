//! Hosts that look dead: stored as offline though never seen up, and swept all the same (tasks 6 to 8). And queues that are long.

use crate::world::{Db, SOON, World};
use lab::{Kind, LabSpec, Server};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn a_host_never_seen_up_is_stored_as_offline_and_the_catch_all_tasks_sweep_it() {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing).host("dark", 12, Kind::Dark);
    let world = World::start(spec, Db::Sqlite);
    let dark = world.lab.host("dark").clone();
    world.asset("10.99.7.8/29", "payments");
    world.run("liveness", &["10.99.7.8/29"], None);
    let liveness = |ip: &str| {
        let hosts = world.api.items(&format!("/hosts?search={ip}")).unwrap();
        hosts.iter().find(|h| h["ip"] == ip).map(|h| (h["liveness"].as_str().unwrap().to_owned(), h["last_online_at"].is_null()))
    };
    assert_eq!(liveness("10.99.7.10"), Some(("online".into(), false)));
    for never_up in ["10.99.7.9", "10.99.7.12", "10.99.7.13"] {
        assert_eq!(liveness(never_up), Some(("offline".into(), true)), "{never_up}");
    }
    // Each of the three finds a door that opened since on the host that looks dead.
    for (kind, ports, server) in [
        ("high-risk-offline", "high-risk", Server::Redis { port: 6379 }),
        ("full-offline", "50000-50100", Server::Nginx { port: 50050, title: "Panel".into() }),
        ("full-all", "60000-60100", Server::Memcached { port: 60060 }),
    ] {
        let port = server.port();
        dark.serve(server).unwrap();
        assert!(world.endpoint(dark.v4(), port).is_none());
        let run = world.run(kind, &["10.99.7.8/29"], Some(ports));
        assert!(run["probes_sent"].as_u64().unwrap() > 0, "{run}");
        world.until_phase(dark.v4(), port, "open", SOON);
    }
    // The live label does not hold it, so tasks of live hosts pass it by.
    dark.serve(Server::Memcached { port: 11211 }).unwrap();
    let _ = world.lab.packets_to(dark.v4().into()).unwrap();
    let exposure = world.exposure(dark.v4(), 6379).unwrap();
    assert_eq!((&exposure["risk"]["kind"], &exposure["phase"]), (&json!("high-risk-port"), &json!("open")), "{exposure}");
}

#[test]
fn a_thousand_hosts_are_queued_in_under_a_second() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    // Private addresses that the lab's border has no route to.
    world.asset("10.98.0.0/22", "payments");
    let body = json!({"kind": "full-all", "name": "all of it", "ports": "all", "retries": 0,
                      "target": {"type": "all-assets"}, "trigger": {"type": "interval", "every": 86_400_000}});
    let task = world.api.post("/tasks", &body).unwrap();
    let task = task["id"].as_str().unwrap();
    world.api.post(&format!("/tasks/{task}/pause"), &serde_json::Value::Null).unwrap();
    world.api.post(&format!("/tasks/{task}/resume"), &serde_json::Value::Null).unwrap();
    // The machine may be busy with other tests: the best of a few is what the system can do.
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let view = world.api.post(&format!("/tasks/{task}/run"), &serde_json::Value::Null);
        let took = began.elapsed();
        // It may have fired by itself in the meantime: then that run is the one to look at, and its time says nothing.
        let run = match view {
            Ok(view) => {
                best = best.min(took);
                view["last_run"].clone()
            }
            Err(_) => world.api.get(&format!("/tasks/{task}")).unwrap()["last_run"].clone(),
        };
        assert!(run["jobs_total"].as_u64().unwrap() > 0, "{run}");
        assert_eq!(run["probes_total"].as_u64(), Some(1024 * 65_535), "every address and port of it: {run}");
        let view = world.api.post(&format!("/tasks/{task}/cancel"), &serde_json::Value::Null).unwrap();
        assert_eq!(view["last_run"]["state"], "cancelled", "{view}");
        if best < Duration::from_secs(1) {
            break;
        }
    }
    assert!(best < Duration::from_secs(1), "queued in {best:?}");
}
