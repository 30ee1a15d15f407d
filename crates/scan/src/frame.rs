//! SYN frames from a template: everything that is the same for all probes of a path is written and summed once, what differs
//! is patched in. `packet::build` says what a SYN looks like; this writes the same bytes in a tenth of the time.

use packet::{Ethernet, Ip, Mac, build};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The SYN of one path, without destination, ports, numbers and sums.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the IP header begins: behind the link header, if there is one.
    ip: usize,
    v4: bool,
    /// Sum of the IPv4 header as it stands.
    ip_sum: u32,
    /// Sum of TCP header and pseudo header as they stand.
    tcp_sum: u32,
}

/// What differs from SYN to SYN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    /// Hardware address of the next hop; not looked at where there is no link header.
    pub mac: Mac,
    /// Identification of the IPv4 packet.
    pub id: u16,
    pub to: IpAddr,
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
}

/// Offsets within a TCP header; the timestamp stands behind MSS and "SACK permitted", as `build::syn` orders them.
const SEQ: usize = 4;
const SUM: usize = 16;
const TIMESTAMP: usize = 28;

impl Template {
    /// For probes from `src`, behind a link header from this hardware address if there is one.
    pub fn new(src: IpAddr, mac: Option<Mac>) -> Self {
        let v4 = src.is_ipv4();
        let nowhere: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let link = mac.map(|src| Ethernet { src, dst: Mac::ZERO });
        let mut bytes = Vec::new();
        build::tcp(&mut bytes, link, &Ip { src, dst: nowhere, ttl: build::TTL, id: 0 }, &build::syn(0, 0, 0, v4));
        let ip = if mac.is_some() { 14 } else { 0 };
        let tcp = ip + header_len(v4);
        if v4 {
            bytes[ip + 10..ip + 12].fill(0);
        }
        bytes[tcp + SUM..tcp + SUM + 2].fill(0);
        let ip_sum = if v4 { sum(&bytes[ip..tcp]) } else { 0 };
        // The pseudo header: source, length, protocol; destination and the rest come with each probe.
        let source = if v4 { ip + 12..ip + 16 } else { ip + 8..ip + 24 };
        let tcp_sum = sum(&bytes[source]) + (bytes.len() - tcp) as u32 + 6 + sum(&bytes[tcp..]);
        Template { bytes, ip, v4, ip_sum, tcp_sum }
    }

    /// The bytes to copy and [`Template::fill`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes a copy of the template the SYN of this probe. `false` when the address is of the other family.
    pub fn fill(&self, frame: &mut [u8], patch: &Patch) -> bool {
        let ip = self.ip;
        if ip > 0 {
            frame[..6].copy_from_slice(&patch.mac.0);
        }
        let to_sum = match (patch.to, self.v4) {
            (IpAddr::V4(to), true) => {
                let to = to.octets();
                frame[ip + 4..ip + 6].copy_from_slice(&patch.id.to_be_bytes());
                frame[ip + 16..ip + 20].copy_from_slice(&to);
                let to_sum = sum(&to);
                let ip_sum = finish(self.ip_sum + u32::from(patch.id) + to_sum);
                frame[ip + 10..ip + 12].copy_from_slice(&ip_sum.to_be_bytes());
                to_sum
            }
            (IpAddr::V6(to), false) => {
                let to = to.octets();
                frame[ip + 24..ip + 40].copy_from_slice(&to);
                sum(&to)
            }
            _ => return false,
        };
        let Some(tcp) = frame.get_mut(ip + header_len(self.v4)..) else { return false };
        // As `build::syn` has it.
        let timestamp = patch.seq.rotate_left(16);
        tcp[0..2].copy_from_slice(&patch.src_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&patch.dst_port.to_be_bytes());
        tcp[SEQ..SEQ + 4].copy_from_slice(&patch.seq.to_be_bytes());
        tcp[TIMESTAMP..TIMESTAMP + 4].copy_from_slice(&timestamp.to_be_bytes());
        // The halves of the timestamp are those of the sequence number, so both together count twice.
        let numbers = 2 * ((patch.seq >> 16) + (patch.seq & 0xffff));
        let all = self.tcp_sum + to_sum + u32::from(patch.src_port) + u32::from(patch.dst_port) + numbers;
        tcp[SUM..SUM + 2].copy_from_slice(&finish(all).to_be_bytes());
        true
    }
}

fn header_len(v4: bool) -> usize {
    if v4 { 20 } else { 40 }
}

/// Sum of an even number of bytes as 16-bit words, carries kept.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

/// The Internet checksum of a sum (RFC 1071).
fn finish(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !(((sum >> 16) + sum) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_filled_template_is_what_packet_builds(
            v4: bool,
            ethernet: bool,
            src: u128,
            to: u128,
            ours: [u8; 6],
            theirs: [u8; 6],
            id: u16,
            src_port: u16,
            dst_port: u16,
            seq in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0xffff)],
        ) {
            let [src, to] = [src, to].map(|n| if v4 { Ipv4Addr::from(n as u32).into() } else { IpAddr::from(Ipv6Addr::from(n)) });
            let id = if v4 { id } else { 0 };
            let template = Template::new(src, ethernet.then_some(Mac(ours)));
            let mut frame = template.bytes().to_vec();
            let filled = template.fill(&mut frame, &Patch { mac: Mac(theirs), id, to, src_port, dst_port, seq });
            prop_assert!(filled);
            let link = ethernet.then_some(Ethernet { src: Mac(ours), dst: Mac(theirs) });
            let mut expected = Vec::new();
            let ip = Ip { src, dst: to, ttl: build::TTL, id };
            build::tcp(&mut expected, link, &ip, &build::syn(src_port, dst_port, seq, v4));
            prop_assert_eq!(frame, expected);
        }
    }

    #[test]
    fn an_address_of_the_other_family_is_not_written() {
        let template = Template::new("192.0.2.1".parse().unwrap(), None);
        let mut frame = template.bytes().to_vec();
        let to = "2001:db8::1".parse().unwrap();
        assert!(!template.fill(&mut frame, &Patch { mac: Mac::ZERO, id: 0, to, src_port: 1, dst_port: 2, seq: 3 }));
    }
}
