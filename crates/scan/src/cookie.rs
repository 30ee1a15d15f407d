//! How an answer is known to be an answer: each probe carries a keyed hash of where it goes, and only who received it can
//! send it back. Nothing is remembered per probe. What the answer says is left to `hear`.
//!
//! The sequence number of a SYN is 24 bits of the hash and, in the upper eight, the time at which it left, in ticks, hidden by
//! eight other bits of the hash. Every SYN-ACK and RST thus tells how long it took, and which try it answers. Who cannot see
//! the probe has to guess the 24 bits and the source port, one of 4,096 drawn at random: 36 bits for each forged answer, and
//! a wrong guess tells nothing.

use std::net::IpAddr;

/// The secret of one sweep. Drawn anew for each, so that late answers to an earlier one do not count.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u64; 2]);

/// What a hash is for; the same question never gives the same number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Syn = 1,
    Ack = 2,
    Echo = 3,
    EchoData = 4,
    /// The id in a UDP payload.
    Udp = 5,
    /// The port that a UDP probe leaves from.
    UdpPort = 6,
}

/// The ports that raw probes leave from; documented, so that whoever sees them can tell what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePorts {
    pub first: u16,
    pub last: u16,
}

/// How many source ports there are. Many make the tuple hard to guess and keep retransmissions apart; few leave local
/// sockets room.
const SOURCE_PORTS: u16 = 4_096;

impl SourcePorts {
    /// 61000-65095, which Linux's default ephemeral range (32768-60999) leaves free; if this machine's range does not, the
    /// ports just below its range.
    pub fn beside(ephemeral: Option<(u16, u16)>) -> Self {
        let above = SourcePorts { first: 61_000, last: 61_000 + SOURCE_PORTS - 1 };
        match ephemeral {
            Some((low, high)) if high >= above.first && low > 1_024 + SOURCE_PORTS => {
                SourcePorts { first: low - SOURCE_PORTS, last: low - 1 }
            }
            _ => above,
        }
    }
    /// Those for this machine.
    pub fn here() -> Self {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|n| n.parse().ok());
        Self::beside(numbers.next().zip(numbers.next()))
    }
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Secret {
    pub fn random() -> Self {
        Secret(rand::random())
    }

    /// The number that identifies a probe to `ip`:`port` from `src_port`.
    pub fn cookie(&self, what: Use, ip: IpAddr, port: u16, src_port: u16) -> u64 {
        let bytes = model::address::to_bytes(ip);
        let half = |range: std::ops::Range<usize>| u64::from_le_bytes(bytes[range].try_into().expect("eight bytes"));
        let last = (what as u64) << 32 | u64::from(port) << 16 | u64::from(src_port);
        siphash(self.0, &[half(0..8), half(8..16), last])
    }

    /// The sequence number of a SYN that leaves at this tick, and 16 more bits of its hash.
    pub fn syn(&self, ip: IpAddr, port: u16, src_port: u16, tick: u8) -> (u32, u16) {
        let cookie = self.cookie(Use::Syn, ip, port, src_port);
        let [low, mask] = [cookie as u32 & LOW, (cookie >> 24) as u32 & 0xff];
        ((u32::from(tick) ^ mask) << 24 | low, (cookie >> 32) as u16)
    }

    /// When the SYN with this sequence number left; `None` when it is none of ours.
    pub fn syn_tick(&self, ip: IpAddr, port: u16, src_port: u16, seq: u32) -> Option<u8> {
        let cookie = self.cookie(Use::Syn, ip, port, src_port);
        (cookie as u32 & LOW == seq & LOW).then_some((seq >> 24) as u8 ^ (cookie >> 24) as u8)
    }
}

/// The bits of a sequence number that are a hash.
const LOW: u32 = 0x00ff_ffff;

/// Draws source ports. Answers are told by the hash, which covers the port they come back to, so nobody has to compute the
/// port again; it only has to be hard to guess.
#[derive(Clone, Debug)]
pub(crate) struct PortDraw {
    ports: SourcePorts,
    state: u64,
}

impl PortDraw {
    pub fn new(ports: SourcePorts, seed: u64) -> Self {
        PortDraw { ports, state: seed }
    }

    /// The port that the next probe leaves from.
    pub fn next(&mut self) -> u16 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let span = u64::from(self.ports.last - self.ports.first) + 1;
        self.ports.first + (((crate::order::mix(self.state) >> 32) * span) >> 32) as u16
    }
}

/// SipHash-2-4 over whole words (Aumasson and Bernstein, 2012): made for exactly this, short inputs under a secret key.
fn siphash([k0, k1]: [u64; 2], words: &[u64]) -> u64 {
    let mut v = [k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573];
    let length = (words.len() as u64 * 8) << 56;
    for &word in words.iter().chain([&length]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_matches_its_published_vectors() {
        // Key 00 01 … 0f; messages of the first 0, 8 and 16 bytes 00 01 …; from the reference implementation's table.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(key, &[key[0]]), 0x93f5_f579_9a93_2462);
        assert_eq!(siphash(key, &key), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn cookies_differ_by_secret_use_address_and_ports() {
        let (a, b) = (Secret([1, 2]), Secret([1, 3]));
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let base = a.cookie(Use::Syn, ip, 80, 61_000);
        for other in [
            b.cookie(Use::Syn, ip, 80, 61_000),
            a.cookie(Use::Ack, ip, 80, 61_000),
            a.cookie(Use::Syn, "192.0.2.2".parse().unwrap(), 80, 61_000),
            a.cookie(Use::Syn, ip, 81, 61_000),
            a.cookie(Use::Syn, ip, 80, 61_001),
        ] {
            assert_ne!(base as u32, other as u32);
        }
        assert_eq!(base, a.cookie(Use::Syn, "::ffff:192.0.2.1".parse().unwrap(), 80, 61_000));
    }

    #[test]
    fn source_ports_keep_clear_of_local_sockets() {
        for (ephemeral, first, last) in [
            (None, 61_000, 65_095),
            (Some((32_768, 60_999)), 61_000, 65_095),
            (Some((10_000, 65_535)), 5_904, 9_999),
            // No room on either side: the documented range it is.
            (Some((1_024, 65_535)), 61_000, 65_095),
        ] {
            assert_eq!(SourcePorts::beside(ephemeral), SourcePorts { first, last }, "{ephemeral:?}");
        }
        let ports = SourcePorts::beside(None);
        let mut draw = PortDraw::new(ports, 5);
        let drawn: std::collections::HashSet<u16> = (0..60_000).map(|_| draw.next()).collect();
        assert!(drawn.len() == 4_096 && drawn.iter().all(|&port| ports.contains(port)));
    }

    #[test]
    fn a_sequence_number_tells_when_it_left_and_whose_it_is() {
        let secret = Secret([5, 6]);
        let ip: IpAddr = "2001:db8::1".parse().unwrap();
        for tick in [0u8, 1, 77, 255] {
            let (seq, _) = secret.syn(ip, 443, 61_000, tick);
            assert_eq!(secret.syn_tick(ip, 443, 61_000, seq), Some(tick));
            assert_eq!(secret.syn_tick(ip, 443, 61_000, seq ^ 1), None);
            assert_eq!(secret.syn_tick(ip, 443, 61_001, seq), None);
            assert_eq!(secret.syn_tick(ip, 444, 61_000, seq), None);
        }
        let upper: std::collections::HashSet<u32> = (0..64).map(|n| secret.syn(ip, n, 61_000, 3).0 >> 24).collect();
        assert!(upper.len() > 40, "the time does not show: {}", upper.len());
    }
}
