//! Frames out by AF_PACKET, many to a system call. What waits in front of it is the outlet's, what frames hold the walker's.
//!
//! The socket sends past the device's queueing discipline (`PACKET_QDISC_BYPASS`) where the queue is one of those that every
//! device gets unasked: that spares the queue and its lock, and copies for whoever watches outgoing frames, a twentieth of
//! the time of a frame at least. An operator's own queue (a shaper, a delay for tests) is respected: to go past it would be
//! to break a limit that somebody set. docs/decisions/0004-link.md has the measurements.

use super::Batch;
use super::outlet::{Account, Carrier};
use super::route::{Kernel, LinkInfo};
use super::sys::{link_address, send_frames, set_packet_option};
use packet::Framing;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::time::{Duration, Instant};

/// Asked for as send buffer. Frames that a slow device has not finished with count about 800 bytes each: room for 5,000.
const SEND_BUFFER: usize = 4 << 20;

/// How long a device without room is tried before frames are given up. Flow control (IEEE 802.3x) halts a sender for 34 ms
/// at most on gigabit; after a whole second something is broken.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two tries; a 1,000-frame device queue at a million frames a second empties ten times as slowly.
const PAUSE: Duration = Duration::from_micros(100);

/// The queueing disciplines a device gets unasked (`net.core.default_qdisc`, multiqueue, none for virtual devices). An
/// operator's own below a multiqueue root is not seen here.
const UNASKED: [&str; 6] = ["noqueue", "mq", "pfifo_fast", "fq_codel", "fq", "pfifo"];

/// Sends by one interface.
pub(super) struct Sender {
    socket: Socket,
    interface: u32,
    name: String,
    framing: Framing,
    v4: SockAddr,
    v6: SockAddr,
}

impl Sender {
    /// Opens the socket. It receives nothing.
    pub fn open(interface: u32, info: &LinkInfo, framing: Framing) -> io::Result<Sender> {
        let kind = if framing == Framing::Ethernet { Type::RAW } else { Type::DGRAM };
        let socket = Socket::new(Domain::PACKET, kind.cloexec(), Some(Protocol::from(0)))?;
        socket.bind(&link_address(interface, 0)?)?;
        let bypass = UNASKED.contains(&info.queue.as_str());
        if bypass && let Err(e) = set_packet_option(&socket, libc::PACKET_QDISC_BYPASS, 1) {
            tracing::debug!(interface = info.name, error = %e, "sending through the queue of the device");
        }
        if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER).is_err() {
            socket.set_send_buffer_size(SEND_BUFFER)?;
        }
        Ok(Sender {
            socket,
            interface,
            name: info.name.clone(),
            framing,
            v4: link_address(interface, libc::ETH_P_IP as u16)?,
            v6: link_address(interface, libc::ETH_P_IPV6 as u16)?,
        })
    }

    /// Hands frames to the kernel from the n-th on.
    fn send(&self, batch: &Batch, from: usize) -> io::Result<usize> {
        match self.framing {
            Framing::Ethernet => send_frames(&self.socket, batch, from, |_| None),
            // The kernel writes what the device wants in front, for which it must know the family.
            Framing::Bare => {
                let to = |frame: &[u8]| Some(if frame.first().is_some_and(|b| b >> 4 == 6) { &self.v6 } else { &self.v4 });
                send_frames(&self.socket, batch, from, to)
            }
        }
    }

    /// What to make of a device that has had no room for a long time: without a carrier it never will.
    fn stuck(&self) -> io::Result<()> {
        Kernel::open()?.link(self.interface)?.usable()
    }
}

impl Carrier for Sender {
    fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
        let mut at = 0;
        let mut busy_since: Option<Instant> = None;
        while at < batch.len() {
            let error = match self.send(batch, at) {
                Ok(sent) => {
                    account.left(batch, at..at + sent);
                    at += sent;
                    busy_since = None;
                    continue;
                }
                Err(e) => e,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // The device's queue or the socket's buffer is full.
                Some(libc::ENOBUFS | libc::EAGAIN) => {
                    if busy_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        self.stuck()?;
                        (at..batch.len()).for_each(|n| account.lost(batch, n));
                        return Ok(());
                    }
                    std::thread::sleep(PAUSE);
                }
                // Longer than the device takes, or not a frame: this one is lost, the others are not.
                Some(libc::EMSGSIZE | libc::EINVAL) => {
                    account.lost(batch, at);
                    at += 1;
                }
                _ => {
                    let message = format!("sending by interface `{}`: {error}", self.name);
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
        Ok(())
    }
}
