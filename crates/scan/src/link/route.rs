//! Which way an address lies, asked of the kernel over rtnetlink, one address at a time, so that policy routing, source
//! address selection and interfaces that come and go are always as the kernel has them. Opening the interface is `raw`'s.

use packet::Mac;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: OwnedFd,
    sequence: u32,
}

/// What the kernel says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// An address of this machine.
    Local,
    /// Leave by this interface with this source address, to that gateway if there is one.
    Unicast { interface: u32, src: Option<IpAddr>, gateway: Option<IpAddr> },
    /// A route that takes more than an interface and a gateway of the same family.
    Complicated,
    /// None, or one that says no: unreachable, prohibited, blackhole, broadcast.
    None,
}

/// What the kernel says about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// `ARPHRD_*`.
    pub kind: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// Largest IP packet.
    pub mtu: u32,
    pub mac: Option<Mac>,
}

// From linux/netlink.h, linux/rtnetlink.h, linux/if_link.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;

/// Longest answer: links list dozens of attributes, most of them small.
const ANSWER: usize = 32 * 1024;

impl Kernel {
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        // The kernel answers while we send; a second means something else is wrong.
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(std::time::Duration::from_secs(1)),
        )?;
        Ok(Kernel { socket, sequence: 0 })
    }

    pub fn route(&mut self, to: IpAddr) -> io::Result<Lookup> {
        let (family, octets) = match to {
            IpAddr::V4(a) => (libc::AF_INET as u8, a.octets().to_vec()),
            IpAddr::V6(a) => (libc::AF_INET6 as u8, a.octets().to_vec()),
        };
        // struct rtmsg: family, destination length, then zeros.
        let mut body = vec![family, (octets.len() * 8) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&(4 + octets.len() as u16).to_ne_bytes());
        body.extend_from_slice(&RTA_DST.to_ne_bytes());
        body.extend_from_slice(&octets);
        let (kind, answer) = match self.ask(RTM_GETROUTE, &body) {
            Ok(answer) => answer,
            // ENETUNREACH, EHOSTUNREACH, EACCES (prohibit), EINVAL (blackhole, or no such address): no way there.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)) => {
                return Ok(Lookup::None);
            }
            Err(e) => return Err(e),
        };
        (kind == RTM_NEWROUTE).then(|| read_route(&answer)).flatten().ok_or_else(malformed)
    }

    pub fn link(&mut self, interface: u32) -> io::Result<LinkInfo> {
        // struct ifinfomsg: family, padding, type, index, flags, change.
        let mut body = vec![0u8; 16];
        body[4..8].copy_from_slice(&interface.to_ne_bytes());
        let (kind, answer) = self.ask(RTM_GETLINK, &body)?;
        (kind == RTM_NEWLINK).then(|| read_link(&answer)).flatten().ok_or_else(malformed)
    }

    fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut buffer = vec![0u8; ANSWER];
        // An answer to an earlier question that timed out may still be queued; the sequence number tells.
        for _ in 0..16 {
            let (len, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            let header = buffer.get(..16).filter(|_| len >= 16).ok_or_else(malformed)?;
            let message_len = (u32_at(header, 0).unwrap_or(0) as usize).clamp(16, len);
            if u32_at(header, 8) != Some(self.sequence) {
                continue;
            }
            let kind = u16_at(header, 4).unwrap_or(0);
            let payload = &buffer[16..message_len];
            if kind == NLMSG_ERROR {
                let code = u32_at(payload, 0).ok_or_else(malformed)? as i32;
                return Err(io::Error::from_raw_os_error(-code));
            }
            return Ok((kind, payload.to_vec()));
        }
        Err(malformed())
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer over netlink is not understood")
}

fn read_route(answer: &[u8]) -> Option<Lookup> {
    match *answer.get(7)? {
        RTN_LOCAL => return Some(Lookup::Local),
        RTN_UNICAST => {}
        _ => return Some(Lookup::None),
    }
    let (mut interface, mut src, mut gateway) = (None, None, None);
    for (kind, value) in attributes(answer.get(12..)?) {
        match kind {
            RTA_OIF => interface = u32_at(value, 0),
            RTA_PREFSRC => src = ip(value),
            RTA_GATEWAY => gateway = ip(value),
            RTA_VIA | RTA_ENCAP | RTA_MULTIPATH => return Some(Lookup::Complicated),
            _ => {}
        }
    }
    Some(Lookup::Unicast { interface: interface?, src, gateway })
}

fn read_link(answer: &[u8]) -> Option<LinkInfo> {
    let (mut mac, mut mtu) = (None, 0);
    for (kind, value) in attributes(answer.get(16..)?) {
        match kind {
            IFLA_ADDRESS => mac = value.try_into().ok().map(Mac),
            IFLA_MTU => mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(LinkInfo { kind: u16_at(answer, 2)?, flags: u32_at(answer, 8)?, mtu, mac })
}

/// Attributes: length including the four bytes of the header, kind, value, padding to four bytes.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        // The upper two bits are flags (nested, byte order).
        Some((kind & 0x3fff, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_local() {
        let mut kernel = Kernel::open().unwrap();
        for local in ["127.0.0.1", "127.1.2.3", "::1"] {
            assert_eq!(kernel.route(local.parse().unwrap()).unwrap(), Lookup::Local, "{local}");
        }
    }

    #[test]
    fn broadcast_and_multicast_are_no_targets() {
        let mut kernel = Kernel::open().unwrap();
        for nobody in ["255.255.255.255", "224.0.0.1"] {
            assert_eq!(kernel.route(nobody.parse().unwrap()).unwrap(), Lookup::None, "{nobody}");
        }
    }

    #[test]
    fn the_loopback_interface_is_described() {
        let link = Kernel::open().unwrap().link(1).unwrap();
        assert_eq!((link.kind, link.mac), (libc::ARPHRD_LOOPBACK, Some(Mac::ZERO)));
        assert!(Kernel::open().unwrap().link(999_999).is_err());
    }

    #[test]
    fn cut_off_answers_are_not_understood_and_do_no_harm() {
        let mut route = vec![libc::AF_INET as u8, 32, 0, 0, 254, 0, 0, RTN_UNICAST, 0, 0, 0, 0];
        for (kind, value) in [(RTA_OIF, [7, 0, 0, 0]), (RTA_GATEWAY, [192, 0, 2, 1]), (RTA_PREFSRC, [192, 0, 2, 9])] {
            route.extend_from_slice(&8u16.to_ne_bytes());
            route.extend_from_slice(&kind.to_ne_bytes());
            route.extend_from_slice(&value);
        }
        let gateway = Some("192.0.2.1".parse().unwrap());
        let src = Some("192.0.2.9".parse().unwrap());
        assert_eq!(read_route(&route), Some(Lookup::Unicast { interface: u32::from_ne_bytes([7, 0, 0, 0]), src, gateway }));
        (0..route.len()).for_each(|end| assert_ne!(read_route(&route[..end]), Some(Lookup::Local)));
        route[12] = 0;
        assert_eq!(read_route(&route), None, "an attribute shorter than its header");
    }
}
