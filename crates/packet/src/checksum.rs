//! The Internet checksum over a frame as received. Building computes it on the way; here it is checked.
//!
//! A receiver on AF_PACKET must not insist on it: frames of this machine's other namespaces arrive with the sum left for
//! hardware to fill in. `scan` therefore believes cookies, and uses this in tests.

use crate::number;
use crate::{Framing, decode};
use etherparse::checksum::Sum16BitWords;
use std::net::IpAddr;

/// Whether the sums of a frame are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Of the IPv4 header; IPv6 has none and counts as right.
    pub ip: bool,
    /// Of the TCP, UDP or ICMP message; other protocols are not looked at and count as right.
    pub transport: bool,
}

pub(crate) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Sum16BitWords {
    let mut sum = Sum16BitWords::new();
    let sum = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => sum.add_4bytes(s.octets()).add_4bytes(d.octets()),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum.add_16bytes(s.octets()).add_16bytes(d.octets()),
        _ => sum,
    };
    sum.add_2bytes([0, protocol]).add_4bytes((len as u32).to_be_bytes())
}

/// The checksum field for a message of this protocol between these addresses, its field zero in `message`.
pub(crate) fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    let sum = match protocol {
        number::ICMP => Sum16BitWords::new(),
        _ => pseudo_header(src, dst, protocol, message.len()),
    };
    sum.add_slice(message).ones_complement().to_be()
}

/// Checks the sums of a frame; `None` when it is no IP packet.
pub fn checksums(frame: &[u8], framing: Framing) -> Option<Checksums> {
    let raw = decode::ip_layer(frame, framing)?;
    let sums_to_zero = |sum: Sum16BitWords| sum.ones_complement() == 0;
    let ip = raw.src.is_ipv6() || sums_to_zero(Sum16BitWords::new().add_slice(raw.header));
    let transport = match raw.protocol {
        number::TCP | number::ICMPV6 => {
            sums_to_zero(pseudo_header(raw.src, raw.dst, raw.protocol, raw.payload.len()).add_slice(raw.payload))
        }
        // A sum of zero was not computed (RFC 768); in IPv6 that is an error (RFC 8200 section 8.1).
        number::UDP if decode::be16(raw.payload, 6) == Some(0) => raw.src.is_ipv4(),
        number::UDP => sums_to_zero(pseudo_header(raw.src, raw.dst, raw.protocol, raw.payload.len()).add_slice(raw.payload)),
        number::ICMP => sums_to_zero(Sum16BitWords::new().add_slice(raw.payload)),
        _ => true,
    };
    Some(Checksums { ip, transport })
}
