//! The system calls around AF_PACKET that no safe crate offers, each in a small safe function: the only file of the workspace
//! with `unsafe`. What is sent, received and made of it is `send`'s and `ring`'s.
#![allow(unsafe_code)]

use super::Batch;
use rustix::mm::{MapFlags, ProtFlags};
use socket2::{SockAddr, Socket};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

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

/// Memory shared with the kernel: the ring of a packet socket. Unmapped when dropped.
pub(super) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and is valid from every thread; access goes through `&self` only by
// atomics and by `bytes`, whose contract covers sharing.
unsafe impl Send for Map {}

impl Map {
    /// Maps the first `len` bytes of the socket's ring.
    pub fn new(socket: &Socket, len: usize) -> io::Result<Map> {
        // SAFETY: no address is asked for, so no mapping of ours is replaced; what comes back is accessed only through the
        // methods below, within `len`.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, socket, 0)
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Map { start, len })
    }

    /// The 32-bit word at an offset that both sides access. `None` when it lies outside or not on its boundary.
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(size_of::<u32>()) || offset.checked_add(size_of::<u32>())? > self.len {
            return None;
        }
        // SAFETY: the four bytes lie within the mapping, which starts on a page boundary, so they are aligned; they are
        // valid for as long as `self`; the kernel accesses such a word as a whole.
        Some(unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }

    /// Bytes that the kernel has handed over. `None` when they lie outside.
    ///
    /// # Safety
    /// For as long as the slice lives, nobody may write to these bytes: the kernel must have given the block that holds them
    /// to us and not been given it back.
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the bytes lie within the mapping, are initialised (the kernel hands out zeroed pages), valid for as long
        // as `self`, and by the contract of this function nobody writes to them.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; every reference into it borrowed `self` and is gone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
