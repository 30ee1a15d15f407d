//! Taken away in the middle of a sweep: the process by `kill -9`, the database by an outage. Nothing recorded is lost.

use crate::world::{Db, SOON, World, mentions};
use lab::{Host, Kind, LabSpec, Server, eventually};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Two live hosts with real servers from one end of the port range to the other.
fn spec() -> LabSpec {
    LabSpec::new().host("web", 10, Kind::Refusing).host("app", 20, Kind::Refusing)
}

fn serve_widely(web: &Host, app: &Host) {
    for server in [
        Server::ClosesAtOnce { port: 1 },
        Server::Sshd { port: 2222 },
        Server::Redis { port: 16379 },
        Server::Nginx { port: 30080, title: "Panel".into() },
        Server::Dropbear { port: 60022 },
        Server::Silent { port: 65535 },
    ] {
        web.serve(server).unwrap();
    }
    for server in [Server::Rsync { port: 8730 }, Server::Memcached { port: 41211 }, Server::Vsftpd { port: 52121 }] {
        app.serve(server).unwrap();
    }
}

/// Waits until the full sweep has sent more than this share of its probes, and is not done.
fn until_progress(world: &World, run: &str, share: f64) {
    eventually(&format!("the sweep is {:.0} % through", share * 100.0), SOON, || {
        let run = world.api.get(&format!("/runs/{run}")).unwrap();
        assert_eq!(run["state"], "running", "the sweep was over before it could be disturbed: {run}");
        let (sent, total) = (run["probes_sent"].as_f64().unwrap(), run["probes_total"].as_f64().unwrap());
        (total > 0.0 && sent / total > share).then_some(())
    });
}

fn run_of(world: &World, task: &str) -> String {
    eventually("the sweep has begun", SOON, || {
        world.api.get(&format!("/tasks/{task}")).unwrap()["last_run"]["id"].as_str().map(str::to_owned)
    })
}

/// A pace at which a full sweep of both hosts lasts about twenty seconds.
fn slow_down(world: &mut World) {
    world.settings(|s| s["pace"] = serde_json::json!({"node_pps": 6_000, "per_network_pps": 6_000, "per_target_pps": 3_000}));
}

#[test]
fn killed_twice_in_the_middle_of_a_full_sweep_it_completes_misses_nothing_and_alerts_once() {
    let mut world = World::start(spec(), Db::Sqlite);
    let (web, app) = (world.lab.host("web").clone(), world.lab.host("app").clone());
    let (smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.10", "payments");
    world.asset("10.99.7.20", "payments");
    slow_down(&mut world);
    // One alert is out before the sweep, the others come out of it.
    web.serve(Server::Redis { port: 6379 }).unwrap();
    world.run("liveness", &["10.99.7.10", "10.99.7.20"], None);
    world.run("high-risk-online", &["10.99.7.10"], Some("high-risk"));
    let told = |ip: Ipv4Addr, port: u16| {
        let mails: Vec<String> = smtp.messages().into_iter().map(|m| m.text).collect();
        let posts: Vec<String> = webhook.messages().iter().map(Value::to_string).collect();
        (mentions(mails.iter().map(String::as_str), ip, port), mentions(posts.iter().map(String::as_str), ip, port))
    };
    eventually("redis is told", SOON, || (told(web.v4(), 6379) == (1, 1)).then_some(()));

    serve_widely(&web, &app);
    let task = world.once("full-all", &["10.99.7.10", "10.99.7.20"], Some("all"));
    let run = run_of(&world, &task);
    for share in [0.2, 0.5] {
        until_progress(&world, &run, share);
        let before = world.open_endpoints();
        world.serve.kill9();
        world.serve.restart().unwrap();
        let after = world.open_endpoints();
        assert!(before.iter().all(|e| after.contains(e)), "what was recorded stays: {before:?}, after the kill {after:?}");
    }
    let ended = world.ended(&task, Duration::from_secs(120));
    assert_eq!((ended["state"].as_str(), ended["id"].as_str()), (Some("succeeded"), Some(run.as_str())), "{ended}");
    let truth = world.truth();
    assert_eq!(truth.len(), 10);
    eventually(&format!("every open endpoint is known: {truth:?}"), SOON, || (world.open_endpoints() == truth).then_some(()));

    // High-risk by identity: everybody hears of each of them once, of those before the kills and of those after.
    let risky = [(web.v4(), 6379), (web.v4(), 16379), (web.v4(), 2222), (web.v4(), 60022), (app.v4(), 8730), (app.v4(), 41211)];
    world.settings(|s| s["alerts"]["group_interval"] = serde_json::json!(1_000));
    for (ip, port) in risky {
        eventually(&format!("{ip}:{port} is told by mail and webhook"), SOON, || {
            let (mails, posts) = told(ip, port);
            (mails > 0 && posts > 0).then_some(())
        });
    }
    std::thread::sleep(Duration::from_secs(3));
    for (ip, port) in risky {
        assert_eq!(told(ip, port), (1, 1), "{ip}:{port} is told once each way: {:#?}", smtp.messages());
    }
    let events = world.api.items("/events?kind=endpoint.opened").unwrap();
    for open in world.lab.truth_v4() {
        let of_it = events.iter().filter(|e| e["ip"] == open.ip.to_string() && e["port"] == open.port).count();
        assert_eq!(of_it, 1, "{}:{} opened once in the log", open.ip, open.port);
    }
}

#[test]
fn postgresql_dropping_in_the_middle_of_a_sweep_is_waited_for_and_the_sweep_completes() {
    let mut world = World::start(spec(), Db::Postgres);
    let (web, app) = (world.lab.host("web").clone(), world.lab.host("app").clone());
    world.asset("10.99.7.10", "payments");
    world.asset("10.99.7.20", "payments");
    slow_down(&mut world);
    serve_widely(&web, &app);
    let task = world.once("full-all", &["10.99.7.10", "10.99.7.20"], Some("all"));
    let run = run_of(&world, &task);
    until_progress(&world, &run, 0.2);

    world.postgres.as_mut().unwrap().stop();
    let http = world.serve.http();
    eventually("/healthz says that the database is away", Duration::from_secs(15), || {
        let reply = http.request("GET", "/healthz", &[], None).unwrap();
        (reply.status == 503 && reply.json()["status"] == "database-unavailable").then_some(())
    });
    let reply = world.api.call("GET", "/exposures", None).unwrap();
    assert_eq!((reply.status, reply.json()["code"].as_str()), (503, Some("unavailable")), "{}", reply.text());
    assert!(reply.json()["hint"].is_string(), "{}", reply.text());
    std::thread::sleep(Duration::from_secs(5));
    let pid = world.serve.pid();
    world.postgres.as_mut().unwrap().resume().unwrap();
    world.serve.wait_healthy().unwrap();
    assert_eq!(world.serve.pid(), pid, "it recovered by itself");

    let ended = world.ended(&task, Duration::from_secs(120));
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let truth = world.truth();
    assert_eq!(truth.len(), 9);
    eventually(&format!("every open endpoint is known: {truth:?}"), SOON, || (world.open_endpoints() == truth).then_some(()));
}

#[test]
fn sigterm_ends_it_cleanly_and_a_paused_sweep_goes_on_after_the_restart() {
    let mut world = World::start(spec(), Db::Sqlite);
    let (web, app) = (world.lab.host("web").clone(), world.lab.host("app").clone());
    world.asset("10.99.7.10", "payments");
    slow_down(&mut world);
    serve_widely(&web, &app);
    let task = world.once("full-all", &["10.99.7.10"], Some("all"));
    let run = run_of(&world, &task);
    until_progress(&world, &run, 0.2);
    let status = world.serve.terminate(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}\n{}", world.serve.log());
    world.serve.restart().unwrap();
    world.api.post(&format!("/tasks/{task}/pause"), &Value::Null).unwrap();
    eventually("no job runs while the task is paused", SOON, || {
        world.api.items("/jobs?state=leased").unwrap().is_empty().then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.api.get(&format!("/runs/{run}")).unwrap()["state"], "running", "paused, not over");
    world.api.post(&format!("/tasks/{task}/resume"), &Value::Null).unwrap();
    let ended = world.ended(&task, Duration::from_secs(60));
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let truth: Vec<String> = world.truth().into_iter().filter(|e| e.starts_with("10.99.7.10:")).collect();
    eventually(&format!("every open endpoint is known: {truth:?}"), SOON, || (world.open_endpoints() == truth).then_some(()));
}
