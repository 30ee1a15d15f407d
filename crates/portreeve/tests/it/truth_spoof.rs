//! Truth under lies: forged, repeated and late answers change nothing, and our own kernel's part in the handshake is harmless.
//!
//! The forger is a program in the target's namespace that sends frames of its own making; what it sends for which port is in
//! `forger.py`.

use crate::truth::{States, assert_true, found, states, truth_of};
use lab::{Host, Kind, Lab, LabSpec, Proc, Server, eventually};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Lets the forger answer for the host, whose kernel keeps quiet. It replays old answers once the file given back is there.
fn forge(lab: &Lab, host: &Host) -> (Proc, PathBuf) {
    let dir = lab.fresh_dir("forger").unwrap();
    let (script, log, replay) = (dir.join("forger.py"), dir.join("log"), dir.join("replay"));
    std::fs::write(&script, include_str!("forger.py")).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(&script).arg("eth0").arg(&replay);
    let forger = Proc::start("forger", Some(host.namespace()), &mut command, &log).unwrap();
    eventually("the forger listens", Duration::from_secs(10), || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("ready").then_some(())
    });
    (forger, replay)
}

#[test]
fn forged_answers_are_rejected_and_repeated_or_late_ones_count_once() {
    let lab = LabSpec::new().host("liar", 10, Kind::Dark).host("liars-other-address", 11, Kind::Dark).start().unwrap();
    let (mut forger, replay) = forge(&lab, lab.host("liar"));
    for v6 in [false, true] {
        let ip = lab.host("liar").ip(v6);
        let ports: Vec<u16> = (1..=28).collect();
        let mut truth: States = truth_of(ip, &ports, &[20, 21, 22, 26], ("open", "syn-ack"), ("filtered", "timeout"));
        // Of two contradicting answers the first is believed.
        for port in [23, 24] {
            truth.insert((ip, port), ("closed".into(), "rst".into()));
        }
        truth.insert((ip, 25), ("filtered".into(), "icmp-prohibited".into()));
        truth.insert((ip, 27), ("filtered".into(), "icmp-port-unreachable".into()));
        truth.insert((ip, 28), ("closed".into(), "icmp-port-unreachable".into()));
        let address = ip.to_string();
        let args = ["-p", "1-28", "--method", "syn", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "700"];
        let first = [&[&address[..]], &args[..]].concat();
        assert_true(&states(&found(&lab, &first)), &truth, &address);
        // Again, with answers to the first sweep coming only now: a sweep believes no answers to another.
        std::fs::write(&replay, "").unwrap();
        let capture = lab.capture("tcp or ip6").unwrap();
        let second = found(&lab, &first);
        let seen = capture.stop().unwrap();
        let replayed = seen.iter().filter(|s| s.syn_ack_from() == Some(13)).count();
        assert!(replayed >= 1, "no answer to the first sweep came during the second");
        std::fs::remove_file(&replay).unwrap();
        assert_true(&states(&second), &truth, &format!("{address}, again"));
    }
    assert!(forger.ended().is_none(), "{}", forger.log_tail());
}

#[test]
fn our_own_kernels_resets_end_every_half_open_connection_and_change_no_state() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
    let web = lab.host("web");
    let served = [21u16, 22, 80, 443, 6379];
    served.iter().for_each(|&port| drop(web.serve(Server::Silent { port }).unwrap()));
    // One port that stays silent keeps the scan listening.
    web.forbid(400).unwrap();
    let ports: Vec<u16> = (1..=500).chain([6379]).collect();
    let args = ["-p", "1-500,6379", "--method", "syn", "--no-ping", "--all-states", "--retries", "1", "--timeout-ms", "1400"];
    // With a kernel that resets, as any does; and behind a firewall that keeps it from that, so that the target answers again
    // and again: its SYN-ACK is repeated after a second, while the scan still listens.
    for resets in [true, false] {
        if !resets {
            let rules = "table inet quiet {
  chain output {
    type filter hook output priority 0; policy accept;
    tcp flags & rst == rst drop
  }
}";
            lab.scanner().nft(rules).unwrap();
        }
        for v6 in [false, true] {
            let ip = web.ip(v6);
            let address = ip.to_string();
            let capture = lab.capture("tcp or ip6").unwrap();
            // Slow enough to be listening still when the target repeats its answers.
            let rate = if resets { ["--rate", "5000"] } else { ["--rate", "200"] };
            let said = states(&found(&lab, &[&[&address[..]], &args[..], &rate, &["--seed", "3"]].concat()));
            let mut truth = truth_of(ip, &ports, &served, ("open", "syn-ack"), ("closed", "rst"));
            truth.insert((ip, 400), ("filtered".into(), "timeout".into()));
            assert_true(&said, &truth, &address);
            let seen = capture.stop().unwrap();
            let reset: BTreeSet<u16> =
                seen.iter().filter(|s| s.dst == ip && s.rst_from().is_some()).filter_map(to_port).collect();
            let open: BTreeSet<u16> = if resets { served.into() } else { [].into() };
            assert_eq!(reset, open, "{address}: half-open connections that were reset");
            if resets {
                assert_eq!(half_open(web), 0, "{address}: connections left half-open at the target");
            } else {
                let accepted = seen.iter().filter(|s| s.syn_ack_from().is_some()).count();
                assert!(accepted > served.len(), "{address}: the target answers again, {accepted} in all");
            }
        }
    }
}

fn to_port(seen: &lab::Seen) -> Option<u16> {
    match seen.carries {
        lab::Carries::Tcp { dst_port, .. } => Some(dst_port),
        _ => None,
    }
}

/// Connections of the host whose handshake is not done.
fn half_open(host: &Host) -> usize {
    let mut ss = Command::new("ss");
    host.namespace().run(ss.args(["-Htn", "state", "syn-recv"])).unwrap().lines().count()
}

#[test]
fn a_firewall_that_answers_for_its_neighbours_speaks_for_nobody_else() {
    // The border resets whatever goes to an address that is not there, and forwards the rest: only what it resets is closed.
    let lab = LabSpec::new().host("web", 10, Kind::Dropping).start().unwrap();
    lab.host("web").serve(Server::Silent { port: 80 }).unwrap();
    lab.deaden(77).unwrap();
    lab.border()
        .nft(
            "table inet weather {
  chain refuse {
    type filter hook forward priority 0; policy accept;
    ip daddr 10.99.7.77 meta l4proto tcp reject with tcp reset
    ip6 daddr fd99:7::77 meta l4proto tcp reject with tcp reset
  }
}",
        )
        .unwrap();
    let ports: Vec<u16> = (70..=90).collect();
    for v6 in [false, true] {
        let (web, ghost) = (lab.host("web").ip(v6), if v6 { "fd99:7::77" } else { "10.99.7.77" });
        let mut truth = truth_of(web, &ports, &[80], ("open", "syn-ack"), ("filtered", "timeout"));
        truth.extend(truth_of(ghost.parse::<IpAddr>().unwrap(), &ports, &[], ("", ""), ("closed", "rst")));
        let web = web.to_string();
        let args = [&web, ghost, "-p", "70-90", "--method", "syn", "--no-ping", "--all-states", "--timeout-ms", "500"];
        assert_true(&states(&found(&lab, &[&args[..], &["--retries", "1"]].concat())), &truth, &web);
    }
}
