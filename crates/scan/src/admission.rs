//! The scope, asked once more for every probe at the last step before it is written (PR-1), fast enough for a million a second.
//!
//! The ranges of a sweep are proven to lie in the scope once, by the scope itself, and carried as `InScope` ranges; a probe's
//! address is then only looked for in them. Whatever is in none of them is asked of the scope. Either way what comes out is
//! an `InScope` address, which nothing else makes and nothing else can be sent to.

use model::address::{IpRange, to_u128};
use model::{InScope, Scope};
use std::net::IpAddr;

/// Admits addresses.
pub(crate) struct Admission {
    scope: Scope,
    /// Proven to lie in the scope; in order.
    ranges: Vec<InScope<IpRange>>,
    firsts: Vec<(bool, u128)>,
    /// The range that held the last address.
    last: usize,
}

impl Admission {
    pub fn new(scope: Scope) -> Self {
        Admission { scope, ranges: Vec::new(), firsts: Vec::new(), last: 0 }
    }

    /// Addresses of these ranges will be asked for often.
    pub fn expect(&mut self, ranges: &[IpRange]) {
        self.ranges = ranges.iter().filter_map(|range| self.scope.admit_range(*range)).collect();
        self.ranges.sort_unstable_by_key(|range| key(range.get().first()));
        self.firsts = self.ranges.iter().map(|range| key(range.get().first())).collect();
    }

    /// The address with its proof, if it may be probed.
    pub fn admit(&mut self, ip: IpAddr) -> Option<InScope<IpAddr>> {
        if let Some(admitted) = self.ranges.get(self.last).and_then(|range| range.address(ip)) {
            return Some(admitted);
        }
        let key = key(ip);
        self.last = self.firsts.partition_point(|first| *first <= key).saturating_sub(1);
        let known = self.ranges.get(self.last).and_then(|range| range.address(ip));
        known.or_else(|| self.scope.admit_ip(ip))
    }
}

fn key(ip: IpAddr) -> (bool, u128) {
    (ip.is_ipv6(), to_u128(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever ranges it is told to expect, it admits what the scope admits and nothing else.
        #[test]
        fn it_admits_what_the_scope_admits(
            allowed in prop::collection::vec((any::<u8>(), 0u8..40), 0..5),
            expected in prop::collection::vec((any::<u8>(), 0u8..40), 0..5),
            asked in prop::collection::vec((any::<u8>(), any::<bool>()), 1..60),
        ) {
            let range = |&(first, len): &(u8, u8)| {
                IpRange::new([192, 0, 2, first].into(), [192, 0, 2, first.saturating_add(len)].into()).unwrap()
            };
            let allowed: Vec<_> = allowed.iter().map(range).collect();
            let scope = Scope::new(&allowed, &["192.0.2.9".parse().unwrap()]);
            let mut admission = Admission::new(scope.clone());
            admission.expect(&expected.iter().map(range).collect::<Vec<_>>());
            for (n, v6) in asked {
                let ip: IpAddr = if v6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()].into() } else { [192, 0, 2, n].into() };
                prop_assert_eq!(admission.admit(ip).is_some(), scope.contains(ip), "{}", ip);
            }
        }
    }
}
