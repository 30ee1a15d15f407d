//! What a received frame means as an answer to a probe. Whether the probe was ours, `scan` decides with its secret.

use crate::decode::{Body, Frame, Packet, be16, be32, decode, ip_packet};
use crate::{Flags, Framing, Mac, Unreachable, number};
use std::net::{IpAddr, SocketAddr};

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Something accepts connections.
    SynAck {
        /// Who answers.
        from: SocketAddr,
        /// Whom.
        to: SocketAddr,
        /// Its sequence number.
        seq: u32,
        /// Our sequence number plus one, if it answers us.
        ack: u32,
        /// Its window.
        window: u16,
        /// Time to live on arrival.
        ttl: u8,
    },
    /// A refusal.
    Rst {
        /// Who answers.
        from: SocketAddr,
        /// Whom.
        to: SocketAddr,
        /// Its sequence number; in answer to an ACK, the number acknowledged there.
        seq: u32,
        /// What it acknowledges, if it acknowledges anything.
        ack: Option<u32>,
        /// Time to live on arrival.
        ttl: u8,
    },
    /// A UDP datagram.
    Udp {
        /// Who answers.
        from: SocketAddr,
        /// Whom.
        to: SocketAddr,
        /// Its data.
        payload: &'a [u8],
        /// Time to live on arrival.
        ttl: u8,
    },
    /// A packet of ours could not be delivered.
    Unreachable {
        /// Who says so.
        from: IpAddr,
        /// To whom.
        to: IpAddr,
        /// What is said.
        cause: Unreachable,
        /// In which code.
        code: u8,
        /// Of which packet.
        quoted: Quoted,
    },
    /// An answer to an echo request.
    EchoReply {
        /// Who answers.
        from: IpAddr,
        /// Whom.
        to: IpAddr,
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
        /// Data.
        payload: &'a [u8],
    },
    /// An IPv4 neighbour is there.
    ArpReply {
        /// Its address.
        ip: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// An IPv6 neighbour is there.
    NeighborAdvert {
        /// Its address.
        ip: IpAddr,
        /// Its hardware address, unless it left that out.
        mac: Option<Mac>,
    },
}

/// The packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// Its IPv4 identification; IPv6 has none and reads as zero.
    pub id: u16,
    /// What it carried.
    pub probe: QuotedProbe,
}

/// What the quoted packet carried. Eight bytes of it are all that every router quotes (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedProbe {
    /// A TCP segment.
    Tcp {
        /// Its source port.
        src_port: u16,
        /// Its destination port.
        dst_port: u16,
        /// Its sequence number.
        seq: u32,
    },
    /// A UDP datagram: the whole of its header.
    Udp {
        /// Its source port.
        src_port: u16,
        /// Its destination port.
        dst_port: u16,
        /// Its length, header included.
        len: u16,
        /// Its checksum.
        checksum: u16,
    },
    /// An echo request.
    Echo {
        /// Its identifier.
        id: u16,
        /// Its sequence number.
        seq: u16,
    },
}

impl<'a> Reply<'a> {
    /// Reads a frame as an answer; `None` when it is none.
    pub fn parse(frame: &'a [u8], framing: Framing) -> Option<Reply<'a>> {
        match decode(frame, framing)? {
            Frame::Arp(arp) if arp.is_reply => Some(Reply::ArpReply { ip: arp.sender_ip.into(), mac: arp.sender_mac }),
            Frame::Arp(_) => None,
            Frame::Ip(packet) => Self::from_packet(&packet),
        }
    }

    fn from_packet(packet: &Packet<'a>) -> Option<Reply<'a>> {
        let ip = packet.ip;
        match packet.body {
            Body::Tcp(tcp) => {
                let from = SocketAddr::new(ip.src, tcp.src_port);
                let to = SocketAddr::new(ip.dst, tcp.dst_port);
                if tcp.flags.has(Flags::RST) {
                    let ack = tcp.flags.has(Flags::ACK).then_some(tcp.ack);
                    return Some(Reply::Rst { from, to, seq: tcp.seq, ack, ttl: ip.ttl });
                }
                (tcp.flags.has(Flags::SYN.and(Flags::ACK)) && !tcp.flags.has(Flags::FIN)).then_some(Reply::SynAck {
                    from,
                    to,
                    seq: tcp.seq,
                    ack: tcp.ack,
                    window: tcp.window,
                    ttl: ip.ttl,
                })
            }
            Body::Udp { udp, payload } => Some(Reply::Udp {
                from: SocketAddr::new(ip.src, udp.src_port),
                to: SocketAddr::new(ip.dst, udp.dst_port),
                payload,
                ttl: ip.ttl,
            }),
            Body::Echo { is_reply: true, id, seq, payload } => {
                Some(Reply::EchoReply { from: ip.src, to: ip.dst, id, seq, payload })
            }
            Body::Unreachable { code, quoted } => {
                let cause = if ip.src.is_ipv4() { Unreachable::from_v4(code) } else { Unreachable::from_v6(code) }?;
                Some(Reply::Unreachable { from: ip.src, to: ip.dst, cause, code, quoted: Quoted::parse(quoted)? })
            }
            Body::NeighborAdvertisement { target, mac } => Some(Reply::NeighborAdvert { ip: target.into(), mac }),
            Body::Echo { .. } | Body::NeighborSolicitation { .. } | Body::Other { .. } => None,
        }
    }
}

impl Quoted {
    /// Reads the start of an IP packet as an ICMP error quotes it.
    pub fn parse(packet: &[u8]) -> Option<Quoted> {
        let layer = ip_packet(packet, true)?;
        let payload = layer.payload;
        let probe = match layer.protocol {
            number::TCP => QuotedProbe::Tcp { src_port: be16(payload, 0)?, dst_port: be16(payload, 2)?, seq: be32(payload, 4)? },
            number::UDP => QuotedProbe::Udp {
                src_port: be16(payload, 0)?,
                dst_port: be16(payload, 2)?,
                len: be16(payload, 4)?,
                checksum: be16(payload, 6)?,
            },
            number::ICMP if *payload.first()? == 8 => QuotedProbe::Echo { id: be16(payload, 4)?, seq: be16(payload, 6)? },
            number::ICMPV6 if *payload.first()? == 128 => QuotedProbe::Echo { id: be16(payload, 4)?, seq: be16(payload, 6)? },
            _ => return None,
        };
        Some(Quoted { src: layer.src, dst: layer.dst, id: layer.id, probe })
    }
}
