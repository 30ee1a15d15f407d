//! Where the probes of a host go: by `connect`, or as frames by a path, to a hardware address where the link has such. Ways
//! are found for whole ranges at once and are few, so a host remembers a number. Asking the kernel is the link's.

use crate::link::Interface;
use model::address::{IpRange, to_u128};
use packet::Mac;
use std::net::IpAddr;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `connect` asks this host.
    Kernel,
    /// There is no way, or nobody where the way ends.
    Nowhere,
    /// A neighbour whose hardware address is not known yet.
    Neighbor(PathId),
    /// Frames by this path, to this hardware address if it wants one.
    Frames(PathId, Mac),
}

/// A path of [`crate::syn::SynAsker`]: an interface and our address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathId(pub u32);

/// A way by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WayId(u32);

impl WayId {
    /// [`Way::Kernel`].
    pub const KERNEL: WayId = WayId(0);
    /// [`Way::Nowhere`].
    pub const NOWHERE: WayId = WayId(1);
    /// [`Way::Neighbor`] by the n-th path is `FIRST_NEIGHBOR + n`, so that it can be told without the table.
    const UNKNOWN: u32 = 1 << 31;

    /// A neighbour on a path.
    pub fn neighbor(path: PathId) -> WayId {
        WayId(Self::UNKNOWN | path.0)
    }
    /// Whether the hardware address at its end is still to be found out.
    pub fn is_neighbor(self) -> bool {
        self.0 & Self::UNKNOWN != 0
    }
    /// Whether probes can be sent.
    pub fn is_open(self) -> bool {
        self != Self::NOWHERE && !self.is_neighbor()
    }
}

/// The ways of a sweep, and which part of the address space goes which way.
pub(crate) struct Ways {
    list: Vec<Way>,
    /// First and last address, IPv4 before IPv6, in order.
    regions: Vec<(Address, Address, WayId)>,
    /// Ways that stay when the hosts at work change.
    lasting: usize,
}

impl Ways {
    /// Everything by `connect`.
    pub fn new() -> Self {
        Ways { list: vec![Way::Kernel, Way::Nowhere], regions: Vec::new(), lasting: 2 }
    }

    /// The way of a number.
    pub fn get(&self, id: WayId) -> Way {
        if id.is_neighbor() {
            return Way::Neighbor(PathId(id.0 & !WayId::UNKNOWN));
        }
        self.list[id.0 as usize]
    }

    /// The number of a way.
    pub fn add(&mut self, way: Way) -> WayId {
        match way {
            Way::Kernel => WayId::KERNEL,
            Way::Nowhere => WayId::NOWHERE,
            Way::Neighbor(path) => WayId::neighbor(path),
            Way::Frames(..) => {
                self.list.push(way);
                WayId(self.list.len() as u32 - 1)
            }
        }
    }

    /// These are the ways of these ranges, from now on; those of neighbours found before are forgotten.
    pub fn set_regions(&mut self, regions: impl IntoIterator<Item = (IpRange, Way)>) {
        self.list.truncate(2);
        self.regions.clear();
        let mut known: Vec<(Way, WayId)> = Vec::new();
        for (range, way) in regions {
            let id = match known.iter().find(|(seen, _)| *seen == way) {
                Some((_, id)) => *id,
                None => {
                    let id = self.add(way);
                    known.push((way, id));
                    id
                }
            };
            self.regions.push((key(range.first()), key(range.last()), id));
        }
        self.regions.sort_unstable_by_key(|(first, ..)| *first);
        self.lasting = self.list.len();
    }

    /// Forgets the ways of neighbours.
    pub fn forget_neighbors(&mut self) {
        self.list.truncate(self.lasting);
    }

    /// The way of an address; by `connect` where no region says otherwise. `hint` is where to look first.
    pub fn find(&self, ip: IpAddr, hint: &mut usize) -> WayId {
        let key = key(ip);
        let holds =
            |at: usize| self.regions.get(at).filter(|(first, last, _)| *first <= key && key <= *last).map(|region| region.2);
        holds(*hint).unwrap_or_else(|| {
            *hint = self.regions.partition_point(|(first, ..)| *first <= key).saturating_sub(1);
            holds(*hint).unwrap_or(WayId::KERNEL)
        })
    }
}

/// Addresses in order, IPv4 first.
type Address = (bool, u128);

fn key(ip: IpAddr) -> Address {
    (ip.is_ipv6(), to_u128(ip))
}

/// Whether two interfaces make the same path.
pub(crate) fn same_path(a: &Interface, b: &Interface) -> bool {
    (a.index, a.src) == (b.index, b.src)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_the_way_of_their_region() {
        let mut ways = Ways::new();
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        let router = Way::Frames(PathId(0), Mac([2; 6]));
        ways.set_regions([
            (r("198.51.100.0/24"), Way::Neighbor(PathId(1))),
            (r("192.0.2.0-192.0.2.127"), router),
            (r("192.0.2.128-192.0.2.255"), Way::Nowhere),
            (r("203.0.113.0/24"), router),
        ]);
        let mut hint = 0;
        for (ip, way) in [
            ("192.0.2.1", router),
            ("192.0.2.200", Way::Nowhere),
            ("198.51.100.9", Way::Neighbor(PathId(1))),
            ("203.0.113.255", router),
            ("203.0.114.0", Way::Kernel),
            ("::1", Way::Kernel),
            ("192.0.2.0", router),
        ] {
            let id = ways.find(ip.parse().unwrap(), &mut hint);
            assert_eq!(ways.get(id), way, "{ip}");
            assert_eq!(id.is_open(), matches!(way, Way::Kernel | Way::Frames(..)), "{ip}");
        }
        let neighbor = ways.add(Way::Frames(PathId(1), Mac([4; 6])));
        assert_eq!(ways.get(neighbor), Way::Frames(PathId(1), Mac([4; 6])));
        ways.forget_neighbors();
        assert_eq!(ways.list.len(), 3, "both regions behind the router share a way");
    }
}
