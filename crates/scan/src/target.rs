//! The index space of a sweep's addresses, and its slices: as many hosts at a time as bounded memory allows, drawn from the
//! whole space in a seeded order, so that a slice is spread over all networks. What is done with a slice is the engine's.

use crate::order::Permutation;
use model::Scope;
use model::address::{IpRange, subtract};
use std::net::IpAddr;

/// Disjoint ranges, all within the scope, and their index space.
#[derive(Debug)]
pub(crate) struct Targets {
    ranges: Vec<IpRange>,
    /// For each range, the number of addresses before it.
    before: Vec<u64>,
    len: u64,
    /// Addresses asked for that the scope does not hold.
    pub out_of_scope: u128,
}

/// More addresses than this cannot be indexed together with 65,535 ports in 63 bits; nobody waits for that many anyway.
pub(crate) const MAX_HOSTS: u64 = 1 << 47;

impl Targets {
    /// The part of the wanted ranges that the scope holds; `Err` with the count when there are more than [`MAX_HOSTS`].
    pub fn new(wanted: &[IpRange], scope: &Scope) -> Result<Self, u128> {
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
        Ok(Targets { ranges, before, len: sum, out_of_scope })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// The `n`-th address; `n` is below `len`.
    pub fn nth(&self, n: u64) -> IpAddr {
        let at = self.before.partition_point(|&before| before <= n) - 1;
        self.ranges[at].nth(u128::from(n - self.before[at])).expect("an index below the length")
    }

    /// All addresses in slices of at most `size`, in the order of the seed.
    pub fn slices(&self, size: u64, seed: u64) -> impl Iterator<Item = Vec<IpAddr>> + '_ {
        let order = Permutation::new(self.len, seed);
        let size = size.max(1);
        (0..self.len.div_ceil(size)).map(move |slice| {
            let end = (slice * size).saturating_add(size).min(self.len);
            (slice * size..end).map(|i| self.nth(order.at(i))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(s: &str) -> IpRange {
        s.parse().unwrap()
    }

    #[test]
    fn slices_cover_every_address_in_scope_once() {
        let scope = Scope::new(&[r("192.0.2.0/24"), r("2001:db8::/126")], &[r("192.0.2.128/25"), r("192.0.2.7")]);
        let targets =
            Targets::new(&[r("192.0.2.0/24"), r("192.0.2.0/28"), r("2001:db8::/120"), r("198.51.100.1")], &scope).unwrap();
        let mut all: Vec<IpAddr> = targets.slices(10, 3).flatten().collect();
        assert!(targets.slices(10, 3).all(|slice| slice.len() <= 10));
        all.sort();
        let expected: Vec<IpAddr> = scope.ranges().iter().flat_map(|r| r.iter()).collect();
        assert_eq!(all, expected);
        assert_eq!(targets.out_of_scope, 129 + 252 + 1);
    }

    #[test]
    fn a_whole_ipv6_network_is_too_many() {
        let net = r("2001:db8::/64");
        assert_eq!(Targets::new(&[net], &Scope::new(&[net], &[])).unwrap_err(), 1 << 64);
    }
}
