//! Truth about UDP ports: what answers is open, what the host refuses is closed, what a firewall forbids is filtered, and what says
//! nothing is either open or filtered, and is not called anything else.
//!
//! What is asked on which port is the catalogue's, and tested there.

use crate::truth::{States, assert_true, found, states, truth_of};
use lab::{Host, Kind, Lab, LabSpec, Proc, Refusal, Server, eventually};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

/// Ports for which the catalogue has a question, and some for which it has none.
const ANSWERING: [u16; 5] = [7, 53, 123, 161, 40_000];
const SILENT: [u16; 2] = [69, 40_001];
const ASKED: &str = "U:1-20,U:53,U:69,U:123,U:137,U:161,U:500,U:1900,U:5353,U:11211,U:40000-40004";

fn asked() -> Vec<u16> {
    (1..=20).chain([53, 69, 123, 137, 161, 500, 1_900, 5_353, 11_211]).chain(40_000..=40_004).collect()
}

/// Starts listeners that answer and listeners that do not, and opens the host's firewall for them.
fn listen(lab: &Lab, host: &Host) -> Proc {
    let dir = lab.fresh_dir("udp").unwrap();
    let (script, log) = (dir.join("udp.py"), dir.join("log"));
    std::fs::write(&script, include_str!("udp.py")).unwrap();
    let words = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(&script).args([words(&ANSWERING), words(&SILENT)]);
    let listeners = Proc::start("udp listeners", Some(host.namespace()), &mut command, &log).unwrap();
    eventually("the listeners are there", Duration::from_secs(10), || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("ready").then_some(())
    });
    let open = words(&[&ANSWERING[..], &SILENT].concat());
    host.namespace().nft(&format!("insert rule inet lab input udp dport {{ {open} }} accept")).unwrap();
    listeners
}

#[test]
fn udp_ports_are_open_closed_filtered_or_undecided_as_they_are() {
    let lab = LabSpec::new()
        .host("refuses", 10, Kind::Refusing)
        .host("drops", 20, Kind::Dropping)
        .host("prohibits", 30, Kind::Prohibiting)
        .host("router-prohibits", 40, Kind::Refusing)
        .host("router-no-port", 41, Kind::Refusing)
        .start()
        .unwrap();
    let _listeners: Vec<Proc> = ["refuses", "drops", "prohibits"].into_iter().map(|name| listen(&lab, lab.host(name))).collect();
    lab.refuse_at_border(lab.host("router-prohibits"), Refusal::Prohibited, 9).unwrap();
    lab.refuse_at_border(lab.host("router-no-port"), Refusal::PortUnreachable, 9).unwrap();
    lab.deaden(60).unwrap();
    let undecided = ("open|filtered", "timeout");
    for v6 in [false, true] {
        let mut truth = States::new();
        for (name, rest) in [
            ("refuses", ("closed", "icmp-port-unreachable")),
            ("drops", undecided),
            ("prohibits", ("filtered", "icmp-prohibited")),
        ] {
            let ip = lab.host(name).ip(v6);
            truth.extend(truth_of(ip, &asked(), &ANSWERING, ("open", "udp-response"), rest));
            truth.extend(truth_of(ip, &SILENT, &SILENT, undecided, undecided));
        }
        for (name, rest) in [
            ("router-prohibits", ("filtered", "icmp-prohibited")),
            // Only the host itself can say that nobody is at its port.
            ("router-no-port", ("filtered", "icmp-port-unreachable")),
        ] {
            truth.extend(truth_of(lab.host(name).ip(v6), &asked(), &[], undecided, rest));
        }
        let dead: IpAddr = if v6 { "fd99:7::60" } else { "10.99.7.60" }.parse().unwrap();
        truth.extend(truth_of(dead, &asked(), &[], undecided, undecided));
        let targets: BTreeSet<String> = truth.keys().map(|(ip, _)| ip.to_string()).collect();
        let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
        args.extend(["-p", ASKED, "--method", "syn", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "700"]);
        let told = found(&lab, &args);
        assert!(told.iter().all(|record| record["proto"] == "udp"), "only UDP was asked for");
        assert_true(&states(&told), &truth, if v6 { "IPv6" } else { "IPv4" });
    }
}

#[test]
fn a_real_server_of_udp_is_open_and_its_tcp_port_is_another_matter() {
    let lab = LabSpec::new().host("cache", 10, Kind::Refusing).start().unwrap();
    let cache = lab.host("cache");
    // Listens on UDP only: the TCP port of the same number refuses.
    let mut command = Command::new("memcached");
    command.args(["-u", "nobody", "-p", "0", "-U", "11211", "-l", "0.0.0.0,::"]);
    let log = lab.fresh_dir("memcached").unwrap().join("log");
    let _memcached = Proc::start("memcached", Some(cache.namespace()), &mut command, &log).unwrap();
    cache.serve(Server::Silent { port: 8_000 }).unwrap();
    eventually("memcached listens", Duration::from_secs(10), || {
        let listening = cache.namespace().run(Command::new("ss").args(["-Hlun", "sport = :11211"])).unwrap();
        (listening.lines().count() >= 2).then_some(())
    });
    for v6 in [false, true] {
        let address = cache.ip(v6).to_string();
        let args = [&address, "-p", "8000,11211", "--udp", "8000,11211", "--no-ping", "--all-states", "--timeout-ms", "700"];
        let mut told: Vec<String> = found(&lab, &[&args[..], &["--method", "syn", "--retries", "1"]].concat())
            .iter()
            .map(|r| {
                format!(
                    "{}/{} {} {}",
                    r["port"],
                    r["proto"].as_str().unwrap(),
                    r["state"].as_str().unwrap(),
                    r["reason"].as_str().unwrap()
                )
            })
            .collect();
        told.sort();
        let truth = [
            "11211/tcp closed rst",
            "11211/udp open udp-response",
            "8000/tcp open syn-ack",
            "8000/udp closed icmp-port-unreachable",
        ];
        assert_eq!(told, truth, "{address}");
    }
}

#[test]
fn a_kernel_that_refuses_seldom_is_asked_again_until_its_closed_ports_are_known() {
    let lab = LabSpec::new().host("shy", 10, Kind::Refusing).start().unwrap();
    let shy = lab.host("shy");
    let _listeners = listen(&lab, shy);
    // Linux as it comes: refusals of UDP are limited for each target and for the whole host, in IPv4 and IPv6.
    shy.namespace()
        .nft(
            "table inet weather {
  chain answers {
    type filter hook output priority 0; policy accept;
    icmp type destination-unreachable limit rate over 4/second burst 4 packets drop
    icmpv6 type destination-unreachable limit rate over 4/second burst 4 packets drop
  }
}",
        )
        .unwrap();
    let few = "U:1-6,U:53,U:69,U:161,U:40000-40002";
    for v6 in [false, true] {
        let address = shy.ip(v6).to_string();
        let args = [&address, "-p", few, "--method", "syn", "--no-ping", "--all-states", "--retries", "3", "--timeout-ms", "700"];
        let asked: Vec<u16> = (1..=6).chain([53, 69, 161]).chain(40_000..=40_002).collect();
        let rest = ("closed", "icmp-port-unreachable");
        let mut truth = truth_of(shy.ip(v6), &asked, &ANSWERING, ("open", "udp-response"), rest);
        truth.extend(truth_of(shy.ip(v6), &SILENT, &SILENT, ("open|filtered", "timeout"), ("", "")));
        assert_true(&states(&found(&lab, &args)), &truth, &address);
    }
}
