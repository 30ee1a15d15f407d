//! Addresses and ranges as people write them: `192.0.2.7`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`, and the same for IPv6.
//!
//! Resolving hostnames is left to the edges; here a word either is an address or is refused by name.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network in CIDR notation, host bits cleared.
pub type Cidr = IpNet;

/// Why a word is not a target. The message names the word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither an address, a CIDR nor a range.
    #[error("`{0}` is not an address, a CIDR (192.0.2.0/24) or a range (192.0.2.1-192.0.2.9)")]
    NotATarget(String),
    /// The prefix length is too long for the family.
    #[error("`{0}` has a prefix length that its address family does not have (at most /32 for IPv4, /128 for IPv6)")]
    BadPrefix(String),
    /// The range runs backwards or mixes families.
    #[error("`{0}` is not a range: its first address must come before its last and both be of one family")]
    BadRange(String),
    /// Multicast, broadcast or unspecified: never a target.
    #[error("`{word}` is refused: {why} addresses are never probed")]
    NotUnicast {
        /// The offending word.
        word: String,
        /// `multicast`, `broadcast`, `unspecified` or `reserved`.
        why: &'static str,
    },
}

/// A contiguous, inclusive run of addresses of one family.
///
/// Written as a CIDR where it is one, as one address where it holds one, else as `first-last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    /// A range from its ends, both included. `None` when they are of two families or run backwards.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(IpRange { first, last })
    }
    /// The range of one address.
    pub fn single(ip: IpAddr) -> Self {
        IpRange { first: ip, last: ip }
    }
    /// First address.
    pub fn first(&self) -> IpAddr {
        self.first
    }
    /// Last address.
    pub fn last(&self) -> IpAddr {
        self.last
    }
    /// Whether the address lies in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.first.is_ipv4() == ip.is_ipv4() && self.first <= ip && ip <= self.last
    }
    /// Whether the two ranges share an address.
    pub fn overlaps(&self, other: &IpRange) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4() && self.first <= other.last && other.first <= self.last
    }
    /// Number of addresses, saturating at `u128::MAX` (only `::/0` gets there).
    pub fn len(&self) -> u128 {
        (to_u128(self.last) - to_u128(self.first)).saturating_add(1)
    }
    /// Never: a range holds at least one address. Here because `len` is.
    pub fn is_empty(&self) -> bool {
        false
    }
    /// The `n`-th address, counting from zero.
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        (n < self.len()).then(|| from_u128(to_u128(self.first) + n, self.first.is_ipv4()))
    }
    /// All addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (v4, first, last) = (self.first.is_ipv4(), to_u128(self.first), to_u128(self.last));
        (first..=last).map(move |n| from_u128(n, v4))
    }
    /// The same range in pieces of at most `size` addresses, in order.
    pub fn split(&self, size: u128) -> Vec<IpRange> {
        let (v4, size, last) = (self.first.is_ipv4(), size.max(1), to_u128(self.last));
        let mut pieces = Vec::new();
        let mut at = to_u128(self.first);
        loop {
            let end = at.saturating_add(size - 1).min(last);
            pieces.push(IpRange { first: from_u128(at, v4), last: from_u128(end, v4) });
            if end == last {
                return pieces;
            }
            at = end + 1;
        }
    }
    /// The CIDR that is exactly this range, if there is one.
    pub fn as_cidr(&self) -> Option<IpNet> {
        let len = self.len();
        if !len.is_power_of_two() {
            return None;
        }
        let width: u32 = if self.first.is_ipv4() { 32 } else { 128 };
        let net = IpNet::new(self.first, (width - len.trailing_zeros()) as u8).ok()?;
        (net.network() == self.first).then_some(net)
    }
    /// Refuses ranges that hold an address no probe may go to: multicast, unspecified, IPv4 limited broadcast, and
    /// IPv4 class E, which RFC 1112 section 4 reserves.
    pub fn require_unicast(self, word: &str) -> Result<Self, TargetError> {
        let refuse = |why| Err(TargetError::NotUnicast { word: word.to_owned(), why });
        let touches = |s: &str| self.overlaps(&s.parse().expect("constant range"));
        match self.first {
            IpAddr::V4(_) if touches("0.0.0.0/8") => refuse("unspecified"),
            IpAddr::V4(_) if touches("224.0.0.0/4") => refuse("multicast"),
            IpAddr::V4(_) if touches("255.255.255.255") => refuse("broadcast"),
            IpAddr::V4(_) if touches("240.0.0.0/4") => refuse("reserved"),
            IpAddr::V6(_) if touches("::") => refuse("unspecified"),
            IpAddr::V6(_) if touches("ff00::/8") => refuse("multicast"),
            _ => Ok(self),
        }
    }
}

/// An address as a number; IPv4 in the low 32 bits.
pub fn to_u128(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The inverse of [`to_u128`] for the family named.
pub fn from_u128(n: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from(n as u32).into() } else { Ipv6Addr::from(n).into() }
}

/// An address in 16 bytes, IPv4 mapped into `::ffff:0:0/96`, so that both families sort and compare in one column.
pub fn to_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// The inverse of [`to_bytes`].
pub fn from_bytes(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// More public addresses than this are somebody else's unless a person says that probing them is authorised.
pub const PUBLIC_WITHOUT_AUTHORISATION: u128 = 256;

/// How many addresses of the ranges are globally reachable unicast, that is, somebody else's unless proven ours: everything
/// outside the private, shared, loopback, link-local, benchmarking and documentation blocks of the IANA special-purpose
/// registries (RFC 6890, RFC 6598, RFC 4193). Of IPv6, only 2000::/3 has been given out.
pub fn public_addresses(ranges: &[IpRange]) -> u128 {
    const NOT_PUBLIC: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/3",
        "2001:db8::/32",
        "4000::/2",
        "8000::/1",
    ];
    let not_public: Vec<IpRange> = NOT_PUBLIC.iter().map(|s| s.parse().expect("constant range")).collect();
    subtract(ranges, &not_public).iter().map(IpRange::len).fold(0, u128::saturating_add)
}

impl FromStr for IpRange {
    type Err = TargetError;

    fn from_str(word: &str) -> Result<Self, TargetError> {
        let not = || TargetError::NotATarget(word.to_owned());
        let address = |s: &str| s.trim().parse::<IpAddr>().map(|ip| ip.to_canonical());
        if let Some((addr, prefix)) = word.split_once('/') {
            let ip = address(addr).map_err(|_| not())?;
            let prefix: u8 = prefix.parse().map_err(|_| not())?;
            let net = IpNet::new(ip, prefix).map_err(|_| TargetError::BadPrefix(word.to_owned()))?;
            return Ok(net.into());
        }
        if let Ok(ip) = address(word) {
            return Ok(IpRange::single(ip));
        }
        let (first, last) = word.split_once('-').ok_or_else(not)?;
        let first = address(first).map_err(|_| not())?;
        let last = match (first, last.trim().parse::<u8>()) {
            // nmap's short form for the last octet: 192.0.2.1-9
            (IpAddr::V4(a), Ok(octet)) => {
                let [x, y, z, _] = a.octets();
                IpAddr::V4(Ipv4Addr::new(x, y, z, octet))
            }
            _ => address(last).map_err(|_| not())?,
        };
        IpRange::new(first, last).ok_or_else(|| TargetError::BadRange(word.to_owned()))
    }
}

impl From<IpNet> for IpRange {
    fn from(net: IpNet) -> Self {
        let first = net.network();
        let host_bits = u32::from(net.max_prefix_len() - net.prefix_len());
        let mask = if host_bits == 128 { u128::MAX } else { (1u128 << host_bits) - 1 };
        IpRange { first, last: from_u128(to_u128(first) | mask, first.is_ipv4()) }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        match self.as_cidr() {
            Some(net) => net.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Serialize for IpRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The union of some ranges as the fewest disjoint ranges, in order, IPv4 before IPv6.
pub fn merge(ranges: &[IpRange]) -> Vec<IpRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    let mut merged: Vec<IpRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(prev)
                if prev.first.is_ipv4() == range.first.is_ipv4()
                    && to_u128(range.first) <= to_u128(prev.last).saturating_add(1) =>
            {
                prev.last = prev.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// What remains of `from` when everything in `minus` is taken out, as disjoint ranges in order.
pub fn subtract(from: &[IpRange], minus: &[IpRange]) -> Vec<IpRange> {
    let minus = merge(minus);
    let mut rest = Vec::new();
    for range in merge(from) {
        let v4 = range.first.is_ipv4();
        let (mut at, last) = (to_u128(range.first), to_u128(range.last));
        let mut exhausted = false;
        for cut in minus.iter().filter(|cut| cut.overlaps(&range)) {
            let (cut_first, cut_last) = (to_u128(cut.first), to_u128(cut.last));
            if cut_first > at {
                rest.push(IpRange { first: from_u128(at, v4), last: from_u128(cut_first - 1, v4) });
            }
            if cut_last >= last {
                exhausted = true;
                break;
            }
            at = cut_last + 1;
        }
        if !exhausted {
            rest.push(IpRange { first: from_u128(at, v4), last: from_u128(last, v4) });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(s: &str) -> IpRange {
        s.parse().unwrap()
    }

    #[test]
    fn words_parse_to_ranges_and_print_back_shortest() {
        for (word, printed, len) in [
            ("192.0.2.7", "192.0.2.7", 1),
            ("192.0.2.7/24", "192.0.2.0/24", 256),
            ("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9", 9),
            ("192.0.2.1-9", "192.0.2.1-192.0.2.9", 9),
            ("192.0.2.0-192.0.2.255", "192.0.2.0/24", 256),
            ("2001:db8::/126", "2001:db8::/126", 4),
            ("2001:db8::1", "2001:db8::1", 1),
            ("::ffff:192.0.2.1", "192.0.2.1", 1),
            ("10.0.0.0/32", "10.0.0.0", 1),
        ] {
            let range = r(word);
            assert_eq!((range.to_string().as_str(), range.len()), (printed, len), "{word}");
        }
        assert_eq!(r("::/0").len(), u128::MAX);
        assert_eq!(r("0.0.0.0/0").len(), 1 << 32);
    }

    #[test]
    fn bad_words_are_named() {
        for word in ["", "300.1.1.1", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "fe80::/129", "a-b", "10.0.0.0/x"] {
            let err = word.parse::<IpRange>().unwrap_err().to_string();
            assert!(err.contains(&format!("`{word}`")), "{err}");
        }
    }

    #[test]
    fn only_unicast_is_a_target() {
        for (word, why) in [
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("0.0.0.0", "unspecified"),
            ("0.0.0.0/0", "unspecified"),
            ("223.255.255.0-224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("::", "unspecified"),
            ("241.0.0.1", "reserved"),
        ] {
            let err = r(word).require_unicast(word).unwrap_err();
            assert!(err.to_string().contains(why), "{word}: {err}");
        }
        for word in ["127.0.0.1", "::1", "10.0.0.0/8", "223.255.255.255", "fe80::/64", "2001:db8::/32"] {
            assert!(r(word).require_unicast(word).is_ok(), "{word}");
        }
    }

    #[test]
    fn merging_joins_neighbours_and_keeps_families_apart() {
        let merged = merge(&[r("10.0.0.0/25"), r("::1"), r("10.0.0.128/25"), r("10.0.2.0/24"), r("10.0.0.5")]);
        assert_eq!(merged, [r("10.0.0.0/24"), r("10.0.2.0/24"), r("::1")]);
    }

    #[test]
    fn subtracting_leaves_exactly_the_rest() {
        for (from, minus, rest) in [
            ("10.0.0.0/24", vec!["10.0.0.128/25"], vec!["10.0.0.0/25"]),
            ("10.0.0.0/30", vec!["10.0.0.1"], vec!["10.0.0.0", "10.0.0.2-10.0.0.3"]),
            ("10.0.0.0/24", vec!["10.0.0.0/8"], vec![]),
            ("10.0.0.0/24", vec!["192.0.2.1", "::/0"], vec!["10.0.0.0/24"]),
            ("::/0", vec!["::/0"], vec![]),
        ] {
            let minus: Vec<_> = minus.into_iter().map(r).collect();
            let rest: Vec<_> = rest.into_iter().map(r).collect();
            assert_eq!(subtract(&[r(from)], &minus), rest, "{from} minus {minus:?}");
        }
    }

    #[test]
    fn splitting_covers_every_address_once() {
        let pieces = r("10.0.0.1-10.0.0.10").split(4);
        assert_eq!(pieces.iter().map(IpRange::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(pieces.iter().flat_map(IpRange::iter).collect::<Vec<_>>(), r("10.0.0.1-10.0.0.10").iter().collect::<Vec<_>>());
        assert_eq!(r("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").split(1).len(), 2);
    }

    #[test]
    fn bytes_round_trip_both_families() {
        for ip in ["192.0.2.1", "2001:db8::1", "::1", "0.0.0.1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(from_bytes(to_bytes(ip)), ip);
        }
    }

    #[test]
    fn public_means_outside_the_special_purpose_registries() {
        for (words, public) in [
            ("8.8.8.8", 1),
            ("10.1.2.3", 0),
            ("100.64.0.1", 0),
            ("100.127.255.0-100.128.0.255", 256),
            ("192.168.0.0-192.169.0.9", 10),
            ("192.0.2.1", 0),
            ("127.0.0.1", 0),
            ("198.18.0.1", 0),
            ("10.0.0.0/7", 1 << 24),
            ("2606:4700::/120", 256),
            ("2001:db8::1", 0),
            ("fd00::1", 0),
            ("::1", 0),
            ("2000::/3", (1 << 125) - (1 << 96)),
            ("8.8.8.0/25 8.8.8.0/24 10.0.0.0/8", 256),
        ] {
            let ranges: Vec<_> = words.split(' ').map(r).collect();
            assert_eq!(public_addresses(&ranges), public, "{words}");
        }
    }
}
