//! Segments: the parts of the asset list in which a vantage doubts itself, and the canaries by which it does (D17).
//!
//! A segment is seen through endpoints known to be open. When most of them fall silent together it is more likely that we
//! have gone blind than that everybody closed at once. What the silence of canaries means is `assess::segments`'s to say.

use crate::address::{IpRange, from_u128, to_u128};
use crate::id::{CanaryId, Vantage};
use crate::observation::words;
use crate::port::Endpoint;
use crate::time::Ts;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

words! {
    /// Whether what a vantage sees of a segment can be believed.
    SegmentStatus: "segment status" {
        /// Its canaries answer, or there is no reason to doubt that they would.
        Known = "known",
        /// Most of them have just fallen silent; asked once more before anything is said.
        Suspect = "suspect",
        /// They stay silent: we cannot tell what is open, and nothing closes.
        Unknown = "unknown",
    }
}

words! {
    /// By whose canaries a segment is guarded.
    Guard: "guard" {
        /// Its own.
        Own = "own",
        /// It has too few, so those of the whole vantage speak for it, and only if all of them are silent.
        Borrowed = "borrowed",
        /// The whole vantage has too few: its silence is believed.
        Nobody = "nobody",
    }
}

words! {
    /// What an operator said about an endpoint as a canary.
    CanaryRole: "canary role" {
        /// A canary before all that are found automatically.
        Named = "named",
        /// Not a canary, however steadily it is open.
        Never = "never",
    }
}

/// An operator's word about an endpoint. It holds for every vantage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryChoice {
    /// Id.
    pub id: CanaryId,
    /// Which.
    pub endpoint: Endpoint,
    /// What it is to be.
    pub role: CanaryRole,
    /// Why.
    pub note: Option<String>,
    /// When that was said.
    pub created_at: Ts,
}

/// A segment that has been doubted, as seen from one vantage. One that never was has no such record and is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentState {
    /// Its addresses.
    pub range: IpRange,
    /// Seen from.
    pub vantage: Vantage,
    /// How it stands.
    pub status: SegmentStatus,
    /// By whose canaries.
    pub guard: Guard,
    /// Since when. A segment that is unknown has been so since it was suspected first.
    pub since: Ts,
    /// Silence observed before this instant is no evidence: the end of the last time it was unknown, or, while it is unknown,
    /// when that was found out.
    pub trusted_from: Option<Ts>,
    /// Canaries it was last judged by.
    pub canaries: u32,
    /// How many of those were silent.
    pub silent: u32,
    /// How often it has become unknown.
    pub episode: u32,
    /// Silences that were not counted in the current or the last of those times.
    pub set_aside: u64,
    /// When its canaries are to be asked again; `None` while it is known.
    pub next_look_at: Option<Ts>,
}

/// What an alert of a segment says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentNote {
    /// Which.
    pub range: IpRange,
    /// Seen from.
    pub vantage: Vantage,
    /// Canaries it was judged by.
    pub canaries: u32,
    /// How many of those were silent.
    pub silent: u32,
    /// Since when it was unknown.
    pub since: Ts,
}

/// The part of a range that is one segment and holds the address: the range's share of a /24 of IPv4 or a /64 of IPv6.
///
/// Networks of that size are routed and filtered as one, and a /16 of which one rack is cut off must not be unknown as a
/// whole. `None` when the range does not hold the address.
pub fn segment_of(ip: IpAddr, range: &IpRange) -> Option<IpRange> {
    if !range.contains(ip) {
        return None;
    }
    let host_bits: u32 = if ip.is_ipv4() { 8 } else { 64 };
    let mask = (1u128 << host_bits) - 1;
    let at = to_u128(ip);
    let first = from_u128(at & !mask, ip.is_ipv4()).max(range.first());
    let last = from_u128(at | mask, ip.is_ipv4()).min(range.last());
    IpRange::new(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_the_share_of_a_network_that_the_asset_covers() {
        for (ip, range, segment) in [
            ("10.0.3.7", "10.0.0.0/16", Some("10.0.3.0/24")),
            ("10.0.3.7", "10.0.3.0/26", Some("10.0.3.0/26")),
            ("10.0.3.7", "10.0.3.7", Some("10.0.3.7")),
            ("10.0.3.200", "10.0.3.128-10.0.4.5", Some("10.0.3.128/25")),
            ("10.0.4.1", "10.0.3.128-10.0.4.5", Some("10.0.4.0-10.0.4.5")),
            ("10.0.5.1", "10.0.3.128-10.0.4.5", None),
            ("2001:db8:0:7::1", "2001:db8::/48", Some("2001:db8:0:7::/64")),
            ("2001:db8:0:7::1", "2001:db8:0:7::/120", Some("2001:db8:0:7::/120")),
            ("255.255.255.255", "0.0.0.0/0", Some("255.255.255.0/24")),
        ] {
            let found = segment_of(ip.parse().unwrap(), &range.parse().unwrap());
            assert_eq!(found, segment.map(|s| s.parse().unwrap()), "{ip} of {range}");
        }
    }
}
