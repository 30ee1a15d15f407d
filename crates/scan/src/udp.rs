//! UDP probes: what is asked of a port, from which of our ports, and how its answer is known. What is asked is the catalogue's
//! to say (`model::udp`), when to ask `walk`'s.
//!
//! UDP has no sequence number, so the hash that tells our probes is spread over what comes back anyway. The source port is
//! a hash of target, port and number of the try: an answer must come to one of the few ports that the port was asked from.
//! Where the protocol carries an id back, that id is a hash as well. Where it does not, one answer could be a guess, one in
//! 4,096 for each forged datagram, so the port counts as open only when two tries, from two ports, were answered. An ICMP error
//! must quote such a source port, and with it the IPv4 identification or the UDP checksum that the probe had.

use crate::ask::Said;
use crate::cookie::{Secret, SourcePorts, Use};
use model::udp::{Echoed, Payload, Payloads};
use packet::{Quoted, QuotedProbe, Udp, build};
use std::net::{IpAddr, SocketAddr};

/// Tries of one port that are told apart: eleven of the sweep at most, and those of the slow repetition.
pub(crate) const TRIES: u8 = 16;

/// The port that the n-th try leaves from.
fn src_port(secret: &Secret, ports: SourcePorts, ip: IpAddr, port: u16, attempt: u8) -> u16 {
    let span = u64::from(ports.last - ports.first) + 1;
    ports.first + (secret.cookie(Use::UdpPort, ip, port, attempt.into()) % span) as u16
}

/// What a probe carries: its ports, the id in its payload, and its IPv4 identification.
pub(crate) struct Datagram {
    pub udp: Udp,
    id: u64,
}

impl Datagram {
    fn new(secret: &Secret, ports: SourcePorts, ip: IpAddr, port: u16, attempt: u8) -> Self {
        let src_port = src_port(secret, ports, ip, port, attempt % TRIES);
        Datagram { udp: Udp { src_port, dst_port: port }, id: secret.cookie(Use::Udp, ip, port, src_port) }
    }
    /// The identification of its packet: bits that no payload shows.
    pub fn ip_id(&self) -> u16 {
        (self.id.rotate_left(24) ^ self.id) as u16
    }
}

/// The n-th try at a port: its header, and its payload in `payload`.
pub(crate) fn write(secret: &Secret, ports: SourcePorts, ip: IpAddr, port: u16, attempt: u8, payload: &mut Vec<u8>) -> Datagram {
    let datagram = Datagram::new(secret, ports, ip, port, attempt);
    render(Payloads::builtin().for_try(port, attempt % TRIES), datagram.id, datagram.udp.src_port, payload);
    datagram
}

/// Writes a question, or nothing where none is known.
pub(crate) fn render(question: Option<&Payload>, id: u64, src_port: u16, payload: &mut Vec<u8>) {
    match question {
        Some(question) => question.render(id, src_port, payload),
        None => payload.clear(),
    }
}

/// What an answer says, given what was asked with which id, and to which port of ours it came.
pub(crate) fn said(question: Option<&Payload>, id: u64, to_port: u16, answer: &[u8]) -> Said {
    match question.map_or(Echoed::NoId, |question| question.echoed(id, answer)) {
        Echoed::Yes => Said::UdpResponse,
        // Something else than the port promises may answer in its own way.
        Echoed::NoId | Echoed::No => Said::UdpUnsure { to_port },
    }
}

/// Which port this datagram answers for, and what it says; `None` when it answers no probe of ours.
pub(crate) fn answered(
    secret: &Secret,
    ports: SourcePorts,
    from: SocketAddr,
    to_port: u16,
    answer: &[u8],
) -> Option<(u16, Said)> {
    if !ports.contains(to_port) {
        return None;
    }
    let ip = from.ip();
    let asked = |port: u16| {
        let tries = (0..TRIES).filter(move |&attempt| src_port(secret, ports, ip, port, attempt) == to_port);
        tries.map(move |attempt| Payloads::builtin().for_try(port, attempt)).collect::<Vec<_>>()
    };
    let questions = asked(from.port());
    if !questions.is_empty() {
        let id = secret.cookie(Use::Udp, ip, from.port(), to_port);
        let all = questions.into_iter().map(|question| said(question, id, to_port, answer));
        let best = all.reduce(|best, said| if best == Said::UdpResponse { best } else { said });
        return Some((from.port(), best?));
    }
    // TFTP answers from a port of its own. There are few such payloads, and few ports to each.
    let elsewhere = Payloads::builtin().all().iter().filter(|payload| payload.any_port);
    let port = elsewhere.flat_map(|payload| payload.ports.iter().copied()).find(|&port| !asked(port).is_empty())?;
    Some((port, Said::UdpUnsure { to_port }))
}

/// The port whose probe an ICMP error quotes; `None` when the probe was none of ours.
pub(crate) fn quoted(secret: &Secret, ports: SourcePorts, quoted: &Quoted) -> Option<u16> {
    let QuotedProbe::Udp { src_port: from, dst_port: port, len, checksum } = quoted.probe else { return None };
    if !ports.contains(from) {
        return None;
    }
    let mut payload = Vec::new();
    (0..TRIES).find(|&attempt| {
        if src_port(secret, ports, quoted.dst, port, attempt) != from {
            return false;
        }
        let datagram = write(secret, ports, quoted.dst, port, attempt, &mut payload);
        if usize::from(len) != payload.len() + 8 {
            return false;
        }
        // Some routers garble the one, some the other.
        let by_id = quoted.dst.is_ipv4() && quoted.id == datagram.ip_id();
        by_id || build::udp_checksum(quoted.src, quoted.dst, &datagram.udp, &payload) == Some(checksum)
    })?;
    Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Framing, Ip, Reply};

    const PORTS: SourcePorts = SourcePorts { first: 61_000, last: 65_095 };

    fn ips() -> [IpAddr; 2] {
        ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]
    }

    #[test]
    fn an_answer_counts_for_the_port_asked_from_the_port_asked_with_the_id_sent() {
        let (secret, other) = (Secret::random(), Secret::random());
        for ip in ips() {
            let mut asked = Vec::new();
            for attempt in 0..TRIES {
                // The id is the first two bytes both ways.
                let sent = write(&secret, PORTS, ip, 53, attempt, &mut asked);
                let to = sent.udp.src_port;
                let answer = |from: u16, to: u16, bytes: &[u8]| answered(&secret, PORTS, SocketAddr::new(ip, from), to, bytes);
                assert_eq!(answer(53, to, &asked), Some((53, Said::UdpResponse)), "try {attempt}");
                let mut forged = asked.clone();
                forged[0] ^= 1;
                assert_eq!(answer(53, to, &forged), Some((53, Said::UdpUnsure { to_port: to })));
                assert_eq!(answer(53, to, b""), Some((53, Said::UdpUnsure { to_port: to })));
                assert_eq!(answer(53, 50_000, &asked), None, "not a port of ours");
                let late = answered(&other, PORTS, SocketAddr::new(ip, 53), to, &asked);
                assert_ne!(late, Some((53, Said::UdpResponse)), "asked by another sweep");
            }
        }
    }

    #[test]
    fn a_guessed_port_is_as_good_as_never_right() {
        let secret = Secret::random();
        for ip in ips() {
            let right = (PORTS.first..=PORTS.last)
                .filter(|&to| answered(&secret, PORTS, SocketAddr::new(ip, 161), to, b"x").is_some())
                .count();
            assert!((1..=2 * usize::from(TRIES)).contains(&right), "{right} of 4,096, two ports with TFTP's");
        }
    }

    #[test]
    fn a_transfer_that_goes_on_from_another_port_counts_for_the_port_asked() {
        let secret = Secret::random();
        for ip in ips() {
            let mut asked = Vec::new();
            let to = write(&secret, PORTS, ip, 69, 0, &mut asked).udp.src_port;
            let from = |port| answered(&secret, PORTS, SocketAddr::new(ip, port), to, b"\x00\x05\x00\x01no\x00");
            assert_eq!(from(40_000), Some((69, Said::UdpUnsure { to_port: to })));
            assert_eq!(from(69), Some((69, Said::UdpUnsure { to_port: to })));
            // Time is told from port 123. By chance, one in 128, the port is one that TFTP or port 40000 was asked from.
            let counted = (0..64).filter(|_| {
                let secret = Secret::random();
                let to = write(&secret, PORTS, ip, 123, 0, &mut asked).udp.src_port;
                answered(&secret, PORTS, SocketAddr::new(ip, 40_000), to, &asked).is_some()
            });
            assert!(counted.count() < 10);
        }
    }

    #[test]
    fn an_error_counts_only_when_it_quotes_a_probe_of_ours() {
        let secret = Secret::random();
        for ip in ips() {
            let v4 = ip.is_ipv4();
            let ours: IpAddr = if v4 { "192.0.2.254" } else { "2001:db8::254" }.parse().unwrap();
            for (port, attempt) in [(161, 0), (53, 1), (9, 0), (69, 15)] {
                let mut payload = Vec::new();
                let sent = write(&secret, PORTS, ip, port, attempt, &mut payload);
                let mut probe = Vec::new();
                let header = Ip { src: ours, dst: ip, ttl: 64, id: sent.ip_id() };
                build::udp(&mut probe, None, &header, &sent.udp, &payload);
                let heard = |probe: &[u8]| {
                    let mut frame = Vec::new();
                    let back = Ip { src: ip, dst: ours, ttl: 60, id: 0 };
                    build::unreachable(&mut frame, None, &back, if v4 { 3 } else { 4 }, probe);
                    match Reply::parse(&frame, Framing::Bare) {
                        Some(Reply::Unreachable { quoted: q, .. }) => quoted(&secret, PORTS, &q),
                        _ => None,
                    }
                };
                assert_eq!(heard(&probe), Some(port));
                let udp = if v4 { 20 } else { 40 };
                // The least there is: eight bytes of what was sent.
                assert_eq!(heard(&probe[..udp + 8]), Some(port));
                // Each field damaged alone: address, source port, port, length.
                for at in [if v4 { 19 } else { 39 }, udp + 1, udp + 3, udp + 5] {
                    let mut damaged = probe.clone();
                    damaged[at] ^= 1;
                    assert_eq!(heard(&damaged), None, "port {port}, byte {at}");
                }
                // A router may have garbled the checksum or the identification, but not both.
                let mut garbled = probe.clone();
                garbled[udp + 6] ^= 1;
                assert_eq!(heard(&garbled), v4.then_some(port));
                if v4 {
                    garbled[5] ^= 1;
                    assert_eq!(heard(&garbled), None);
                    garbled[udp + 6] ^= 1;
                    assert_eq!(heard(&garbled), Some(port));
                }
            }
        }
    }

    #[test]
    fn a_port_without_a_payload_gets_an_empty_datagram() {
        let mut payload = vec![1];
        write(&Secret::random(), PORTS, ips()[0], 9, 0, &mut payload);
        assert!(payload.is_empty());
    }
}
