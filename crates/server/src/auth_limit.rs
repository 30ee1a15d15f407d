//! How often a sign-in may be tried: so many failures per address and per name in a while, in bounded memory.
//!
//! Time is an argument. What a refused caller is told is left to the API.

use model::{Duration, Ts};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;

/// The while in which failures are counted.
const WINDOW: Duration = Duration::minutes(5);
/// Failures per name in it: a person who forgot a password tries fewer, a guesser gets 2,880 a day at most.
const PER_NAME: u32 = 10;
/// Failures per address in it: an office behind one address shares them.
const PER_ADDRESS: u32 = 30;
/// Entries kept per table. At the bound the oldest go: an attacker with 10,000 addresses is no longer slowed by address,
/// but still by name (PR-12).
const CAPACITY: usize = 10_000;

struct Table<K> {
    limit: u32,
    entries: HashMap<K, (Ts, u32)>,
}

impl<K: Eq + Hash + Clone> Table<K> {
    fn new(limit: u32) -> Self {
        Table { limit, entries: HashMap::new() }
    }

    /// Counts one try at `now`; false when there were too many already.
    fn take(&mut self, key: K, now: Ts) -> bool {
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (since, _)| now.since(*since) < WINDOW);
            if self.entries.len() >= CAPACITY {
                // Half at once, so that the cost of looking for the oldest is spread over many calls.
                let mut ages: Vec<Ts> = self.entries.values().map(|&(since, _)| since).collect();
                ages.sort_unstable();
                let cut = ages[ages.len() / 2];
                self.entries.retain(|_, (since, _)| *since > cut);
            }
        }
        match self.entries.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert((now, 1));
                true
            }
            Entry::Occupied(mut slot) => {
                let (since, count) = slot.get_mut();
                if now.since(*since) >= WINDOW {
                    (*since, *count) = (now, 0);
                }
                *count = count.saturating_add(1);
                *count <= self.limit
            }
        }
    }
}

/// The counts of all addresses and names.
pub struct SignInLimit {
    tables: Mutex<(Table<IpAddr>, Table<String>)>,
}

impl Default for SignInLimit {
    fn default() -> Self {
        SignInLimit { tables: Mutex::new((Table::new(PER_ADDRESS), Table::new(PER_NAME))) }
    }
}

impl SignInLimit {
    /// Counts a try; false when it must not go on. Names that do not exist count like those that do.
    pub fn attempt(&self, address: Option<IpAddr>, name: &str, now: Ts) -> bool {
        let mut tables = self.tables.lock().unwrap_or_else(|e| e.into_inner());
        let by_address = address.is_none_or(|a| tables.0.take(network(a), now));
        let by_name = tables.1.take(key(name), now);
        by_address && by_name
    }
    /// Forgets the failures of a name and address that signed in.
    pub fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        let mut tables = self.tables.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(address) = address {
            tables.0.entries.remove(&network(address));
        }
        tables.1.entries.remove(&key(name));
    }
}

/// A /64 is one customer in IPv6, so it counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Names are compared without case; only as much of a name is kept as any real one has.
fn key(name: &str) -> String {
    name.trim().to_lowercase().chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> Option<IpAddr> {
        Some(s.parse().unwrap())
    }

    #[test]
    fn a_name_is_refused_after_ten_failures_and_free_after_the_window() {
        let limit = SignInLimit::default();
        for i in 0..PER_NAME {
            assert!(limit.attempt(ip(&format!("192.0.2.{i}")), "Alice", Ts(0)), "{i}");
        }
        assert!(!limit.attempt(ip("192.0.2.99"), "alice", Ts(1)));
        assert!(limit.attempt(ip("192.0.2.99"), "bob", Ts(1)));
        assert!(limit.attempt(ip("192.0.2.99"), "alice", Ts(0).plus(WINDOW)));
    }

    #[test]
    fn an_address_is_refused_after_thirty_failures_over_many_names() {
        let limit = SignInLimit::default();
        for i in 0..PER_ADDRESS {
            assert!(limit.attempt(ip(&format!("2001:db8::{i:x}")), &format!("user{i}"), Ts(0)), "one /64 is one address");
        }
        assert!(!limit.attempt(ip("2001:db8::ffff"), "another", Ts(1)));
        assert!(limit.attempt(ip("2001:db8:0:1::1"), "another", Ts(1)));
    }

    #[test]
    fn success_forgets_failures() {
        let limit = SignInLimit::default();
        for _ in 0..50 {
            assert!(limit.attempt(ip("192.0.2.1"), "alice", Ts(0)));
            limit.succeeded(ip("192.0.2.1"), "ALICE");
        }
    }

    #[test]
    fn memory_stays_bounded_under_a_flood_of_names() {
        let limit = SignInLimit::default();
        for i in 0..(CAPACITY * 3) {
            limit.attempt(None, &format!("user{i}"), Ts(i as i64));
        }
        assert!(limit.tables.lock().unwrap().1.entries.len() <= CAPACITY);
    }
}
