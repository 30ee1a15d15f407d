//! PR-11: no bytes make a parser panic, wherever they come from and wherever they end.

use crate::hostile::PARSERS;
use crate::{LINK, ip};
use packet::*;
use proptest::prelude::*;

/// Through every parser of the crate.
pub fn read_every_way(bytes: &[u8]) {
    PARSERS.iter().for_each(|(_, parse)| parse(bytes));
}

/// One good frame of each kind, for cutting and damaging.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for (v, a, b) in [("v4", "192.0.2.2", "192.0.2.1"), ("v6", "2001:db8::2", "2001:db8::1")] {
        let ip = ip(a, b);
        let v4 = v == "v4";
        let name = |what: &str| -> &'static str { format!("{what}-{v}").leak() };
        let mut frame = Vec::new();
        let syn = build::syn(61_000, 80, 0x0102_0304, v4);
        build::tcp(&mut frame, Some(LINK), &ip, &syn);
        all.push((name("syn"), frame.clone()));
        let quoted = frame[14..].to_vec();
        build::tcp(&mut frame, Some(LINK), &ip, &Tcp { flags: Flags::SYN.and(Flags::ACK), ack: 5, ..syn });
        all.push((name("syn-ack"), frame.clone()));
        build::tcp(&mut frame, Some(LINK), &ip, &build::rst(80, 61_000, 5));
        all.push((name("rst"), frame.clone()));
        build::unreachable(&mut frame, Some(LINK), &ip, 1, &quoted);
        all.push((name("unreachable"), frame.clone()));
        build::echo_reply(&mut frame, Some(LINK), &ip, 1, 2, b"payload");
        all.push((name("echo-reply"), frame.clone()));
        build::udp(&mut frame, Some(LINK), &ip, &Udp { src_port: 53, dst_port: 61_000 }, b"answer");
        all.push((name("udp"), frame.clone()));
        let quoted = frame[14..].to_vec();
        build::unreachable(&mut frame, Some(LINK), &ip, if v4 { 3 } else { 4 }, &quoted);
        all.push((name("port-unreachable"), frame.clone()));
    }
    let arp = Arp {
        is_reply: true,
        sender_mac: LINK.src,
        sender_ip: "192.0.2.2".parse().unwrap(),
        target_mac: LINK.dst,
        target_ip: "192.0.2.1".parse().unwrap(),
    };
    let mut frame = Vec::new();
    build::arp(&mut frame, &arp);
    all.push(("arp-reply", frame.clone()));
    build::neighbor_advertisement(&mut frame, LINK, "2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), LINK.src);
    all.push(("neighbor-advert", frame.clone()));
    all
}

#[test]
fn every_truncation_is_survived() {
    for (name, frame) in samples() {
        assert!(decode(&frame, Framing::Ethernet).is_some(), "{name}");
        for end in 0..frame.len() {
            read_every_way(&frame[..end]);
            read_every_way(&frame[end..]);
        }
    }
}

#[test]
fn a_truncated_packet_is_no_answer() {
    for (name, frame) in samples().into_iter().filter(|(name, _)| *name != "arp-reply") {
        assert_eq!(decode(&frame[..frame.len() - 1], Framing::Ethernet), None, "{name}");
    }
}

#[test]
fn an_option_of_no_length_ends_the_walk() {
    let (_, mut frame) = samples().into_iter().find(|(name, _)| *name == "neighbor-advert").unwrap();
    let option_len = frame.len() - 7;
    frame[option_len] = 0;
    assert!(matches!(Reply::parse(&frame, Framing::Ethernet), Some(Reply::NeighborAdvert { mac: None, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_every_way(&bytes);
    }

    #[test]
    fn any_damage_is_survived(which in any::<prop::sample::Index>(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let samples = samples();
        let mut frame = which.get(&samples).1.clone();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        read_every_way(&frame);
    }
}
