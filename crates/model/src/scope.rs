//! What may be probed. Only [`Scope::admit`] makes an [`InScope`], and only an [`InScope`] can be probed (PR-1).

use crate::address::{IpRange, subtract};
use crate::port::Endpoint;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The authorised ranges less the exclusions, kept disjoint and sorted.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope {
    allowed: Vec<IpRange>,
}

/// Proof that a thing lies in an authorised scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InScope<T>(T);

impl<T: Copy> InScope<T> {
    /// The thing admitted.
    pub fn get(&self) -> T {
        self.0
    }
}

impl InScope<Endpoint> {
    /// The admitted endpoint's address: where a door is in scope, so is its house.
    pub fn ip(&self) -> InScope<IpAddr> {
        InScope(self.0.ip)
    }
}

impl InScope<IpRange> {
    /// The address with its proof, if it lies in the admitted range: what holds for the range holds for each address in it.
    pub fn address(&self, ip: IpAddr) -> Option<InScope<IpAddr>> {
        self.0.contains(ip.to_canonical()).then_some(InScope(ip))
    }
}

impl Scope {
    /// The scope of `allowed` without `excluded`.
    pub fn new(allowed: &[IpRange], excluded: &[IpRange]) -> Self {
        Scope { allowed: subtract(allowed, excluded) }
    }
    /// The disjoint ranges that may be probed, in order.
    pub fn ranges(&self) -> &[IpRange] {
        &self.allowed
    }
    /// Whether nothing may be probed.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }
    /// Whether the address may be probed.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let after = self.allowed.partition_point(|range| range.first() <= ip);
        after > 0 && self.allowed[after - 1].contains(ip)
    }
    /// The endpoint with its proof, if it may be probed.
    pub fn admit(&self, endpoint: Endpoint) -> Option<InScope<Endpoint>> {
        self.contains(endpoint.ip).then_some(InScope(endpoint))
    }
    /// The address with its proof, if it may be probed.
    pub fn admit_ip(&self, ip: IpAddr) -> Option<InScope<IpAddr>> {
        self.contains(ip).then_some(InScope(ip))
    }
    /// The whole range with its proof, if all of it may be probed.
    pub fn admit_range(&self, range: IpRange) -> Option<InScope<IpRange>> {
        // The allowed ranges are disjoint, but may touch.
        subtract(&[range], &self.allowed).is_empty().then_some(InScope(range))
    }
    /// The part of the wanted ranges that may be probed.
    pub fn restrict(&self, wanted: &[IpRange]) -> Vec<IpRange> {
        let outside = subtract(wanted, &self.allowed);
        subtract(wanted, &outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_win_over_assets() {
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        let scope = Scope::new(&[r("10.0.0.0/24"), r("2001:db8::/120")], &[r("10.0.0.7"), r("10.0.0.128/25")]);
        for (ip, admitted) in [
            ("10.0.0.6", true),
            ("10.0.0.7", false),
            ("10.0.0.8", true),
            ("10.0.0.127", true),
            ("10.0.0.128", false),
            ("10.0.1.1", false),
            ("9.255.255.255", false),
            ("2001:db8::ff", true),
            ("2001:db8::100", false),
            ("::ffff:10.0.0.6", true),
        ] {
            assert_eq!(scope.admit_ip(ip.parse().unwrap()).is_some(), admitted, "{ip}");
        }
        assert_eq!(scope.restrict(&[r("10.0.0.0/28"), r("192.0.2.0/24")]), [r("10.0.0.0-10.0.0.6"), r("10.0.0.8-10.0.0.15")]);
        assert!(Scope::default().is_empty());
    }

    #[test]
    fn a_range_is_admitted_whole_or_not_at_all() {
        let r = |s: &str| s.parse::<IpRange>().unwrap();
        let scope = Scope::new(&[r("10.0.0.0/24"), r("10.0.1.0/24")], &[r("10.0.0.7")]);
        assert!(scope.admit_range(r("10.0.0.6-10.0.0.8")).is_none());
        assert!(scope.admit_range(r("10.0.2.0")).is_none());
        let admitted = scope.admit_range(r("10.0.0.8-10.0.1.9")).unwrap();
        for (ip, is_in) in [("10.0.0.8", true), ("::ffff:10.0.1.9", true), ("10.0.1.10", false), ("10.0.0.7", false)] {
            assert_eq!(admitted.address(ip.parse().unwrap()).is_some(), is_in, "{ip}");
        }
    }
}
