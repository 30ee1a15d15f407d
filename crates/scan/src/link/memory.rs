//! A small network in memory, for tests and simulation: hosts with open, refusing, silent and forbidding ports, a router's
//! loss and delay, all from a seed. It reads the very frames that would go to the wire and answers with frames, so what is
//! tested over it is everything but the wire. It decides nothing about probes.

use super::outlet::{Carrier, Ledger};
use super::{Arrivals, Batch, Interface, Link, Outlet, Route, Sink};
use crate::order::mix;
use crate::tap::{Tap, Tapped};
use model::{IpRange, PortSet};
use packet::{Arp, Body, Ethernet, Flags, Frame, Framing, Ip, Mac, Packet, Tcp, TcpOptions, build, decode};
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

/// A network in memory.
#[derive(Debug)]
pub struct MemoryNetwork {
    /// Its hosts; every other address is dead.
    pub hosts: HashMap<IpAddr, Host>,
    /// Share of frames lost in each direction, 0 to 1.
    pub loss: f64,
    /// Time from a probe to its answer.
    pub delay: Duration,
    /// Whether the hosts are our neighbours, to be found by ARP and neighbour discovery, rather than behind a plain link.
    pub on_link: bool,
    /// Seed of what is lost.
    pub seed: u64,
    /// Every probe that left, in order: when, to whom, to which TCP port. Neighbour discovery is not among them.
    pub sent: Mutex<Vec<(Instant, IpAddr, Option<u16>)>>,
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
            loss: 0.0,
            delay: Duration::from_millis(1),
            on_link: false,
            seed: 1,
            sent: Mutex::default(),
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

    /// The frames with which the network answers one of ours.
    fn answers(&self, frame: &[u8]) -> Vec<Vec<u8>> {
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
                remember(&self.sent, (Instant::now(), packet.ip.dst, port));
                if let Some(host) = self.hosts.get(&packet.ip.dst) {
                    self.host_answers(host, &packet, frame, &mut reply);
                }
            }
            _ => {}
        }
        if reply.is_empty() { Vec::new() } else { vec![reply] }
    }

    fn host_answers(&self, host: &Host, packet: &Packet<'_>, frame: &[u8], reply: &mut Vec<u8>) {
        let link = self.on_link.then_some(Ethernet { src: mac_of(packet.ip.dst), dst: OURS });
        let ip = Ip { src: packet.ip.dst, dst: packet.ip.src, ttl: 64, id: 0 };
        match packet.body {
            Body::Echo { is_reply: false, id, seq, payload } if host.echoes => {
                build::echo_reply(reply, link, &ip, id, seq, payload);
            }
            Body::Tcp(tcp) if tcp.flags == Flags::SYN => {
                let accepts = host.open.contains(tcp.dst_port) || host.otherwise == Otherwise::Accepts;
                let answer = |flags: Flags| Tcp {
                    src_port: tcp.dst_port,
                    dst_port: tcp.src_port,
                    seq: mix(u64::from(tcp.seq)) as u32,
                    ack: tcp.seq.wrapping_add(1),
                    flags: flags.and(Flags::ACK),
                    window: 65_160,
                    options: TcpOptions::default(),
                };
                let quoted = &frame[if self.on_link { 14 } else { 0 }..];
                let v4 = ip.src.is_ipv4();
                match host.otherwise {
                    _ if accepts => build::tcp(reply, link, &ip, &answer(Flags::SYN)),
                    Otherwise::Refuses => build::tcp(reply, link, &ip, &answer(Flags::RST)),
                    Otherwise::Prohibits => build::unreachable(reply, link, &ip, if v4 { 13 } else { 1 }, quoted),
                    Otherwise::PortUnreachable => build::unreachable(reply, link, &ip, if v4 { 3 } else { 4 }, quoted),
                    Otherwise::Drops | Otherwise::Accepts => {}
                }
            }
            Body::Tcp(tcp) if tcp.flags == Flags::ACK && host.otherwise != Otherwise::Drops => {
                build::tcp(reply, link, &ip, &build::rst(tcp.dst_port, tcp.src_port, tcp.ack));
            }
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
    /// Answers under way, in the order in which they arrive: the delay is the same for all.
    deliver: Option<tokio::sync::mpsc::UnboundedSender<(Instant, Vec<u8>)>>,
}

/// The index of the network's one interface.
const INTERFACE: u32 = 1;

impl MemoryLink {
    pub fn new(network: Arc<MemoryNetwork>, sink: Arc<dyn Sink>) -> Self {
        Self::tapped(network, sink, None)
    }

    /// The same, with somebody who looks on.
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
    fn carry(&mut self, batch: &Batch, ledger: &Ledger) -> io::Result<()> {
        for n in 0..batch.len() {
            let answers = self.network.answers(batch.frame(n));
            ledger.left(batch, n..n + 1);
            if self.network.lost() {
                continue;
            }
            for answer in answers {
                if !self.network.lost() {
                    let at = Instant::now() + self.network.delay;
                    // The receiving task ends only with the runtime.
                    let _ = self.deliver().send((at, answer));
                }
            }
        }
        Ok(())
    }
}

impl Courier {
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
