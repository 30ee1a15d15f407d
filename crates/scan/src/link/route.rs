//! Which way addresses lie, asked of the kernel over rtnetlink, so that policy routing, source address selection and
//! interfaces that come and go are always as the kernel has them. Opening the interface is `raw`'s.
//!
//! A range is not asked about address by address: nothing in the kernel's tables tells two addresses apart between which no
//! prefix of any route or rule begins or ends, so the range is cut at all of these and the kernel asked once for each piece.
//! (What a router has redirected or said about single addresses may differ within a piece; all of a piece then goes the way
//! of its first address, which is a way to all of it.)

use super::{Interface, Route};
use model::IpRange;
use model::address::{from_u128, to_u128};
use packet::{Framing, Mac};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: OwnedFd,
    sequence: u32,
    /// The prefixes of all routes and rules of a family, and when they were read.
    prefixes: Option<(Instant, bool, Vec<IpRange>)>,
}

/// How long a list of prefixes serves. It only says where to ask; what is asked is always answered as of now. Without it, a
/// list of ten thousand small targets would read the tables ten thousand times.
const PREFIXES_SERVE: Duration = Duration::from_secs(2);

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// `eth0`.
    pub name: String,
    /// Its queueing discipline, `fq_codel`.
    pub queue: String,
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
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
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
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;

/// Longest answer: links list dozens of attributes, most of them small.
const ANSWER: usize = 32 * 1024;

impl Kernel {
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        // The kernel answers while we send; a second means something else is wrong.
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(Duration::from_secs(1)))?;
        Ok(Kernel { socket, sequence: 0, prefixes: None })
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

    /// The ways of all addresses of the range: pieces in order, without a gap.
    pub fn regions(&mut self, range: IpRange) -> io::Result<Vec<(IpRange, Lookup)>> {
        let mut pieces = vec![range];
        if range.len() > 1 {
            let v4 = range.first().is_ipv4();
            if !self.prefixes.as_ref().is_some_and(|(at, of_v4, _)| *of_v4 == v4 && at.elapsed() < PREFIXES_SERVE) {
                let prefixes = self.read_prefixes(v4)?;
                self.prefixes = Some((Instant::now(), v4, prefixes));
            }
            if let Some((.., prefixes)) = &self.prefixes {
                pieces = cut(range, prefixes);
            }
        }
        pieces.into_iter().map(|piece| Ok((piece, self.route(piece.first())?))).collect()
    }

    /// The prefixes of every route in every table, and of every rule, of a family.
    fn read_prefixes(&mut self, v4: bool) -> io::Result<Vec<IpRange>> {
        let mut body = [0u8; 12];
        body[0] = if v4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
        // Tables that change while they are read are read again; after the third time what there is has to do.
        for try_number in 1.. {
            let mut prefixes = Vec::new();
            let mut torn = false;
            // Rules and routes look alike as far as it matters: a header of twelve bytes that begins with the family and the
            // length of the destination, and the destination as attribute 1.
            for (question, answer) in [(RTM_GETROUTE, RTM_NEWROUTE), (RTM_GETRULE, RTM_NEWRULE)] {
                torn |= self.dump(question, &body, |kind, message| {
                    if kind == answer && message.first() == Some(&body[0]) {
                        prefixes.extend(read_prefix(message, v4));
                    }
                })?;
            }
            if !torn || try_number == 3 {
                prefixes.sort_unstable();
                prefixes.dedup();
                return Ok(prefixes);
            }
        }
        Ok(Vec::new())
    }

    fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.put(kind, NLM_F_REQUEST, body)?;
        let mut buffer = vec![0u8; ANSWER];
        // An answer to an earlier question that timed out may still be queued; the sequence number tells.
        for _ in 0..16 {
            let (len, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            let Some(message) = messages(buffer.get(..len).unwrap_or(&[])).next() else { return Err(malformed()) };
            if message.sequence != self.sequence {
                continue;
            }
            if message.kind == NLMSG_ERROR {
                return Err(message.error());
            }
            return Ok((message.kind, message.payload.to_vec()));
        }
        Err(malformed())
    }

    /// Has a whole table listed. Says whether it changed meanwhile, so that entries may be missing.
    fn dump(&mut self, kind: u16, body: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        self.put(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        let mut buffer = vec![0u8; ANSWER];
        let mut torn = false;
        loop {
            let (len, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            for message in messages(buffer.get(..len).unwrap_or(&[])) {
                if message.sequence != self.sequence {
                    continue;
                }
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_DONE => return Ok(torn),
                    // A family that the kernel does not have has no rules.
                    NLMSG_ERROR if message.error().raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(torn),
                    NLMSG_ERROR => return Err(message.error()),
                    kind => each(kind, message.payload),
                }
            }
        }
    }

    fn put(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(body);
        send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }
}

/// A message of the kernel.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    fn error(&self) -> io::Error {
        u32_at(self.payload, 0).map_or_else(malformed, |code| io::Error::from_raw_os_error((code as i32).wrapping_neg()))
    }
}

/// The messages of a datagram: length including the header of 16 bytes, kind, flags, sequence number, port; then padding.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let message =
            Message { kind: u16_at(rest, 4)?, flags: u16_at(rest, 6)?, sequence: u32_at(rest, 8)?, payload: rest.get(16..len)? };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The destination of a route or rule.
fn read_prefix(message: &[u8], v4: bool) -> Option<IpRange> {
    let bits = u32::from(*message.get(1)?);
    let width: u32 = if v4 { 32 } else { 128 };
    let dst = attributes(message.get(12..)?).find(|(kind, _)| *kind == RTA_DST).and_then(|(_, value)| ip(value));
    let first = match dst {
        Some(dst) => to_u128(dst),
        None if bits == 0 => 0,
        None => return None,
    };
    let rest = width.checked_sub(bits).filter(|_| dst.is_none_or(|dst| dst.is_ipv4() == v4))?;
    let size_less_one = if rest == 128 { u128::MAX } else { (1 << rest) - 1 };
    let first = first & !size_less_one;
    IpRange::new(from_u128(first, v4), from_u128(first | size_less_one, v4))
}

/// The range in pieces such that each prefix holds all of a piece or nothing of it.
fn cut(range: IpRange, prefixes: &[IpRange]) -> Vec<IpRange> {
    let (v4, first, last) = (range.first().is_ipv4(), to_u128(range.first()), to_u128(range.last()));
    let mut starts = vec![first];
    for prefix in prefixes.iter().filter(|prefix| prefix.overlaps(&range)) {
        let behind = to_u128(prefix.last()).checked_add(1);
        starts.extend([Some(to_u128(prefix.first())), behind].into_iter().flatten().filter(|at| first < *at && *at <= last));
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([last]);
    let piece = |(start, end): (&u128, u128)| IpRange::new(from_u128(*start, v4), from_u128(end, v4));
    starts.iter().zip(ends).filter_map(piece).collect()
}

impl Lookup {
    /// The way for the link, given what frames on an interface begin with, its hardware address and its MTU; `None` when
    /// frames on it are not for us to write.
    pub fn route(self, interface: impl FnOnce(u32) -> io::Result<Option<(Framing, Mac, u32)>>) -> io::Result<Route> {
        let (index, src, gateway) = match self {
            // Without a source address there is nothing to put into a frame: the kernel may know better.
            Lookup::Local | Lookup::Complicated | Lookup::Unicast { src: None, .. } => return Ok(Route::Kernel),
            Lookup::None => return Ok(Route::Unreachable),
            Lookup::Unicast { interface, src: Some(src), gateway } => (interface, src, gateway),
        };
        let Some((framing, mac, mtu)) = interface(index)? else { return Ok(Route::Kernel) };
        let interface = Interface { index, framing, mac, src, mtu };
        Ok(match (framing, gateway) {
            (Framing::Bare, _) => Route::PointToPoint(interface),
            (Framing::Ethernet, Some(gateway)) => Route::Via(interface, gateway),
            (Framing::Ethernet, None) => Route::OnLink(interface),
        })
    }
}

/// Reads bytes as a datagram of the kernel's, and as the payload of one message, whatever they are; for fuzzing.
pub(super) fn read_any(bytes: &[u8]) {
    let payloads = messages(bytes).inspect(|message| drop(message.error())).map(|message| message.payload);
    for payload in payloads.chain([bytes]) {
        _ = read_route(payload);
        _ = read_link(payload).map(|link| link.usable());
        for v4 in [true, false] {
            let Some(prefix) = read_prefix(payload, v4) else { continue };
            assert_eq!(prefix.first().is_ipv4(), v4);
            // Cutting loses nothing of a range and doubles nothing.
            let whole = IpRange::new(from_u128(0, v4), from_u128(if v4 { u32::MAX.into() } else { u128::MAX }, v4));
            for range in whole.into_iter().chain([prefix]) {
                let pieces = cut(range, &[prefix]);
                assert_eq!(
                    (pieces.first().map(IpRange::first), pieces.last().map(IpRange::last)),
                    (Some(range.first()), Some(range.last()))
                );
                assert!(pieces.windows(2).all(|two| to_u128(two[0].last()) + 1 == to_u128(two[1].first())));
                assert!(
                    pieces
                        .iter()
                        .all(|piece| !piece.overlaps(&prefix)
                            || (prefix.first() <= piece.first() && piece.last() <= prefix.last()))
                );
            }
        }
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
    let (mut mac, mut mtu, mut name, mut queue) = (None, 0, String::new(), String::new());
    let text = |value: &[u8]| String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
    for (kind, value) in attributes(answer.get(16..)?) {
        match kind {
            IFLA_ADDRESS => mac = value.try_into().ok().map(Mac),
            IFLA_IFNAME => name = text(value),
            IFLA_MTU => mtu = u32_at(value, 0)?,
            IFLA_QDISC => queue = text(value),
            _ => {}
        }
    }
    Some(LinkInfo { kind: u16_at(answer, 2)?, flags: u32_at(answer, 8)?, mtu, mac, name, queue })
}

impl LinkInfo {
    /// Whether frames can leave by it, and why not.
    pub fn usable(&self) -> io::Result<()> {
        // From linux/if.h: the driver sees a carrier. libc does not name it.
        const IFF_LOWER_UP: u32 = 1 << 16;
        let name = &self.name;
        if self.flags & libc::IFF_UP as u32 == 0 {
            let message = format!("interface `{name}` is down\nhint: ip link set {name} up");
            return Err(io::Error::new(io::ErrorKind::NetworkDown, message));
        }
        if self.flags & IFF_LOWER_UP == 0 {
            let message = format!("interface `{name}` has no carrier\nhint: is its cable plugged in, and its other end up?");
            return Err(io::Error::new(io::ErrorKind::NetworkDown, message));
        }
        Ok(())
    }
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
    fn a_range_is_cut_where_prefixes_begin_and_end() {
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        for (range, prefixes, expected) in [
            ("10.0.0.0/24", &[][..], &["10.0.0.0/24"][..]),
            ("10.0.0.0/24", &["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "192.0.2.0/24"], &["10.0.0.0/24"]),
            (
                "10.0.0.0/24",
                &["10.0.0.64/26", "10.0.0.0", "10.0.0.255", "10.0.0.100"],
                &["10.0.0.0", "10.0.0.1-10.0.0.63", "10.0.0.64-10.0.0.99", "10.0.0.100", "10.0.0.101-10.0.0.127"],
            ),
            ("0.0.0.0/0", &["128.0.0.0/1"], &["0.0.0.0/1", "128.0.0.0/1"]),
            ("::/0", &["ffff::/16", "::/0"], &["::-fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff::/16"]),
            ("2001:db8::/64", &["2001:db8::5", "10.0.0.0/8"], &["2001:db8::-2001:db8::4", "2001:db8::5"]),
        ] {
            let prefixes: Vec<IpRange> = prefixes.iter().map(|s| r(s)).collect();
            let pieces = cut(r(range), &prefixes);
            assert_eq!(pieces[..expected.len()], expected.iter().map(|s| r(s)).collect::<Vec<_>>(), "{range}");
            assert_eq!(pieces.iter().map(IpRange::len).fold(0, u128::saturating_add), r(range).len(), "{range}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest_in_one_range() {
        let regions = Kernel::open().unwrap().regions("126.255.255.0-128.0.0.255".parse().unwrap()).unwrap();
        let local: Vec<IpRange> = regions.iter().filter(|(_, l)| *l == Lookup::Local).map(|(range, _)| *range).collect();
        let ends = (local.first().unwrap().first(), local.last().unwrap().last());
        // The kernel keeps 127.255.255.255 as a broadcast address apart.
        assert_eq!(ends.0, IpAddr::from([127, 0, 0, 0]));
        assert!(ends.1 >= IpAddr::from([127, 255, 255, 254]));
        assert_ne!(regions.first().unwrap().1, Lookup::Local);
        assert_ne!(regions.last().unwrap().1, Lookup::Local);
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
