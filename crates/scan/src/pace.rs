//! How fast probes may leave: caps for the node, for each network, for each target, and for ranges with caps of their own,
//! shared by all concurrent work of the process (PR-7). Which probe goes next is the engine's.
//!
//! Each cap is a token bucket kept as one instant, the time at which the bucket would be full (GCRA, ITU-T I.371). A cap of
//! r per second gets a burst of 1 + r/100 and refills at r less r/100 a second: burst and refill of one second together
//! never exceed r, so no window of one second ever holds more than r probes. The price is at most 1 % of the rate, and it
//! buys room for a scheduler that wakes us some milliseconds late.

use model::InScope;
use model::address::IpRange;
use model::settings::Pace;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Caps of one range. The most specific range that holds an address counts; what it leaves open, the defaults say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeCap {
    /// The range.
    pub range: IpRange,
    /// Probes per second into all of it. Takes the place of the cap per network.
    pub rate_pps: Option<u32>,
    /// Probes per second to one of its addresses. Takes the place of the cap per target.
    pub per_target_pps: Option<u32>,
}

/// The caps that all work of this process shares.
///
/// Memory is bounded by the node's own cap: only buckets that are not full are remembered, a bucket is full again after at
/// most a second, and in a second at most `node_pps` probes leave.
#[derive(Debug)]
pub struct Pacer {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    epoch: Instant,
    pace: Pace,
    /// Smallest range first, so that the first that holds an address is the most specific.
    ranges: Vec<RangeCap>,
    node_full_at: u64,
    networks: HashMap<IpAddr, u64>,
    targets: HashMap<IpAddr, u64>,
    range_full_at: Vec<u64>,
    /// Size of the maps at which full buckets are dropped.
    prune_at: usize,
}

/// A probe has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBefore {
    /// When to ask again.
    pub at: Instant,
    /// Which cap holds it.
    pub lane: Lane,
}

/// The cap that holds a probe back. Everything else in the same lane is held back as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Everything.
    All,
    /// A network, by its first address.
    Network(IpAddr),
    /// A range with a cap of its own, by its first and last address.
    Range(IpRange),
    /// One address.
    Target(IpAddr),
}

/// The cap of one sweep alone.
#[derive(Debug)]
pub(crate) struct OwnPace {
    epoch: Instant,
    bucket: Option<(u64, u64)>,
    full_at: u64,
}

impl OwnPace {
    pub fn new(pps: Option<u32>) -> Self {
        OwnPace { epoch: Instant::now(), bucket: pps.map(bucket), full_at: 0 }
    }
    /// When the next probe may leave, if not now.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        let ready = ready_at(self.full_at, self.bucket?);
        (ready > nanos(self.epoch, now)).then(|| self.epoch + Duration::from_nanos(ready))
    }
    /// Counts a probe.
    pub fn take(&mut self, now: Instant) {
        if let Some(bucket) = self.bucket {
            take(&mut self.full_at, nanos(self.epoch, now), bucket);
        }
    }
}

fn nanos(epoch: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(epoch).as_nanos() as u64
}

/// The size below which the maps are never pruned; a few hundred kilobytes.
const PRUNE_FLOOR: usize = 8_192;

/// Interval and tolerance of a cap, in nanoseconds. A cap of zero counts as one: stopping is the scope's business.
pub(crate) fn bucket(pps: u32) -> (u64, u64) {
    let pps = u64::from(pps.max(1));
    let extra = pps / 100;
    let interval = 1_000_000_000u64.div_ceil(pps - extra);
    (interval, interval * extra)
}

/// When the bucket lets the next probe through, given when it is full; `now` or earlier means at once.
fn ready_at(full_at: u64, (_, tolerance): (u64, u64)) -> u64 {
    full_at.saturating_sub(tolerance)
}

fn take(full_at: &mut u64, now: u64, (interval, _): (u64, u64)) {
    *full_at = now.max(*full_at) + interval;
}

/// The network an address counts towards: its /24 or its /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(a) => Ipv4Addr::from(u32::from(a) & 0xffff_ff00).into(),
        IpAddr::V6(a) => Ipv6Addr::from(u128::from(a) >> 64 << 64).into(),
    }
}

impl Pacer {
    /// Caps for the node, its networks and targets, and ranges with caps of their own.
    pub fn new(pace: Pace, ranges: Vec<RangeCap>) -> Self {
        let mut state = State {
            epoch: Instant::now(),
            pace: Pace::default(),
            ranges: Vec::new(),
            node_full_at: 0,
            networks: HashMap::new(),
            targets: HashMap::new(),
            range_full_at: Vec::new(),
            prune_at: PRUNE_FLOOR,
        };
        state.set(pace, ranges);
        Pacer { state: Mutex::new(state) }
    }

    /// Changes the caps; what has been sent already still counts.
    pub fn update(&self, pace: Pace, ranges: Vec<RangeCap>) {
        self.lock().set(pace, ranges);
    }

    /// Waits until a probe to the address may leave under every cap, and counts it as sent.
    pub async fn acquire(&self, target: InScope<IpAddr>) {
        while let Err(wait) = self.try_take(target.get()) {
            tokio::time::sleep_until(wait.at).await;
        }
    }

    /// Takes from every bucket that holds the address, or from none.
    pub(crate) fn try_take(&self, ip: IpAddr) -> Result<(), NotBefore> {
        self.lock().try_take(ip, Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave a bucket in a state that lets more through.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, pace: Pace, mut ranges: Vec<RangeCap>) {
        ranges.sort_by_key(|r| (r.range.len(), r.range));
        if ranges != self.ranges {
            // Buckets of ranges that stay keep their level.
            let level =
                |r: &RangeCap| self.ranges.iter().position(|old| old.range == r.range).map_or(0, |i| self.range_full_at[i]);
            self.range_full_at = ranges.iter().map(level).collect();
            self.ranges = ranges;
        }
        self.pace = pace;
    }

    fn try_take(&mut self, ip: IpAddr, now: Instant) -> Result<(), NotBefore> {
        let ip = ip.to_canonical();
        let now_ns = nanos(self.epoch, now);
        let own = self.ranges.iter().position(|r| r.range.contains(ip));
        let per_target = own.and_then(|i| self.ranges[i].per_target_pps).unwrap_or(self.pace.per_target_pps);
        let own_rate = own.and_then(|i| self.ranges[i].rate_pps.map(|pps| (i, pps)));

        let node = bucket(self.pace.node_pps);
        let target = bucket(per_target);
        let net_ip = network(ip);
        let (net, net_full_at) = match own_rate {
            Some((i, pps)) => (bucket(pps), self.range_full_at[i]),
            None => (bucket(self.pace.per_network_pps), self.networks.get(&net_ip).copied().unwrap_or(0)),
        };
        let target_full_at = self.targets.get(&ip).copied().unwrap_or(0);

        let lane = match own_rate {
            Some((i, _)) => Lane::Range(self.ranges[i].range),
            None => Lane::Network(net_ip),
        };
        let held = [
            (ready_at(target_full_at, target), Lane::Target(ip)),
            (ready_at(net_full_at, net), lane),
            (ready_at(self.node_full_at, node), Lane::All),
        ];
        // The longest wait names the lane: trying earlier would be in vain.
        let (ready, lane) = held.into_iter().max_by_key(|(ready, _)| *ready).expect("three caps");
        if ready > now_ns {
            return Err(NotBefore { at: self.epoch + Duration::from_nanos(ready), lane });
        }
        take(&mut self.node_full_at, now_ns, node);
        match own_rate {
            Some((i, _)) => take(&mut self.range_full_at[i], now_ns, net),
            None => take(self.networks.entry(net_ip).or_insert(0), now_ns, net),
        }
        take(self.targets.entry(ip).or_insert(0), now_ns, target);
        if self.networks.len() + self.targets.len() > self.prune_at {
            self.networks.retain(|_, full_at| *full_at > now_ns);
            self.targets.retain(|_, full_at| *full_at > now_ns);
            self.prune_at = PRUNE_FLOOR.max(2 * (self.networks.len() + self.targets.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::mix;
    use proptest::prelude::*;

    fn pacer(node_pps: u32, per_network_pps: u32, per_target_pps: u32, ranges: Vec<RangeCap>) -> Pacer {
        Pacer::new(Pace { node_pps, per_network_pps, per_target_pps }, ranges)
    }

    fn busiest(times: &[u64]) -> usize {
        let (mut first, mut most) = (0, 0);
        for (last, &t) in times.iter().enumerate() {
            while t - times[first] >= 1_000_000_000 {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// PR-7, exactly: whenever the caps are asked, no window of one second holds more than any of them allows.
        #[test]
        fn no_second_holds_more_than_a_cap(
            node in 1u32..3_000,
            network in 1u32..3_000,
            target in 1u32..3_000,
            own in proptest::option::of(1u32..3_000),
            gaps in prop::collection::vec(prop_oneof![Just(0u64), 0..2_000_000u64, 0..80_000_000u64], 3_000),
        ) {
            let range: IpRange = "192.0.2.0/25".parse().unwrap();
            let ranges = vec![RangeCap { range, rate_pps: own, per_target_pps: None }];
            let pacer = pacer(node, network, target, ranges);
            let mut state = pacer.lock();
            let epoch = state.epoch;
            let mut now = 0;
            let mut sent: Vec<(u64, u8)> = Vec::new();
            for (i, gap) in gaps.iter().enumerate() {
                now += gap;
                let n = (mix(i as u64) % 3 * 100) as u8;
                if state.try_take([192, 0, 2, n].into(), epoch + Duration::from_nanos(now)).is_ok() {
                    sent.push((now, n));
                }
            }
            let times = |which: &dyn Fn(u8) -> bool| sent.iter().filter(|(_, n)| which(*n)).map(|(t, _)| *t).collect::<Vec<_>>();
            prop_assert!(busiest(&times(&|_| true)) <= node as usize);
            for n in [0, 100, 200] {
                prop_assert!(busiest(&times(&|m| m == n)) <= target as usize);
            }
            match own {
                Some(own) => {
                    prop_assert!(busiest(&times(&|n| n < 128)) <= own as usize);
                    prop_assert!(busiest(&times(&|n| n >= 128)) <= network as usize);
                }
                None => prop_assert!(busiest(&times(&|_| true)) <= network as usize),
            }
        }

        /// Asked again just when it said, a cap gives its rate less one percent.
        #[test]
        fn who_comes_back_in_time_gets_the_whole_rate(pps in prop_oneof![1u32..200, 200u32..20_000]) {
            let pacer = pacer(pps, 1_000_000, 1_000_000, Vec::new());
            let mut state = pacer.lock();
            let (epoch, mut now, mut sent) = (state.epoch, state.epoch, 0u32);
            while now < epoch + Duration::from_secs(1) {
                match state.try_take([192, 0, 2, 1].into(), now) {
                    Ok(()) => sent += 1,
                    Err(wait) => {
                        prop_assert!(wait.at > now && wait.lane == Lane::All);
                        now = wait.at;
                    }
                }
            }
            prop_assert!(sent <= pps && sent >= pps - pps / 100 - 1, "{sent} of {pps}");
        }
    }

    #[test]
    fn memory_is_bounded_by_what_is_not_full() {
        let pacer = pacer(1_000_000, 1_000_000, 1, Vec::new());
        let mut state = pacer.lock();
        let epoch = state.epoch;
        for n in 0..200_000u32 {
            // 10,000 addresses a second; each bucket is full again after one.
            let now = epoch + Duration::from_micros(100 * u64::from(n));
            state.try_take(IpAddr::from(n.to_be_bytes()), now).unwrap();
            assert!(state.targets.len() + state.networks.len() <= 32_768, "{}", state.targets.len());
        }
    }

    #[test]
    fn a_change_of_caps_forgets_nothing_that_was_sent() {
        let range: IpRange = "192.0.2.0/24".parse().unwrap();
        let cap = |pps| vec![RangeCap { range, rate_pps: Some(pps), per_target_pps: None }];
        let pacer = pacer(1_000, 1_000, 1_000, cap(1));
        let ip = IpAddr::from([192, 0, 2, 1]);
        pacer.try_take(ip).unwrap();
        pacer.update(Pace::default(), cap(2));
        assert_eq!(pacer.try_take(ip).unwrap_err().lane, Lane::Range(range));
    }
}
