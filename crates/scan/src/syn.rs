//! Asking by raw frames: a question becomes a frame that carries a cookie, an arriving frame becomes an answer if the cookie
//! in it is ours. Nothing is kept per probe but the neighbours asked for. When to ask whom is the engine's.

use crate::ask::{Answer, Ask, Said, now};
use crate::cookie::{Secret, SourcePorts, Use};
use crate::link::{Interface, Link, Route, Sink};
use model::InScope;
use packet::{Arp, Ethernet, Framing, Ip, Mac, QuotedProbe, Reply, Unreachable, build};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// The next hop of a host, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// `connect` asks this host.
    Kernel,
    /// Frames to this interface, with this header if it wants one.
    Frames(Interface, Option<Ethernet>),
    /// A neighbour whose hardware address is not known yet.
    Neighbor(Interface),
    /// There is no way, or nobody where the way ends.
    Nowhere,
}

/// Asks by raw frames.
pub(crate) struct SynAsker {
    link: Arc<dyn Link>,
    secret: Secret,
    ports: SourcePorts,
    heard: Arc<Heard>,
}

/// What arriving frames change.
struct Heard {
    secret: Secret,
    ports: SourcePorts,
    answers: Sender<Answer>,
    /// Neighbours asked for, by interface. Answers about others are not taken.
    neighbors: Mutex<HashMap<(u32, IpAddr), Option<Mac>>>,
    /// Answers that found the queue full.
    overrun: AtomicU64,
}

/// How often and how long a router is asked for its hardware address: as often as Linux does (`mcast_solicit`), but not its
/// whole second each time; a router on the link answers in milliseconds.
const GATEWAY_TRIES: u32 = 3;
const GATEWAY_WAIT: Duration = Duration::from_millis(500);

impl SynAsker {
    /// Over the link that `make_link` makes, given what takes its frames. Answers go to `answers`.
    pub fn new(
        secret: Secret,
        answers: Sender<Answer>,
        make_link: impl FnOnce(SourcePorts, Arc<dyn Sink>) -> io::Result<Arc<dyn Link>>,
    ) -> io::Result<Self> {
        let ports = SourcePorts::here();
        let heard = Arc::new(Heard { secret, ports, answers, neighbors: Mutex::default(), overrun: AtomicU64::new(0) });
        let link = make_link(ports, heard.clone())?;
        Ok(SynAsker { link, secret, ports, heard })
    }

    /// The way to a host, up to a neighbour that is not known yet.
    pub async fn hop(&self, to: IpAddr) -> io::Result<Hop> {
        Ok(match self.link.route(to)? {
            Route::Kernel => Hop::Kernel,
            Route::Unreachable => Hop::Nowhere,
            Route::PointToPoint(interface) => Hop::Frames(interface, None),
            Route::OnLink(interface) => Hop::Neighbor(interface),
            Route::Via(interface, gateway) if gateway.is_ipv4() == interface.src.is_ipv4() => {
                match self.gateway(interface, gateway).await? {
                    Some(mac) => Hop::Frames(interface, Some(Ethernet { src: interface.mac, dst: mac })),
                    None => Hop::Nowhere,
                }
            }
            Route::Via(..) => Hop::Kernel,
        })
    }

    /// The hop of a neighbour now, given what has been heard of it.
    pub fn neighbor(&self, interface: Interface, ip: IpAddr) -> Option<Hop> {
        let mac = lock(&self.heard.neighbors).get(&(interface.index, ip)).copied().flatten()?;
        Some(Hop::Frames(interface, Some(Ethernet { src: interface.mac, dst: mac })))
    }

    /// Forgets a neighbour, so that the table holds no more than the hosts at work and the routers.
    pub fn forget(&self, interface: Interface, ip: IpAddr) {
        lock(&self.heard.neighbors).remove(&(interface.index, ip));
    }

    /// Finds out a router's hardware address. A router is asked for as the kernel would ask for it: it is on our link, and
    /// the question is ours to ask whatever the scope, because no probe is meant for it.
    async fn gateway(&self, interface: Interface, ip: IpAddr) -> io::Result<Option<Mac>> {
        let key = (interface.index, ip);
        if let Some(known) = lock(&self.heard.neighbors).get(&key) {
            // Asked before: what came of it stands for this sweep.
            return Ok(*known);
        }
        lock(&self.heard.neighbors).insert(key, None);
        let mut frame = Vec::new();
        for _ in 0..GATEWAY_TRIES {
            who_has(&mut frame, &interface, ip);
            match self.link.send(interface.index, &frame) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            let deadline = tokio::time::Instant::now() + GATEWAY_WAIT;
            while tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if let Some(Some(mac)) = lock(&self.heard.neighbors).get(&key) {
                    return Ok(Some(*mac));
                }
            }
        }
        Ok(None)
    }

    /// Sends one probe. [`io::ErrorKind::WouldBlock`] when there is no room just now.
    pub fn send(&self, frame: &mut Vec<u8>, to: InScope<IpAddr>, hop: Hop, ask: Ask, attempt: u8) -> io::Result<()> {
        let to = to.get();
        let interface = match (hop, ask) {
            (Hop::Neighbor(interface), Ask::Neighbor) => {
                if attempt == 0 {
                    // A router that is a target as well was asked for before: its answer now is what counts for it.
                    lock(&self.heard.neighbors).insert((interface.index, to), None);
                }
                who_has(frame, &interface, to);
                interface
            }
            (Hop::Frames(interface, link), _) => {
                self.write(frame, &interface, link, to, ask, attempt);
                interface
            }
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        self.link.send(interface.index, frame)
    }

    fn write(&self, frame: &mut Vec<u8>, interface: &Interface, link: Option<Ethernet>, to: IpAddr, ask: Ask, attempt: u8) {
        let secret = &self.secret;
        let (port, src_port) = match ask {
            Ask::Syn(port) | Ask::Ack(port) => (port, secret.src_port(self.ports, to, port, attempt)),
            Ask::Echo | Ask::Neighbor => (0, 0),
        };
        let ip = |id: u64| Ip { src: interface.src, dst: to, ttl: build::TTL, id: id as u16 };
        match ask {
            Ask::Syn(_) => {
                let cookie = secret.cookie(Use::Syn, to, port, src_port);
                build::tcp(frame, link, &ip(cookie >> 32), &build::syn(src_port, port, cookie as u32, to.is_ipv4()));
            }
            Ask::Ack(_) => {
                let cookie = secret.cookie(Use::Ack, to, port, src_port);
                build::tcp(frame, link, &ip(cookie >> 32), &build::ack(src_port, port, cookie as u32, cookie as u32));
            }
            Ask::Echo => {
                let (id, seq, data) = echo(secret, to);
                // 56 bytes of data, as ping sends them.
                let mut payload = [0u8; 56];
                payload[..8].copy_from_slice(&data);
                build::echo_request(frame, link, &ip(u64::from(id)), id, seq, &payload);
            }
            Ask::Neighbor => who_has(frame, interface, to),
        }
    }

    /// Frames and answers that had to be dropped.
    pub fn drops(&self) -> u64 {
        self.link.drops() + self.heard.overrun.load(Ordering::Relaxed)
    }
}

impl Sink for Heard {
    fn frame(&self, interface: u32, framing: Framing, frame: &[u8]) {
        self.hear(interface, framing, frame);
    }
}

impl Heard {
    fn hear(&self, interface: u32, framing: Framing, frame: &[u8]) {
        let Some(reply) = Reply::parse(frame, framing) else { return };
        let Some((ip, ask, said)) = self.validate(interface, &reply) else {
            return;
        };
        if self.answers.try_send(Answer { ip, ask, said, at: now() }).is_err() {
            self.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Which of our probes this answers, and what it says; `None` when it answers none.
    fn validate(&self, interface: u32, reply: &Reply<'_>) -> Option<(IpAddr, Ask, Said)> {
        let cookie = |what, ip, port, src_port| self.secret.cookie(what, ip, port, src_port) as u32;
        match *reply {
            Reply::SynAck { from, to, ack, .. } => (self.ports.contains(to.port())
                && ack == cookie(Use::Syn, from.ip(), from.port(), to.port()).wrapping_add(1))
            .then_some((from.ip(), Ask::Syn(from.port()), Said::SynAck)),
            Reply::Rst { from, to, seq, ack, .. } if self.ports.contains(to.port()) => {
                let (ip, port) = (from.ip(), from.port());
                if ack == Some(cookie(Use::Syn, ip, port, to.port()).wrapping_add(1)) {
                    Some((ip, Ask::Syn(port), Said::Rst))
                } else {
                    // The RST against a stray ACK has the acknowledged number as its own (RFC 9293 section 3.10.7.1).
                    (seq == cookie(Use::Ack, ip, port, to.port())).then_some((ip, Ask::Ack(port), Said::Rst))
                }
            }
            Reply::Rst { .. } => None,
            Reply::Unreachable { from, cause, quoted, .. } => {
                let by_target = from == quoted.dst;
                let said = match cause {
                    Unreachable::Prohibited => Said::Prohibited { by_target },
                    Unreachable::Host => Said::Unreachable { by_target },
                    Unreachable::Port => Said::PortUnreachable { by_target },
                };
                let ask = match quoted.probe {
                    QuotedProbe::Tcp { src_port, dst_port, seq } if self.ports.contains(src_port) => {
                        if seq == cookie(Use::Syn, quoted.dst, dst_port, src_port) {
                            Ask::Syn(dst_port)
                        } else if seq == cookie(Use::Ack, quoted.dst, dst_port, src_port) {
                            Ask::Ack(dst_port)
                        } else {
                            return None;
                        }
                    }
                    QuotedProbe::Echo { id, seq } => {
                        let (our_id, our_seq, _) = echo(&self.secret, quoted.dst);
                        ((id, seq) == (our_id, our_seq)).then_some(Ask::Echo)?
                    }
                    QuotedProbe::Tcp { .. } | QuotedProbe::Udp { .. } => return None,
                };
                Some((quoted.dst, ask, said))
            }
            Reply::EchoReply { from, id, seq, payload, .. } => {
                let (our_id, our_seq, data) = echo(&self.secret, from);
                ((id, seq) == (our_id, our_seq) && payload.starts_with(&data)).then_some((from, Ask::Echo, Said::EchoReply))
            }
            Reply::ArpReply { ip, mac } | Reply::NeighborAdvert { ip, mac: Some(mac) } => {
                let mut neighbors = lock(&self.neighbors);
                let asked = neighbors.get_mut(&(interface, ip))?;
                // The first answer counts; a second one, honest or not, changes nothing.
                asked.is_none().then(|| *asked = Some(mac))?;
                Some((ip, Ask::Neighbor, Said::Neighbor))
            }
            Reply::NeighborAdvert { mac: None, .. } | Reply::Udp { .. } => None,
        }
    }
}

/// Identifier, sequence number and first data of an echo request.
fn echo(secret: &Secret, to: IpAddr) -> (u16, u16, [u8; 8]) {
    let cookie = secret.cookie(Use::Echo, to, 0, 0);
    (cookie as u16, (cookie >> 16) as u16, secret.cookie(Use::EchoData, to, 0, 0).to_be_bytes())
}

fn who_has(frame: &mut Vec<u8>, interface: &Interface, ip: IpAddr) {
    match (interface.src, ip) {
        (IpAddr::V4(src), IpAddr::V4(target_ip)) => {
            let arp = Arp { is_reply: false, sender_mac: interface.mac, sender_ip: src, target_mac: Mac::ZERO, target_ip };
            build::arp(frame, &arp);
        }
        (IpAddr::V6(src), IpAddr::V6(target)) => build::neighbor_solicitation(frame, interface.mac, src, target),
        _ => frame.clear(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Flags, Tcp, TcpOptions};

    const OURS: &str = "192.0.2.254";
    const THEIRS: &str = "192.0.2.7";

    fn heard() -> (Heard, tokio::sync::mpsc::Receiver<Answer>) {
        let (answers, rx) = tokio::sync::mpsc::channel(8);
        let ports = SourcePorts::beside(None);
        let neighbors = Mutex::default();
        (Heard { secret: Secret::random(), ports, answers, neighbors, overrun: AtomicU64::new(0) }, rx)
    }

    fn segment(from_port: u16, to_port: u16, seq: u32, ack: u32, flags: Flags) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = Ip { src: THEIRS.parse().unwrap(), dst: OURS.parse().unwrap(), ttl: 64, id: 0 };
        let tcp = Tcp { src_port: from_port, dst_port: to_port, seq, ack, flags, window: 1, options: TcpOptions::default() };
        build::tcp(&mut frame, None, &ip, &tcp);
        frame
    }

    #[test]
    fn only_answers_with_our_cookie_count() {
        let (heard, mut rx) = heard();
        let ip: IpAddr = THEIRS.parse().unwrap();
        let ours = 61_007;
        let cookie = heard.secret.cookie(Use::Syn, ip, 80, ours) as u32;
        let ack_cookie = heard.secret.cookie(Use::Ack, ip, 80, ours) as u32;
        let (syn_ack, rst, rst_ack) = (Flags::SYN.and(Flags::ACK), Flags::RST, Flags::RST.and(Flags::ACK));
        for (name, frame, expected) in [
            ("a SYN-ACK", segment(80, ours, 1, cookie.wrapping_add(1), syn_ack), Some((Ask::Syn(80), Said::SynAck))),
            ("a RST", segment(80, ours, 0, cookie.wrapping_add(1), rst_ack), Some((Ask::Syn(80), Said::Rst))),
            ("a RST against our ACK", segment(80, ours, ack_cookie, 0, rst), Some((Ask::Ack(80), Said::Rst))),
            ("a SYN-ACK one off", segment(80, ours, 1, cookie, syn_ack), None),
            ("a RST with wrong ack", segment(80, ours, 0, cookie.wrapping_add(2), rst_ack), None),
            ("a RST without ack and with a guessed seq", segment(80, ours, 0, 0, rst), None),
            ("an answer from another port", segment(81, ours, 1, cookie.wrapping_add(1), syn_ack), None),
            ("an answer to another port", segment(80, ours + 1, 1, cookie.wrapping_add(1), syn_ack), None),
            ("an answer to a port that is not ours", segment(80, 40_000, 1, cookie.wrapping_add(1), syn_ack), None),
        ] {
            heard.hear(1, Framing::Bare, &frame);
            let got = rx.try_recv().ok().map(|a| (a.ask, a.said));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn errors_count_only_when_they_quote_our_probe() {
        let (heard, mut rx) = heard();
        let (target, router): (IpAddr, IpAddr) = (THEIRS.parse().unwrap(), "198.51.100.1".parse().unwrap());
        let ours: IpAddr = OURS.parse().unwrap();
        let cookie = heard.secret.cookie(Use::Syn, target, 80, 61_007) as u32;
        let probe = Ip { src: ours, dst: target, ttl: 1, id: 0 };
        let mut quoted = Vec::new();
        let mut frame = Vec::new();
        for (name, seq, from, expected) in [
            ("from a router", cookie, router, Some(Said::Prohibited { by_target: false })),
            ("from the target", cookie, target, Some(Said::Prohibited { by_target: true })),
            ("about somebody else's probe", cookie ^ 1, router, None),
        ] {
            build::tcp(&mut quoted, None, &probe, &build::syn(61_007, 80, seq, true));
            build::unreachable(&mut frame, None, &Ip { src: from, dst: ours, ttl: 60, id: 0 }, 13, &quoted[..28]);
            heard.hear(1, Framing::Bare, &frame);
            assert_eq!(rx.try_recv().ok().map(|a| a.said), expected, "{name}");
        }
    }

    #[test]
    fn only_neighbours_asked_for_are_believed_and_only_once() {
        let (heard, mut rx) = heard();
        let ip: IpAddr = THEIRS.parse().unwrap();
        let mut frame = Vec::new();
        let arp = |mac| Arp {
            is_reply: true,
            sender_mac: mac,
            sender_ip: "192.0.2.7".parse().unwrap(),
            target_mac: Mac::ZERO,
            target_ip: "192.0.2.254".parse().unwrap(),
        };
        build::arp(&mut frame, &arp(Mac([2; 6])));
        heard.hear(1, Framing::Ethernet, &frame);
        assert!(rx.try_recv().is_err(), "nobody asked");
        lock(&heard.neighbors).insert((1, ip), None);
        heard.hear(2, Framing::Ethernet, &frame);
        assert!(rx.try_recv().is_err(), "asked on another interface");
        heard.hear(1, Framing::Ethernet, &frame);
        assert_eq!(rx.try_recv().unwrap().said, Said::Neighbor);
        build::arp(&mut frame, &arp(Mac([4; 6])));
        heard.hear(1, Framing::Ethernet, &frame);
        assert!(rx.try_recv().is_err());
        assert_eq!(lock(&heard.neighbors)[&(1, ip)], Some(Mac([2; 6])));
    }
}
