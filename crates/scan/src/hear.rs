//! What arriving frames mean: a frame becomes an answer if the cookie in it is ours, and waits in the inbox until the walker
//! comes by. Runs on the link's receiver threads. What an answer changes is the walks' to say.

use crate::ask::{Answer, Ask, Said};
use crate::cookie::{Secret, SourcePorts, Use};
use crate::hosts::TICK;
use crate::link::Sink;
use crate::udp;
use model::Ts;
use packet::{Framing, Mac, QuotedProbe, Reply, Unreachable};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Answers that wait to be looked at; beyond, they are dropped and counted. A tenth of a second of answers at full rate,
/// about 6 MB.
const MOST_WAITING: usize = 131_072;

/// Answers on their way to the walker.
#[derive(Default)]
pub(crate) struct Inbox {
    answers: Mutex<Vec<Answer>>,
    len: AtomicUsize,
    arrived: Notify,
    overrun: AtomicU64,
}

impl Inbox {
    /// Leaves an answer. The walker sees it at its next turn; [`Inbox::wake`] wakes it if it sleeps.
    pub fn put(&self, answer: Answer) {
        let mut answers = lock(&self.answers);
        if answers.len() >= MOST_WAITING {
            self.overrun.fetch_add(1, Ordering::Relaxed);
            return;
        }
        answers.push(answer);
        self.len.store(answers.len(), Ordering::Release);
    }

    /// Wakes the walker if there is something for it.
    pub fn wake(&self) {
        if self.len.load(Ordering::Acquire) > 0 {
            self.arrived.notify_one();
        }
    }

    /// Swaps what has arrived into `answers`, which is empty.
    pub fn take(&self, answers: &mut Vec<Answer>) {
        if self.len.load(Ordering::Acquire) > 0 {
            let mut arrived = lock(&self.answers);
            std::mem::swap(&mut *arrived, answers);
            self.len.store(0, Ordering::Release);
        }
    }

    /// Waits until something has arrived.
    pub async fn arrived(&self) {
        while self.len.load(Ordering::Acquire) == 0 {
            self.arrived.notified().await;
        }
    }

    /// Answers that found the inbox full.
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }
}

/// Time as probes carry it and observations have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    at_epoch: Ts,
}

impl Clock {
    pub fn start() -> Self {
        Clock { epoch: Instant::now(), at_epoch: crate::ask::now() }
    }
    /// The tick under way, modulo 256.
    pub fn tick(&self, now: Instant) -> u8 {
        (now.saturating_duration_since(self.epoch).as_millis() / TICK.as_millis()) as u8
    }
    fn ts(&self, now: Instant) -> Ts {
        Ts(self.at_epoch.0 + now.saturating_duration_since(self.epoch).as_millis() as i64)
    }
}

/// What arriving frames change.
pub(crate) struct Heard {
    secret: Secret,
    ports: SourcePorts,
    clock: Clock,
    inbox: std::sync::Arc<Inbox>,
    /// Neighbours asked for, by interface. Answers about others are not taken.
    neighbors: Mutex<HashMap<(u32, IpAddr), Option<Mac>>>,
    /// Frames to our ports that answer none of our probes.
    rejected: AtomicU64,
}

/// What a frame turned out to be.
type Meaning = (IpAddr, Ask, Said, Option<u8>);

impl Heard {
    pub fn new(secret: Secret, ports: SourcePorts, clock: Clock, inbox: std::sync::Arc<Inbox>) -> Self {
        Heard { secret, ports, clock, inbox, neighbors: Mutex::default(), rejected: AtomicU64::new(0) }
    }

    /// Frames that looked like answers and were none.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// From now on an answer of this neighbour counts, once.
    pub fn expect_neighbor(&self, interface: u32, ip: IpAddr) {
        lock(&self.neighbors).insert((interface, ip), None);
    }

    /// A neighbour that was asked for: its hardware address if it has answered. `None` when it was not asked for.
    pub fn neighbor(&self, interface: u32, ip: IpAddr) -> Option<Option<Mac>> {
        lock(&self.neighbors).get(&(interface, ip)).copied()
    }

    /// Forgets a neighbour, so that the table holds no more than the hosts at work and the routers.
    pub fn forget_neighbor(&self, interface: u32, ip: IpAddr) {
        lock(&self.neighbors).remove(&(interface, ip));
    }

    fn hear(&self, interface: u32, framing: Framing, frame: &[u8]) {
        let Some(reply) = Reply::parse(frame, framing) else { return };
        let Some((ip, ask, said, sent)) = self.validate(interface, &reply) else {
            return;
        };
        let now = Instant::now();
        let rtt = sent.map(|sent| self.clock.tick(now).wrapping_sub(sent));
        let shape = if let Reply::SynAck { window, ttl, .. } = reply { (window, ttl) } else { (0, 0) };
        self.inbox.put(Answer { ip, ask, said, at: self.clock.ts(now), rtt, shape });
    }

    /// Which of our probes this answers, what it says, and when the probe left; `None` when it answers none.
    fn validate(&self, interface: u32, reply: &Reply<'_>) -> Option<Meaning> {
        let meaning = self.meaning(interface, reply);
        if meaning.is_none() && self.looks_like_ours(reply) {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        meaning
    }

    fn looks_like_ours(&self, reply: &Reply<'_>) -> bool {
        match reply {
            Reply::SynAck { to, .. } | Reply::Rst { to, .. } | Reply::Udp { to, .. } => self.ports.contains(to.port()),
            Reply::Unreachable { quoted, .. } => match quoted.probe {
                QuotedProbe::Tcp { src_port, .. } | QuotedProbe::Udp { src_port, .. } => self.ports.contains(src_port),
                QuotedProbe::Echo { .. } => false,
            },
            // Other programs ping as well, and neighbours speak unasked.
            Reply::EchoReply { .. } | Reply::ArpReply { .. } | Reply::NeighborAdvert { .. } => false,
        }
    }

    fn meaning(&self, interface: u32, reply: &Reply<'_>) -> Option<Meaning> {
        let ack_cookie = |ip, port, src_port| self.secret.cookie(Use::Ack, ip, port, src_port) as u32;
        match *reply {
            Reply::SynAck { from, to, ack, .. } => {
                let (ip, port) = (from.ip(), from.port());
                let sent = self.syn_tick(ip, port, to.port(), ack.wrapping_sub(1))?;
                Some((ip, Ask::Syn(port), Said::SynAck, Some(sent)))
            }
            Reply::Rst { from, to, seq, ack, .. } if self.ports.contains(to.port()) => {
                let (ip, port) = (from.ip(), from.port());
                let refused = ack.and_then(|ack| self.syn_tick(ip, port, to.port(), ack.wrapping_sub(1)));
                if let Some(sent) = refused {
                    return Some((ip, Ask::Syn(port), Said::Rst, Some(sent)));
                }
                // The RST against a stray ACK has the acknowledged number as its own (RFC 9293 section 3.10.7.1).
                (seq == ack_cookie(ip, port, to.port())).then_some((ip, Ask::Ack(port), Said::Rst, None))
            }
            Reply::Rst { .. } => None,
            Reply::Unreachable { from, cause, quoted, .. } => {
                let by_target = from == quoted.dst;
                let said = match cause {
                    Unreachable::Prohibited => Said::Prohibited { by_target },
                    Unreachable::Host => Said::Unreachable { by_target },
                    Unreachable::Port => Said::PortUnreachable { by_target },
                };
                let (ask, sent) = match quoted.probe {
                    QuotedProbe::Tcp { src_port, dst_port, seq } if self.ports.contains(src_port) => {
                        if let Some(sent) = self.syn_tick(quoted.dst, dst_port, src_port, seq) {
                            (Ask::Syn(dst_port), Some(sent))
                        } else if seq == ack_cookie(quoted.dst, dst_port, src_port) {
                            (Ask::Ack(dst_port), None)
                        } else {
                            return None;
                        }
                    }
                    QuotedProbe::Echo { id, seq } => {
                        let (our_id, our_seq, _) = echo(&self.secret, quoted.dst);
                        (((id, seq) == (our_id, our_seq)).then_some(Ask::Echo)?, None)
                    }
                    QuotedProbe::Udp { .. } => (Ask::Udp(udp::quoted(&self.secret, self.ports, &quoted)?), None),
                    QuotedProbe::Tcp { .. } => return None,
                };
                // What a router says tells nothing about how far the host is.
                Some((quoted.dst, ask, said, sent.filter(|_| by_target)))
            }
            Reply::EchoReply { from, id, seq, payload, .. } => {
                let (our_id, our_seq, data) = echo(&self.secret, from);
                let ours = (id, seq) == (our_id, our_seq) && payload.starts_with(&data);
                ours.then(|| (from, Ask::Echo, Said::EchoReply, payload.get(data.len()).copied()))
            }
            Reply::ArpReply { ip, mac } | Reply::NeighborAdvert { ip, mac: Some(mac) } => {
                let mut neighbors = lock(&self.neighbors);
                let asked = neighbors.get_mut(&(interface, ip))?;
                // The first answer counts; a second one, honest or not, changes nothing.
                asked.is_none().then(|| *asked = Some(mac))?;
                Some((ip, Ask::Neighbor, Said::Neighbor, None))
            }
            Reply::Udp { from, to, payload, .. } => {
                let (port, said) = udp::answered(&self.secret, self.ports, from, to.port(), payload)?;
                Some((from.ip(), Ask::Udp(port), said, None))
            }
            Reply::NeighborAdvert { mac: None, .. } => None,
        }
    }

    fn syn_tick(&self, ip: IpAddr, port: u16, src_port: u16, seq: u32) -> Option<u8> {
        self.ports.contains(src_port).then(|| self.secret.syn_tick(ip, port, src_port, seq)).flatten()
    }
}

impl Sink for Heard {
    fn frame(&self, interface: u32, framing: Framing, frame: &[u8]) {
        self.hear(interface, framing, frame);
    }
    fn pause(&self) {
        self.inbox.wake();
    }
}

/// Identifier, sequence number and first data of an echo request. The data goes on with the tick at which it leaves.
pub(crate) fn echo(secret: &Secret, to: IpAddr) -> (u16, u16, [u8; 8]) {
    let cookie = secret.cookie(Use::Echo, to, 0, 0);
    (cookie as u16, (cookie >> 16) as u16, secret.cookie(Use::EchoData, to, 0, 0).to_be_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Arp, Flags, Ip, Tcp, TcpOptions, build};
    use std::sync::Arc;

    const OURS: &str = "192.0.2.254";
    const THEIRS: &str = "192.0.2.7";

    fn heard() -> (Heard, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        (Heard::new(Secret::random(), SourcePorts::beside(None), Clock::start(), inbox.clone()), inbox)
    }

    fn next(inbox: &Inbox) -> Option<Answer> {
        let mut answers = Vec::new();
        inbox.take(&mut answers);
        assert!(answers.len() <= 1);
        answers.pop()
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
        let (heard, inbox) = heard();
        let ip: IpAddr = THEIRS.parse().unwrap();
        let ours = 61_007;
        let (cookie, _) = heard.secret.syn(ip, 80, ours, 7);
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
            let got = next(&inbox).map(|a| (a.ask, a.said));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn errors_count_only_when_they_quote_our_probe() {
        let (heard, inbox) = heard();
        let (target, router): (IpAddr, IpAddr) = (THEIRS.parse().unwrap(), "198.51.100.1".parse().unwrap());
        let ours: IpAddr = OURS.parse().unwrap();
        let (cookie, _) = heard.secret.syn(target, 80, 61_007, 7);
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
            assert_eq!(next(&inbox).map(|a| a.said), expected, "{name}");
        }
    }

    #[test]
    fn only_neighbours_asked_for_are_believed_and_only_once() {
        let (heard, inbox) = heard();
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
        assert!(next(&inbox).is_none(), "nobody asked");
        heard.expect_neighbor(1, ip);
        heard.hear(2, Framing::Ethernet, &frame);
        assert!(next(&inbox).is_none(), "asked on another interface");
        heard.hear(1, Framing::Ethernet, &frame);
        assert_eq!(next(&inbox).unwrap().said, Said::Neighbor);
        build::arp(&mut frame, &arp(Mac([4; 6])));
        heard.hear(1, Framing::Ethernet, &frame);
        assert!(next(&inbox).is_none());
        assert_eq!(heard.neighbor(1, ip), Some(Some(Mac([2; 6]))));
    }

    #[test]
    fn a_full_inbox_drops_and_says_so() {
        let inbox = Inbox::default();
        let answer = Answer::could_not_send(THEIRS.parse().unwrap(), Ask::Echo);
        (0..MOST_WAITING + 3).for_each(|_| inbox.put(answer));
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!((taken.len(), inbox.overrun()), (MOST_WAITING, 3));
    }

    #[test]
    fn forged_answers_are_counted_and_answers_tell_how_long_they_took() {
        let (heard, inbox) = heard();
        let ip: IpAddr = THEIRS.parse().unwrap();
        let sent = heard.clock.tick(Instant::now()).wrapping_sub(5);
        let (seq, _) = heard.secret.syn(ip, 80, 61_007, sent);
        let flags = Flags::SYN.and(Flags::ACK);
        heard.hear(1, Framing::Bare, &segment(80, 61_007, 1, seq.wrapping_add(1), flags));
        let answer = next(&inbox).unwrap();
        assert!(answer.rtt.is_some_and(|ticks| (5..8).contains(&ticks)), "{answer:?}");
        assert_eq!(answer.shape, (1, 64));
        heard.hear(1, Framing::Bare, &segment(80, 61_007, 1, seq, flags));
        heard.hear(1, Framing::Bare, &segment(80, 40_000, 1, seq, flags));
        assert!(next(&inbox).is_none());
        assert_eq!(heard.rejected(), 1, "the second is to a port that is not ours");
    }
}
