//! The hosts at work: where their probes go and what has been heard from each. Asking them is `live`'s and `ports`'.
//!
//! A host costs 16 bytes, and 4 for its address, or 16 where the sweep has IPv6 targets. Nothing is kept to find a host by
//! its address: the order of the targets is arithmetic and can be undone.

use crate::api::Progress;
use crate::target::Targets;
use crate::way::WayId;
use model::Reason;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is known of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// Where its probes go.
    pub way: WayId,
    /// Its cells that need no more asking.
    pub settled: u32,
    /// Its open ports.
    pub open: u16,
    /// Its ports that it refused itself.
    pub refused: u16,
    /// Why it is believed to be up.
    pub up: Option<Reason>,
    /// Shortest time it took to answer, in ticks; as long as it can be when not known.
    rtt: u8,
    /// It is being found out whether it accepts everything.
    pub checking: bool,
    /// It accepts everything.
    pub pseudo: bool,
}

/// The unit of round-trip times. Fine enough to wait for what is on its way, and 256 of them, four seconds, are longer than
/// an answer may take.
pub(crate) const TICK: Duration = Duration::from_millis(16);

/// The shortest wait for a host that has answered before: its queue, ours and the schedulers between them.
const LEAST_WAIT: Duration = Duration::from_millis(200);

/// How many of its own round-trip times a host is waited for, at least [`LEAST_WAIT`]. The shortest counts: a SYN-ACK that a
/// host repeats after a second, because it or our RST got lost, says nothing about how far away the host is.
const ROUND_TRIPS: u32 = 4;

impl Host {
    fn new(way: WayId) -> Self {
        Host { way, settled: 0, open: 0, refused: 0, up: None, rtt: u8::MAX, checking: false, pseudo: false }
    }

    /// How long an answer of this host is waited for.
    pub fn patience(&self, timeout: Duration) -> Duration {
        match self.up {
            // A neighbour is near, whatever it took to find it.
            Some(Reason::ArpReply) if self.rtt == u8::MAX => LEAST_WAIT.min(timeout),
            Some(_) => (TICK * ROUND_TRIPS * (u32::from(self.rtt) + 1)).max(LEAST_WAIT).min(timeout),
            None => timeout,
        }
    }

    /// An answer took so long.
    pub fn took(&mut self, ticks: Option<u8>) {
        self.rtt = self.rtt.min(ticks.unwrap_or(u8::MAX));
    }
}

/// The hosts at work, a slice of a sweep at a time.
pub(crate) struct Hosts {
    addresses: Addresses,
    list: Vec<Host>,
    find: Find,
    progress: Arc<Progress>,
}

enum Addresses {
    V4(Vec<u32>),
    /// IPv4 mapped.
    Any(Vec<u128>),
}

/// How a host is found by its address.
enum Find {
    /// The hosts are a stretch of the order, or those of it that were kept.
    Stretch { targets: Arc<Targets>, first: u64, kept: Option<Kept> },
    /// The addresses are sorted.
    Sorted,
}

/// Which hosts of a stretch are left: a bit for each, and how many come before each word.
struct Kept {
    bits: Vec<u64>,
    before: Vec<u32>,
}

impl Kept {
    fn rank(&self, at: u64) -> Option<u32> {
        let (word, bit) = ((at / 64) as usize, at % 64);
        let bits = *self.bits.get(word)?;
        (bits >> bit & 1 == 1).then(|| self.before[word] + (bits & ((1 << bit) - 1)).count_ones())
    }
}

impl Hosts {
    /// A stretch of the order of the targets.
    pub fn stretch(
        targets: &Arc<Targets>,
        first: u64,
        count: u64,
        way: impl FnMut(IpAddr) -> WayId,
        progress: Arc<Progress>,
    ) -> Hosts {
        let only_v4 = targets.ranges().iter().all(|range| range.first().is_ipv4());
        let addresses = Addresses::collect(targets.addresses(first, count), only_v4);
        let find = Find::Stretch { targets: targets.clone(), first, kept: None };
        Self::new(addresses, find, way, progress)
    }

    /// These addresses, which are sorted and different.
    pub fn sorted(ips: &[IpAddr], way: impl FnMut(IpAddr) -> WayId, progress: Arc<Progress>) -> Hosts {
        let addresses = Addresses::collect(ips.iter().copied(), ips.iter().all(IpAddr::is_ipv4));
        Self::new(addresses, Find::Sorted, way, progress)
    }

    fn new(addresses: Addresses, find: Find, mut way: impl FnMut(IpAddr) -> WayId, progress: Arc<Progress>) -> Hosts {
        let list = (0..addresses.len()).map(|i| Host::new(way(addresses.get(i)))).collect();
        Hosts { addresses, list, find, progress }
    }

    /// The hosts of a stretch that `keep` picks. All of them are still found by their addresses.
    pub fn keep(mut self, keep: impl Fn(IpAddr, &Host) -> bool) -> Hosts {
        let mut bits = vec![0u64; self.list.len().div_ceil(64)];
        for (i, host) in self.list.iter().enumerate() {
            if keep(self.addresses.get(i), host) {
                bits[i / 64] |= 1 << (i % 64);
            }
        }
        let picked = |i: usize| bits[i / 64] >> (i % 64) & 1 == 1;
        let mut n = 0;
        self.list.retain(|_| {
            n += 1;
            picked(n - 1)
        });
        self.addresses.retain(picked);
        let mut sum = 0;
        let before = bits
            .iter()
            .map(|word| {
                sum += word.count_ones();
                sum - word.count_ones()
            })
            .collect();
        if let Find::Stretch { kept, .. } = &mut self.find {
            debug_assert!(kept.is_none(), "a stretch is picked from once");
            *kept = Some(Kept { bits, before });
        }
        self
    }

    pub fn len(&self) -> u64 {
        self.list.len() as u64
    }
    pub fn ip(&self, index: u32) -> IpAddr {
        self.addresses.get(index as usize)
    }
    pub fn get(&self, index: u32) -> &Host {
        &self.list[index as usize]
    }
    pub fn get_mut(&mut self, index: u32) -> &mut Host {
        &mut self.list[index as usize]
    }
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.list.iter()
    }

    /// Where a host stands, if it is at work.
    pub fn index(&self, ip: IpAddr) -> Option<u32> {
        match &self.find {
            Find::Stretch { targets, first, kept } => {
                let at = targets.place(ip)?.checked_sub(*first)?;
                match kept {
                    Some(kept) => kept.rank(at),
                    None => (at < self.len()).then_some(at as u32),
                }
            }
            Find::Sorted => self.addresses.search(ip),
        }
    }

    /// Notes that the host is up; true the first time.
    pub fn mark_up(&mut self, index: u32, reason: Reason) -> bool {
        let host = &mut self.list[index as usize];
        let first = host.up.is_none();
        if first {
            host.up = Some(reason);
            self.progress.hosts_up.fetch_add(1, Ordering::Relaxed);
        }
        first
    }
}

impl Addresses {
    fn collect(ips: impl Iterator<Item = IpAddr>, only_v4: bool) -> Self {
        if only_v4 { Addresses::V4(ips.map(v4).collect()) } else { Addresses::Any(ips.map(mapped).collect()) }
    }
    fn len(&self) -> usize {
        match self {
            Addresses::V4(list) => list.len(),
            Addresses::Any(list) => list.len(),
        }
    }
    fn get(&self, i: usize) -> IpAddr {
        match self {
            Addresses::V4(list) => Ipv4Addr::from(list[i]).into(),
            Addresses::Any(list) => Ipv6Addr::from(list[i]).to_canonical(),
        }
    }
    fn search(&self, ip: IpAddr) -> Option<u32> {
        let found = match self {
            Addresses::V4(_) if ip.is_ipv6() => return None,
            Addresses::V4(list) => list.binary_search(&v4(ip)),
            // IPv4 sorts before IPv6, as the mapped addresses do before almost all that are in use; `sorted` asks for the
            // order of the list, so look for what compares equal there.
            Addresses::Any(list) => list.binary_search_by(|&at| Ipv6Addr::from(at).to_canonical().cmp(&ip)),
        };
        found.ok().map(|i| i as u32)
    }
    fn retain(&mut self, picked: impl Fn(usize) -> bool) {
        let mut n = 0;
        let mut next = || {
            n += 1;
            picked(n - 1)
        };
        match self {
            Addresses::V4(list) => list.retain(|_| next()),
            Addresses::Any(list) => list.retain(|_| next()),
        }
    }
}

fn v4(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(_) => 0,
    }
}

fn mapped(ip: IpAddr) -> u128 {
    u128::from_be_bytes(model::address::to_bytes(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Shard;
    use model::Scope;
    use std::collections::BTreeSet;

    #[test]
    fn every_host_is_found_by_its_address_and_nobody_else() {
        for ranges in [&["192.0.2.0/24", "198.51.100.7"][..], &["192.0.2.0/26", "2001:db8::/120"]] {
            let ranges: Vec<model::IpRange> = ranges.iter().map(|r| r.parse().unwrap()).collect();
            let targets = Arc::new(Targets::new(&ranges, &Scope::new(&ranges, &[]), 9).unwrap());
            let mut all = BTreeSet::new();
            for (first, count) in targets.part(Shard::WHOLE).slices(100) {
                let hosts = Hosts::stretch(&targets, first, count, |_| WayId::KERNEL, Arc::default());
                let found = |hosts: &Hosts| (0..hosts.len() as u32).all(|i| hosts.index(hosts.ip(i)) == Some(i));
                assert!(found(&hosts));
                all.extend((0..hosts.len() as u32).map(|i| hosts.ip(i)));
                let even = |ip: IpAddr| model::address::to_bytes(ip)[15].is_multiple_of(2);
                let before: Vec<IpAddr> = (0..hosts.len() as u32).map(|i| hosts.ip(i)).collect();
                let hosts = hosts.keep(|ip, _| even(ip));
                assert!(found(&hosts) && hosts.len() == before.iter().filter(|ip| even(**ip)).count() as u64);
                assert!(before.iter().all(|&ip| hosts.index(ip).is_some() == even(ip)));
                assert_eq!(hosts.index("203.0.113.1".parse().unwrap()), None);
            }
            assert_eq!(all.len() as u64, targets.len());
            let list: Vec<IpAddr> = all.into_iter().collect();
            let hosts = Hosts::sorted(&list, |_| WayId::KERNEL, Arc::default());
            assert!(list.iter().enumerate().all(|(i, &ip)| hosts.index(ip) == Some(i as u32) && hosts.ip(i as u32) == ip));
            assert_eq!(hosts.index("203.0.113.1".parse().unwrap()), None);
            assert_eq!(hosts.index("2001:db9::".parse().unwrap()), None);
        }
        assert_eq!(size_of::<Host>(), 16);
    }

    #[test]
    fn who_has_answered_is_waited_for_by_its_own_time() {
        let timeout = Duration::from_millis(1_500);
        let mut host = Host::new(WayId::KERNEL);
        assert_eq!(host.patience(timeout), timeout);
        host.up = Some(Reason::ArpReply);
        assert_eq!(host.patience(timeout), LEAST_WAIT);
        host.up = Some(Reason::Rst);
        assert_eq!(host.patience(timeout), timeout, "it is up, but who knows how far away");
        host.took(Some(90));
        assert_eq!(host.patience(timeout), timeout);
        host.took(Some(9));
        assert_eq!(host.patience(timeout), Duration::from_millis(640));
        host.took(Some(62));
        assert_eq!(host.patience(timeout), Duration::from_millis(640), "a SYN-ACK that was repeated after a second");
        host.took(Some(1));
        assert_eq!(host.patience(timeout), LEAST_WAIT);
    }
}
