//! Being told to stop while at it: exclusions, quiet times and people, counted on the wire at the border (PR-1).

use crate::world::{Db, World};
use lab::{Kind, LabSpec, eventually};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// A heartbeat is five seconds; what is on its way in the engine is gone within another.
const HEARTBEAT: Duration = Duration::from_secs(7);
const TARGET: [u8; 4] = [10, 99, 7, 10];

/// A lab in which a sweep of two hosts takes minutes, and the sweep, going on.
fn sweeping() -> (World, String) {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing).host("db", 20, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let asset = json!({"range": "10.99.7.0/27", "name": "slow", "observe_until": null, "per_target_pps": 100});
    world.api.post("/assets", &asset).unwrap();
    let task = world.once("full-all", &["10.99.7.10", "10.99.7.20"], Some("1-20000"));
    eventually("the sweep is under way", Duration::from_secs(30), || (packets(&world, 10) > 200).then_some(()));
    (world, task)
}

fn packets(world: &World, number: u8) -> u64 {
    world.lab.packets_to(IpAddr::from([TARGET[0], TARGET[1], TARGET[2], number])).unwrap()
}

/// Probes that still reach the host in the eight seconds after `wait`.
fn after(world: &World, number: u8, wait: Duration) -> u64 {
    std::thread::sleep(wait);
    let before = packets(world, number);
    std::thread::sleep(Duration::from_secs(8));
    packets(world, number) - before
}

#[test]
fn an_exclusion_takes_effect_on_a_running_sweep_within_a_heartbeat() {
    let (world, _) = sweeping();
    world.api.post("/exclusions", &json!({"range": "10.99.7.10", "reason": "it beeps"})).unwrap();
    assert_eq!(after(&world, 10, HEARTBEAT), 0, "not one probe more to the excluded host");
    eventually("the rest of the sweep goes on", Duration::from_secs(30), || {
        let before = packets(&world, 20);
        std::thread::sleep(Duration::from_secs(1));
        (packets(&world, 20) > before + 20).then_some(())
    });
}

#[test]
fn a_cancelled_and_a_paused_task_stop_on_the_wire_within_a_heartbeat() {
    let (world, task) = sweeping();
    world.api.post(&format!("/tasks/{task}/cancel"), &Value::Null).unwrap();
    assert_eq!(after(&world, 10, HEARTBEAT) + after(&world, 20, Duration::ZERO), 0, "cancelled is cancelled");

    let task = world.once("full-all", &["10.99.7.10"], Some("1-20000"));
    let before = packets(&world, 10);
    eventually("another sweep is under way", Duration::from_secs(30), || (packets(&world, 10) > before + 200).then_some(()));
    world.api.post(&format!("/tasks/{task}/pause"), &Value::Null).unwrap();
    assert_eq!(after(&world, 10, HEARTBEAT), 0, "paused is paused");
    let before = packets(&world, 10);
    world.api.post(&format!("/tasks/{task}/resume"), &Value::Null).unwrap();
    eventually("resumed, it goes on", Duration::from_secs(30), || (packets(&world, 10) > before + 100).then_some(()));
}

#[test]
fn a_running_sweep_is_silent_from_the_very_start_of_a_quiet_time_and_goes_on_after_it() {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing).host("db", 20, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let asset = json!({"range": "10.99.7.0/27", "name": "slow", "observe_until": null, "per_target_pps": 100});
    world.api.post("/assets", &asset).unwrap();
    // Known before the sweep begins, as a nightly window is: from fifteen seconds on, for fifteen.
    let (from, until) = (now_plus(15), now_plus(30));
    let window = json!({"type": "once", "from": from, "until": until});
    world.api.post("/blackouts", &json!({"range": "10.99.7.10", "window": window, "reason": "batch run"})).unwrap();
    world.once("full-all", &["10.99.7.10"], Some("1-20000"));
    world.once("full-all", &["10.99.7.20"], Some("1-20000"));
    eventually("the sweeps are under way", Duration::from_secs(12), || {
        (packets(&world, 10) > 200 && packets(&world, 20) > 200).then_some(())
    });
    sleep_until(&from, 0);
    // Half a second for what is on the wire and for this machine being busy; a heartbeat would be five.
    std::thread::sleep(Duration::from_millis(500));
    let before = packets(&world, 10);
    let other = packets(&world, 20);
    sleep_until(&until, -1_000);
    assert_eq!(packets(&world, 10), before, "not one probe in the quiet time");
    assert!(packets(&world, 20) > other, "the host that nobody spoke of is swept meanwhile");
    eventually("afterwards the sweep goes on", Duration::from_secs(60), || (packets(&world, 10) > before + 100).then_some(()));
}

/// The instant so many seconds from now, as the API writes it.
fn now_plus(seconds: i64) -> String {
    let at = std::time::SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
    let at = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let output = std::process::Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%FT%TZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn sleep_until(instant: &str, offset_ms: i64) {
    let output = std::process::Command::new("date").args(["-d", instant, "+%s"]).output().unwrap();
    let at: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    std::thread::sleep(Duration::from_millis((at * 1_000 + offset_ms - now).max(0) as u64));
}
