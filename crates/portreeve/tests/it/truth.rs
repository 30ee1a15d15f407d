//! Every class of host against ground truth, endpoint by endpoint: what `portreeve scan` says of a port must be what is so, with
//! the right reason, in both families and by both methods. A missed or an invented port is a failure, not a tolerance.
//!
//! Here are the classes that answer steadily, and the words all the truth tests share. docs/reference/truth-classes.md lists
//! them all. What goes wrong on the way, what pretends and what lies is in the files beside this one.

use crate::world::BINARY;
use lab::{Capture, Host, Kind, Lab, LabSpec, Output, Refusal, Seen, Server, run_cli};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// State and reason of every endpoint.
pub type States = BTreeMap<(IpAddr, u16), (String, String)>;

/// Runs `portreeve scan` in the lab; every record as a JSON line.
pub fn scan(lab: &Lab, args: &[&str]) -> Output {
    let all = [&["scan", "--format", "jsonl", "--quiet"], args].concat();
    run_cli(lab.scanner(), Path::new(BINARY), &all, Duration::from_secs(90)).unwrap()
}

/// Runs a scan that must succeed and gives what it printed.
pub fn found(lab: &Lab, args: &[&str]) -> Vec<Value> {
    let output = scan(lab, args);
    assert_eq!(output.code, Some(0), "{args:?}: {}", output.stderr);
    records(&output.stdout)
}

/// The records of JSON lines.
pub fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Address and port of a record.
pub fn endpoint(record: &Value) -> (IpAddr, u16) {
    (record["ip"].as_str().unwrap().parse().unwrap(), record["port"].as_u64().unwrap() as u16)
}

/// What was said of each endpoint. Nothing may be said twice.
pub fn states(found: &[Value]) -> States {
    let mut states = States::new();
    for record in found {
        let said = (record["state"].as_str().unwrap().to_owned(), record["reason"].as_str().unwrap().to_owned());
        if let Some(before) = states.insert(endpoint(record), said) {
            panic!("said twice: {record}, before it {before:?}");
        }
    }
    states
}

/// The endpoints said to be open.
pub fn open(found: &[Value]) -> BTreeSet<(IpAddr, u16)> {
    found.iter().filter(|r| r["state"] == "open").map(endpoint).collect()
}

/// What is said and not so, is so and not said, or is said otherwise; nothing when both agree.
pub fn differences(said: &States, truth: &States) -> Vec<String> {
    let mut all: BTreeSet<_> = said.keys().collect();
    all.extend(truth.keys());
    let word = |states: &States, at| states.get(at).map_or("nothing".to_owned(), |(state, reason)| format!("{state}/{reason}"));
    let differs = all.into_iter().filter(|at| said.get(at) != truth.get(at));
    differs.map(|at| format!("{} port {}: said {}, is {}", at.0, at.1, word(said, at), word(truth, at))).collect()
}

/// Compares endpoint by endpoint.
pub fn assert_true(said: &States, truth: &States, what: &str) {
    let differences = differences(said, truth);
    let shown = differences.len().min(20);
    assert!(
        differences.is_empty(),
        "{what}: {} of {} differ\n{}",
        differences.len(),
        truth.len(),
        differences[..shown].join("\n")
    );
}

/// The truth of one host: `open` on these, `rest` on all others.
pub fn truth_of(ip: IpAddr, ports: &[u16], open: &[u16], word: (&str, &str), rest: (&str, &str)) -> States {
    let said = |(state, reason): (&str, &str)| (state.to_owned(), reason.to_owned());
    ports.iter().map(|&port| ((ip, port), said(if open.contains(&port) { word } else { rest }))).collect()
}

/// Ports probed of every host, and the one on which each serves.
const PORTS: &str = "1-40,6379,8000";
const SERVED: u16 = 8000;

fn ports() -> Vec<u16> {
    (1..=40).chain([6379, SERVED]).collect()
}

/// One host of each kind, each with one port that is open.
fn classes() -> Lab {
    let spec = LabSpec::new()
        .host("rst", 10, Kind::Refusing)
        .host("drop", 20, Kind::Dropping)
        .host("dark", 21, Kind::Dark)
        .host("prohibits", 30, Kind::Prohibiting)
        .host("port-unreachable", 31, Kind::PortUnreachable)
        .host("host-unreachable", 32, Kind::HostUnreachable)
        .host("router-prohibits", 40, Kind::Refusing)
        .host("router-no-host", 41, Kind::Refusing)
        .host("router-no-port", 42, Kind::Refusing)
        .host("router-resets", 43, Kind::Dropping);
    let lab = spec.start().unwrap();
    for host in lab.hosts() {
        host.serve(Server::Silent { port: SERVED }).unwrap();
    }
    for (name, refusal) in [
        ("router-prohibits", Refusal::Prohibited),
        ("router-no-host", Refusal::HostUnreachable),
        ("router-no-port", Refusal::PortUnreachable),
        ("router-resets", Refusal::Rst),
    ] {
        lab.refuse_at_border(lab.host(name), refusal, SERVED).unwrap();
    }
    lab.deaden(60).unwrap();
    lab
}

/// What raw probes must say of the closed ports of each class.
fn refusals(lab: &Lab) -> Vec<(&Host, (&'static str, &'static str))> {
    let said = [
        ("rst", ("closed", "rst")),
        ("drop", ("filtered", "timeout")),
        ("dark", ("filtered", "timeout")),
        ("prohibits", ("filtered", "icmp-prohibited")),
        ("port-unreachable", ("closed", "icmp-port-unreachable")),
        ("host-unreachable", ("filtered", "icmp-unreachable")),
        ("router-prohibits", ("filtered", "icmp-prohibited")),
        ("router-no-host", ("filtered", "icmp-unreachable")),
        // Who says so is not the host: a filter that imitates a refusal.
        ("router-no-port", ("filtered", "icmp-port-unreachable")),
        // In the host's name: nobody can tell.
        ("router-resets", ("closed", "rst")),
    ];
    said.into_iter().map(|(name, said)| (lab.host(name), said)).collect()
}

#[test]
fn every_class_of_host_is_told_with_its_reason_by_raw_probes() {
    let lab = classes();
    for v6 in [false, true] {
        let mut truth = States::new();
        for (host, rest) in refusals(&lab) {
            truth.extend(truth_of(host.ip(v6), &ports(), &[SERVED], ("open", "syn-ack"), rest));
        }
        let dead: IpAddr = if v6 { "fd99:7::60" } else { "10.99.7.60" }.parse().unwrap();
        truth.extend(truth_of(dead, &ports(), &[], ("open", ""), ("filtered", "timeout")));
        let targets: BTreeSet<String> = truth.keys().map(|(ip, _)| ip.to_string()).collect();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", PORTS, "--method", "syn", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "800"]);
        assert_true(&states(&found(&lab, &args)), &truth, if v6 { "IPv6" } else { "IPv4" });
    }
}

#[test]
fn without_raw_sockets_the_same_states_are_told() {
    let lab = classes();
    for v6 in [false, true] {
        let mut truth = States::new();
        for (host, (state, reason)) in refusals(&lab) {
            // The kernel keeps what ICMP said, and who said it; of a RST it only says that the connection was refused.
            let reason = if reason == "rst" { "conn-refused" } else { reason };
            truth.extend(truth_of(host.ip(v6), &ports(), &[SERVED], ("open", "connected"), (state, reason)));
        }
        let targets: BTreeSet<String> = truth.keys().map(|(ip, _)| ip.to_string()).collect();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", PORTS, "--method", "connect", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "800"]);
        assert_true(&states(&found(&lab, &args)), &truth, if v6 { "IPv6" } else { "IPv4" });
    }
}

/// Hosts on the scanner's own link, compared in both families.
fn neighbours_are_told(spec: LabSpec) -> Lab {
    let lab = spec
        .host("rst", 10, Kind::Refusing)
        .host("drop", 20, Kind::Dropping)
        .host("dark", 21, Kind::Dark)
        .host("prohibits", 30, Kind::Prohibiting)
        .start()
        .unwrap();
    for host in lab.hosts() {
        host.serve(Server::Silent { port: SERVED }).unwrap();
    }
    for v6 in [false, true] {
        let mut truth = States::new();
        for (name, rest) in [
            ("rst", ("closed", "rst")),
            ("drop", ("filtered", "timeout")),
            ("dark", ("filtered", "timeout")),
            ("prohibits", ("filtered", "icmp-prohibited")),
        ] {
            truth.extend(truth_of(lab.host(name).ip(v6), &ports(), &[SERVED], ("open", "syn-ack"), rest));
        }
        // Nobody answers for this address, so nothing can be sent to it.
        let dead: IpAddr = if v6 { "fd99:7::60" } else { "10.99.7.60" }.parse().unwrap();
        truth.extend(truth_of(dead, &ports(), &[], ("open", ""), ("filtered", "icmp-unreachable")));
        let targets: BTreeSet<String> = truth.keys().map(|(ip, _)| ip.to_string()).collect();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", PORTS, "--method", "syn", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "800"]);
        assert_true(&states(&found(&lab, &args)), &truth, if v6 { "IPv6" } else { "IPv4" });
    }
    lab
}

#[test]
fn neighbours_on_the_link_are_asked_by_their_hardware_address_and_nobody_there_is_unreachable() {
    neighbours_are_told(LabSpec::new().on_link());
}

#[test]
fn hosts_behind_a_vlan_of_a_trunk_are_told_like_any_neighbours() {
    let lab = neighbours_are_told(LabSpec::new().on_vlan(10));
    // And every frame of it was tagged on the wire.
    let capture = Capture::start(lab.border(), &lab.fresh_dir("trunk").unwrap(), "near", "").unwrap();
    let told = found(&lab, &["10.99.7.10", "fd99:7::10", "-p", "7990-8010", "--method", "syn", "--timeout-ms", "500"]);
    assert_eq!(open(&told).len(), 2, "{told:?}");
    let near = [IpAddr::from(lab::NEAR_V4), lab::NEAR_V6.into()];
    let seen = capture.stop().unwrap();
    let probes: Vec<&Seen> = seen.iter().filter(|seen| near.contains(&seen.src) && seen.syn_to().is_some()).collect();
    assert!(probes.len() >= 42, "{} probes on the trunk", probes.len());
    assert!(probes.iter().all(|seen| seen.vlan == Some(10)), "{probes:?}");
}

#[test]
fn all_65535_ports_of_hosts_that_refuse_and_that_drop_are_told_without_a_miss() {
    let lab = LabSpec::new().host("rst", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).start().unwrap();
    // Both ends of the range and some between; every state is compared, so that nothing of it is left out.
    let served = [1, 1023, 1024, 6379, 32_768, 49_152, 61_001, 65_535];
    for host in lab.hosts() {
        host.accept_on(&served, 8_000).unwrap();
    }
    let all: Vec<u16> = (1..=65_535).collect();
    let served = [&served[..], &[8_000]].concat();
    // Where everything answers, a storm of refusals may cost an answer, and asking again must repair it. Where nothing but the
    // open ports answers, asking once must do.
    for (name, rest, retries) in [("rst", ("closed", "rst"), "2"), ("drop", ("filtered", "timeout"), "0")] {
        let ip = lab.host(name).ip(false);
        let truth = truth_of(ip, &all, &served, ("open", "syn-ack"), rest);
        let address = ip.to_string();
        let args = [&address, "-p", "all", "--method", "syn", "--no-ping", "--all-states", "--timeout-ms", "800"];
        let said = states(&found(&lab, &[&args[..], &["--rate", "60000", "--retries", retries]].concat()));
        assert_true(&said, &truth, name);
    }
}
