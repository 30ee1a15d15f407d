//! What answers mean, case by case.

use crate::{LINK, ip};
use packet::*;

fn tcp_reply(flags: Flags) -> Option<Reply<'static>> {
    let mut frame = Vec::new();
    let tcp = Tcp { src_port: 80, dst_port: 61_000, seq: 7, ack: 9, flags, window: 1_000, options: TcpOptions::default() };
    build::tcp(&mut frame, Some(LINK), &ip("192.0.2.2", "192.0.2.1"), &tcp);
    Reply::parse(frame.leak(), Framing::Ethernet)
}

#[test]
fn segments_mean_what_their_flags_say() {
    let (from, to) = ("192.0.2.2:80".parse().unwrap(), "192.0.2.1:61000".parse().unwrap());
    let syn_ack = Some(Reply::SynAck { from, to, seq: 7, ack: 9, window: 1_000, ttl: 64 });
    let rst = |ack| Some(Reply::Rst { from, to, seq: 7, ack, ttl: 64 });
    for (flags, meaning) in [
        (0x12, syn_ack),
        // With ECN echo, as a server with net.ipv4.tcp_ecn=1 sends it.
        (0x52, syn_ack),
        (0x14, rst(Some(9))),
        (0x04, rst(None)),
        // Nonsense of SYN, ACK and RST together refuses.
        (0x16, rst(Some(9))),
        // A SYN, an ACK, a FIN and a christmas tree answer nothing.
        (0x02, None),
        (0x10, None),
        (0x11, None),
        (0x13, None),
        (0x3b, None),
        (0x00, None),
    ] {
        assert_eq!(tcp_reply(Flags(flags)), meaning, "flags {flags:#04x}");
    }
}

#[test]
fn unreachable_codes_mean_what_the_rfcs_say() {
    use Unreachable::*;
    for (code, v4, v6) in [
        (0, Some(Host), Some(Host)),
        (1, Some(Host), Some(Prohibited)),
        (2, Some(Host), Some(Host)),
        (3, Some(Port), Some(Host)),
        // Fragmentation needed says nothing about the port.
        (4, None, Some(Port)),
        (5, Some(Host), Some(Prohibited)),
        (6, Some(Host), Some(Prohibited)),
        (9, Some(Prohibited), None),
        (10, Some(Prohibited), None),
        (13, Some(Prohibited), None),
        (200, None, None),
    ] {
        assert_eq!((Unreachable::from_v4(code), Unreachable::from_v6(code)), (v4, v6), "code {code}");
    }
}

#[test]
fn frames_that_are_no_answers_mean_nothing() {
    let mut frame = Vec::new();
    let request = Arp {
        is_reply: false,
        sender_mac: LINK.src,
        sender_ip: "192.0.2.1".parse().unwrap(),
        target_mac: Mac::ZERO,
        target_ip: "192.0.2.2".parse().unwrap(),
    };
    build::arp(&mut frame, &request);
    assert_eq!(Reply::parse(&frame, Framing::Ethernet), None, "an ARP request");
    build::echo_request(&mut frame, Some(LINK), &ip("192.0.2.2", "192.0.2.1"), 1, 2, b"x");
    assert_eq!(Reply::parse(&frame, Framing::Ethernet), None, "an echo request");
    build::neighbor_solicitation(&mut frame, LINK.src, "fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
    assert_eq!(Reply::parse(&frame, Framing::Ethernet), None, "a neighbour solicitation");
}

#[test]
fn a_neighbour_advertisement_from_beyond_a_router_is_ignored() {
    let mut frame = Vec::new();
    build::neighbor_advertisement(&mut frame, LINK, "fe80::1".parse().unwrap(), "fe80::2".parse().unwrap(), LINK.src);
    assert!(Reply::parse(&frame, Framing::Ethernet).is_some());
    frame[14 + 7] = 254;
    assert_eq!(Reply::parse(&frame, Framing::Ethernet), None);
}

#[test]
fn vlan_tags_are_looked_through() {
    let mut frame = Vec::new();
    build::tcp(&mut frame, Some(LINK), &ip("192.0.2.2", "192.0.2.1"), &build::rst(80, 61_000, 5));
    let plain = format!("{:?}", Reply::parse(&frame, Framing::Ethernet).unwrap());
    for tags in [&[0x81, 0, 0, 7][..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9]] {
        let tagged = [&frame[..12], tags, &frame[12..]].concat();
        assert_eq!(format!("{:?}", Reply::parse(&tagged, Framing::Ethernet).unwrap()), plain);
    }
    let three = [&frame[..12], &[0x81, 0, 0, 7].repeat(3), &frame[12..]].concat();
    assert_eq!(Reply::parse(&three, Framing::Ethernet), None);
}

#[test]
fn ethernet_padding_is_not_payload() {
    let mut frame = Vec::new();
    build::echo_reply(&mut frame, Some(LINK), &ip("192.0.2.2", "192.0.2.1"), 1, 2, b"abc");
    frame.resize(60, 0);
    match Reply::parse(&frame, Framing::Ethernet) {
        Some(Reply::EchoReply { payload, .. }) => assert_eq!(payload, b"abc"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_behind_ipv6_extension_headers_is_found() {
    let mut frame = Vec::new();
    build::tcp(&mut frame, None, &ip("2001:db8::2", "2001:db8::1"), &build::rst(80, 61_000, 5));
    let plain = format!("{:?}", Reply::parse(&frame, Framing::Bare).unwrap());
    // Hop-by-hop of 8 bytes, then a first fragment, then TCP.
    let extensions = [44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 9];
    let mut packet = [&frame[..40], &extensions, &frame[40..]].concat();
    packet[6] = 0;
    packet[5] += 16;
    assert_eq!(format!("{:?}", Reply::parse(&packet, Framing::Bare).unwrap()), plain);
    packet[50] = 1;
    assert_eq!(Reply::parse(&packet, Framing::Bare), None, "a later fragment has no TCP header");
}

#[test]
fn a_datagram_is_as_long_as_it_says() {
    for (a, b, header) in [("192.0.2.2", "192.0.2.1", 20), ("2001:db8::2", "2001:db8::1", 40)] {
        let mut frame = Vec::new();
        build::udp(&mut frame, None, &ip(a, b), &Udp { src_port: 53, dst_port: 61_000 }, b"answer");
        let payload = |frame: &[u8]| match Reply::parse(frame, Framing::Bare) {
            Some(Reply::Udp { payload, .. }) => Some(payload.to_vec()),
            _ => None,
        };
        for (said, read) in [
            (14, Some(&b"answer"[..])),
            // The rest of the packet is nobody's.
            (10, Some(&b"an"[..])),
            (8, Some(&b""[..])),
            // Shorter than its own header, or longer than what came.
            (7, None),
            (0, None),
            (15, None),
        ] {
            frame[header + 5] = said;
            assert_eq!(payload(&frame).as_deref(), read, "{a}: length {said}");
        }
    }
}

#[test]
fn the_first_fragment_of_an_answer_is_an_answer() {
    let mut frame = Vec::new();
    build::udp(&mut frame, None, &ip("192.0.2.2", "192.0.2.1"), &Udp { src_port: 53, dst_port: 61_000 }, b"answer");
    // The datagram says 3,000 bytes; this packet says that more follow.
    (frame[6], frame[24], frame[25]) = (0x20, 0x0b, 0xb8);
    assert!(matches!(Reply::parse(&frame, Framing::Bare), Some(Reply::Udp { payload: b"answer", .. })));
    frame[7] = 1;
    assert_eq!(Reply::parse(&frame, Framing::Bare), None, "a later fragment has no UDP header");
}

#[test]
fn a_quoted_udp_or_echo_probe_is_unwrapped() {
    let mut sent = Vec::new();
    build::echo_request(&mut sent, None, &ip("192.0.2.1", "192.0.2.9"), 0x1234, 7, b"payload");
    assert_eq!(Quoted::parse(&sent[..28]).unwrap().probe, QuotedProbe::Echo { id: 0x1234, seq: 7 });
    // The same header in front of UDP ports 53 → 61000.
    let mut udp = sent[..20].to_vec();
    udp[9] = 17;
    udp.extend_from_slice(&[0, 53, 0xee, 0x48, 0, 8, 0, 0]);
    assert_eq!(Quoted::parse(&udp).unwrap().probe, QuotedProbe::Udp { src_port: 53, dst_port: 61_000, len: 8, checksum: 0 });
    assert_eq!(Quoted::parse(&sent[..27]), None, "seven bytes are not enough");
}
