//! What holds for any bytes, one function for each parser: the fuzz targets call them, and the tests call them with damage,
//! with random bytes, and with everything the fuzzer ever found worth keeping.
//!
//! Besides not panicking (PR-11), a parser must agree with the others, and what it read must read the same when written anew.
//! Which bytes to try is left to the callers.

use packet::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the corpus, and what is done with its bytes.
pub type Parser = (&'static str, fn(&[u8]));

/// Every parser.
pub const PARSERS: [Parser; 6] = [
    ("packet", frame),
    ("packet_quote", quote),
    ("packet_options", options),
    ("packet_neighbor", neighbor),
    ("packet_udp", datagram),
    ("packet_round_trip", round_trip),
];

/// A frame in either framing: decoding, its meaning, its sums, and the same behind VLAN tags.
pub fn frame(bytes: &[u8]) {
    for framing in [Framing::Ethernet, Framing::Bare] {
        let decoded = decode(bytes, framing);
        let sums = checksums(bytes, framing);
        let reply = Reply::parse(bytes, framing);
        assert!(reply.is_none() || decoded.is_some(), "what cannot be read means nothing");
        if let Some(Frame::Ip(packet)) = decoded {
            assert_eq!(packet.ip.src.is_ipv4(), packet.ip.dst.is_ipv4());
            assert!(sums.is_some());
        }
    }
    let tagged_already = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    if bytes.len() >= 14 && !tagged_already {
        for tags in [&[0x81, 0, 0, 7][..], &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0xff, 0xff]] {
            let tagged = [&bytes[..12], tags, &bytes[12..]].concat();
            assert_eq!(decode(&tagged, Framing::Ethernet), decode(bytes, Framing::Ethernet), "tags are looked through");
        }
    }
    quote(bytes);
}

/// The start of a packet as an ICMP error quotes it.
pub fn quote(bytes: &[u8]) {
    let Some(quoted) = Quoted::parse(bytes) else { return };
    assert_eq!(quoted.src.is_ipv4(), quoted.dst.is_ipv4());
    // Wrapped into an error, it is unwrapped again.
    let v4 = quoted.src.is_ipv4();
    let code = if v4 { 13 } else { 1 };
    let mut error = Vec::new();
    build::unreachable(&mut error, None, &addressed(v4), code, bytes);
    match Reply::parse(&error, Framing::Bare) {
        Some(Reply::Unreachable { quoted: again, code: said, .. }) => assert_eq!((again, said), (quoted, code)),
        // An error takes no more than 512 bytes, which may end in the middle of extension headers.
        other => assert!(bytes.len() > 512, "{quoted:?} was lost: {other:?}"),
    }
}

/// The options of a TCP header: as the bytes stand there, against a reading of their own, and written anew.
pub fn options(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(40)];
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    let offset = (5 + padded.len() / 4) as u8;
    let segment = [&[0, 80, 0xee, 0x48, 0, 0, 0, 7, 0, 0, 0, 9, offset << 4, 0x12, 4, 0, 0, 0, 0, 0], &padded[..]].concat();
    for v4 in [true, false] {
        let packet = in_ip(v4, 6, &segment);
        let Some(Frame::Ip(Packet { ip, body: Body::Tcp(tcp) })) = decode(&packet, Framing::Bare) else {
            panic!("a whole header is not read: {packet:02x?}");
        };
        assert_eq!((tcp.src_port, tcp.dst_port, tcp.seq, tcp.ack, tcp.flags), (80, 61_000, 7, 9, Flags(0x12)));
        assert_eq!(tcp.options, read_options(&padded));
        let mut again = Vec::new();
        build::tcp(&mut again, None, &ip, &tcp);
        assert_eq!(decode(&again, Framing::Bare), Some(Frame::Ip(Packet { ip, body: Body::Tcp(tcp) })));
    }
    // Cut anywhere, it is no header.
    let short = in_ip(true, 6, &segment[..segment.len() - 1]);
    assert_eq!(decode(&short, Framing::Bare), None);
}

/// RFC 9293 section 3.1, read as plainly as possible.
fn read_options(bytes: &[u8]) -> TcpOptions {
    let mut options = TcpOptions::default();
    let mut at = 0;
    while at < bytes.len() && bytes[at] != 0 {
        if bytes[at] == 1 {
            at += 1;
            continue;
        }
        let Some(&len) = bytes.get(at + 1) else { break };
        let len = usize::from(len);
        if len < 2 || at + len > bytes.len() {
            break;
        }
        let value = &bytes[at + 2..at + len];
        let u32_at = |i: usize| u32::from_be_bytes([value[i], value[i + 1], value[i + 2], value[i + 3]]);
        match (bytes[at], value.len()) {
            (2, 2) => options.mss = Some(u16::from_be_bytes([value[0], value[1]])),
            (3, 1) => options.window_scale = Some(value[0]),
            (4, 0) => options.sack_permitted = true,
            (8, 8) => options.timestamps = Some((u32_at(0), u32_at(4))),
            _ => {}
        }
        at += len;
    }
    options
}

/// ARP packets and neighbour discovery messages.
pub fn neighbor(bytes: &[u8]) {
    let arp = [&[0xff; 6][..], &[2; 6], &[0x08, 0x06], bytes].concat();
    if let Some(read) = decode(&arp, Framing::Ethernet) {
        let Frame::Arp(arp) = read else { panic!("{read:?} is no ARP packet") };
        let mut again = Vec::new();
        build::arp(&mut again, &arp);
        assert_eq!(decode(&again, Framing::Ethernet), Some(Frame::Arp(arp)));
        let reply = Reply::parse(&again, Framing::Ethernet);
        assert_eq!(reply, arp.is_reply.then_some(Reply::ArpReply { ip: arp.sender_ip.into(), mac: arp.sender_mac }));
    }
    for kind in [135, 136] {
        let message = [&[kind, 0, 0, 0, 0x60, 0, 0, 0], bytes].concat();
        let mut packet = in_ip(false, 58, &message);
        let far = packet.clone();
        packet[7] = 255;
        let target = || Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..16]).unwrap());
        match decode(&packet, Framing::Bare) {
            None => assert!(bytes.len() < 16 || target().is_multicast()),
            Some(Frame::Ip(Packet { body: Body::NeighborSolicitation { target: read, source_mac }, .. })) => {
                assert_eq!((kind, read), (135, target()));
                assert!(source_mac.is_none_or(|mac| bytes[16..].windows(6).any(|six| six == mac.0)));
            }
            Some(Frame::Ip(Packet { body: Body::NeighborAdvertisement { target: read, mac }, .. })) => {
                assert_eq!((kind, read), (136, target()));
                assert!(mac.is_none_or(|mac| bytes[16..].windows(6).any(|six| six == mac.0)));
            }
            other => panic!("{other:?}"),
        }
        // From beyond a router it is no word of a neighbour.
        assert_eq!(Reply::parse(&far, Framing::Bare), None);
    }
}

/// A UDP datagram, in both families, whole and in a first fragment.
pub fn datagram(bytes: &[u8]) {
    for v4 in [true, false] {
        let packet = in_ip(v4, 17, bytes);
        if let Some(Frame::Ip(Packet { ip, body })) = decode(&packet, Framing::Bare) {
            let Body::Udp { udp, payload } = body else { panic!("{body:?} is no datagram") };
            let mut again = Vec::new();
            build::udp(&mut again, None, &ip, &udp, payload);
            assert_eq!(decode(&again, Framing::Bare), Some(Frame::Ip(Packet { ip, body })));
            assert_eq!(checksums(&again, Framing::Bare), Some(Checksums { ip: true, transport: true }));
        }
        if v4 {
            let mut first = packet;
            first[6] |= 0x20;
            if let Some(Frame::Ip(Packet { body: Body::Udp { payload, .. }, .. })) = decode(&first, Framing::Bare) {
                assert!(payload.len() + 8 <= bytes.len());
            }
            first[7] = 1;
            assert_eq!(decode(&first, Framing::Bare), None, "a later fragment has no header");
        }
    }
}

/// The bytes are taken for the fields of every frame that can be built; what is built reads back the same, with right sums.
pub fn round_trip(bytes: &[u8]) {
    let mut fields = Fields(bytes);
    let which = fields.u8();
    let v4 = which & 1 == 0;
    let (src, dst) = (fields.ip(v4), fields.ip(v4));
    let ip = Ip { src, dst, ttl: fields.u8(), id: if v4 { fields.u16() } else { 0 } };
    let link = (which & 2 == 0).then(|| Ethernet { src: fields.mac(), dst: fields.mac() });
    let framing = if link.is_some() { Framing::Ethernet } else { Framing::Bare };
    let mut frame = vec![0xee; usize::from(which)];
    let body = match which >> 2 & 7 {
        0 => {
            let tcp = fields.tcp();
            build::tcp(&mut frame, link, &ip, &tcp);
            Body::Tcp(tcp)
        }
        1 => {
            let udp = Udp { src_port: fields.u16(), dst_port: fields.u16() };
            build::udp(&mut frame, link, &ip, &udp, fields.0);
            Body::Udp { udp, payload: fields.0 }
        }
        2 | 3 => {
            let is_reply = which >> 2 & 7 == 2;
            let (id, seq) = (fields.u16(), fields.u16());
            let write = if is_reply { build::echo_reply } else { build::echo_request };
            write(&mut frame, link, &ip, id, seq, fields.0);
            Body::Echo { is_reply, id, seq, payload: fields.0 }
        }
        4 => {
            let code = fields.u8();
            build::unreachable(&mut frame, link, &ip, code, fields.0);
            Body::Unreachable { code, quoted: &fields.0[..fields.0.len().min(512)] }
        }
        5 => {
            let arp = Arp {
                is_reply: which & 1 == 0,
                sender_mac: fields.mac(),
                sender_ip: fields.u32().into(),
                target_mac: fields.mac(),
                target_ip: fields.u32().into(),
            };
            build::arp(&mut frame, &arp);
            assert_eq!(decode(&frame, Framing::Ethernet), Some(Frame::Arp(arp)));
            return;
        }
        kind => {
            let (target, mac) = (fields.v6(), fields.mac());
            if target.is_multicast() {
                return;
            }
            let body = if kind == 6 {
                build::neighbor_solicitation(&mut frame, mac, fields.v6(), target);
                Body::NeighborSolicitation { target, source_mac: Some(mac) }
            } else {
                let link = Ethernet { src: mac, dst: fields.mac() };
                build::neighbor_advertisement(&mut frame, link, fields.v6(), target, mac);
                Body::NeighborAdvertisement { target, mac: Some(mac) }
            };
            assert_eq!(checksums(&frame, Framing::Ethernet), Some(Checksums { ip: true, transport: true }));
            let read = decode(&frame, Framing::Ethernet);
            assert!(matches!(read, Some(Frame::Ip(Packet { body: read, .. })) if read == body), "{read:?}");
            return;
        }
    };
    assert_eq!(decode(&frame, framing), Some(Frame::Ip(Packet { ip, body })));
    assert_eq!(checksums(&frame, framing), Some(Checksums { ip: true, transport: true }));
    // Cut anywhere, it is no answer.
    for end in 0..frame.len() {
        assert_eq!(decode(&frame[..end], framing), None);
    }
}

fn addressed(v4: bool) -> Ip {
    let (src, dst): (IpAddr, IpAddr) = if v4 {
        (Ipv4Addr::new(192, 0, 2, 2).into(), Ipv4Addr::new(192, 0, 2, 1).into())
    } else {
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    Ip { src, dst, ttl: 64, id: 0 }
}

/// An IP packet around these bytes, written without the builders.
fn in_ip(v4: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(1_400)];
    let len = payload.len() as u16;
    let mut packet = Vec::new();
    if v4 {
        packet.extend_from_slice(&[0x45, 0]);
        packet.extend_from_slice(&(20 + len).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
    } else {
        packet.extend_from_slice(&[0x60, 0, 0, 0]);
        packet.extend_from_slice(&len.to_be_bytes());
        packet.extend_from_slice(&[protocol, 64]);
        for last in [2, 1] {
            packet.extend_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
        }
    }
    packet.extend_from_slice(payload);
    packet
}

/// Bytes as fields; zero where there are none left.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let n = N.min(self.0.len());
        bytes[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        bytes
    }
    fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }
    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }
    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }
    fn v6(&mut self) -> Ipv6Addr {
        Ipv6Addr::from(self.take::<16>())
    }
    fn ip(&mut self, v4: bool) -> IpAddr {
        if v4 { Ipv4Addr::from(self.u32()).into() } else { self.v6().into() }
    }
    fn mac(&mut self) -> Mac {
        Mac(self.take())
    }
    fn tcp(&mut self) -> Tcp {
        let which = self.u8();
        Tcp {
            src_port: self.u16(),
            dst_port: self.u16(),
            seq: self.u32(),
            ack: self.u32(),
            flags: Flags(self.u8()),
            window: self.u16(),
            options: TcpOptions {
                mss: (which & 1 != 0).then(|| self.u16()),
                sack_permitted: which & 2 != 0,
                timestamps: (which & 4 != 0).then(|| (self.u32(), self.u32())),
                window_scale: (which & 8 != 0).then(|| self.u8()),
            },
        }
    }
}
