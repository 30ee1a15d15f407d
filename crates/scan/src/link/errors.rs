//! Who said that a packet of a socket could not be delivered: the error queue that Linux keeps for it. Without it a
//! socket hears "connection refused" and not from whom, and a filter that imitates a refusal would pass for the host.
//! What the error means for a port is `datagram`'s.
#![allow(unsafe_code)]

use packet::Unreachable;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// An ICMP error, as the kernel took it for one about a packet of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// What it says; `None` where it says nothing about reaching the port.
    pub cause: Option<Unreachable>,
}

/// From now on the socket keeps the errors about its packets, and reports all kinds of them (ip(7), `IP_RECVERR`).
pub(crate) fn keep(socket: BorrowedFd<'_>, v4: bool) -> io::Result<()> {
    let (level, option) = if v4 { (libc::IPPROTO_IP, libc::IP_RECVERR) } else { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads one `int` from `on`, which outlives the
    // call, and writes nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for the control messages of one error: the header, the error of 16 bytes and an address of at most 28.
const CONTROL: usize = 128;

/// The next error kept, if it came by ICMP. Does not wait.
pub(crate) fn next(socket: BorrowedFd<'_>) -> Option<IcmpError> {
    #[repr(align(8))]
    struct Control([MaybeUninit<u8>; CONTROL]);
    let mut control = Control([MaybeUninit::zeroed(); CONTROL]);
    // SAFETY: a `msghdr` of zeros is a valid one: no name, no vectors, no control buffer.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes to `header`, and to the control buffer
    // no more than `msg_controllen` bytes, which it has; there is neither a name nor a vector for it to write to.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if received < 0 {
        return None;
    }
    // SAFETY: `header` and the control buffer are as the kernel left them, aligned for control messages, and live.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: `message` is not null, so it points to a whole control message header inside the buffer; what it says of its
        // length was written by the kernel and is checked below against the end of the buffer.
        let (level, kind, len, data) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len as usize, libc::CMSG_DATA(message)) };
        let wanted = matches!((level, kind), (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        let begin = data as usize - control.0.as_ptr() as usize;
        let size = len.saturating_sub(data as usize - message as usize).min(CONTROL.saturating_sub(begin));
        if wanted {
            // SAFETY: all bytes of the buffer were zeroed or written by the kernel, and `begin + size` lies inside it.
            let bytes = unsafe { std::slice::from_raw_parts(data, size) };
            return read(bytes);
        }
        // SAFETY: `header` still describes the buffer, and `message` is one of its messages.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    None
}

/// Reads a `sock_extended_err` with the address of whoever sent the error behind it (linux/errqueue.h).
fn read(bytes: &[u8]) -> Option<IcmpError> {
    let (error, address) = bytes.split_at_checked(size_of::<libc::sock_extended_err>())?;
    let (origin, code) = (error[4], error[6]);
    let icmp_type = error[5];
    let family = i32::from(u16::from_ne_bytes(address.get(..2)?.try_into().ok()?));
    let from: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(address.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address.get(8..24)?).ok()?).into(),
        _ => return None,
    };
    let cause = match (origin, icmp_type) {
        (libc::SO_EE_ORIGIN_ICMP, 3) => Unreachable::from_v4(code),
        (libc::SO_EE_ORIGIN_ICMP6, 1) => Unreachable::from_v6(code),
        (libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6, _) => None,
        _ => return None,
    };
    Some(IcmpError { from, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    #[test]
    fn a_refusal_on_loopback_is_told_with_who_refused() {
        for (ours, theirs) in [("127.0.0.1:0", "127.0.0.9:9"), ("[::1]:0", "[::1]:9")] {
            let socket = UdpSocket::bind(ours).unwrap();
            let theirs: std::net::SocketAddr = theirs.parse().unwrap();
            keep(socket.as_fd(), theirs.is_ipv4()).unwrap();
            assert_eq!(next(socket.as_fd()), None, "nothing was sent yet");
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // Not connected: the queue is heard of even then.
            socket.send_to(b"x", theirs).unwrap();
            let error = socket.recv_from(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let said = next(socket.as_fd());
            assert_eq!(said, Some(IcmpError { from: theirs.ip(), cause: Some(Unreachable::Port) }));
            assert_eq!(next(socket.as_fd()), None);
        }
    }

    #[test]
    fn errors_that_end_early_or_came_otherwise_are_none() {
        let mut bytes = vec![0u8; 44];
        (bytes[4], bytes[5], bytes[6]) = (libc::SO_EE_ORIGIN_ICMP, 3, 13);
        bytes[16..18].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[20..24].copy_from_slice(&[192, 0, 2, 1]);
        let from = "192.0.2.1".parse().unwrap();
        assert_eq!(read(&bytes), Some(IcmpError { from, cause: Some(Unreachable::Prohibited) }));
        (0..24).for_each(|end| assert_eq!(read(&bytes[..end]), None, "{end} bytes"));
        bytes[5] = 11;
        assert_eq!(read(&bytes), Some(IcmpError { from, cause: None }), "time exceeded says nothing about the port");
        bytes[4] = libc::SO_EE_ORIGIN_LOCAL;
        assert_eq!(read(&bytes), None);
    }
}
