//! Frames in by AF_PACKET: a TPACKET_V3 ring that the kernel fills block by block, read by a thread of its own, so that a
//! burst of answers waits in memory instead of being dropped. What passes is decided by `filter`, what it means by the sink.
//!
//! Frames are read where they lie, in a block that is ours until we give it back. Headers in it are the kernel's, but read as
//! if they were a stranger's: every offset is checked against the block.

use super::Sink;
use super::filter::{LONGEST, filter};
use super::route::LinkInfo;
use super::sys::{Ring, link_address, set_packet_option, set_receive_ring, take_statistics};
use crate::cookie::SourcePorts;
use crate::tap::Tapped;
use packet::Framing;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Memory of the ring. A minimal frame takes about 160 bytes with the kernel's header, so it holds 100,000 answers: a tenth
/// of a second at a million a second, longer than the scheduler keeps a thread waiting.
pub(super) const RING: usize = 16 << 20;
/// The least worth having when memory is short.
const SMALLEST_RING: usize = 256 << 10;
/// Handed over as a whole. Many, so that a slow trickle, which hands over nearly empty ones, has long to go.
const BLOCK: usize = 64 << 10;
/// A block that is not full is handed over after so many milliseconds: what an answer may lie there before it is seen.
const RETIRE_MS: u32 = 2;
/// How long the thread sleeps without a wake-up: only against a wake-up that got lost.
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// From linux/if_packet.h: offsets in a block's header and in a frame's.
mod layout {
    pub const BLOCK_FRAMES: usize = 12;
    pub const BLOCK_FIRST: usize = 16;
    pub const FRAME_NEXT: usize = 0;
    pub const FRAME_SEC: usize = 4;
    pub const FRAME_NSEC: usize = 8;
    pub const FRAME_LEN: usize = 12;
    pub const FRAME_MAC: usize = 24;
    pub const VERSION_3: i32 = 2;
}

/// What arrived on an interface since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    /// Frames that passed the filter.
    pub frames: u64,
    /// Of those, frames for which the ring had no room.
    pub dropped: u64,
    /// How often the ring was full.
    pub full: u64,
}

impl std::ops::Add for Arrivals {
    type Output = Arrivals;
    fn add(self, other: Arrivals) -> Arrivals {
        Arrivals { frames: self.frames + other.frames, dropped: self.dropped + other.dropped, full: self.full + other.full }
    }
}

/// Receives by one interface for as long as it lives.
pub(super) struct Receiver {
    socket: Arc<Socket>,
    stop: Arc<OwnedFd>,
    stopped: Arc<AtomicBool>,
    frames: AtomicU64,
    dropped: AtomicU64,
    full: AtomicU64,
}

impl Receiver {
    /// Opens the socket with a ring of about that many bytes, and starts the thread. From then on no answer is missed.
    pub fn open(tapped: Tapped, info: &LinkInfo, ports: SourcePorts, ring: usize, sink: Arc<dyn Sink>) -> io::Result<Receiver> {
        let Tapped { interface, framing, .. } = tapped;
        let kind = if framing == Framing::Ethernet { Type::RAW } else { Type::DGRAM };
        // Protocol 0: nothing is received before filter and ring are in place and the socket is bound.
        let socket = Socket::new(Domain::PACKET, kind.cloexec(), Some(Protocol::from(0)))?;
        socket.attach_filter(&filter(ports))?;
        set_packet_option(&socket, libc::PACKET_VERSION, layout::VERSION_3)?;
        // Spares the filter a look at every probe. Linux 4.20 and later; the filter itself drops them as well.
        let _ = set_packet_option(&socket, libc::PACKET_IGNORE_OUTGOING, 1);
        let blocks = ask_for_ring(&socket, ring)?;
        let ring = Ring::map(&socket, blocks, BLOCK)?;
        socket.bind(&link_address(interface, libc::ETH_P_ALL as u16)?)?;
        let receiver = Receiver {
            socket: Arc::new(socket),
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            stopped: Arc::default(),
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            full: AtomicU64::new(0),
        };
        let (socket, stop, stopped) = (receiver.socket.clone(), receiver.stop.clone(), receiver.stopped.clone());
        let name = info.name.clone();
        let run = move || receive(&socket, ring, &name, &tapped, &stop, &stopped, &*sink);
        std::thread::Builder::new().name(format!("scan-recv-{interface}")).spawn(run)?;
        Ok(receiver)
    }

    /// What arrived so far.
    pub fn arrivals(&self) -> Arrivals {
        // Reading resets the kernel's counters, so they are added up here.
        let new = take_statistics(&self.socket);
        let add = |sum: &AtomicU64, new: u32| sum.fetch_add(new.into(), Ordering::Relaxed) + u64::from(new);
        Arrivals {
            frames: add(&self.frames, new.tp_packets),
            dropped: add(&self.dropped, new.tp_drops),
            full: add(&self.full, new.tp_freeze_q_cnt),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread; if that fails, it looks up by itself within a tenth of a second.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

/// The largest ring the kernel grants, up to that many bytes, in blocks.
fn ask_for_ring(socket: &Socket, bytes: usize) -> io::Result<usize> {
    largest(bytes / BLOCK, |blocks| {
        let shape = libc::tpacket_req3 {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks as u32,
            // Frames lie one behind the other in a block; the size only has to be there and fit.
            tp_frame_size: LONGEST,
            tp_frame_nr: (BLOCK / LONGEST as usize * blocks) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_receive_ring(socket, &shape)
    })
}

/// The largest of `blocks`, half of it, a quarter … for which there is memory.
fn largest(blocks: usize, ask: impl Fn(usize) -> io::Result<()>) -> io::Result<usize> {
    let mut blocks = blocks.max(SMALLEST_RING / BLOCK);
    loop {
        match ask(blocks) {
            Ok(()) => return Ok(blocks),
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) && blocks / 2 >= SMALLEST_RING / BLOCK => blocks /= 2,
            Err(e) => return Err(e),
        }
    }
}

fn receive(socket: &Socket, mut ring: Ring, name: &str, tapped: &Tapped, stop: &OwnedFd, stopped: &AtomicBool, sink: &dyn Sink) {
    while !stopped.load(Ordering::Acquire) {
        while let Some(block) = ring.block() {
            for arrived in Frames::of(block.bytes()) {
                tapped.received(arrived.at, arrived.frame);
                sink.frame(tapped.interface, tapped.framing, arrived.frame);
            }
            drop(block);
            sink.pause();
            if stopped.load(Ordering::Acquire) {
                return;
            }
        }
        let mut fds = [PollFd::new(socket, PollFlags::IN | PollFlags::ERR), PollFd::new(stop, PollFlags::IN)];
        if let Err(e) = poll(&mut fds, Some(&SLEEP))
            && e != rustix::io::Errno::INTR
        {
            tracing::warn!(interface = name, error = %e, "waiting for frames");
            std::thread::sleep(Duration::from_millis(100));
        }
        if fds[0].revents().contains(PollFlags::ERR) {
            // ENETDOWN is said once when the interface goes down; it may come up again. Reading the error clears it.
            if let Ok(Some(e)) = socket.take_error() {
                tracing::warn!(interface = name, error = %e, "receiving frames");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived<'a> {
    at: SystemTime,
    frame: &'a [u8],
}

/// The frames of a block, as far as its headers make sense.
struct Frames<'a> {
    block: &'a [u8],
    /// Frames still to come, by the block's header.
    left: u32,
    at: usize,
}

impl<'a> Frames<'a> {
    fn of(block: &'a [u8]) -> Self {
        let left = u32_at(block, layout::BLOCK_FRAMES).unwrap_or(0);
        let at = u32_at(block, layout::BLOCK_FIRST).unwrap_or(0) as usize;
        Frames { block, left, at }
    }

    fn read(&self) -> Option<(Arrived<'a>, usize)> {
        let header = self.block.get(self.at..)?;
        let next = u32_at(header, layout::FRAME_NEXT)? as usize;
        let len = u32_at(header, layout::FRAME_LEN)? as usize;
        let mac = usize::from(u16_at(header, layout::FRAME_MAC)?);
        let since =
            Duration::new(u32_at(header, layout::FRAME_SEC)?.into(), u32_at(header, layout::FRAME_NSEC)?.min(999_999_999));
        let frame = header.get(mac..)?.get(..len)?;
        Some((Arrived { at: SystemTime::UNIX_EPOCH + since, frame }, next))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Arrived<'a>;

    fn next(&mut self) -> Option<Arrived<'a>> {
        self.left = self.left.checked_sub(1)?;
        let Some((arrived, next)) = self.read() else {
            self.left = 0;
            return None;
        };
        self.at += next;
        // The last one says zero; anything else that does would go round in circles.
        if next == 0 {
            self.left = 0;
        }
        Some(arrived)
    }
}

/// Reads bytes as a block, whatever they are; for fuzzing.
pub(super) fn read_any(block: &[u8]) {
    // No frame is outside the block, and there are no more than the header says.
    let frames = Frames::of(block).inspect(|arrived| assert!(arrived.frame.len() <= block.len())).count();
    assert!(frames as u64 <= u32_at(block, layout::BLOCK_FRAMES).unwrap_or(0).into());
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block as the kernel would write it.
    fn block(frames: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; 48];
        let put = |block: &mut Vec<u8>, at: usize, n: u32| block[at..at + 4].copy_from_slice(&n.to_ne_bytes());
        put(&mut block, layout::BLOCK_FRAMES, frames.len() as u32);
        put(&mut block, layout::BLOCK_FIRST, 48);
        for (n, frame) in frames.iter().enumerate() {
            let at = block.len();
            let size = (82 + frame.len()).next_multiple_of(16);
            block.resize(at + size, 0);
            put(&mut block, at + layout::FRAME_NEXT, if n + 1 == frames.len() { 0 } else { size as u32 });
            put(&mut block, at + layout::FRAME_SEC, 1_000 + n as u32);
            put(&mut block, at + layout::FRAME_LEN, frame.len() as u32);
            block[at + layout::FRAME_MAC..][..2].copy_from_slice(&82u16.to_ne_bytes());
            block[at + 82..][..frame.len()].copy_from_slice(frame);
        }
        block
    }

    #[test]
    fn the_layout_is_the_kernels() {
        use libc::{tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};
        use std::mem::offset_of;
        let v1 = offset_of!(tpacket_block_desc, hdr);
        for (ours, theirs) in [
            (crate::link::sys::BLOCK_STATUS, v1 + offset_of!(tpacket_hdr_v1, block_status)),
            (layout::BLOCK_FRAMES, v1 + offset_of!(tpacket_hdr_v1, num_pkts)),
            (layout::BLOCK_FIRST, v1 + offset_of!(tpacket_hdr_v1, offset_to_first_pkt)),
            (layout::FRAME_NEXT, offset_of!(tpacket3_hdr, tp_next_offset)),
            (layout::FRAME_SEC, offset_of!(tpacket3_hdr, tp_sec)),
            (layout::FRAME_NSEC, offset_of!(tpacket3_hdr, tp_nsec)),
            (layout::FRAME_LEN, offset_of!(tpacket3_hdr, tp_snaplen)),
            (layout::FRAME_MAC, offset_of!(tpacket3_hdr, tp_mac)),
        ] {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn where_memory_is_short_the_ring_is_smaller() {
        let error = |code| Err(io::Error::from_raw_os_error(code));
        for (granted, expected) in [(256, Some(256)), (100, Some(64)), (4, Some(4)), (3, None)] {
            let got = largest(256, |blocks| if blocks <= granted { Ok(()) } else { error(libc::ENOMEM) });
            assert_eq!(got.ok(), expected, "{granted}");
        }
        assert_eq!(largest(256, |_| error(libc::EPERM)).unwrap_err().raw_os_error(), Some(libc::EPERM), "another reason");
    }

    #[test]
    fn frames_of_a_block_come_in_order_with_their_time() {
        let frames: [&[u8]; 3] = [b"one", b"", b"a longer third one"];
        let block = block(&frames);
        let read: Vec<Arrived<'_>> = Frames::of(&block).collect();
        assert_eq!(read.iter().map(|a| a.frame).collect::<Vec<_>>(), frames);
        assert_eq!(read[2].at, SystemTime::UNIX_EPOCH + Duration::from_secs(1_002));
    }

    proptest! {
        #[test]
        fn headers_that_lie_lead_nowhere_outside_the_block(
            mut block in Just(block(&[&[7; 60], &[8; 60], &[9; 60]])),
            lies in prop::collection::vec((0usize..600, any::<u8>()), 0..24),
        ) {
            for (at, byte) in lies {
                if let Some(place) = block.get_mut(at) {
                    *place = byte;
                }
            }
            let seen: usize = Frames::of(&block).take(10_000).map(|a| a.frame.len().min(1)).sum();
            prop_assert!(seen <= 10_000);
        }
    }
}
