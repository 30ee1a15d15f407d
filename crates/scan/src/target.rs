//! The addresses of a sweep as an index space: where an address stands in it, which of them belong to a shard, and slices of
//! them, as many hosts at a time as bounded memory allows. What is done with a slice is the engine's.

use crate::api::Shard;
use crate::order::Spread;
use model::Scope;
use model::address::{IpRange, from_u128, subtract, to_u128};
use std::net::IpAddr;

/// Disjoint ranges, all within the scope, and the order in which their addresses are visited.
///
/// 24 bytes and the range itself for each range; nothing for an address.
#[derive(Debug)]
pub(crate) struct Targets {
    ranges: Vec<IpRange>,
    /// For each range, the number of addresses before it.
    before: Vec<u64>,
    /// First address of each range, IPv4 before IPv6.
    firsts: Vec<(bool, u128)>,
    len: u64,
    spread: Spread,
    /// Addresses asked for that the scope does not hold.
    pub out_of_scope: u128,
}

/// More addresses than this cannot be indexed together with 65,535 ports in 63 bits; nobody waits for that many anyway.
pub(crate) const MAX_HOSTS: u64 = 1 << 47;

/// Places of the order, and which of a host's questions belong to a shard of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// First place.
    pub first: u64,
    /// Places.
    pub hosts: u64,
    /// Questions of a host: this one and every [`Part::stride`]-th after it.
    pub first_round: u32,
    /// See [`Part::first_round`].
    pub stride: u32,
}

impl Targets {
    /// The part of the wanted ranges that the scope holds; `Err` with the count when there are more than [`MAX_HOSTS`].
    pub fn new(wanted: &[IpRange], scope: &Scope, seed: u64) -> Result<Self, u128> {
        let ranges = scope.restrict(wanted);
        let count = |ranges: &[IpRange]| ranges.iter().fold(0u128, |n, r| n.saturating_add(r.len()));
        let len = count(&ranges);
        if len > u128::from(MAX_HOSTS) {
            return Err(len);
        }
        let out_of_scope = count(&subtract(wanted, scope.ranges()));
        let mut before = Vec::with_capacity(ranges.len());
        let mut sum = 0u64;
        for range in &ranges {
            before.push(sum);
            sum += range.len() as u64;
        }
        let firsts = ranges.iter().map(|range| key(range.first())).collect();
        Ok(Targets { firsts, ranges, before, len: sum, spread: Spread::new(sum, seed), out_of_scope })
    }

    /// Number of addresses.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The ranges.
    pub fn ranges(&self) -> &[IpRange] {
        &self.ranges
    }

    /// The place of an address in the order, if it is a target.
    pub fn place(&self, ip: IpAddr) -> Option<u64> {
        let key = key(ip);
        let range = self.firsts.partition_point(|first| *first <= key).checked_sub(1)?;
        let (is_v6, first) = self.firsts[range];
        let within = key.1.checked_sub(first).filter(|within| is_v6 == key.0 && *within < self.ranges[range].len())?;
        Some(self.spread.place(self.before[range] + within as u64))
    }

    /// The addresses at these places, in order.
    pub fn addresses(&self, first: u64, count: u64) -> impl Iterator<Item = IpAddr> + '_ {
        let mut position = self.spread.position(first);
        let mut at = 0;
        (0..count).map(move |_| {
            let here = position;
            position = self.spread.next(position);
            // Most sweeps have few ranges, and most addresses lie in the same as the one before them.
            if here < self.before[at] || self.before.get(at + 1).is_some_and(|&next| here >= next) {
                at = self.before.partition_point(|&before| before <= here) - 1;
            }
            from_u128(self.firsts[at].1 + u128::from(here - self.before[at]), !self.firsts[at].0)
        })
    }

    /// What belongs to a shard, of so many questions to each host.
    ///
    /// A shard is a stretch of places from ⌊k·n/K⌋ to ⌊(k + 1)·n/K⌋, so shards meet without gap or overlap, each host belongs
    /// to one shard, which then keeps its pace and knows its liveness, and each stretch is as evenly spread as the whole. With
    /// more shards than hosts, hosts are shared: shard k asks all of them the questions of the rounds k, k + K, k + 2K, ….
    pub fn part(&self, shard: Shard) -> Part {
        let (k, of) = (u64::from(shard.index), u64::from(shard.of));
        if self.len < of {
            return Part { first: 0, hosts: self.len, first_round: shard.index, stride: shard.of };
        }
        let border = |k: u64| (u128::from(k) * u128::from(self.len) / u128::from(of)) as u64;
        Part { first: border(k), hosts: border(k + 1) - border(k), first_round: 0, stride: 1 }
    }
}

impl Part {
    /// Questions of each host that belong to it, of so many.
    pub fn rounds(&self, questions: u32) -> u32 {
        questions.saturating_sub(self.first_round).div_ceil(self.stride)
    }

    /// Slices of at most `size` places: first place and number.
    pub fn slices(self, size: u64) -> impl Iterator<Item = (u64, u64)> {
        let size = size.max(1);
        (0..self.hosts.div_ceil(size)).map(move |n| (self.first + n * size, size.min(self.hosts - n * size)))
    }
}

/// Addresses in order, IPv4 first.
fn key(ip: IpAddr) -> (bool, u128) {
    (ip.is_ipv6(), to_u128(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn r(s: &str) -> IpRange {
        s.parse().unwrap()
    }

    fn mixed() -> (Targets, Vec<IpAddr>) {
        let scope = Scope::new(&[r("192.0.2.0/24"), r("2001:db8::/126")], &[r("192.0.2.128/25"), r("192.0.2.7")]);
        let wanted = [r("192.0.2.0/24"), r("192.0.2.0/28"), r("2001:db8::/120"), r("198.51.100.1")];
        let all = scope.ranges().iter().flat_map(|r| r.iter()).collect();
        (Targets::new(&wanted, &scope, 3).unwrap(), all)
    }

    #[test]
    fn slices_cover_every_address_in_scope_once_and_know_their_places() {
        let (targets, expected) = mixed();
        let mut all = Vec::new();
        for (first, count) in targets.part(Shard::WHOLE).slices(10) {
            assert!(count <= 10);
            for (n, ip) in targets.addresses(first, count).enumerate() {
                assert_eq!(targets.place(ip), Some(first + n as u64), "{ip}");
                all.push(ip);
            }
        }
        all.sort();
        assert_eq!(all, expected);
        assert_eq!(targets.out_of_scope, 129 + 252 + 1);
        for outside in ["192.0.2.7", "192.0.2.128", "192.0.1.255", "2001:db8::4", "::", "0.0.0.0", "::c000:201"] {
            assert_eq!(targets.place(outside.parse().unwrap()), None, "{outside}");
        }
    }

    #[test]
    fn a_whole_ipv6_network_is_too_many() {
        let net = r("2001:db8::/64");
        assert_eq!(Targets::new(&[net], &Scope::new(&[net], &[]), 1).unwrap_err(), 1 << 64);
    }

    proptest! {
        #[test]
        fn shards_cover_everything_without_overlap(hosts in 1u8..40, questions in 1u32..30, of in 1u32..70, seed: u64) {
            let range = IpRange::new([192, 0, 2, 1].into(), [192, 0, 2, hosts].into()).unwrap();
            let targets = Targets::new(&[range], &Scope::new(&[range], &[]), seed).unwrap();
            let mut seen = BTreeSet::new();
            for index in 0..of {
                let part = targets.part(Shard { index, of });
                for ip in targets.addresses(part.first, part.hosts) {
                    for n in 0..part.rounds(questions) {
                        let round = part.first_round + n * part.stride;
                        prop_assert!(round < questions);
                        prop_assert!(seen.insert((ip, round)), "{ip} {round} twice");
                    }
                }
            }
            prop_assert_eq!(seen.len() as u32, u32::from(hosts) * questions);
        }

        #[test]
        fn shards_of_large_spaces_meet(len in 1u64..=1 << 47, of in 1u32..5_000, k in 0u32..5_000) {
            let range = IpRange::new(from_u128(1 << 100, false), from_u128((1 << 100) + u128::from(len) - 1, false)).unwrap();
            let targets = Targets::new(&[range], &Scope::new(&[range], &[]), 1).unwrap();
            let k = k % of;
            let part = targets.part(Shard { index: k, of });
            if len >= of.into() {
                let end = part.first + part.hosts;
                prop_assert_eq!(part.first == 0, k == 0);
                if k + 1 < of {
                    prop_assert_eq!(targets.part(Shard { index: k + 1, of }).first, end);
                } else {
                    prop_assert_eq!(end, len);
                }
            }
        }
    }
}
