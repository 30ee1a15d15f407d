//! What leaves the scanner, counted where it arrives: nothing outside of what was asked for, at the pace that was asked for.
//!
//! What comes back, and what it is taken for, is in the files beside this one.

use crate::truth::{found, open};
use crate::world::BINARY;
use lab::{Capture, Carries, Kind, LabSpec, Seen, Server, read_pcap, run_cli};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Whom a frame is about: its receiver, or the neighbour it asks for.
fn about(seen: &Seen) -> IpAddr {
    match seen.carries {
        Carries::Neighbor { asks: true, target } => target.into(),
        _ => seen.dst,
    }
}

#[test]
fn nobody_but_the_targets_gets_a_packet_or_is_asked_for_by_arp() {
    let lab = LabSpec::new()
        .on_link()
        .host("in", 10, Kind::Refusing)
        .host("out", 11, Kind::Refusing)
        .host("in-too", 12, Kind::Dropping)
        .start()
        .unwrap();
    for host in lab.hosts() {
        host.serve(Server::Silent { port: 8_000 }).unwrap();
    }
    let own: [IpAddr; 2] = [lab::NEAR_V4.into(), lab::NEAR_V6.into()];
    for (method, ping) in [("syn", true), ("syn", false), ("connect", true), ("connect", false)] {
        let capture = Capture::start(lab.border(), &lab.fresh_dir("capture").unwrap(), "near", "").unwrap();
        let away = lab.capture("").unwrap();
        let args = ["10.99.7.8-10.99.7.13", "fd99:7::e-fd99:7::13", "--exclude", "10.99.7.11,fd99:7::11,10.99.7.9"];
        let mut args = [&args[..], &["-p", "1-30,8000", "--method", method, "--retries", "1", "--timeout-ms", "400"]].concat();
        if !ping {
            args.push("--no-ping");
        }
        let said = open(&found(&lab, &args));
        let truth: BTreeSet<(IpAddr, u16)> =
            ["in", "in-too"].iter().flat_map(|h| [false, true].map(|v6| (lab.host(h).ip(v6), 8_000))).collect();
        assert!(said.is_subset(&truth), "{said:?}");
        assert!(said == truth || (method == "connect" && ping), "{method}: {said:?}");
        // Sent from here, whatever it is: ours alone are the scanner's addresses on this link.
        let sent: Vec<Seen> = capture.stop().unwrap().into_iter().filter(|seen| own.contains(&seen.src)).collect();
        // A host's question for us comes from its link-local address, and our kernel answers it.
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let asked: BTreeSet<IpAddr> = sent.iter().map(about).filter(|ip| !link_local(ip)).collect();
        let allowed: BTreeSet<IpAddr> = ["10.99.7.8", "10.99.7.10", "10.99.7.12", "10.99.7.13"]
            .into_iter()
            .map(|ip| ip.parse().unwrap())
            .chain((0xe..=0x13).filter(|n| *n != 0x11).map(|n| IpAddr::from([0xfd99, 7, 0, 0, 0, 0, 0, n])))
            .collect();
        assert!(asked.is_subset(&allowed), "{method}: {:?}", asked.difference(&allowed));
        assert!(asked.len() >= 8, "{method}: {asked:?}");
        let elsewhere = away.stop().unwrap();
        let strays: Vec<_> =
            elsewhere.iter().filter(|s| matches!(s.carries, Carries::Tcp { .. } | Carries::Udp { .. })).collect();
        assert!(strays.is_empty(), "{method}: {strays:?}");
    }
}

/// What identifies a probe or an answer, on whichever side it was seen.
fn mark(seen: &Seen) -> String {
    match seen.carries {
        Carries::Tcp { src_port, dst_port, seq, ack, flags } => {
            format!("{} {src_port} -> {} {dst_port} {seq} {ack} {flags:#04x}", seen.src, seen.dst)
        }
        carries => format!("{} -> {} {carries:?}", seen.src, seen.dst),
    }
}

#[test]
fn the_packet_file_holds_every_probe_and_every_answer_and_tcpdump_reads_it() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).host("gate", 30, Kind::Prohibiting).start().unwrap();
    for host in lab.hosts() {
        host.serve(Server::Silent { port: 80 }).unwrap();
    }
    let dir = lab.fresh_dir("pcap").unwrap();
    let (written, classic) = (dir.join("scan.pcapng"), dir.join("scan.pcap"));
    let capture = lab.capture("").unwrap();
    let targets = ["10.99.7.10", "10.99.7.30", "fd99:7::10", "fd99:7::30", "-p", "60-100,U:53", "--no-ping"];
    let more = ["--method", "syn", "--retries", "1", "--timeout-ms", "600", "--pcap", written.to_str().unwrap()];
    let said = open(&found(&lab, &[&targets[..], &more].concat()));
    let seen = capture.stop().unwrap();
    assert_eq!(said.len(), 4, "{said:?}");
    let mut tcpdump = Command::new("tcpdump");
    lab.scanner().run(tcpdump.arg("-r").arg(&written).arg("-w").arg(&classic)).unwrap();
    let kept: Vec<Seen> = read_pcap(&std::fs::read(&classic).unwrap()).unwrap();
    // Our own kernel's resets, and its neighbours, are not the scan's.
    let of_scan = |seen: &&Seen| match seen.carries {
        Carries::Tcp { .. } | Carries::Udp { .. } => seen.rst_from().is_none() || !ours(&seen.src),
        Carries::Icmp { kind, .. } => !ours(&seen.src) && (kind == 3 || kind == 1),
        _ => false,
    };
    let marks = |frames: &[Seen]| -> Vec<String> {
        let mut marks: Vec<String> = frames.iter().filter(of_scan).map(mark).collect();
        marks.sort();
        marks
    };
    let (kept, seen) = (marks(&kept), marks(&seen));
    assert!(seen.len() >= 2 * 4 * 42 - 8, "{} frames passed", seen.len());
    assert_eq!(kept.len(), seen.len(), "frames in the file, and on the wire");
    assert_eq!(kept, seen);
}

fn ours(ip: &IpAddr) -> bool {
    [IpAddr::from(lab::SCANNER_V4), lab::SCANNER_V6.into()].contains(ip)
}

#[test]
fn a_dry_run_prints_every_first_probe_and_sends_nothing_at_all() {
    let lab = LabSpec::new().on_link().host("web", 10, Kind::Refusing).start().unwrap();
    let near = Capture::start(lab.border(), &lab.fresh_dir("capture").unwrap(), "near", "").unwrap();
    let away = lab.capture("").unwrap();
    // One neighbour, and one address behind the border, in both families.
    let args = ["10.99.7.10", "fd99:7::10", "192.0.2.7", "2001:db8::7", "-p", "22,80,U:53", "--no-ping", "--dry-run"];
    let all = [&["scan", "--quiet"], &args[..], &["--method", "syn", "--retries", "0", "--timeout-ms", "300"]].concat();
    let output = run_cli(lab.scanner(), Path::new(BINARY), &all, Duration::from_secs(30)).unwrap();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let sent: Vec<Seen> = [near, away].into_iter().flat_map(|capture| capture.stop().unwrap()).collect();
    let near = [IpAddr::from(lab::NEAR_V4), lab::NEAR_V6.into()];
    let sent: Vec<&Seen> = sent.iter().filter(|seen| ours(&seen.src) || near.contains(&seen.src)).collect();
    assert!(sent.is_empty(), "{sent:?}");
    for target in ["192.0.2.7", "2001:db8::7", "10.99.7.10", "fd99:7::10"] {
        for port in ["22", "80", "53"] {
            let line =
                output.stdout.lines().find(|l| l.contains(target) && l.split([' ', ':', '.', '/', ']']).any(|w| w == port));
            assert!(line.is_some(), "no probe of {target} port {port} in\n{}", output.stdout);
        }
    }
}
