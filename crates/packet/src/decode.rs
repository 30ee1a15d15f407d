//! Reading frames: any bytes in, headers out or `None`. What they mean as answers is [`crate::Reply`]'s.
//!
//! Bytes come from strangers: every index is checked, every loop is bounded, lengths in headers are believed only as far as
//! the bytes reach.

use crate::{Arp, Flags, Framing, Ip, Mac, Tcp, TcpOptions, UDP_HEADER, Udp, number};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame, as far as we read frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An ARP packet for IPv4.
    Arp(Arp),
    /// An IP packet.
    Ip(Packet<'a>),
}

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub ip: Ip,
    /// What it carries.
    pub body: Body<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// Its ports.
        udp: Udp,
        /// Its data; of a first fragment, the part that came with it.
        payload: &'a [u8],
    },
    /// An ICMP or ICMPv6 echo.
    Echo {
        /// A reply rather than a request.
        is_reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Data.
        payload: &'a [u8],
    },
    /// ICMP type 3 or ICMPv6 type 1.
    Unreachable {
        /// Code.
        code: u8,
        /// The start of the packet that could not be delivered.
        quoted: &'a [u8],
    },
    /// Who has this address?
    NeighborSolicitation {
        /// The address.
        target: Ipv6Addr,
        /// Who asks, unless it left that out.
        source_mac: Option<Mac>,
    },
    /// This address is here.
    NeighborAdvertisement {
        /// The address.
        target: Ipv6Addr,
        /// Where, unless it left that out.
        mac: Option<Mac>,
    },
    /// Something else.
    Other {
        /// Its protocol number.
        protocol: u8,
    },
}

/// Extension headers followed before a packet is given up: RFC 8200 section 4.1 knows six kinds, once each.
const MAX_EXTENSIONS: usize = 8;

/// An IP packet cut into header and payload.
pub(crate) struct IpLayer<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub id: u16,
    pub protocol: u8,
    /// The fixed header with its IPv4 options.
    pub header: &'a [u8],
    pub payload: &'a [u8],
    /// More of it follows in other packets.
    pub fragmented: bool,
}

/// Reads a frame. `None` for what is malformed, not IP or ARP, or a later fragment.
pub fn decode(frame: &[u8], framing: Framing) -> Option<Frame<'_>> {
    if framing == Framing::Ethernet {
        let (ethertype, payload) = ethernet(frame)?;
        if ethertype == number::ETHERTYPE_ARP {
            return arp(payload).map(Frame::Arp);
        }
    }
    let layer = ip_layer(frame, framing)?;
    let ip = Ip { src: layer.src, dst: layer.dst, ttl: layer.ttl, id: layer.id };
    let body = match layer.protocol {
        number::TCP => Body::Tcp(tcp(layer.payload)?),
        number::UDP => udp(&layer)?,
        number::ICMP if ip.src.is_ipv4() => icmp_v4(layer.payload)?,
        number::ICMPV6 if ip.src.is_ipv6() => icmp_v6(layer.payload, ip.ttl)?,
        protocol => Body::Other { protocol },
    };
    Some(Frame::Ip(Packet { ip, body }))
}

/// Finds the IP packet of a frame that is whole as far as its headers say.
pub(crate) fn ip_layer(frame: &[u8], framing: Framing) -> Option<IpLayer<'_>> {
    let packet = match framing {
        Framing::Bare => frame,
        Framing::Ethernet => match ethernet(frame)? {
            (number::ETHERTYPE_IPV4 | number::ETHERTYPE_IPV6, packet) => packet,
            _ => return None,
        },
    };
    ip_packet(packet, false)
}

/// Cuts an IP packet into header and payload. A `quoted` one may end early: whoever quoted it cut it off.
pub(crate) fn ip_packet(packet: &[u8], quoted: bool) -> Option<IpLayer<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
            let header_len = header.slice().len();
            let payload = match packet.get(header_len..usize::from(header.total_len())) {
                Some(payload) => payload,
                None if quoted => packet.get(header_len..)?,
                None => return None,
            };
            if header.fragments_offset().value() != 0 {
                return None;
            }
            Some(IpLayer {
                src: header.source_addr().into(),
                dst: header.destination_addr().into(),
                ttl: header.ttl(),
                id: header.identification(),
                protocol: header.protocol().0,
                header: packet.get(..header_len)?,
                payload,
                fragmented: header.more_fragments(),
            })
        }
        6 => {
            let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
            let end = 40 + usize::from(header.payload_length());
            let rest = match packet.get(40..end) {
                Some(rest) => rest,
                None if quoted => packet.get(40..)?,
                None => return None,
            };
            let (protocol, payload, fragmented) = skip_extensions(header.next_header().0, rest)?;
            Some(IpLayer {
                src: header.source_addr().into(),
                dst: header.destination_addr().into(),
                ttl: header.hop_limit(),
                id: 0,
                protocol,
                header: packet.get(..40)?,
                payload,
                fragmented,
            })
        }
        _ => None,
    }
}

/// Follows IPv6 extension headers to the transport header, and says whether more fragments follow; `None` for later fragments.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> Option<(u8, &[u8], bool)> {
    let mut fragmented = false;
    for _ in 0..MAX_EXTENSIONS {
        let len = match next {
            // Hop-by-hop, routing, destination options: length in units of 8 bytes, less the first.
            0 | 43 | 60 => 8 * (usize::from(*rest.get(1)?) + 1),
            // Fragment.
            44 => {
                let field = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
                if field >> 3 != 0 {
                    return None;
                }
                fragmented |= field & 1 == 1;
                8
            }
            // Authentication: length in units of 4 bytes, less two.
            51 => 4 * (usize::from(*rest.get(1)?) + 2),
            _ => return Some((next, rest, fragmented)),
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
    }
    None
}

/// Ethertype and payload, past at most two VLAN tags.
fn ethernet(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut at = 12;
    for _ in 0..3 {
        let ethertype = be16(frame, at)?;
        if !matches!(ethertype, number::ETHERTYPE_VLAN | number::ETHERTYPE_QINQ) {
            return Some((ethertype, frame.get(at + 2..)?));
        }
        at += 4;
    }
    None
}

fn arp(packet: &[u8]) -> Option<Arp> {
    let (fixed, rest) = packet.split_at_checked(8)?;
    let is_reply = match fixed {
        [0, 1, 8, 0, 6, 4, 0, 1] => false,
        [0, 1, 8, 0, 6, 4, 0, 2] => true,
        _ => return None,
    };
    let mac = |at: usize| Some(Mac(rest.get(at..at + 6)?.try_into().ok()?));
    let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(rest.get(at..at + 4)?).ok()?));
    Some(Arp { is_reply, sender_mac: mac(0)?, sender_ip: ip(6)?, target_mac: mac(10)?, target_ip: ip(16)? })
}

fn tcp(segment: &[u8]) -> Option<Tcp> {
    let header = TcpHeaderSlice::from_slice(segment).ok()?;
    Some(Tcp {
        src_port: header.source_port(),
        dst_port: header.destination_port(),
        seq: header.sequence_number(),
        ack: header.acknowledgment_number(),
        flags: Flags(*segment.get(13)?),
        window: header.window_size(),
        options: tcp_options(header.options()),
    })
}

/// The options of a TCP header. One of a kind or length that we do not know is passed over by its length (RFC 9293 section
/// 3.1); one that reaches beyond the header ends the walk, and what came before it stands, as in real stacks.
fn tcp_options(mut rest: &[u8]) -> TcpOptions {
    let mut options = TcpOptions::default();
    // Every turn takes a byte at least.
    while let [kind, ..] = *rest {
        match kind {
            0 => break,
            1 => {
                rest = &rest[1..];
                continue;
            }
            _ => {}
        }
        let Some(option) = rest.get(1).and_then(|&len| rest.get(..usize::from(len))).filter(|option| option.len() >= 2) else {
            break;
        };
        match (kind, option.len()) {
            (2, 4) => options.mss = be16(option, 2),
            (3, 3) => options.window_scale = option.get(2).copied(),
            (4, 2) => options.sack_permitted = true,
            (8, 10) => options.timestamps = be32(option, 2).zip(be32(option, 6)),
            _ => {}
        }
        rest = &rest[option.len()..];
    }
    options
}

/// A UDP datagram. Its own length counts, not the packet's (RFC 768); only of a first fragment may some of it be missing.
fn udp<'a>(layer: &IpLayer<'a>) -> Option<Body<'a>> {
    let datagram = layer.payload;
    let len = usize::from(be16(datagram, 4)?);
    let payload = match datagram.get(UDP_HEADER..len) {
        Some(payload) => payload,
        None if layer.fragmented && len >= UDP_HEADER => datagram.get(UDP_HEADER..)?,
        None => return None,
    };
    Some(Body::Udp { udp: Udp { src_port: be16(datagram, 0)?, dst_port: be16(datagram, 2)? }, payload })
}

fn icmp_v4(message: &[u8]) -> Option<Body<'_>> {
    let (fixed, rest) = message.split_at_checked(8)?;
    Some(match fixed[0] {
        kind @ (0 | 8) => echo(kind == 0, fixed, rest),
        3 => Body::Unreachable { code: fixed[1], quoted: rest },
        _ => Body::Other { protocol: number::ICMP },
    })
}

fn icmp_v6(message: &[u8], hop_limit: u8) -> Option<Body<'_>> {
    let (fixed, rest) = message.split_at_checked(8)?;
    Some(match fixed[0] {
        kind @ (128 | 129) => echo(kind == 129, fixed, rest),
        1 => Body::Unreachable { code: fixed[1], quoted: rest },
        // RFC 4861 section 7.1: what has crossed a router, or has a code, is not neighbour discovery.
        kind @ (135 | 136) if hop_limit == 255 && fixed[1] == 0 => {
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(rest.get(..16)?).ok()?);
            if target.is_multicast() {
                return None;
            }
            // Option 1 is the sender's, option 2 the target's hardware address.
            let mac = link_layer_option(rest.get(16..)?, if kind == 135 { 1 } else { 2 });
            match kind {
                135 => Body::NeighborSolicitation { target, source_mac: mac },
                _ => Body::NeighborAdvertisement { target, mac },
            }
        }
        _ => Body::Other { protocol: number::ICMPV6 },
    })
}

fn link_layer_option(mut options: &[u8], wanted: u8) -> Option<Mac> {
    // Every option has at least 8 bytes, so the walk ends.
    while let [kind, units, ..] = *options {
        let len = 8 * usize::from(units);
        if len == 0 {
            return None;
        }
        let option = options.get(..len)?;
        if kind == wanted && units == 1 {
            return Some(Mac(option.get(2..8)?.try_into().ok()?));
        }
        options = &options[len..];
    }
    None
}

fn echo<'a>(is_reply: bool, fixed: &[u8], payload: &'a [u8]) -> Body<'a> {
    Body::Echo { is_reply, id: u16::from_be_bytes([fixed[4], fixed[5]]), seq: u16::from_be_bytes([fixed[6], fixed[7]]), payload }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
