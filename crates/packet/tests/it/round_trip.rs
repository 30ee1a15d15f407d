//! build → decode gives back what was built, with right checksums, for any field values.

use packet::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| (Ipv4Addr::from(a).into(), Ipv4Addr::from(b).into())),
        any::<(u128, u128)>().prop_map(|(a, b)| (Ipv6Addr::from(a).into(), Ipv6Addr::from(b).into())),
    ]
}

fn ip() -> impl Strategy<Value = Ip> {
    (addresses(), any::<u8>(), any::<u16>()).prop_map(|((src, dst), ttl, id)| Ip {
        src,
        dst,
        ttl,
        id: if src.is_ipv4() { id } else { 0 },
    })
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn link() -> impl Strategy<Value = Option<Ethernet>> {
    proptest::option::of((mac(), mac()).prop_map(|(src, dst)| Ethernet { src, dst }))
}

fn tcp() -> impl Strategy<Value = Tcp> {
    let options = (any::<Option<u16>>(), any::<bool>(), any::<Option<(u32, u32)>>(), any::<Option<u8>>())
        .prop_map(|(mss, sack_permitted, timestamps, window_scale)| TcpOptions { mss, sack_permitted, timestamps, window_scale });
    (any::<(u16, u16, u32, u32, u8, u16)>(), options).prop_map(|((src_port, dst_port, seq, ack, flags, window), options)| Tcp {
        src_port,
        dst_port,
        seq,
        ack,
        flags: Flags(flags),
        window,
        options,
    })
}

fn framing(link: Option<Ethernet>) -> Framing {
    if link.is_some() { Framing::Ethernet } else { Framing::Bare }
}

fn assert_sums(frame: &[u8], framing: Framing) {
    assert_eq!(checksums(frame, framing), Some(Checksums { ip: true, transport: true }));
}

proptest! {
    #[test]
    fn a_segment_reads_back_as_built(link in link(), ip in ip(), tcp in tcp()) {
        let mut frame = vec![0xee; 7];
        build::tcp(&mut frame, link, &ip, &tcp);
        assert_sums(&frame, framing(link));
        prop_assert_eq!(decode(&frame, framing(link)), Some(Frame::Ip(Packet { ip, body: Body::Tcp(tcp) })));
    }

    #[test]
    fn a_damaged_segment_fails_its_checksum(ip in ip(), tcp in tcp(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut frame = Vec::new();
        build::tcp(&mut frame, None, &ip, &tcp);
        let header = if ip.src.is_ipv4() { 20 } else { 40 };
        let at = header + at.index(frame.len() - header);
        frame[at] ^= 1 << bit;
        prop_assert_eq!(checksums(&frame, Framing::Bare).map(|c| c.transport), Some(false));
    }

    #[test]
    fn an_echo_reads_back_as_built(link in link(), ip in ip(), id: u16, seq: u16, is_reply: bool, payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut frame = Vec::new();
        let write = if is_reply { build::echo_reply } else { build::echo_request };
        write(&mut frame, link, &ip, id, seq, &payload);
        assert_sums(&frame, framing(link));
        let body = Body::Echo { is_reply, id, seq, payload: &payload };
        prop_assert_eq!(decode(&frame, framing(link)), Some(Frame::Ip(Packet { ip, body })));
    }

    #[test]
    fn a_datagram_reads_back_as_built(link in link(), ip in ip(), src_port: u16, dst_port: u16, payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut frame = Vec::new();
        let udp = Udp { src_port, dst_port };
        build::udp(&mut frame, link, &ip, &udp, &payload);
        assert_sums(&frame, framing(link));
        prop_assert_eq!(decode(&frame, framing(link)), Some(Frame::Ip(Packet { ip, body: Body::Udp { udp, payload: &payload } })));
    }

    #[test]
    fn an_error_gives_back_the_datagram_it_quotes(probe in ip(), src_port: u16, dst_port: u16, payload in prop::collection::vec(any::<u8>(), 0..64), keep in 8usize..60) {
        let (mut sent, mut frame) = (Vec::new(), Vec::new());
        let udp = Udp { src_port, dst_port };
        build::udp(&mut sent, None, &probe, &udp, &payload);
        let header = if probe.src.is_ipv4() { 20 } else { 40 };
        let ip = Ip { src: probe.dst, dst: probe.src, ttl: 61, id: 0 };
        build::unreachable(&mut frame, None, &ip, if probe.src.is_ipv4() { 3 } else { 4 }, &sent[..(header + keep).min(sent.len())]);
        assert_sums(&frame, Framing::Bare);
        let checksum = build::udp_checksum(probe.src, probe.dst, &udp, &payload).unwrap();
        prop_assert_ne!(checksum, 0);
        let expected = QuotedProbe::Udp { src_port, dst_port, len: 8 + payload.len() as u16, checksum };
        match Reply::parse(&frame, Framing::Bare) {
            Some(Reply::Unreachable { cause: Unreachable::Port, quoted, .. }) => {
                prop_assert_eq!(quoted, Quoted { src: probe.src, dst: probe.dst, id: probe.id, probe: expected });
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn an_arp_packet_reads_back_as_built(is_reply: bool, sender_mac in mac(), target_mac in mac(), sender: u32, target: u32) {
        let arp = Arp { is_reply, sender_mac, sender_ip: sender.into(), target_mac, target_ip: target.into() };
        let mut frame = Vec::new();
        build::arp(&mut frame, &arp);
        prop_assert_eq!(decode(&frame, Framing::Ethernet), Some(Frame::Arp(arp)));
    }

    #[test]
    fn neighbour_discovery_reads_back_as_built(src: u128, target: u128, mac in mac(), peer in mac()) {
        let (src, target) = (Ipv6Addr::from(src), Ipv6Addr::from(target));
        prop_assume!(!target.is_multicast());
        let mut frame = Vec::new();
        build::neighbor_solicitation(&mut frame, mac, src, target);
        assert_sums(&frame, Framing::Ethernet);
        match decode(&frame, Framing::Ethernet) {
            Some(Frame::Ip(Packet { ip, body: Body::NeighborSolicitation { target: asked, source_mac } })) => {
                prop_assert_eq!((asked, source_mac, ip.dst), (target, Some(mac), IpAddr::from(solicited_node(target))));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        build::neighbor_advertisement(&mut frame, Ethernet { src: peer, dst: mac }, src, target, peer);
        assert_sums(&frame, Framing::Ethernet);
        prop_assert_eq!(Reply::parse(&frame, Framing::Ethernet), Some(Reply::NeighborAdvert { ip: target.into(), mac: Some(peer) }));
    }

    #[test]
    fn an_error_gives_back_the_probe_it_quotes(probe in ip(), tcp in tcp(), by in addresses(), keep in 8usize..60, link in link()) {
        let mut sent = Vec::new();
        build::tcp(&mut sent, None, &probe, &tcp);
        let header = if probe.src.is_ipv4() { 20 } else { 40 };
        let from = if probe.src.is_ipv4() == by.0.is_ipv4() { by.0 } else { probe.dst };
        let ip = Ip { src: from, dst: probe.src, ttl: 61, id: 0 };
        let mut frame = Vec::new();
        // The least a router quotes is eight bytes of TCP.
        build::unreachable(&mut frame, link, &ip, 1, &sent[..(header + keep).min(sent.len())]);
        assert_sums(&frame, framing(link));
        let expected = QuotedProbe::Tcp { src_port: tcp.src_port, dst_port: tcp.dst_port, seq: tcp.seq };
        match Reply::parse(&frame, framing(link)) {
            Some(Reply::Unreachable { from: said, quoted, code: 1, .. }) => {
                prop_assert_eq!((said, quoted), (from, Quoted { src: probe.src, dst: probe.dst, id: probe.id, probe: expected }));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn addresses_of_two_families_make_no_frame() {
    let ip = Ip { src: "192.0.2.1".parse().unwrap(), dst: "2001:db8::1".parse().unwrap(), ttl: 64, id: 0 };
    let mut frame = vec![1, 2, 3];
    build::tcp(&mut frame, None, &ip, &build::syn(1, 2, 3, true));
    assert!(frame.is_empty());
}

#[test]
fn a_sum_of_zero_is_sent_as_all_ones() {
    let (ip, udp) = (crate::ip("192.0.2.1", "192.0.2.2"), Udp { src_port: 61_000, dst_port: 53 });
    let mut frame = Vec::new();
    build::udp(&mut frame, None, &ip, &udp, &[0, 0]);
    // Adding the sum to what it covers makes it zero.
    let sum = [frame[26], frame[27]];
    build::udp(&mut frame, None, &ip, &udp, &sum);
    assert_eq!(frame[26..28], [0xff, 0xff]);
    assert_eq!(checksums(&frame, Framing::Bare), Some(Checksums { ip: true, transport: true }));
    frame[26..28].fill(0);
    assert_eq!(checksums(&frame, Framing::Bare), Some(Checksums { ip: true, transport: true }), "not computed");
}

#[test]
fn a_datagram_that_does_not_fit_makes_no_frame() {
    let mut frame = vec![1, 2, 3];
    let udp = Udp { src_port: 1, dst_port: 2 };
    build::udp(&mut frame, None, &crate::ip("2001:db8::1", "2001:db8::2"), &udp, &vec![0; 65_528]);
    assert!(frame.is_empty());
}

#[test]
fn a_syn_looks_like_that_of_a_real_stack() {
    let mut frame = Vec::new();
    build::tcp(&mut frame, None, &crate::ip("192.0.2.1", "192.0.2.2"), &build::syn(61_000, 80, 1, true));
    assert_eq!(frame.len(), 60, "20 bytes IPv4, 20 bytes TCP, 20 bytes of options");
    assert_eq!(frame[6] & 0x40, 0x40, "don't fragment");
    assert_eq!(&frame[40..44], [2, 4, 5, 180], "MSS 1460 comes first");
    assert_eq!(&frame[44..46], [4, 2], "SACK permitted");
    assert_eq!(&frame[46..48], [8, 10], "timestamps");
    assert_eq!(&frame[56..60], [1, 3, 3, 7], "padding, window scale");
}

#[test]
fn checksums_match_a_packet_summed_by_hand() {
    // RFC 1071: the 16-bit words of what a sum covers, the sum among them, add up to zero in ones' complement.
    let mut frame = Vec::new();
    build::tcp(&mut frame, None, &crate::ip("192.0.2.1", "192.0.2.2"), &build::rst(1, 2, 3));
    let words = frame[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    assert_eq!(words % 0xffff, 0, "the words of a header with its sum add up to zero in ones' complement");
    let pseudo = [0xc000u32, 0x0201, 0xc000, 0x0202, 6, 20].iter().sum::<u32>();
    let words = frame[20..].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    assert_eq!((pseudo + words) % 0xffff, 0, "pseudo header and segment");
}
