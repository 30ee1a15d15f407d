//! Writing frames: the probes `scan` sends, and the answers its simulated network gives. What to ask whom is `scan`'s.
//!
//! Every function clears the buffer and writes one whole frame with its checksums, with an Ethernet header in front when
//! `link` is given. The two addresses of an [`Ip`] must be of one family; if they are not, the buffer stays empty, which no
//! link accepts.

use crate::checksum::transport_sum;
use crate::number;
use crate::{Arp, Ethernet, Flags, Ip, Mac, Tcp, TcpOptions, UDP_HEADER, Udp, solicited_node};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpOptionElement};
use std::net::{IpAddr, Ipv6Addr};

/// Hop limit of ordinary packets: Linux's default (`net.ipv4.ip_default_ttl`).
pub const TTL: u8 = 64;
/// Window of a first SYN: Linux's for an MSS of 1460.
const SYN_WINDOW: u16 = 64_240;

/// The header of a SYN as Linux sends it: MSS for a 1,500-byte MTU, SACK, timestamps, window scale 7. Some stacks and
/// firewalls do not answer a SYN without options.
pub fn syn(src_port: u16, dst_port: u16, seq: u32, v4: bool) -> Tcp {
    Tcp {
        src_port,
        dst_port,
        seq,
        ack: 0,
        flags: Flags::SYN,
        window: SYN_WINDOW,
        options: TcpOptions {
            mss: Some(if v4 { 1_460 } else { 1_440 }),
            sack_permitted: true,
            // A clock would be state; any value is a valid timestamp, and the cookie differs from probe to probe anyway.
            timestamps: Some((seq.rotate_left(16), 0)),
            window_scale: Some(7),
        },
    }
}

/// The header of a bare ACK, which a live host without the connection answers with a RST whose sequence number is `ack`
/// (RFC 9293 section 3.10.7.1).
pub fn ack(src_port: u16, dst_port: u16, seq: u32, ack: u32) -> Tcp {
    Tcp { src_port, dst_port, seq, ack, flags: Flags::ACK, window: 1_024, options: TcpOptions::default() }
}

/// The header of a RST that ends a half-open connection whose SYN carried `seq - 1`.
pub fn rst(src_port: u16, dst_port: u16, seq: u32) -> Tcp {
    Tcp { src_port, dst_port, seq, ack: 0, flags: Flags::RST, window: 0, options: TcpOptions::default() }
}

/// A TCP segment without data.
pub fn tcp(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, tcp: &Tcp) {
    let mut header = TcpHeader::new(tcp.src_port, tcp.dst_port, tcp.seq, tcp.window);
    header.acknowledgment_number = tcp.ack;
    // The order of Linux: MSS, SACK permitted, timestamps, padding, window scale. At most 20 bytes, so it always fits.
    let mut elements = [const { TcpOptionElement::Noop }; 5];
    let mut n = 0;
    let mut push = |element| {
        elements[n] = element;
        n += 1;
    };
    tcp.options.mss.into_iter().for_each(|mss| push(TcpOptionElement::MaximumSegmentSize(mss)));
    tcp.options.sack_permitted.then(|| push(TcpOptionElement::SelectiveAcknowledgementPermitted));
    tcp.options.timestamps.into_iter().for_each(|(value, echo)| push(TcpOptionElement::Timestamp(value, echo)));
    if let Some(shift) = tcp.options.window_scale {
        push(TcpOptionElement::Noop);
        push(TcpOptionElement::WindowScale(shift));
    }
    if header.set_options(&elements[..n]).is_err() {
        frame.clear();
        return;
    }
    let mut bytes = header.to_bytes();
    bytes[13] = tcp.flags.0;
    let sum = transport_sum(ip.src, ip.dst, number::TCP, &bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    write_ip(frame, link, ip, number::TCP, &bytes);
}

/// A UDP datagram. One whose payload does not fit into 65,535 bytes leaves the buffer empty.
pub fn udp(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, udp: &Udp, payload: &[u8]) {
    frame.clear();
    let Some(mut bytes) = datagram(udp, payload) else { return };
    let sum = udp_sum(ip.src, ip.dst, &bytes);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    write_ip(frame, link, ip, number::UDP, &bytes);
}

/// The checksum field that [`udp`] writes for this datagram: what an ICMP error that quotes the datagram carries back. Zero
/// means "not computed" in IPv4 and is forbidden in IPv6, so a sum of zero is sent as its other form (RFC 768, RFC 8200
/// section 8.1).
pub fn udp_checksum(src: IpAddr, dst: IpAddr, udp: &Udp, payload: &[u8]) -> Option<u16> {
    Some(udp_sum(src, dst, &datagram(udp, payload)?))
}

/// Header, its sum still zero, and payload.
fn datagram(udp: &Udp, payload: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let mut bytes = Vec::with_capacity(usize::from(len));
    for field in [udp.src_port, udp.dst_port, len, 0] {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    Some(bytes)
}

fn udp_sum(src: IpAddr, dst: IpAddr, datagram: &[u8]) -> u16 {
    match transport_sum(src, dst, number::UDP, datagram) {
        0 => 0xffff,
        sum => sum,
    }
}

/// An echo request, ICMP or ICMPv6 by the addresses.
pub fn echo_request(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, id: u16, seq: u16, payload: &[u8]) {
    echo(frame, link, ip, if ip.src.is_ipv4() { 8 } else { 128 }, id, seq, payload);
}

/// An echo reply.
pub fn echo_reply(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, id: u16, seq: u16, payload: &[u8]) {
    echo(frame, link, ip, if ip.src.is_ipv4() { 0 } else { 129 }, id, seq, payload);
}

fn echo(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, kind: u8, id: u16, seq: u16, payload: &[u8]) {
    let mut message = Vec::with_capacity(8 + payload.len());
    message.extend_from_slice(&[kind, 0, 0, 0]);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&seq.to_be_bytes());
    message.extend_from_slice(payload);
    write_icmp(frame, link, ip, message);
}

/// A destination-unreachable error (ICMP type 3, ICMPv6 type 1) that quotes the start of an IP packet, of which it takes
/// no more than 512 bytes: what fits into the smallest datagram that every IPv4 host accepts (RFC 1812 section 4.3.2.3).
pub fn unreachable(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, code: u8, quoted: &[u8]) {
    let mut message = vec![if ip.src.is_ipv4() { 3 } else { 1 }, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quoted[..quoted.len().min(512)]);
    write_icmp(frame, link, ip, message);
}

/// An ARP request or reply. Requests go to everybody, replies to whom they answer.
pub fn arp(frame: &mut Vec<u8>, arp: &Arp) {
    frame.clear();
    let dst = if arp.is_reply { arp.target_mac } else { Mac::BROADCAST };
    write_ethernet(frame, Ethernet { src: arp.sender_mac, dst }, number::ETHERTYPE_ARP);
    // Hardware Ethernet, protocol IPv4, their lengths, operation (RFC 826).
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, if arp.is_reply { 2 } else { 1 }]);
    frame.extend_from_slice(&arp.sender_mac.0);
    frame.extend_from_slice(&arp.sender_ip.octets());
    frame.extend_from_slice(&arp.target_mac.0);
    frame.extend_from_slice(&arp.target_ip.octets());
}

/// A neighbour solicitation: who has `target`? (RFC 4861 section 4.3)
pub fn neighbor_solicitation(frame: &mut Vec<u8>, src_mac: Mac, src: Ipv6Addr, target: Ipv6Addr) {
    let dst = solicited_node(target);
    let [.., a, b, c, d] = dst.octets();
    let link = Ethernet { src: src_mac, dst: Mac([0x33, 0x33, a, b, c, d]) };
    // Hop limit 255 proves that the packet has crossed no router.
    let ip = Ip { src: src.into(), dst: dst.into(), ttl: 255, id: 0 };
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[1, 1]);
    message.extend_from_slice(&src_mac.0);
    write_icmp(frame, Some(link), &ip, message);
}

/// A solicited neighbour advertisement: `target` is at `mac` (RFC 4861 section 4.4).
pub fn neighbor_advertisement(frame: &mut Vec<u8>, link: Ethernet, dst: Ipv6Addr, target: Ipv6Addr, mac: Mac) {
    let ip = Ip { src: target.into(), dst: dst.into(), ttl: 255, id: 0 };
    // Solicited and override flags.
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&mac.0);
    write_icmp(frame, Some(link), &ip, message);
}

/// The checksum field of `message` must be zero; it is filled in.
fn write_icmp(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, mut message: Vec<u8>) {
    let protocol = if ip.src.is_ipv4() { number::ICMP } else { number::ICMPV6 };
    let sum = transport_sum(ip.src, ip.dst, protocol, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    write_ip(frame, link, ip, protocol, &message);
}

fn write_ip(frame: &mut Vec<u8>, link: Option<Ethernet>, ip: &Ip, protocol: u8, payload: &[u8]) {
    frame.clear();
    let Ok(len) = u16::try_from(payload.len()) else { return };
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let Ok(mut header) = Ipv4Header::new(len, ip.ttl, IpNumber(protocol), src.octets(), dst.octets()) else {
                return;
            };
            header.identification = ip.id;
            header.header_checksum = header.calc_header_checksum();
            link.into_iter().for_each(|link| write_ethernet(frame, link, number::ETHERTYPE_IPV4));
            frame.extend_from_slice(&header.to_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                payload_length: len,
                next_header: IpNumber(protocol),
                hop_limit: ip.ttl,
                source: src.octets(),
                destination: dst.octets(),
                ..Default::default()
            };
            link.into_iter().for_each(|link| write_ethernet(frame, link, number::ETHERTYPE_IPV6));
            frame.extend_from_slice(&header.to_bytes());
        }
        _ => return,
    }
    frame.extend_from_slice(payload);
}

fn write_ethernet(frame: &mut Vec<u8>, link: Ethernet, ethertype: u16) {
    frame.extend_from_slice(&link.dst.0);
    frame.extend_from_slice(&link.src.0);
    frame.extend_from_slice(&ethertype.to_be_bytes());
}
