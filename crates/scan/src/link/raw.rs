//! Raw frames over AF_PACKET: for each interface that a target lies behind, opened when the first one does, sockets with a
//! sender thread each, and a socket with a ring and a receiver thread. What the frames mean is `syn`'s.
//!
//! Ethernet interfaces get whole frames. Interfaces without link header (tun, WireGuard, PPP, tunnels) get IP packets, to
//! which the kernel adds what the device wants. A VLAN interface (`eth0.10`) is an Ethernet interface like any other: its
//! device writes and takes off the tag. Addresses of this machine and routes that take more than an interface and a gateway
//! are the kernel's to follow, through `connect`: the kernel drops frames for 127.0.0.0/8 that come in by AF_PACKET.

use super::ring::{RING, Receiver};
use super::route::{Kernel, LinkInfo};
use super::send::Sender;
use super::{Arrivals, Link, Outlet, Route, Sink};
use crate::cookie::SourcePorts;
use crate::tap::{Tap, Tapped};
use model::IpRange;
use packet::{Framing, Mac};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// AF_PACKET sockets and the kernel's routing tables.
pub(crate) struct RawLink {
    kernel: Mutex<Kernel>,
    open: Mutex<HashMap<u32, Option<Arc<Port>>>>,
    source_ports: SourcePorts,
    sink: Arc<dyn Sink>,
    tap: Option<Arc<dyn Tap>>,
    ring: usize,
}

/// An interface in use.
struct Port {
    framing: Framing,
    mac: Mac,
    mtu: u32,
    outlet: Outlet,
    receiver: Receiver,
}

impl RawLink {
    /// Opens nothing yet but the way to the routing tables. Answers to the ports are handed to the sink; whoever looks on sees
    /// what leaves as well.
    pub fn tapped(source_ports: SourcePorts, sink: Arc<dyn Sink>, tap: Option<Arc<dyn Tap>>) -> io::Result<Self> {
        Ok(RawLink { kernel: Mutex::new(Kernel::open()?), open: Mutex::default(), source_ports, sink, tap, ring: RING })
    }

    /// The same with receive rings of about that many bytes.
    #[cfg(test)]
    pub fn with_ring(self, ring: usize) -> Self {
        RawLink { ring, ..self }
    }

    /// The interface's sockets, opened if need be; `None` when its frames are not for us to write.
    fn port(&self, index: u32) -> io::Result<Option<Arc<Port>>> {
        match lock(&self.open).entry(index) {
            Entry::Occupied(port) => Ok(port.get().clone()),
            Entry::Vacant(slot) => {
                let info = lock(&self.kernel).link(index)?;
                let port = match framing(&info) {
                    Some((framing, mac)) => Some(Arc::new(self.open_port(index, framing, mac, &info)?)),
                    None => None,
                };
                Ok(slot.insert(port).clone())
            }
        }
    }

    fn open_port(&self, interface: u32, framing: Framing, mac: Mac, info: &LinkInfo) -> io::Result<Port> {
        info.usable()?;
        let tapped = Tapped { interface, framing, tap: self.tap.clone() };
        let receiver = Receiver::open(tapped.clone(), info, self.source_ports, self.ring, self.sink.clone())?;
        let senders = (0..senders()).map(|_| Sender::open(interface, info, framing)).collect::<io::Result<Vec<_>>>()?;
        let outlet = Outlet::threaded(tapped, senders)?;
        Ok(Port { framing, mac, mtu: info.mtu, outlet, receiver })
    }
}

impl Link for RawLink {
    fn route(&self, to: IpAddr) -> io::Result<Route> {
        let lookup = lock(&self.kernel).route(to)?;
        lookup.route(|index| Ok(self.port(index)?.map(|port| (port.framing, port.mac, port.mtu))))
    }

    fn routes(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>> {
        let parts = lock(&self.kernel).regions(range)?;
        super::merged(parts, |_, lookup| {
            lookup.route(|index| Ok(self.port(index)?.map(|port| (port.framing, port.mac, port.mtu))))
        })
    }

    fn outlet(&self, interface: u32) -> io::Result<Outlet> {
        let port = lock(&self.open).get(&interface).cloned().flatten().ok_or(io::ErrorKind::NotConnected)?;
        Ok(port.outlet.clone())
    }

    fn arrivals(&self) -> Arrivals {
        lock(&self.open).values().flatten().map(|port| port.receiver.arrivals()).fold(Arrivals::default(), |a, b| a + b)
    }
}

/// Senders of an interface. Nearly all that a frame costs is the kernel's work, half a microsecond to two on a core of its own; the
/// walker makes frames several times as fast, so each core that is there may send. More than four would outrun it.
fn senders() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}

/// What frames on the interface begin with, and our hardware address; `None` when the kernel has to write them.
pub(super) fn framing(info: &LinkInfo) -> Option<(Framing, Mac)> {
    // From linux/if_arp.h; libc does not name all of them.
    const ARPHRD_PPP: u16 = 512;
    const ARPHRD_RAWIP: u16 = 519;
    const ARPHRD_TUNNEL: u16 = 768;
    const ARPHRD_TUNNEL6: u16 = 769;
    const ARPHRD_SIT: u16 = 776;
    const ARPHRD_IPGRE: u16 = 778;
    const ARPHRD_NONE: u16 = 0xfffe;
    let resolves = info.flags & (libc::IFF_NOARP | libc::IFF_LOOPBACK) as u32 == 0;
    match info.kind {
        libc::ARPHRD_ETHER if resolves => Some((Framing::Ethernet, info.mac?)),
        ARPHRD_PPP | ARPHRD_RAWIP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT | ARPHRD_IPGRE | ARPHRD_NONE => {
            Some((Framing::Bare, Mac::ZERO))
        }
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_framed_by_their_kind() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let link = |kind, flags: i32| {
            let (name, queue) = ("x0".into(), "noqueue".into());
            framing(&LinkInfo { name, queue, kind, flags: flags as u32, mtu: 1_500, mac: Some(mac) })
        };
        assert_eq!(link(libc::ARPHRD_ETHER, libc::IFF_BROADCAST), Some((Framing::Ethernet, mac)));
        assert_eq!(link(0xfffe, libc::IFF_NOARP | libc::IFF_POINTOPOINT), Some((Framing::Bare, Mac::ZERO)));
        assert_eq!(link(libc::ARPHRD_ETHER, libc::IFF_NOARP), None, "an Ethernet without neighbours, such as dummy0");
        assert_eq!(link(libc::ARPHRD_LOOPBACK, libc::IFF_LOOPBACK), None);
        assert_eq!(link(32, libc::IFF_BROADCAST), None, "InfiniBand");
    }
}
