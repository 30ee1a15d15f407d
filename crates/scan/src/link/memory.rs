//! A small network in memory, for tests and simulation: hosts with open, refusing, silent and forbidding ports, hosts that
//! answer only so fast, a path with loss, delay and a policer, all from a seed and on tokio's clock. It reads the very frames that would go to the wire and answers with frames, so what is
//! tested over it is everything but the wire. It decides nothing about probes.

use super::outlet::{Account, Carrier};
use super::{Arrivals, Batch, Interface, Link, Outlet, Route, Sink};
use crate::order::mix;
use crate::tap::{Tap, Tapped};
use model::{IpRange, PortSet};
use packet::{Arp, Body, Ethernet, Flags, Frame, Framing, Ip, Mac, Packet, Tcp, TcpOptions, Udp, build, decode};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How a host treats ports where nothing listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// With a RST.
    Refuses,
    /// With silence.
    Drops,
    /// With an ICMP "administratively prohibited" of its own.
    Prohibits,
    /// With an ICMP port unreachable of its own.
    PortUnreachable,
    /// As if something listened: a firewall that accepts everything.
    Accepts,
}

/// A host of the network.
#[derive(Clone, Debug)]
pub struct Host {
    /// Ports on which something listens.
    pub open: PortSet,
    /// What happens on the others.
    pub otherwise: Otherwise,
    /// Whether it answers echo requests.
    pub echoes: bool,
}

/// What is peculiar about a host.
#[derive(Debug, Default)]
pub struct Quirks {
    /// RSTs leave no faster than this.
    pub rst_limit: Option<RateLimit>,
    /// SYN-ACKs leave no faster than this.
    pub syn_ack_limit: Option<RateLimit>,
    /// ICMP errors leave no faster than this. Linux sends one a second to each address after the first six.
    pub icmp_limit: Option<RateLimit>,
    /// SYN-ACKs come with a window of zero, as from a SYN proxy that waits for the handshake to end.
    pub zero_window: bool,
    /// What listens on UDP ports.
    pub udp: HashMap<u16, UdpService>,
    /// How much longer its answers take than the network's delay.
    pub further: Duration,
}

/// A bucket of tokens: so many a second, and so many at once.
#[derive(Debug)]
pub struct RateLimit {
    pps: f64,
    burst: f64,
    /// When it was last looked at, and what was in it then.
    state: Mutex<Option<(Instant, f64)>>,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(pps: u32, burst: u32) -> Self {
        RateLimit { pps: pps.into(), burst: burst.into(), state: Mutex::default() }
    }

    fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, tokens) = state.unwrap_or((now, self.burst));
        let tokens = (tokens + now.saturating_duration_since(then).as_secs_f64() * self.pps).min(self.burst);
        let admits = tokens >= 1.0;
        *state = Some((now, if admits { tokens - 1.0 } else { tokens }));
        admits
    }
}

/// A service behind a UDP port: its answer to a datagram, if it gives one.
#[derive(Clone)]
pub struct UdpService(Arc<UdpAnswer>);

type UdpAnswer = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

impl UdpService {
    /// One that answers as the function says.
    pub fn new(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        UdpService(Arc::new(answer))
    }
}

impl std::fmt::Debug for UdpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UdpService")
    }
}

/// A network in memory.
#[derive(Debug)]
pub struct MemoryNetwork {
    /// Its hosts; every other address is dead.
    pub hosts: HashMap<IpAddr, Host>,
    /// What is peculiar about some of them.
    pub quirks: HashMap<IpAddr, Quirks>,
    /// Share of frames lost in each direction, 0 to 1.
    pub loss: f64,
    /// Time from a probe to its answer.
    pub delay: Duration,
    /// What the path carries of our probes; the rest is dropped.
    pub policer: Option<RateLimit>,
    /// Whether every answer comes twice.
    pub duplicates: bool,
    /// Whether the hosts are our neighbours, to be found by ARP and neighbour discovery, rather than behind a plain link.
    pub on_link: bool,
    /// Seed of what is lost.
    pub seed: u64,
    /// Every probe that left, in order: when, to whom, to which TCP port. Neighbour discovery is not among them.
    pub sent: Mutex<Vec<(Instant, IpAddr, Option<u16>)>>,
    /// Every UDP probe that left, in order; these are among [`MemoryNetwork::sent`] as well, without a port.
    pub sent_udp: Mutex<Vec<(Instant, IpAddr, u16)>>,
    /// Whom neighbour discovery asked for.
    pub asked_for: Mutex<Vec<IpAddr>>,
    /// Number of frames so far; decides with the seed which are lost.
    frames: AtomicU64,
}

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

impl MemoryNetwork {
    /// A network of these hosts without loss, a millisecond away.
    pub fn new(hosts: impl IntoIterator<Item = (IpAddr, Host)>) -> Self {
        MemoryNetwork {
            hosts: hosts.into_iter().collect(),
            quirks: HashMap::new(),
            loss: 0.0,
            policer: None,
            duplicates: false,
            delay: Duration::from_millis(1),
            on_link: false,
            seed: 1,
            sent: Mutex::default(),
            sent_udp: Mutex::default(),
            asked_for: Mutex::default(),
            frames: AtomicU64::new(0),
        }
    }

    fn lost(&self) -> bool {
        let n = self.frames.fetch_add(1, Ordering::Relaxed);
        (mix(self.seed ^ mix(n)) >> 11) as f64 / (1u64 << 53) as f64 <= self.loss && self.loss > 0.0
    }

    fn framing(&self) -> Framing {
        if self.on_link { Framing::Ethernet } else { Framing::Bare }
    }

    /// The frame with which the network answers one of ours, if it does. A `lost` one leaves, but gets nowhere.
    fn answer(&self, frame: &[u8], lost: bool) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        match decode(frame, self.framing()) {
            Some(Frame::Arp(arp)) if !arp.is_reply => {
                remember(&self.asked_for, arp.target_ip.into());
                if self.hosts.contains_key(&arp.target_ip.into()) {
                    let mac = mac_of(arp.target_ip.into());
                    let answer = Arp {
                        is_reply: true,
                        sender_mac: mac,
                        sender_ip: arp.target_ip,
                        target_mac: arp.sender_mac,
                        target_ip: arp.sender_ip,
                    };
                    build::arp(&mut reply, &answer);
                }
            }
            Some(Frame::Ip(Packet { ip, body: Body::NeighborSolicitation { target, .. } })) => {
                remember(&self.asked_for, target.into());
                if let (true, IpAddr::V6(to)) = (self.hosts.contains_key(&target.into()), ip.src) {
                    let mac = mac_of(target.into());
                    build::neighbor_advertisement(&mut reply, Ethernet { src: mac, dst: OURS }, to, target, mac);
                }
            }
            Some(Frame::Ip(packet)) => {
                let port = if let Body::Tcp(tcp) = packet.body { Some(tcp.dst_port) } else { None };
                let now = Instant::now();
                remember(&self.sent, (now, packet.ip.dst, port));
                if let Body::Udp { udp, .. } = packet.body {
                    remember(&self.sent_udp, (now, packet.ip.dst, udp.dst_port));
                }
                if lost || self.policer.as_ref().is_some_and(|policer| !policer.admits(now)) {
                    return None;
                }
                if let Some(host) = self.hosts.get(&packet.ip.dst) {
                    self.host_answers(host, &packet, frame, &mut reply);
                }
            }
            _ => {}
        }
        (!lost && !reply.is_empty()).then_some(reply)
    }

    /// How much longer than the delay the sender of this answer takes.
    fn further(&self, answer: &[u8]) -> Duration {
        let from = match decode(answer, self.framing()) {
            Some(Frame::Ip(packet)) if !self.quirks.is_empty() => packet.ip.src,
            _ => return Duration::ZERO,
        };
        self.quirks.get(&from).map_or(Duration::ZERO, |quirks| quirks.further)
    }

    fn host_answers(&self, host: &Host, packet: &Packet<'_>, frame: &[u8], reply: &mut Vec<u8>) {
        let link = self.on_link.then_some(Ethernet { src: mac_of(packet.ip.dst), dst: OURS });
        let ip = Ip { src: packet.ip.dst, dst: packet.ip.src, ttl: 64, id: 0 };
        let quirks = self.quirks.get(&packet.ip.dst);
        let now = Instant::now();
        // Whether a limit of the host, if it has it, lets an answer of this kind leave.
        let may = |limit: fn(&Quirks) -> &Option<RateLimit>| {
            quirks.and_then(|quirks| limit(quirks).as_ref()).is_none_or(|limit| limit.admits(now))
        };
        let quoted = &frame[if self.on_link { 14 } else { 0 }..];
        let v4 = ip.src.is_ipv4();
        let (prohibited, no_port) = if v4 { (13, 3) } else { (1, 4) };
        match packet.body {
            Body::Echo { is_reply: false, id, seq, payload } if host.echoes => {
                build::echo_reply(reply, link, &ip, id, seq, payload);
            }
            Body::Tcp(tcp) if tcp.flags == Flags::SYN => {
                let accepts = host.open.contains(tcp.dst_port) || host.otherwise == Otherwise::Accepts;
                let zero_window = accepts && quirks.is_some_and(|quirks| quirks.zero_window);
                let answer = |flags: Flags| Tcp {
                    src_port: tcp.dst_port,
                    dst_port: tcp.src_port,
                    seq: mix(u64::from(tcp.seq)) as u32,
                    ack: tcp.seq.wrapping_add(1),
                    flags: flags.and(Flags::ACK),
                    window: if zero_window { 0 } else { 65_160 },
                    options: TcpOptions::default(),
                };
                match host.otherwise {
                    _ if accepts && may(|q| &q.syn_ack_limit) => build::tcp(reply, link, &ip, &answer(Flags::SYN)),
                    _ if accepts => {}
                    Otherwise::Refuses if may(|q| &q.rst_limit) => build::tcp(reply, link, &ip, &answer(Flags::RST)),
                    Otherwise::Prohibits if may(|q| &q.icmp_limit) => {
                        build::unreachable(reply, link, &ip, prohibited, quoted);
                    }
                    Otherwise::PortUnreachable if may(|q| &q.icmp_limit) => {
                        build::unreachable(reply, link, &ip, no_port, quoted);
                    }
                    _ => {}
                }
            }
            Body::Tcp(tcp) if tcp.flags == Flags::ACK && host.otherwise != Otherwise::Drops && may(|q| &q.rst_limit) => {
                build::tcp(reply, link, &ip, &build::rst(tcp.dst_port, tcp.src_port, tcp.ack));
            }
            Body::Udp { udp, payload } => match (quirks.and_then(|quirks| quirks.udp.get(&udp.dst_port)), host.otherwise) {
                (Some(service), _) => {
                    if let Some(answer) = (service.0)(payload) {
                        let back = Udp { src_port: udp.dst_port, dst_port: udp.src_port };
                        build::udp(reply, link, &ip, &back, &answer);
                    }
                }
                (None, Otherwise::Refuses | Otherwise::PortUnreachable) if may(|q| &q.icmp_limit) => {
                    build::unreachable(reply, link, &ip, no_port, quoted);
                }
                (None, Otherwise::Prohibits) if may(|q| &q.icmp_limit) => {
                    build::unreachable(reply, link, &ip, prohibited, quoted);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// The hardware address of a simulated host: locally administered, its last octets those of the address.
fn mac_of(ip: IpAddr) -> Mac {
    let [.., a, b, c, d] = model::address::to_bytes(ip);
    Mac([2, 1, a, b, c, d])
}

fn remember<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}

/// The network as a link.
pub(crate) struct MemoryLink {
    network: Arc<MemoryNetwork>,
    outlet: Outlet,
}

/// Takes our frames to the hosts and brings their answers.
struct Courier {
    network: Arc<MemoryNetwork>,
    sink: Arc<dyn Sink>,
    tapped: Tapped,
    /// Answers under way, in the order in which they arrive: the delay is the same for all but those of hosts further away.
    deliver: Option<tokio::sync::mpsc::UnboundedSender<(Instant, Vec<u8>)>>,
}

/// The index of the network's one interface.
const INTERFACE: u32 = 1;

impl MemoryLink {
    /// Answers are handed to the sink; whoever looks on sees what leaves as well.
    pub fn tapped(network: Arc<MemoryNetwork>, sink: Arc<dyn Sink>, tap: Option<Arc<dyn Tap>>) -> Self {
        let tapped = Tapped { interface: INTERFACE, framing: network.framing(), tap };
        let courier = Courier { network: network.clone(), sink, tapped: tapped.clone(), deliver: None };
        MemoryLink { network, outlet: Outlet::inline(tapped, courier) }
    }
}

impl Link for MemoryLink {
    fn route(&self, to: IpAddr) -> io::Result<Route> {
        let src: IpAddr = if to.is_ipv4() { [192, 0, 2, 254].into() } else { "2001:db8:ffff::1".parse().expect("an address") };
        let interface = Interface { index: INTERFACE, framing: self.network.framing(), mac: OURS, src, mtu: 1_500 };
        Ok(if self.network.on_link { Route::OnLink(interface) } else { Route::PointToPoint(interface) })
    }

    fn routes(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>> {
        Ok(vec![(range, self.route(range.first())?)])
    }

    fn outlet(&self, _: u32) -> io::Result<Outlet> {
        Ok(self.outlet.clone())
    }

    fn arrivals(&self) -> Arrivals {
        Arrivals::default()
    }
}

impl Carrier for Courier {
    fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
        for n in 0..batch.len() {
            let answer = self.network.answer(batch.frame(n), self.network.lost());
            account.left(batch, n..n + 1);
            let Some(answer) = answer else { continue };
            let copies = if self.network.duplicates { 2 } else { 1 };
            for _ in 0..copies {
                if !self.network.lost() {
                    let at = Instant::now() + self.network.delay;
                    let further = self.network.further(&answer);
                    if further > Duration::ZERO {
                        self.deliver_later(at + further, answer.clone());
                        continue;
                    }
                    // The receiving task ends only with the runtime.
                    let _ = self.deliver().send((at, answer.clone()));
                }
            }
        }
        Ok(())
    }
}

impl Courier {
    /// Delivers an answer that others overtake.
    fn deliver_later(&self, at: Instant, frame: Vec<u8>) {
        let (sink, framing, tapped) = (self.sink.clone(), self.network.framing(), self.tapped.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            tapped.received(std::time::SystemTime::now(), &frame);
            sink.frame(INTERFACE, framing, &frame);
            sink.pause();
        });
    }

    fn deliver(&mut self) -> &tokio::sync::mpsc::UnboundedSender<(Instant, Vec<u8>)> {
        self.deliver.get_or_insert_with(|| {
            let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
            let (sink, framing, tapped) = (self.sink.clone(), self.network.framing(), self.tapped.clone());
            tokio::spawn(async move {
                while let Some((at, frame)) = rx.recv().await {
                    tokio::time::sleep_until(at).await;
                    tapped.received(std::time::SystemTime::now(), &frame);
                    sink.frame(INTERFACE, framing, &frame);
                    if rx.is_empty() {
                        sink.pause();
                    }
                }
            });
            tx
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::{Direction, Seen};
    use packet::{QuotedProbe, Reply};
    use std::sync::atomic::AtomicU64;

    const OUR_PORT: u16 = 61_000;

    fn at(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn host(open: &str, otherwise: Otherwise) -> Host {
        Host { open: open.parse().unwrap(), otherwise, echoes: true }
    }

    fn syn(to: IpAddr, port: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = Ip { src: at(254), dst: to, ttl: 64, id: 0 };
        build::tcp(&mut frame, None, &ip, &build::syn(OUR_PORT, port, 7, true));
        frame
    }

    fn udp(to: IpAddr, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = Ip { src: at(254), dst: to, ttl: 64, id: 0 };
        build::udp(&mut frame, None, &ip, &Udp { src_port: OUR_PORT, dst_port }, payload);
        frame
    }

    /// How many of so many SYNs, one each millisecond, are answered.
    async fn answered(network: &MemoryNetwork, to: IpAddr, port: u16, syns: u32) -> u32 {
        let mut answered = 0;
        for _ in 0..syns {
            answered += u32::from(network.answer(&syn(to, port), false).is_some());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answered
    }

    #[tokio::test]
    async fn hosts_and_paths_answer_no_faster_than_their_limits() {
        let mut network =
            MemoryNetwork::new([(at(1), host("80", Otherwise::Refuses)), (at(2), host("80", Otherwise::Prohibits))]);
        let limit = || Some(RateLimit::new(50, 5));
        network.quirks.insert(at(1), Quirks { rst_limit: limit(), ..Quirks::default() });
        network.quirks.insert(at(2), Quirks { syn_ack_limit: limit(), icmp_limit: limit(), ..Quirks::default() });
        // A millisecond may last longer on a busy machine, but time passed is time passed: at least five, at most five and
        // fifty a second.
        for (ip, port, limited) in [(at(1), 81, true), (at(1), 80, false), (at(2), 80, true), (at(2), 81, true)] {
            let began = Instant::now();
            let count = answered(&network, ip, port, 100).await;
            let most = 6 + (began.elapsed().as_secs_f64() * 50.0) as u32;
            assert_eq!(count == 100, !limited, "{ip}:{port}: {count}");
            assert!(!limited || (5..=most).contains(&count), "{ip}:{port}: {count} of at most {most}");
        }
        network.policer = limit();
        assert!(answered(&network, at(1), 80, 100).await < 100);
        assert_eq!(network.sent.lock().unwrap().len(), 500, "what the path drops has left all the same");
    }

    #[tokio::test]
    async fn a_syn_proxy_accepts_with_a_window_of_zero() {
        let mut network = MemoryNetwork::new([(at(1), host("80", Otherwise::Accepts))]);
        network.quirks.insert(at(1), Quirks { zero_window: true, ..Quirks::default() });
        let answer = network.answer(&syn(at(1), 4_000), false).unwrap();
        assert!(matches!(Reply::parse(&answer, Framing::Bare), Some(Reply::SynAck { window: 0, .. })));
    }

    #[tokio::test]
    async fn udp_services_answer_and_closed_udp_ports_say_so() {
        let mut network = MemoryNetwork::new([(at(1), host("80", Otherwise::Refuses)), (at(2), host("80", Otherwise::Drops))]);
        let echo = UdpService::new(|datagram| (datagram == b"ping").then(|| b"pong".to_vec()));
        network.quirks.insert(at(1), Quirks { udp: HashMap::from([(53, echo)]), ..Quirks::default() });
        let answer = network.answer(&udp(at(1), 53, b"ping"), false).unwrap();
        let Some(Frame::Ip(Packet { body: Body::Udp { udp: back, payload }, .. })) = decode(&answer, Framing::Bare) else {
            panic!("a datagram")
        };
        assert_eq!((back, payload), (Udp { src_port: 53, dst_port: OUR_PORT }, &b"pong"[..]));
        assert_eq!(network.answer(&udp(at(1), 53, b"something else"), false), None);
        let answer = network.answer(&udp(at(1), 54, b"ping"), false).unwrap();
        let Some(Reply::Unreachable { quoted, .. }) = Reply::parse(&answer, Framing::Bare) else { panic!("an error") };
        assert!(matches!(quoted.probe, QuotedProbe::Udp { dst_port: 54, .. }));
        assert_eq!(network.answer(&udp(at(2), 54, b"ping"), false), None);
        assert_eq!(network.sent_udp.lock().unwrap().iter().map(|(_, _, port)| *port).collect::<Vec<_>>(), [53, 53, 54, 54]);
    }

    #[derive(Default)]
    struct Counts {
        frames: AtomicU64,
        pauses: AtomicU64,
        taps: [AtomicU64; 2],
    }

    impl Sink for Counts {
        fn frame(&self, _: u32, _: Framing, _: &[u8]) {
            self.frames.fetch_add(1, Ordering::Relaxed);
        }
        fn pause(&self) {
            self.pauses.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Tap for Counts {
        fn see(&self, seen: &Seen<'_>) {
            self.taps[usize::from(seen.direction == Direction::Received)].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn answers_arrive_in_bursts_and_twice_where_the_network_does_that() {
        let mut network = MemoryNetwork::new([(at(1), host("80", Otherwise::Refuses))]);
        network.duplicates = true;
        let counts = Arc::new(Counts::default());
        let link = MemoryLink::tapped(Arc::new(network), counts.clone(), Some(counts.clone()));
        let outlet = link.outlet(INTERFACE).unwrap();
        let mut batch = outlet.batch();
        for port in [80, 81, 82] {
            batch.push(&syn(at(1), port));
        }
        batch.push(&syn(at(2), 80));
        outlet.reserve().await.unwrap().send(batch);
        assert_eq!(outlet.drained().await.unwrap().frames, 4);
        while counts.frames.load(Ordering::Relaxed) < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(counts.taps.each_ref().map(|n| n.load(Ordering::Relaxed)), [4, 6]);
        assert!((1..=6).contains(&counts.pauses.load(Ordering::Relaxed)));
    }
}
