//! Instants and durations as every crate carries them: milliseconds, UTC. Reading the clock is left to the edges.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An instant: milliseconds since 1970-01-01T00:00:00Z. Serialised as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ts(pub i64);

/// A span of time in whole milliseconds, never negative. Serialised as a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Duration(pub u64);

impl Duration {
    /// `n` milliseconds.
    pub const fn millis(n: u64) -> Self {
        Duration(n)
    }
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Duration(n * 1_000)
    }
    /// `n` minutes.
    pub const fn minutes(n: u64) -> Self {
        Duration(n * 60_000)
    }
    /// `n` hours.
    pub const fn hours(n: u64) -> Self {
        Duration(n * 3_600_000)
    }
    /// `n` days of 24 hours.
    pub const fn days(n: u64) -> Self {
        Duration(n * 86_400_000)
    }
    /// The same span for the standard library's timers.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl Ts {
    /// The instant `d` after this one.
    pub const fn plus(self, d: Duration) -> Ts {
        Ts(self.0.saturating_add_unsigned(d.0))
    }
    /// The instant `d` before this one.
    pub const fn minus(self, d: Duration) -> Ts {
        Ts(self.0.saturating_sub_unsigned(d.0))
    }
    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Ts) -> Duration {
        Duration(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Ts {
    /// RFC 3339 with milliseconds, e.g. `2026-11-21T08:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(ts) => write!(f, "{ts:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl std::str::FromStr for Ts {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<jiff::Timestamp>()
            .map(|t| Ts(t.as_millisecond()))
            .map_err(|_| format!("`{s}` is not an RFC 3339 instant such as 2026-11-21T08:00:00Z"))
    }
}

impl Serialize for Ts {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ts {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_round_trip_through_rfc_3339() {
        for ms in [0, 1, 1_763_712_000_123, -62_135_596_800_000] {
            let ts = Ts(ms);
            assert_eq!(ts.to_string().parse::<Ts>().unwrap(), ts, "{ts}");
        }
        assert_eq!(Ts(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_span_backwards_is_zero() {
        assert_eq!(Ts(5).since(Ts(9)), Duration(0));
        assert_eq!(Ts(9).since(Ts(5)), Duration(4));
    }
}
