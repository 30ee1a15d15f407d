//! Raw frames over AF_PACKET: one socket for each interface that a target lies behind, opened when the first one does, with
//! a filter in the kernel that lets only possible answers through. The only place with `unsafe`: three calls that no
//! safe crate offers. What the frames mean is `syn`'s.
//!
//! Ethernet interfaces get whole frames. Interfaces without link header (tun, WireGuard, PPP, tunnels) get IP packets, to
//! which the kernel adds what the device wants. Addresses of this machine and routes that take more than an interface and a
//! gateway are the kernel's to follow, through `connect`: the kernel drops frames for 127.0.0.0/8 that come in by AF_PACKET.
#![allow(unsafe_code)]

use super::outlet::{Carrier, Ledger};
use super::route::{Kernel, LinkInfo, Lookup};
use super::{Batch, Interface, Link, Outlet, Route, Sink};
use crate::cookie::SourcePorts;
use model::IpRange;
use packet::{Framing, Mac};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;

/// AF_PACKET sockets and the kernel's routing table.
pub(crate) struct RawLink {
    kernel: Mutex<Kernel>,
    open: Mutex<HashMap<u32, Option<Arc<Port>>>>,
    source_ports: SourcePorts,
    sink: Arc<dyn Sink>,
}

/// An interface in use.
struct Port {
    socket: Arc<AsyncFd<Socket>>,
    framing: Framing,
    mac: Mac,
    mtu: u32,
    outlet: Outlet,
    drops: Arc<AtomicU64>,
    receiver: tokio::task::JoinHandle<()>,
}

/// Asked for as receive buffer: at 60-byte frames, which count about 800 bytes with the kernel's bookkeeping, room for 5,000
/// answers while we are not scheduled. The kernel caps it at `net.core.rmem_max` unless we may override that.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Longest frame read; answers are short, and a jumbo frame that is cut off is none.
const LONGEST: usize = 2_048;

impl RawLink {
    /// Opens nothing yet but the way to the routing table. Must be called within a tokio runtime.
    pub fn new(source_ports: SourcePorts, sink: Arc<dyn Sink>) -> io::Result<Self> {
        Ok(RawLink { kernel: Mutex::new(Kernel::open()?), open: Mutex::default(), source_ports, sink })
    }

    /// The interface's socket, opened if need be; `None` when its frames are not for us to write.
    fn port(&self, index: u32) -> io::Result<Option<Arc<Port>>> {
        match lock(&self.open).entry(index) {
            Entry::Occupied(port) => Ok(port.get().clone()),
            Entry::Vacant(slot) => {
                let info = lock(&self.kernel).link(index)?;
                let port = match framing(&info) {
                    Some((framing, mac)) => Some(Arc::new(self.open_port(index, framing, mac, info.mtu)?)),
                    None => None,
                };
                Ok(slot.insert(port).clone())
            }
        }
    }

    fn open_port(&self, index: u32, framing: Framing, mac: Mac, mtu: u32) -> io::Result<Port> {
        let kind = if framing == Framing::Ethernet { Type::RAW } else { Type::DGRAM };
        // Protocol 0: nothing is received before the filter is in place and the socket bound.
        let socket = Socket::new(Domain::PACKET, kind.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        socket.attach_filter(&filter(self.source_ports))?;
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(&link_address(index, libc::ETH_P_ALL as u16)?)?;
        // SAFETY: the socket owns its open descriptor, is moved in here, and is only borrowed until the `AsyncFd` is dropped,
        // so the descriptor stays open and the same for as long as it is registered.
        let socket = Arc::new(unsafe { AsyncFd::register_with_interest(socket, tokio::io::Interest::READABLE) }?);
        let drops = Arc::new(AtomicU64::new(0));
        let receiver = tokio::spawn(receive(socket.clone(), index, framing, self.sink.clone()));
        let outlet = Outlet::threaded(index, Sender { socket: socket.clone(), framing, index })?;
        Ok(Port { socket, framing, mac, mtu, outlet, drops, receiver })
    }
}

impl Link for RawLink {
    fn route(&self, to: IpAddr) -> io::Result<Route> {
        let lookup = lock(&self.kernel).route(to)?;
        let (index, src, gateway) = match lookup {
            Lookup::Local | Lookup::Complicated => return Ok(Route::Kernel),
            Lookup::None => return Ok(Route::Unreachable),
            Lookup::Unicast { src: None, .. } => return Ok(Route::Kernel),
            Lookup::Unicast { interface, src: Some(src), gateway } => (interface, src, gateway),
        };
        let Some(port) = self.port(index)? else {
            return Ok(Route::Kernel);
        };
        let interface = Interface { index, framing: port.framing, mac: port.mac, src, mtu: port.mtu };
        Ok(match (port.framing, gateway) {
            (Framing::Bare, _) => Route::PointToPoint(interface),
            (Framing::Ethernet, Some(gateway)) => Route::Via(interface, gateway),
            (Framing::Ethernet, None) => Route::OnLink(interface),
        })
    }

    fn routes(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>> {
        let mut parts: Vec<(IpRange, Route)> = Vec::new();
        for ip in range.iter() {
            let route = self.route(ip)?;
            match parts.last_mut() {
                Some((part, same)) if *same == route => *part = IpRange::new(part.first(), ip).unwrap_or(*part),
                _ => parts.push((IpRange::single(ip), route)),
            }
        }
        Ok(parts)
    }

    fn outlet(&self, interface: u32) -> io::Result<Outlet> {
        let port = lock(&self.open).get(&interface).cloned().flatten().ok_or(io::ErrorKind::NotConnected)?;
        Ok(port.outlet.clone())
    }

    fn drops(&self) -> u64 {
        lock(&self.open).values().flatten().map(|port| port.count_drops()).sum()
    }
}

/// Puts frames on the wire.
struct Sender {
    socket: Arc<AsyncFd<Socket>>,
    framing: Framing,
    index: u32,
}

/// How often a full device queue is tried again, a pause each time, before the frame is given up: a second in all.
const BUSY_TRIES: u32 = 5_000;
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_micros(200);

impl Sender {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        match self.framing {
            Framing::Ethernet => {
                rustix::net::send(self.socket.get_ref(), frame, SendFlags::DONTWAIT)?;
            }
            Framing::Bare => {
                let v4 = frame.first().is_some_and(|byte| byte >> 4 == 4);
                let protocol = if v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
                self.socket.get_ref().send_to(frame, &link_address(self.index, protocol as u16)?)?;
            }
        }
        Ok(())
    }
}

impl Carrier for Sender {
    fn carry(&mut self, batch: &Batch, ledger: &Ledger) -> io::Result<()> {
        for (n, frame) in batch.frames().enumerate() {
            let mut tries = 0;
            loop {
                match self.send(frame) {
                    Ok(()) => ledger.left(batch, n..n + 1),
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) && tries < BUSY_TRIES => {
                        tries += 1;
                        std::thread::sleep(BUSY_PAUSE);
                        continue;
                    }
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::EMSGSIZE | libc::EINVAL)) => {
                        ledger.lost(batch, n);
                    }
                    Err(e) => return Err(e),
                }
                break;
            }
        }
        Ok(())
    }
}

impl Port {
    /// Frames that the kernel has had to drop on this socket so far.
    fn count_drops(&self) -> u64 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the descriptor is open for as long as `self` lives; the kernel writes at most `len` bytes to
        // `statistics`, which is exactly that long and made of integers, for which all bit patterns are valid.
        let result = unsafe {
            libc::getsockopt(
                self.socket.get_ref().as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        // Reading resets the kernel's counter, so it is added up here.
        let new = if result == 0 { u64::from(statistics.tp_drops) } else { 0 };
        self.drops.fetch_add(new, Ordering::Relaxed) + new
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

async fn receive(socket: Arc<AsyncFd<Socket>>, index: u32, framing: Framing, sink: Arc<dyn Sink>) {
    let mut frame = vec![0u8; LONGEST];
    loop {
        let Ok(mut ready) = socket.readable().await else { return };
        // At most so many before others get their turn.
        for _ in 0..256 {
            match rustix::net::recv(socket.get_ref(), &mut frame, RecvFlags::DONTWAIT) {
                Ok((len, _)) => sink.frame(index, framing, &frame[..len]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                    break;
                }
                // ENETDOWN is said once when the interface goes down; it may come up again.
                Err(e) => {
                    tracing::debug!(interface = index, error = %e, "receiving frames");
                    break;
                }
            }
        }
        sink.pause();
        tokio::task::yield_now().await;
    }
}

/// What frames on the interface begin with, and our hardware address; `None` when the kernel has to write them.
fn framing(info: &LinkInfo) -> Option<(Framing, Mac)> {
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

/// A `sockaddr_ll` for the interface and protocol.
fn link_address(interface: u32, protocol: u16) -> io::Result<SockAddr> {
    // SAFETY: `storage` is valid for writes, zeroed, aligned for every socket address, and at least as large as a
    // `sockaddr_ll`, a struct of integers; `len` is set to exactly the bytes that make up the address.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = protocol.to_be();
            (*address).sll_ifindex = interface as i32;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// A classic BPF program that passes ARP, ICMP, ICMPv6, and TCP to our source ports, and nothing that we send ourselves.
/// Offsets count from the network header, so that it fits sockets with and without link header.
fn filter(ports: SourcePorts) -> Vec<SockFilter> {
    // From linux/filter.h and linux/bpf_common.h.
    const LD_W_ABS: u16 = 0x20;
    const LD_H_ABS: u16 = 0x28;
    const LD_B_ABS: u16 = 0x30;
    const LD_H_IND: u16 = 0x48;
    const LDX_B_MSH: u16 = 0xb1;
    const JEQ: u16 = 0x15;
    const JGE: u16 = 0x35;
    const JGT: u16 = 0x25;
    const JSET: u16 = 0x45;
    const RET: u16 = 0x06;
    const NET: u32 = -0x10_0000_i32 as u32;
    const PROTOCOL: u32 = -0x1000_i32 as u32;
    const PACKET_TYPE: u32 = PROTOCOL + 4;
    const OUTGOING: u32 = 4;
    // (code, constant, label if true, label if false); the empty label is the next instruction.
    let program: Vec<(&str, u16, u32, &str, &str)> = vec![
        ("", LD_W_ABS, PACKET_TYPE, "", ""),
        ("", JEQ, OUTGOING, "drop", ""),
        ("", LD_W_ABS, PROTOCOL, "", ""),
        ("", JEQ, libc::ETH_P_ARP as u32, "pass", ""),
        ("", JEQ, libc::ETH_P_IP as u32, "", "v6"),
        ("", LD_B_ABS, NET + 9, "", ""),
        ("", JEQ, libc::IPPROTO_ICMP as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_TCP as u32, "", "drop"),
        // Later fragments have no ports.
        ("", LD_H_ABS, NET + 6, "", ""),
        ("", JSET, 0x1fff, "drop", ""),
        ("", LDX_B_MSH, NET, "", ""),
        ("", LD_H_IND, NET + 2, "", ""),
        ("", JGE, 0, "ports", "ports"),
        ("v6", JEQ, libc::ETH_P_IPV6 as u32, "", "drop"),
        ("", LD_B_ABS, NET + 6, "", ""),
        ("", JEQ, libc::IPPROTO_ICMPV6 as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_TCP as u32, "tcp6", ""),
        // Answers behind extension headers are rare enough to be looked at here.
        ("", JEQ, libc::IPPROTO_HOPOPTS as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_ROUTING as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_FRAGMENT as u32, "pass", ""),
        ("", JEQ, libc::IPPROTO_DSTOPTS as u32, "pass", "drop"),
        ("tcp6", LD_H_ABS, NET + 42, "", ""),
        ("ports", JGE, ports.first.into(), "", "drop"),
        ("", JGT, ports.last.into(), "drop", ""),
        ("pass", RET, LONGEST as u32, "", ""),
        ("drop", RET, 0, "", ""),
    ];
    let jump = |from: usize, label: &str| match label {
        "" => 0,
        label => (program.iter().position(|(name, ..)| *name == label).expect("a label of the program") - from - 1) as u8,
    };
    let instruction = |(at, (_, code, k, yes, no)): (usize, &(&str, u16, u32, &str, &str))| {
        SockFilter::new(*code, jump(at, yes), jump(at, no), *k)
    };
    program.iter().enumerate().map(instruction).collect()
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
        let link = |kind, flags: i32| framing(&LinkInfo { kind, flags: flags as u32, mtu: 1_500, mac: Some(mac) });
        assert_eq!(link(libc::ARPHRD_ETHER, libc::IFF_BROADCAST), Some((Framing::Ethernet, mac)));
        assert_eq!(link(0xfffe, libc::IFF_NOARP | libc::IFF_POINTOPOINT), Some((Framing::Bare, Mac::ZERO)));
        assert_eq!(link(libc::ARPHRD_ETHER, libc::IFF_NOARP), None, "an Ethernet without neighbours, such as dummy0");
        assert_eq!(link(libc::ARPHRD_LOOPBACK, libc::IFF_LOOPBACK), None);
        assert_eq!(link(32, libc::IFF_BROADCAST), None, "InfiniBand");
    }

    #[test]
    fn the_filter_is_one_the_kernel_takes() {
        // Filters may be attached to any socket, so this needs no permission.
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.attach_filter(&filter(SourcePorts { first: 61_000, last: 65_095 })).unwrap();
    }
}
