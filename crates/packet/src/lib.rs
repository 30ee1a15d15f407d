//! Bytes ↔ Ethernet, ARP, neighbour discovery, IPv4, IPv6, ICMP, ICMPv6, TCP and UDP headers.
//!
//! Sans-IO: [`build`] writes frames into a buffer, [`decode`] reads any bytes into a [`Frame`], and [`Reply`] says what a
//! frame means as an answer to a probe, with the probe unwrapped that an ICMP error quotes. Nothing here panics, whatever
//! the bytes (PR-11). Whether an answer belongs to a probe of ours is left to `scan`, which holds the secret.
#![forbid(unsafe_code)]

pub mod build;
mod checksum;
mod decode;
mod reply;

pub use checksum::{Checksums, checksums};
pub use decode::{Body, Frame, Packet, decode};
pub use reply::{Quoted, QuotedProbe, Reply};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// All zero: what loopback interfaces use.
    pub const ZERO: Mac = Mac([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands before the IP header on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// An Ethernet header; loopback interfaces have one too, with zero addresses.
    Ethernet,
    /// Nothing: tun devices and other point-to-point links.
    Bare,
}

/// The addresses of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ethernet {
    /// Sender.
    pub src: Mac,
    /// Receiver.
    pub dst: Mac,
}

/// What is common to IPv4 and IPv6 headers. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ip {
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// IPv4 identification; IPv6 has none and reads as zero.
    pub id: u16,
}

/// The flags of a TCP header, as its 14th byte has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset.
    pub const RST: Flags = Flags(0x04);
    /// The acknowledgment number counts.
    pub const ACK: Flags = Flags(0x10);

    /// Whether all of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both together.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Tcp {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
}

/// The TCP options that handshakes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TcpOptions {
    /// Largest segment the sender takes.
    pub mss: Option<u16>,
    /// Selective acknowledgments are understood.
    pub sack_permitted: bool,
    /// Timestamp and its echo.
    pub timestamps: Option<(u32, u32)>,
    /// Shift of the window, at most 14 in real stacks.
    pub window_scale: Option<u8>,
}

/// The ports of a UDP datagram; length and checksum follow from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Udp {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
}

/// Bytes of a UDP header (RFC 768).
pub(crate) const UDP_HEADER: usize = 8;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arp {
    /// A reply rather than a request.
    pub is_reply: bool,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender_ip: Ipv4Addr,
    /// Receiver's hardware address; zero in requests.
    pub target_mac: Mac,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

/// What an ICMP "unreachable" says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// Somebody forbids it: ICMP 3/9, 3/10, 3/13 (RFC 1812 section 5.2.7.1); ICMPv6 1/1, 1/5, 1/6 (RFC 4443 section 3.1).
    Prohibited,
    /// No way to the network or host, or nobody at the address.
    Host,
    /// The host has nobody at the port: ICMP 3/3, ICMPv6 1/4.
    Port,
}

impl Unreachable {
    /// The meaning of the code of an ICMP type 3; `None` where it says nothing about reaching the port (3/4, fragmentation
    /// needed) or is not assigned.
    pub fn from_v4(code: u8) -> Option<Self> {
        match code {
            9 | 10 | 13 => Some(Unreachable::Prohibited),
            3 => Some(Unreachable::Port),
            0..=2 | 5..=8 | 11 | 12 | 14 | 15 => Some(Unreachable::Host),
            _ => None,
        }
    }
    /// The meaning of the code of an ICMPv6 type 1.
    pub fn from_v6(code: u8) -> Option<Self> {
        match code {
            1 | 5 | 6 => Some(Unreachable::Prohibited),
            4 => Some(Unreachable::Port),
            0 | 2 | 3 => Some(Unreachable::Host),
            _ => None,
        }
    }
}

/// The multicast address that a holder of `ip` listens on for neighbour solicitations (RFC 4291 section 2.7.1).
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

pub(crate) mod number {
    //! Numbers of the registries that both directions use.
    pub const ETHERTYPE_IPV4: u16 = 0x0800;
    pub const ETHERTYPE_ARP: u16 = 0x0806;
    pub const ETHERTYPE_IPV6: u16 = 0x86dd;
    pub const ETHERTYPE_VLAN: u16 = 0x8100;
    pub const ETHERTYPE_QINQ: u16 = 0x88a8;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}
