//! Ports, protocols and sets of ports as people write them: `22,80,8000-8100`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Transport protocol of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Proto {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Proto {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "tcp" => Ok(Proto::Tcp),
            "udp" => Ok(Proto::Udp),
            _ => Err(format!("`{s}` is not a protocol: tcp or udp")),
        }
    }
}

/// One door: address, protocol, port. Written `192.0.2.7:6379/tcp`, `[2001:db8::1]:22/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port number.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
}

impl Endpoint {
    /// A TCP endpoint.
    pub fn tcp(ip: IpAddr, port: u16) -> Self {
        Endpoint { ip, port, proto: Proto::Tcp }
    }
    /// The address to connect to.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket_addr(), self.proto)
    }
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("`{s}` is not an endpoint such as 192.0.2.7:6379/tcp");
        let (addr, proto) = s.rsplit_once('/').ok_or_else(bad)?;
        let addr: SocketAddr = addr.parse().map_err(|_| bad())?;
        Ok(Endpoint { ip: addr.ip(), port: addr.port(), proto: proto.parse().map_err(|_| bad())? })
    }
}

/// A set of port numbers 1-65535, kept as disjoint ascending ranges. Written `22,80,8000-8100`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// All ports from 1 to 65,535.
    pub fn all() -> Self {
        PortSet { ranges: vec![(1, u16::MAX)] }
    }
    /// Number of ports.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|&(a, b)| usize::from(b - a) + 1).sum()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= port);
        after > 0 && self.ranges[after - 1].1 >= port
    }
    /// The ports in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|&(a, b)| a..=b)
    }
    /// The disjoint inclusive ranges in ascending order.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }
    /// Both sets together.
    pub fn union(&self, other: &PortSet) -> PortSet {
        Self::from_ranges(self.ranges.iter().chain(&other.ranges).copied())
    }

    fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(prev) if first <= prev.1.saturating_add(1) => prev.1 = prev.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        PortSet { ranges: merged }
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Self::from_ranges(ports.into_iter().filter(|&p| p != 0).map(|p| (p, p)))
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut ranges = Vec::new();
        for word in s.split(',').map(str::trim) {
            let number = |n: &str| match n.parse::<u16>() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("`{word}` is not a port or a range of ports between 1 and 65535, such as 22 or 8000-8100")),
            };
            let (first, last) = match word.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(word)?, number(word)?),
            };
            if first > last {
                return Err(format!("`{word}` runs backwards: write the lower port first"));
            }
            ranges.push((first, last));
        }
        Ok(Self::from_ranges(ranges))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// Ports of both protocols. Written like a [`PortSet`], with `U:` before each UDP port or range: `22,80,U:53,U:161-162`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ports {
    /// TCP.
    pub tcp: PortSet,
    /// UDP.
    pub udp: PortSet,
}

impl Ports {
    /// Number of ports of both.
    pub fn len(&self) -> usize {
        self.tcp.len() + self.udp.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }
    /// The ports of one protocol.
    pub fn of(&self, proto: Proto) -> &PortSet {
        match proto {
            Proto::Tcp => &self.tcp,
            Proto::Udp => &self.udp,
        }
    }
    /// Whether the port is among them.
    pub fn contains(&self, proto: Proto, port: u16) -> bool {
        self.of(proto).contains(port)
    }
    /// Both together.
    pub fn union(&self, other: &Ports) -> Ports {
        Ports { tcp: self.tcp.union(&other.tcp), udp: self.udp.union(&other.udp) }
    }
}

impl From<PortSet> for Ports {
    fn from(tcp: PortSet) -> Self {
        Ports { tcp, udp: PortSet::default() }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        // nmap takes a prefix for everything behind it, others for one word: only what reads the same either way is taken.
        let mut prefixed = false;
        for word in s.split(',').map(str::trim) {
            let (list, rest) = match word.get(..2).map(str::to_ascii_uppercase).as_deref() {
                Some("U:") => (&mut udp, &word[2..]),
                Some("T:") => (&mut tcp, &word[2..]),
                _ if prefixed => {
                    return Err(format!("`{word}` stands behind a protocol's prefix: write U:{word} or T:{word}"));
                }
                _ => (&mut tcp, word),
            };
            prefixed |= rest.len() < word.len();
            list.extend(rest.parse::<PortSet>()?.ranges);
        }
        Ok(Ports { tcp: PortSet::from_ranges(tcp), udp: PortSet::from_ranges(udp) })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tcp.fmt(f)?;
        for (i, &(first, last)) in self.udp.ranges.iter().enumerate() {
            let comma = if i == 0 && self.tcp.is_empty() { "" } else { "," };
            if first == last {
                write!(f, "{comma}U:{first}")?;
            } else {
                write!(f, "{comma}U:{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        if s.is_empty() { Ok(Ports::default()) } else { s.parse().map_err(serde::de::Error::custom) }
    }
}

impl Serialize for PortSet {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortSet {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        if s.is_empty() { Ok(PortSet::default()) } else { s.parse().map_err(serde::de::Error::custom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists_merge_and_print_back() {
        for (written, printed, len) in [
            ("22", "22", 1),
            ("80,22,8000-8100", "22,80,8000-8100", 103),
            ("1-10,5-20,21", "1-21", 21),
            ("1-65535", "1-65535", 65_535),
            (" 22 , 80 ", "22,80", 2),
        ] {
            let set: PortSet = written.parse().unwrap();
            assert_eq!((set.to_string().as_str(), set.len()), (printed, len), "{written}");
            assert_eq!(set.iter().count(), len);
            assert!(set.iter().all(|p| set.contains(p)));
        }
        let set: PortSet = "22,80".parse().unwrap();
        assert!(!set.contains(21) && !set.contains(23) && !set.contains(79) && !set.contains(65_535));
    }

    #[test]
    fn bad_ports_are_named() {
        for (list, word) in [("22,0", "0"), ("65536", "65536"), ("9-3", "9-3"), ("", ""), ("22,http", "http"), ("1-2-3", "1-2-3")]
        {
            let err = list.parse::<PortSet>().unwrap_err();
            assert!(err.contains(&format!("`{word}`")), "{list}: {err}");
        }
    }

    #[test]
    fn lists_of_both_protocols_print_back() {
        for (written, printed, tcp, udp) in [
            ("22,80", "22,80", 2, 0),
            ("22,U:53,U:161-162", "22,U:53,U:161-162", 1, 3),
            ("u:161, T:80 ,t:22,U:160", "22,80,U:160-161", 2, 2),
            ("U:53", "U:53", 0, 1),
        ] {
            let ports: Ports = written.parse().unwrap();
            assert_eq!((ports.to_string().as_str(), ports.tcp.len(), ports.udp.len()), (printed, tcp, udp), "{written}");
            assert_eq!(ports.to_string().parse::<Ports>().unwrap(), ports);
            assert_eq!(serde_json::from_value::<Ports>(serde_json::to_value(&ports).unwrap()).unwrap(), ports);
        }
        assert_eq!(serde_json::from_str::<Ports>("\"\"").unwrap(), Ports::default());
        // The one list that nmap and a plain reader would read differently is refused.
        for (list, word) in
            [("U:53,80", "`80`"), ("22,U:0", "`0`"), ("U:", "``"), ("X:53", "`X:53`"), ("U:U:53", "`U:53`"), ("é,22", "`é`")]
        {
            let err = list.parse::<Ports>().unwrap_err();
            assert!(err.contains(word), "{list}: {err}");
        }
    }

    #[test]
    fn endpoints_round_trip() {
        for s in ["192.0.2.7:6379/tcp", "[2001:db8::1]:22/tcp", "127.0.0.1:53/udp"] {
            assert_eq!(s.parse::<Endpoint>().unwrap().to_string(), s);
        }
    }
}
