//! The system calls around AF_PACKET that no safe crate offers, each in a small safe function. What is sent, received and made of
//! it is `send`'s and `ring`'s.
#![allow(unsafe_code)]

use super::Batch;
use rustix::mm::{MapFlags, ProtFlags};
use socket2::{SockAddr, Socket};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A `sockaddr_ll` for the interface and protocol.
pub(super) fn link_address(interface: u32, protocol: u16) -> io::Result<SockAddr> {
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

/// Sets an option of the level `SOL_PACKET` that is an `int`.
pub(super) fn set_packet_option(socket: &Socket, option: i32, value: i32) -> io::Result<()> {
    set_option(socket, option, &value)
}

/// Asks the kernel for a TPACKET_V3 receive ring of that shape. The version must have been set.
pub(super) fn set_receive_ring(socket: &Socket, shape: &libc::tpacket_req3) -> io::Result<()> {
    set_option(socket, libc::PACKET_RX_RING, shape)
}

/// `T` is an `int` or one of the structs of integers that `SOL_PACKET` takes.
fn set_option<T: Copy>(socket: &Socket, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel reads at most as many bytes as `value`
    // has and writes none.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel has counted on a TPACKET_V3 socket since it was last asked.
pub(super) fn take_statistics(socket: &Socket) -> libc::tpacket_stats_v3 {
    let mut statistics = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel writes at most `len` bytes to
    // `statistics`, which is exactly that long and made of integers, for which all bit patterns are valid. Should it fail,
    // the zeros stand.
    unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        );
    }
    statistics
}

/// How many frames one call hands to the kernel at most. The call itself costs about as much as a tenth of a frame, so more
/// would save nothing measurable; the headers for as many take 4 kB of stack.
const CALL: usize = 64;

/// Sends frames of the batch from the n-th on, as many as the kernel takes at once, without waiting. `to` says where each
/// goes; `None` when the socket is bound and the frame has its own link header.
pub(super) fn send_frames<'a>(
    socket: &Socket,
    batch: &Batch,
    from: usize,
    to: impl Fn(&[u8]) -> Option<&'a SockAddr>,
) -> io::Result<usize> {
    let count = (batch.len() - from.min(batch.len())).min(CALL);
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; CALL];
    // SAFETY: a `mmsghdr` is made of integers and pointers, for which zeros are valid: no name, no parts, no control data.
    let mut messages: [libc::mmsghdr; CALL] = unsafe { std::mem::zeroed() };
    for n in 0..count {
        let frame = batch.frame(from + n);
        parts[n] = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let header = &mut messages[n].msg_hdr;
        if let Some(address) = to(frame) {
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
        }
        header.msg_iov = &raw mut parts[n];
        header.msg_iovlen = 1;
    }
    // SAFETY: the descriptor is open for as long as `socket` is borrowed. The first `count` headers point to one part each,
    // the parts to frames of `batch`, the names to addresses that outlive the call by the lifetime of `to`'s answer; the
    // kernel reads all of these and writes only `msg_len` of each header.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// A receive ring: memory shared with the kernel, in blocks that belong to one side at a time, as a status word in each says.
/// Unmapped when dropped.
pub(super) struct Ring {
    start: NonNull<u8>,
    blocks: usize,
    block_len: usize,
    /// The block that is handed over next.
    next: usize,
}

/// Where the status word of a block lies (linux/if_packet.h, `tpacket_block_desc`).
pub(super) const BLOCK_STATUS: usize = 8;

// SAFETY: the mapping belongs to this value alone and is valid from every thread; all access to it borrows the value.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of a socket, which must have been set up with that many blocks of that length, a multiple of the page.
    pub fn map(socket: &Socket, blocks: usize, block_len: usize) -> io::Result<Ring> {
        let len = blocks.checked_mul(block_len).filter(|_| blocks > 0 && block_len > BLOCK_STATUS + size_of::<u32>());
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: no address is asked for, so no mapping of ours is replaced. If the socket's ring has another length the
        // kernel refuses. What comes back is accessed only through the methods below, within `blocks * block_len`.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, socket, 0)
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring { start, blocks, block_len, next: 0 })
    }

    /// The next block if the kernel has handed it over. It goes back when dropped.
    pub fn block(&mut self) -> Option<Block<'_>> {
        // Acquire: what the kernel wrote before it handed the block over is seen after this.
        let ours = self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0;
        // Not `then_some`, which would make a block in any case, and drop it: give back what was never ours.
        if ours { Some(Block { ring: self }) } else { None }
    }

    /// Where the next block begins: within the mapping with the whole block, since `next` is below `blocks`.
    fn at(&self) -> *mut u8 {
        // SAFETY: see above; the mapping is one object, no longer than `isize::MAX` as the kernel granted it.
        unsafe { self.start.as_ptr().add(self.next * self.block_len) }
    }

    /// The status word of the next block.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: the four bytes lie within the block, as `map` checked. Blocks begin on page boundaries, so they are aligned.
        // They are valid for as long as `self`, and both sides access them as a whole and by nothing else: `Block::bytes` is
        // not written to, and while it lives nobody changes the word.
        unsafe { AtomicU32::from_ptr(self.at().add(BLOCK_STATUS).cast()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; every reference into it borrowed `self` and is gone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.blocks * self.block_len) };
    }
}

/// A block of a ring while it is ours. There must be none while it is not: to drop one is to give it back.
pub(super) struct Block<'a> {
    ring: &'a mut Ring,
}

impl Block<'_> {
    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes lie within the mapping and are initialised (the kernel hands out zeroed pages). The status word
        // said that the block is ours, so the kernel does not write to it until it gets it back; that takes dropping `self`,
        // which ends this borrow.
        unsafe { std::slice::from_raw_parts(self.ring.at(), self.ring.block_len) }
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // Release: we have done all our reading before the kernel may write again.
        self.ring.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.ring.next = (self.ring.next + 1) % self.ring.blocks;
    }
}
