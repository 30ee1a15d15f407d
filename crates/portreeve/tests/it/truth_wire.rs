//! What leaves the scanner, counted where it arrives: nothing outside of what was asked for, at the pace that was asked for.
//!
//! What comes back, and what it is taken for, is in the files beside this one.

use crate::truth::{found, open};
use lab::{Capture, Carries, Kind, LabSpec, Seen, Server};
use std::collections::BTreeSet;
use std::net::IpAddr;

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
