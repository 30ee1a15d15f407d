//! Asking by raw frames: a question becomes a frame that carries a cookie, on its way out by one of few paths. Nothing is kept
//! per probe but the neighbours asked for. What comes back is `hear`'s, when to ask whom the walker's.

use crate::ask::Ask;
use crate::cookie::{PortDraw, Secret, SourcePorts, Use};
use crate::frame::{Patch, Template};
use crate::hear::{Clock, Heard, Inbox, echo};
use crate::link::{Batch, Interface, Link, Outlet, Route, Sink};
use crate::udp;
use crate::way::{PathId, Way, same_path};
use model::{InScope, IpRange};
use packet::{Arp, Ethernet, Framing, Ip, Mac, build};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Asks by raw frames.
pub(crate) struct SynAsker {
    link: Arc<dyn Link>,
    secret: Secret,
    ports: SourcePorts,
    draw: PortDraw,
    clock: Clock,
    /// The tick that probes carry now.
    tick: u8,
    heard: Arc<Heard>,
    paths: Vec<Path>,
    lines: Vec<Line>,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

/// An interface and our address there.
struct Path {
    interface: Interface,
    line: usize,
    template: Template,
}

/// The way out by an interface, and what has been gathered for it.
struct Line {
    outlet: Outlet,
    batch: Batch,
}

/// Frames handed over at once. More buy nothing: a system call for 128 frames costs a hundredth of what the frames cost.
const BATCH: usize = 128;

/// How often and how long a router is asked for its hardware address: as often as Linux does (`mcast_solicit`), but not its
/// whole second each time; a router on the link answers in milliseconds.
const GATEWAY_TRIES: u32 = 3;
const GATEWAY_WAIT: Duration = Duration::from_millis(500);

impl SynAsker {
    /// Over the link that `make_link` makes, given what takes its frames. Answers go to the inbox.
    pub fn new(
        secret: Secret,
        inbox: Arc<Inbox>,
        make_link: impl FnOnce(SourcePorts, Arc<dyn Sink>) -> io::Result<Arc<dyn Link>>,
    ) -> io::Result<Self> {
        let ports = SourcePorts::here();
        let clock = Clock::start();
        let heard = Arc::new(Heard::new(secret, ports, clock, inbox));
        let link = make_link(ports, heard.clone())?;
        let draw = PortDraw::new(ports, rand::random());
        let (paths, lines, frame) = (Vec::new(), Vec::new(), Vec::with_capacity(128));
        Ok(SynAsker { link, secret, ports, draw, clock, tick: 0, heard, paths, lines, frame, payload: Vec::new() })
    }

    /// Which way each part of a range lies, routers asked for their hardware addresses where need be.
    pub async fn ways(&mut self, range: IpRange) -> io::Result<Vec<(IpRange, Way)>> {
        let mut ways = Vec::new();
        for (part, route) in self.link.routes(range)? {
            ways.push((part, self.way(route).await?));
        }
        Ok(ways)
    }

    async fn way(&mut self, route: Route) -> io::Result<Way> {
        Ok(match route {
            Route::Kernel => Way::Kernel,
            Route::Unreachable => Way::Nowhere,
            Route::PointToPoint(interface) => Way::Frames(self.path(interface)?, Mac::ZERO),
            Route::OnLink(interface) => Way::Neighbor(self.path(interface)?),
            Route::Via(interface, gateway) if gateway.is_ipv4() == interface.src.is_ipv4() => {
                match self.gateway(interface, gateway).await? {
                    Some(mac) => Way::Frames(self.path(interface)?, mac),
                    None => Way::Nowhere,
                }
            }
            Route::Via(..) => Way::Kernel,
        })
    }

    fn path(&mut self, interface: Interface) -> io::Result<PathId> {
        if let Some(known) = self.paths.iter().position(|path| same_path(&path.interface, &interface)) {
            return Ok(PathId(known as u32));
        }
        let line = match self.paths.iter().find(|path| path.interface.index == interface.index) {
            Some(path) => path.line,
            None => {
                let outlet = self.link.outlet(interface.index)?;
                self.lines.push(Line { batch: outlet.batch(), outlet });
                self.lines.len() - 1
            }
        };
        let mac = (interface.framing == Framing::Ethernet).then_some(interface.mac);
        self.paths.push(Path { interface, line, template: Template::new(interface.src, mac) });
        Ok(PathId(self.paths.len() as u32 - 1))
    }

    /// The way to a neighbour now, given what has been heard of it. It is forgotten by this.
    pub fn neighbor(&self, path: PathId, ip: IpAddr) -> Option<Way> {
        let index = self.paths[path.0 as usize].interface.index;
        let mac = self.heard.neighbor(index, ip).flatten();
        self.heard.forget_neighbor(index, ip);
        Some(Way::Frames(path, mac?))
    }

    /// Finds out a router's hardware address. A router is asked for as the kernel would ask for it: it is on our link, and
    /// the question is ours to ask whatever the scope, because no probe is meant for it.
    async fn gateway(&self, interface: Interface, ip: IpAddr) -> io::Result<Option<Mac>> {
        if let Some(known) = self.heard.neighbor(interface.index, ip) {
            // Asked before: what came of it stands for this sweep.
            return Ok(known);
        }
        self.heard.expect_neighbor(interface.index, ip);
        let mut frame = Vec::new();
        for _ in 0..GATEWAY_TRIES {
            who_has(&mut frame, &interface, ip);
            match self.link.send(interface.index, &frame) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            let deadline = Instant::now() + GATEWAY_WAIT;
            while Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if let Some(Some(mac)) = self.heard.neighbor(interface.index, ip) {
                    return Ok(Some(mac));
                }
            }
        }
        Ok(None)
    }

    /// Probes written from now on say that they leave now.
    pub fn set_time(&mut self, now: Instant) {
        self.tick = self.clock.tick(now);
    }

    /// Writes one probe into the batch of its line, handing over what is there if it is enough. [`io::ErrorKind::WouldBlock`]
    /// when there is no room just now: see [`SynAsker::full`].
    pub fn send(&mut self, to: InScope<IpAddr>, way: Way, ask: Ask, attempt: u8) -> io::Result<()> {
        let to = to.get();
        let (path, mac) = match (way, ask) {
            (Way::Neighbor(path), Ask::Neighbor) => (path, Mac::ZERO),
            (Way::Frames(path, mac), _) => (path, mac),
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        let Some(path) = self.paths.get(path.0 as usize) else { return Err(io::ErrorKind::NotConnected.into()) };
        let line = &mut self.lines[path.line];
        if line.batch.len() >= BATCH && !line.hand_over()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match ask {
            Ask::Syn(port) => {
                let src_port = self.draw.next();
                let (seq, id) = self.secret.syn(to, port, src_port, self.tick);
                let frame = line.batch.push(path.template.bytes());
                path.template.fill(frame, &Patch { mac, id, to, src_port, dst_port: port, seq });
                return Ok(());
            }
            Ask::Neighbor => {
                if attempt == 0 {
                    // A router that is a target as well was asked for before: its answer now is what counts for it.
                    self.heard.expect_neighbor(path.interface.index, to);
                }
                who_has(&mut self.frame, &path.interface, to);
            }
            Ask::Ack(port) => {
                let src_port = self.draw.next();
                let cookie = self.secret.cookie(Use::Ack, to, port, src_port);
                let tcp = build::ack(src_port, port, cookie as u32, cookie as u32);
                build::tcp(&mut self.frame, path.link(mac), &path.ip(to, cookie >> 32), &tcp);
            }
            Ask::Echo => {
                let (id, seq, data) = echo(&self.secret, to);
                // 56 bytes of data, as ping sends them.
                let mut payload = [0u8; 56];
                payload[..8].copy_from_slice(&data);
                payload[8] = self.tick;
                build::echo_request(&mut self.frame, path.link(mac), &path.ip(to, id.into()), id, seq, &payload);
            }
            Ask::Udp(port) => {
                let sent = udp::write(&self.secret, self.ports, to, port, attempt, &mut self.payload);
                let ip = path.ip(to, sent.ip_id().into());
                build::udp(&mut self.frame, path.link(mac), &ip, &sent.udp, &self.payload);
            }
        }
        line.batch.push(&self.frame);
        Ok(())
    }

    /// Hands over everything gathered, as far as there is room; the outlet of the first line that has none.
    pub fn hand_over(&mut self) -> io::Result<Option<Outlet>> {
        for line in &mut self.lines {
            // A way that has come to its end is said even if nothing more was to leave by it.
            line.outlet.check()?;
            if !line.batch.is_empty() && !line.hand_over()? {
                return Ok(Some(line.outlet.clone()));
            }
        }
        Ok(None)
    }

    /// The outlet of a line whose batch is full.
    pub fn full(&self) -> Option<Outlet> {
        self.lines.iter().find(|line| line.batch.len() >= BATCH).map(|line| line.outlet.clone())
    }

    /// Throws away what has not been handed over; how many frames that were.
    pub fn discard(&mut self) -> u64 {
        let mut discarded = 0;
        for line in &mut self.lines {
            discarded += line.batch.len() as u64;
            line.batch.clear();
        }
        discarded
    }

    /// The outlet of a line from which frames have yet to leave.
    pub fn busy(&self) -> Option<Outlet> {
        self.lines.iter().find(|line| line.outlet.waiting() > 0).map(|line| line.outlet.clone())
    }

    /// Frames handed over that have not left yet.
    pub fn waiting(&self) -> u64 {
        self.lines.iter().map(|line| line.outlet.waiting()).sum()
    }

    /// Frames that could not be sent although there was room for them here.
    pub fn lost(&self) -> u64 {
        self.lines.iter().map(|line| line.outlet.left().lost).sum()
    }

    /// Frames that arrived and had to be dropped before they were looked at.
    pub fn drops(&self) -> u64 {
        self.link.drops()
    }

    /// Frames that looked like answers and were none.
    pub fn rejected(&self) -> u64 {
        self.heard.rejected()
    }
}

impl Path {
    fn link(&self, dst: Mac) -> Option<Ethernet> {
        (self.interface.framing == Framing::Ethernet).then_some(Ethernet { src: self.interface.mac, dst })
    }
    fn ip(&self, dst: IpAddr, id: u64) -> Ip {
        Ip { src: self.interface.src, dst, ttl: build::TTL, id: id as u16 }
    }
}

impl Line {
    /// Hands the batch over if there is room.
    fn hand_over(&mut self) -> io::Result<bool> {
        match self.outlet.try_reserve()? {
            Some(room) => {
                self.batch = room.send(std::mem::take(&mut self.batch));
                Ok(true)
            }
            None => Ok(false),
        }
    }
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
