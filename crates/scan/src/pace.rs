//! How fast probes may leave: caps for the node, for each network, for each target, and for ranges with caps of their own,
//! shared by all concurrent work of the process (PR-7), and the rate of each sweep. Which probe goes next is the engine's.
//!
//! The node's cap and a sweep's own rate are exact [`Gate`]s, asked for a batch at a time. Networks, ranges and targets, of
//! which there are many, have a token bucket each, kept as one number: the time at which the bucket would be full (GCRA,
//! ITU-T I.371). A cap of r per second gets a burst of 1 + r/100 and refills at r less r/100 a second: burst and refill of
//! one second together never exceed r, so no window of one second ever holds more than r probes. The price is at most 1 % of
//! the rate, and it buys room for a scheduler that wakes us some milliseconds late.
//!
//! A cap that cannot bind is not counted: every probe to a target counts towards its network and the node as well, so a
//! target's cap that is no lower than its network's or the node's holds by itself, and a network's no lower than the node's.
//! Work in a hurry holds a [`Lease`], which looks a bucket up once and then asks it without a lock.

use crate::gate::{Gate, Taken};
use model::InScope;
use model::address::IpRange;
use model::settings::Pace;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A cap that holds nothing back. Ten times what any link of ours carries.
pub const UNLIMITED_PPS: u32 = u32::MAX;

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
/// Memory is bounded by the node's own cap and by the leases: of the buckets that no lease holds only those that are not
/// full are remembered, a bucket is full again after at most a second, and in a second at most `node_pps` probes leave.
#[derive(Debug)]
pub struct Pacer {
    epoch: Instant,
    /// Grows with each change of the caps, so that leases know that what they looked up is stale.
    generation: AtomicU64,
    /// `None` when the node is not capped.
    node: Mutex<Option<Gate>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Smallest range first, so that the first that holds an address is the most specific.
    ranges: Vec<RangeCap>,
    range_buckets: Vec<Arc<Bucket>>,
    /// The caps that can bind: the defaults', then each range's.
    caps: Vec<Caps>,
    networks: Buckets,
    targets: Buckets,
    /// Size of the maps at which full buckets are dropped.
    prune_at: usize,
}

type Buckets = HashMap<u128, Arc<Bucket>, ByAddress>;

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

/// The size below which the maps are never pruned; a few hundred kilobytes.
const PRUNE_FLOOR: usize = 8_192;

/// How many addresses a lease remembers: twice the hosts at work at once. About 80 bytes each.
const MOST_LEASED: usize = 131_072;

/// A token bucket: when it would be full, in nanoseconds since the epoch of its pacer.
#[derive(Debug, Default)]
struct Bucket {
    full_at: AtomicU64,
}

/// Interval and tolerance of a cap, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cap {
    interval: u64,
    tolerance: u64,
}

impl Cap {
    /// A cap of zero counts as one: stopping is the scope's business.
    fn new(pps: u32) -> Self {
        let pps = u64::from(pps.max(1));
        let extra = pps / 100;
        let interval = 1_000_000_000u64.div_ceil(pps - extra);
        Cap { interval, tolerance: interval * extra }
    }
}

impl Bucket {
    /// When the next probe may leave; now or earlier means at once.
    fn ready(&self, cap: Cap) -> u64 {
        self.full_at.load(Ordering::Acquire).saturating_sub(cap.tolerance)
    }

    /// Takes a token, or says when there will be one.
    fn take(&self, cap: Cap, now: u64) -> Result<(), u64> {
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            let ready = full_at.saturating_sub(cap.tolerance);
            if ready > now {
                return Err(ready);
            }
            let next = now.max(full_at) + cap.interval;
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Gives a token back. What others took in between stays counted.
    fn give_back(&self, cap: Cap) {
        self.full_at.fetch_sub(cap.interval, Ordering::AcqRel);
    }
}

/// The caps of an address that can bind, without the node's: those of the defaults, or of a range.
#[derive(Clone, Copy, Debug)]
struct Caps {
    target: Option<Cap>,
    network: Option<Cap>,
    /// The range that takes the place of the network.
    range: Option<IpRange>,
}

impl Caps {
    fn new(pace: &Pace, range: Option<&RangeCap>) -> Self {
        let target_pps = range.and_then(|r| r.per_target_pps).unwrap_or(pace.per_target_pps);
        let range_pps = range.and_then(|r| r.rate_pps);
        let network_pps = range_pps.unwrap_or(pace.per_network_pps);
        Caps {
            target: (target_pps < network_pps.min(pace.node_pps)).then(|| Cap::new(target_pps)),
            network: (network_pps < pace.node_pps).then(|| Cap::new(network_pps)),
            range: range_pps.and(range).map(|r| r.range),
        }
    }

    fn bind(&self) -> bool {
        self.target.is_some() || self.network.is_some()
    }
}

/// The buckets that hold an address, as far as their caps can bind.
#[derive(Clone, Debug)]
struct Held {
    target: Option<Arc<Bucket>>,
    network: Option<Arc<Bucket>>,
    /// Which caps: 0 the defaults, n + 1 those of range n.
    caps: u32,
}

impl Held {
    /// What holds the address back now, and until when.
    fn wait(&self, caps: &Caps, ip: IpAddr, now: u64) -> Result<(), (u64, Lane)> {
        let ready = |bucket: &Option<Arc<Bucket>>, cap: Option<Cap>| match (bucket, cap) {
            (Some(bucket), Some(cap)) => bucket.ready(cap),
            _ => 0,
        };
        let (target, network) = (ready(&self.target, caps.target), ready(&self.network, caps.network));
        if target.max(network) <= now {
            return Ok(());
        }
        // The longest wait names the lane: trying earlier would be in vain.
        Err(if network > target { (network, lane(caps, ip)) } else { (target, Lane::Target(ip)) })
    }

    /// Takes from both or from none.
    fn take(&self, caps: &Caps, ip: IpAddr, now: u64) -> Result<(), (u64, Lane)> {
        self.wait(caps, ip, now)?;
        if let (Some(bucket), Some(cap)) = (&self.target, caps.target) {
            bucket.take(cap, now).map_err(|ready| (ready, Lane::Target(ip)))?;
        }
        if let (Some(bucket), Some(cap)) = (&self.network, caps.network)
            && let Err(ready) = bucket.take(cap, now)
        {
            if let (Some(bucket), Some(cap)) = (&self.target, caps.target) {
                bucket.give_back(cap);
            }
            return Err((ready, lane(caps, ip)));
        }
        Ok(())
    }
}

/// The lane of everything that shares the address's network.
fn lane(caps: &Caps, ip: IpAddr) -> Lane {
    caps.range.map_or_else(|| Lane::Network(network(ip)), Lane::Range)
}

/// The network an address counts towards: its /24 or its /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(a) => Ipv4Addr::from(u32::from(a) & 0xffff_ff00).into(),
        IpAddr::V6(a) => Ipv6Addr::from(u128::from(a) >> 64 << 64).into(),
    }
}

/// An address as a key; both families in one space, as IPv6 maps it.
fn key(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(u32::from(a)) | 0xffff << 32,
        IpAddr::V6(a) => u128::from(a),
    }
}

/// Spreads addresses over a table. Nobody else chooses what is in it, so it need not withstand an attack.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

type ByAddress = BuildHasherDefault<AddressHasher>;

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u128(u128::from(*b)));
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = crate::order::mix(self.0 ^ key as u64 ^ ((key >> 64) as u64).rotate_left(32));
    }
}

impl Pacer {
    /// Caps for the node, its networks and targets, and ranges with caps of their own. [`UNLIMITED_PPS`] is no cap.
    pub fn new(pace: Pace, ranges: Vec<RangeCap>) -> Self {
        let state = State {
            ranges: Vec::new(),
            range_buckets: Vec::new(),
            caps: Vec::new(),
            networks: Buckets::default(),
            targets: Buckets::default(),
            prune_at: PRUNE_FLOOR,
        };
        let pacer =
            Pacer { epoch: Instant::now(), generation: AtomicU64::new(0), node: Mutex::new(None), state: Mutex::new(state) };
        pacer.update(pace, ranges);
        pacer
    }

    /// No caps at all: sweeps go at their own rates.
    pub fn unlimited() -> Self {
        let pps = UNLIMITED_PPS;
        Pacer::new(Pace { node_pps: pps, per_network_pps: pps, per_target_pps: pps }, Vec::new())
    }

    /// Changes the caps. What has been sent still counts, as far as there was a cap to count it for.
    pub fn update(&self, pace: Pace, ranges: Vec<RangeCap>) {
        {
            let mut node = lock(&self.node);
            *node = match (node.take(), pace.node_pps) {
                (_, UNLIMITED_PPS) => None,
                (None, pps) => Some(Gate::exact(pps)),
                (Some(mut gate), pps) => {
                    gate.set_exact(pps, self.nanos(Instant::now()));
                    Some(gate)
                }
            };
        }
        let mut state = lock(&self.state);
        state.set(pace, ranges);
        // Under the lock, so that who holds it knows which caps it sees.
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until a probe to the address may leave under every cap, and counts it as sent.
    pub async fn acquire(&self, target: InScope<IpAddr>) {
        while let Err(wait) = self.try_take(target.get()) {
            tokio::time::sleep_until(wait.at).await;
        }
    }

    /// Takes from every bucket that holds the address, or from none.
    pub(crate) fn try_take(&self, ip: IpAddr) -> Result<(), NotBefore> {
        let now = self.nanos(Instant::now());
        self.try_take_at(ip, now).map_err(|(at, lane)| NotBefore { at: self.instant(at), lane })
    }

    fn try_take_at(&self, ip: IpAddr, now: u64) -> Result<(), (u64, Lane)> {
        let ip = ip.to_canonical();
        let (held, caps) = {
            let mut state = lock(&self.state);
            state.prune(now);
            let held = state.find(ip);
            let caps = state.caps[held.caps as usize];
            (held, caps)
        };
        held.wait(&caps, ip, now)?;
        let taken = self.take_node(1, now).map_err(|at| (at, Lane::All))?;
        held.take(&caps, ip, now).inspect_err(|_| {
            if let (Some(taken), Some(node)) = (taken, lock(&self.node).as_mut()) {
                node.give_back(taken, 1);
            }
        })
    }

    /// Takes up to so many of the node's tokens; `Ok(None)` when the node is not capped, `Err` with when to ask again.
    fn take_node(&self, want: u32, now: u64) -> Result<Option<Taken>, u64> {
        match lock(&self.node).as_mut() {
            None => Ok(None),
            Some(node) => match node.take(want, now) {
                taken if taken.tokens > 0 => Ok(Some(taken)),
                _ => Err(node.ready(want.min(node.batch()), now)),
            },
        }
    }

    /// Nanoseconds since the pacer was made.
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// The instant of so many nanoseconds.
    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held cannot leave a bucket in a state that lets more through.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn set(&mut self, pace: Pace, mut ranges: Vec<RangeCap>) {
        ranges.sort_by_key(|r| (r.range.len(), r.range));
        // Buckets of ranges that stay keep their level.
        let kept = |r: &RangeCap| self.ranges.iter().position(|old| old.range == r.range).map(|i| self.range_buckets[i].clone());
        self.range_buckets = ranges.iter().map(|r| kept(r).unwrap_or_default()).collect();
        self.caps = std::iter::once(None).chain(ranges.iter().map(Some)).map(|range| Caps::new(&pace, range)).collect();
        self.ranges = ranges;
    }

    /// The buckets that hold an address, as far as their caps can bind.
    fn find(&mut self, ip: IpAddr) -> Held {
        let own = self.ranges.iter().position(|r| r.range.contains(ip));
        let at = own.map_or(0, |i| i + 1);
        let caps = self.caps[at];
        let network = caps.network.map(|_| match (own, caps.range) {
            (Some(i), Some(_)) => self.range_buckets[i].clone(),
            _ => self.networks.entry(key(network(ip))).or_default().clone(),
        });
        let target = caps.target.map(|_| self.targets.entry(key(ip)).or_default().clone());
        Held { target, network, caps: at as u32 }
    }

    /// Forgets what no lease holds and what is full.
    fn prune(&mut self, now: u64) {
        if self.networks.len() + self.targets.len() > self.prune_at {
            let needed = |bucket: &Arc<Bucket>| Arc::strong_count(bucket) > 1 || bucket.full_at.load(Ordering::Acquire) > now;
            self.networks.retain(|_, bucket| needed(bucket));
            self.targets.retain(|_, bucket| needed(bucket));
            self.prune_at = PRUNE_FLOOR.max(2 * (self.networks.len() + self.targets.len()));
        }
    }
}

/// The pace of one sweep: its own rate, and its share of the caps, looked up once for each address.
///
/// A batch of probes first takes tokens of the sweep and the node ([`Lease::take`]), then asks for each probe whether its
/// network and target allow it ([`Lease::allows`]), and gives back the tokens it did not use. Without caps on networks and
/// targets a probe costs one comparison, with them a look-up and two compare-exchanges.
#[derive(Debug)]
pub(crate) struct Lease {
    pacer: Arc<Pacer>,
    generation: u64,
    /// The sweep's own rate.
    own: Option<Gate>,
    /// What the last batch took, of the sweep's and of the node's.
    taken: (Option<Taken>, Option<Taken>),
    /// The caps that were current; empty when none of networks and targets can bind.
    caps: Vec<Caps>,
    held: HashMap<u128, Held, ByAddress>,
}

impl Lease {
    /// At the rate of one sweep, or as fast as the caps allow.
    pub fn new(pacer: Arc<Pacer>, rate_pps: Option<u32>) -> Self {
        let own = rate_pps.filter(|pps| *pps != UNLIMITED_PPS).map(Gate::exact);
        Lease::with(pacer, own)
    }

    /// With a gate of its own, whose rate may change.
    pub fn with(pacer: Arc<Pacer>, own: Option<Gate>) -> Self {
        // Generation 0 is never current, so the first batch looks the caps up.
        Lease { pacer, generation: 0, own, taken: (None, None), caps: Vec::new(), held: HashMap::default() }
    }

    /// The rate from now on, of a sweep whose rate may change.
    pub fn set_rate(&mut self, pps: u32, now: Instant) {
        let now = self.pacer.nanos(now);
        if let Some(own) = self.own.as_mut().filter(|own| own.rate_pps() != u64::from(pps)) {
            own.set_rate(pps, now);
        }
    }

    /// How many frames may be on their way to the wire when more tokens are asked for: at rates that every machine keeps, a
    /// millisecond's worth. What a link that was held up lets go at once would be too much for that second, so a second holds
    /// no more than the rate and those at the wire's end either.
    pub fn most_waiting(&self) -> u64 {
        match &self.own {
            Some(own) if own.rate_pps() <= 1_000 => 0,
            Some(own) if own.rate_pps() <= EASY_PPS => own.batch().into(),
            _ => u64::MAX,
        }
    }

    /// How many probes to ask for at a time.
    pub fn batch(&self) -> u32 {
        self.own.as_ref().map_or(MOST_AT_ONCE, Gate::batch)
    }

    /// Takes tokens for up to so many probes, at least one, or says when to ask again.
    pub fn take(&mut self, want: u32, now: Instant) -> Result<u32, Instant> {
        let now = self.pacer.nanos(now);
        self.refresh();
        let mut granted = want;
        let own = self.own.as_mut().map(|own| own.take(want, now));
        if let (Some(taken), Some(own)) = (own, &self.own) {
            if taken.tokens == 0 {
                return Err(self.pacer.instant(own.ready(want.min(own.batch()), now)));
            }
            granted = taken.tokens;
        }
        self.taken = (own, None);
        match self.pacer.take_node(granted, now) {
            Err(at) => {
                self.give_back(granted);
                Err(self.pacer.instant(at))
            }
            Ok(node) => {
                let allowed = node.map_or(granted, |taken| taken.tokens);
                if let (Some(own), Some(taken)) = (&mut self.own, own) {
                    own.give_back(taken, granted - allowed);
                }
                self.taken.1 = node;
                Ok(allowed)
            }
        }
    }

    /// Gives back tokens of the last batch that were not used.
    pub fn give_back(&mut self, unused: u32) {
        if unused == 0 {
            return;
        }
        if let (Some(own), Some(taken)) = (&mut self.own, self.taken.0) {
            own.give_back(taken, unused);
        }
        if let Some(taken) = self.taken.1
            && let Some(node) = lock(&self.pacer.node).as_mut()
        {
            node.give_back(taken, unused);
        }
    }

    /// Whether network and target allow a probe for which a token was taken; counts it if so.
    pub fn allows(&mut self, ip: IpAddr, now: Instant) -> Result<(), NotBefore> {
        if self.caps.is_empty() {
            return Ok(());
        }
        let now = self.pacer.nanos(now);
        self.allows_at(ip, now).map_err(|(at, lane)| NotBefore { at: self.pacer.instant(at), lane })
    }

    fn allows_at(&mut self, ip: IpAddr, now: u64) -> Result<(), (u64, Lane)> {
        let ip = ip.to_canonical();
        let key = key(ip);
        if let Some(held) = self.held.get(&key) {
            return held.take(&self.caps[held.caps as usize], ip, now);
        }
        if self.held.len() >= MOST_LEASED {
            self.held.clear();
        }
        let mut state = lock(&self.pacer.state);
        state.prune(now);
        let held = state.find(ip);
        let caps = state.caps[held.caps as usize];
        let current = self.pacer.generation.load(Ordering::Acquire) == self.generation;
        drop(state);
        let allowed = held.take(&caps, ip, now);
        // Looked up after a change of the caps, it is one of theirs; the next batch will see them.
        if current {
            self.held.insert(key, held);
        }
        allowed
    }

    /// Looks everything up anew when the caps have changed.
    fn refresh(&mut self) {
        let generation = self.pacer.generation.load(Ordering::Acquire);
        if generation != self.generation {
            let state = lock(&self.pacer.state);
            self.generation = self.pacer.generation.load(Ordering::Acquire);
            self.held.clear();
            self.caps = if state.caps.iter().any(Caps::bind) { state.caps.clone() } else { Vec::new() };
        }
    }
}

/// A tenth of what one core sends.
const EASY_PPS: u64 = 100_000;

/// The largest batch, see [`Gate::batch`].
const MOST_AT_ONCE: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::mix;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn pacer(node_pps: u32, per_network_pps: u32, per_target_pps: u32, ranges: Vec<RangeCap>) -> Arc<Pacer> {
        Arc::new(Pacer::new(Pace { node_pps, per_network_pps, per_target_pps }, ranges))
    }

    fn busiest(times: &[u64]) -> usize {
        let (mut first, mut most) = (0, 0);
        for (last, &t) in times.iter().enumerate() {
            while t - times[first] >= SECOND {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    /// A batch of a lease at a time: the addresses that could be asked.
    fn batch(lease: &mut Lease, ips: &[IpAddr], now: u64) -> Result<Vec<IpAddr>, u64> {
        let at = lease.pacer.instant(now);
        let granted = lease.take(ips.len() as u32, at).map_err(|at| lease.pacer.nanos(at))?;
        let sent: Vec<IpAddr> = ips.iter().copied().take(granted as usize).filter(|ip| lease.allows(*ip, at).is_ok()).collect();
        lease.give_back(granted - sent.len() as u32);
        Ok(sent)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// PR-7, exactly: whenever the caps are asked, by whomever, no window of one second holds more than any of them allows.
        #[test]
        fn no_second_holds_more_than_a_cap(
            node in 1u32..3_000,
            network in 1u32..3_000,
            target in 1u32..3_000,
            own in proptest::option::of(1u32..3_000),
            rate in proptest::option::of(1u32..3_000),
            gaps in prop::collection::vec(prop_oneof![Just(0u64), 0..2_000_000u64, 0..80_000_000u64], 3_000),
        ) {
            let range: IpRange = "192.0.2.0/25".parse().unwrap();
            let ranges = vec![RangeCap { range, rate_pps: own, per_target_pps: None }];
            let pacer = pacer(node, network, target, ranges);
            let mut leases = [Lease::new(pacer.clone(), rate), Lease::new(pacer.clone(), None)];
            let mut now = 0;
            let mut sent: Vec<(u64, u8, usize)> = Vec::new();
            for (i, gap) in gaps.iter().enumerate() {
                now += gap;
                let n = |i: usize| (mix(i as u64) % 3 * 100) as u8;
                // Three take turns: two sweeps by batches, and somebody without a lease.
                match i % 3 {
                    who @ (0 | 1) => {
                        let ips: Vec<IpAddr> = (0..1 + i % 7).map(|k| [192, 0, 2, n(i + k)].into()).collect();
                        for ip in batch(&mut leases[who], &ips, now).unwrap_or_default() {
                            let IpAddr::V4(ip) = ip else { unreachable!() };
                            sent.push((now, ip.octets()[3], who));
                        }
                    }
                    who => if pacer.try_take_at([192, 0, 2, n(i)].into(), now).is_ok() {
                        sent.push((now, n(i), who));
                    },
                }
            }
            let times = |which: &dyn Fn(u8, usize) -> bool| {
                sent.iter().filter(|(_, n, who)| which(*n, *who)).map(|(t, ..)| *t).collect::<Vec<_>>()
            };
            prop_assert!(busiest(&times(&|_, _| true)) <= node as usize);
            prop_assert!(busiest(&times(&|_, who| who == 0)) <= rate.unwrap_or(node) as usize);
            for n in [0, 100, 200] {
                prop_assert!(busiest(&times(&|m, _| m == n)) <= target as usize);
            }
            match own {
                Some(own) => {
                    prop_assert!(busiest(&times(&|n, _| n < 128)) <= own as usize);
                    prop_assert!(busiest(&times(&|n, _| n >= 128)) <= network as usize);
                }
                None => prop_assert!(busiest(&times(&|_, _| true)) <= network as usize),
            }
        }

        /// Asked again just when it said, a cap gives its rate less one percent.
        #[test]
        fn who_comes_back_in_time_gets_the_whole_rate(
            pps in prop_oneof![1u32..200, 200u32..20_000],
            which in 0..3usize,
        ) {
            let caps: [u32; 3] = std::array::from_fn(|i| if i == which { pps } else { UNLIMITED_PPS });
            let pacer = pacer(caps[0], caps[1], caps[2], Vec::new());
            let ip: IpAddr = [192, 0, 2, 1].into();
            let lane = [Lane::All, Lane::Network([192, 0, 2, 0].into()), Lane::Target(ip)][which];
            let (mut now, mut sent) = (0, 0u32);
            while now < SECOND {
                match pacer.try_take_at(ip, now) {
                    Ok(()) => sent += 1,
                    Err((at, held_by)) => {
                        prop_assert!(at > now && held_by == lane);
                        now = at;
                    }
                }
            }
            prop_assert!(sent <= pps && sent >= pps - pps / 100 - 1, "{sent} of {pps}");
        }
    }

    #[test]
    fn memory_is_bounded_by_what_is_not_full() {
        let pacer = pacer(1_000_000, 100_000, 1, Vec::new());
        for n in 0..200_000u32 {
            // 10,000 addresses a second; each bucket is full again after one.
            pacer.try_take_at(IpAddr::from(n.to_be_bytes()), 100_000 * u64::from(n)).unwrap();
            let state = lock(&pacer.state);
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

    #[test]
    fn a_lease_follows_a_change_of_caps() {
        let pacer = Arc::new(Pacer::unlimited());
        let mut lease = Lease::new(pacer.clone(), None);
        let ips: Vec<IpAddr> = vec![[192, 0, 2, 1].into(); 256];
        assert_eq!(batch(&mut lease, &ips, 0).unwrap().len(), 256);
        assert!(lease.caps.is_empty() && lease.held.is_empty(), "nothing is looked up while nothing is capped");
        pacer.update(Pace { per_target_pps: 5, ..Pace::default() }, Vec::new());
        // The node's gate lets one through at first, and more a moment later.
        assert_eq!(batch(&mut lease, &ips, SECOND).unwrap().len(), 1);
        let rest: usize = (1..900).map(|ms| batch(&mut lease, &ips, SECOND + ms * 1_000_000).map_or(0, |sent| sent.len())).sum();
        assert_eq!(rest, 4);
        pacer.update(Pace { node_pps: UNLIMITED_PPS, per_network_pps: UNLIMITED_PPS, per_target_pps: UNLIMITED_PPS }, Vec::new());
        assert_eq!(batch(&mut lease, &ips, 3 * SECOND).unwrap().len(), 256);
    }

    #[test]
    fn caps_that_cannot_bind_are_not_counted() {
        let range: IpRange = "192.0.2.0/25".parse().unwrap();
        for (pace, own, counted) in [
            ((1_000, 1_000, 1_000), None, (false, false)),
            ((1_000, 999, 1_000), None, (true, false)),
            ((1_000, 2_000, 999), None, (false, true)),
            ((1_000, 500, 500), None, (true, false)),
            ((1_000, 500, 499), None, (true, true)),
            ((1_000, 1_000, 1_000), Some(10), (true, false)),
            ((1_000, 1_000, 9), Some(10), (true, true)),
        ] {
            let ranges = own.map(|pps| RangeCap { range, rate_pps: Some(pps), per_target_pps: None }).into_iter().collect();
            let pacer = pacer(pace.0, pace.1, pace.2, ranges);
            let held = lock(&pacer.state).find([192, 0, 2, 1].into());
            assert_eq!((held.network.is_some(), held.target.is_some()), counted, "{pace:?} {own:?}");
        }
    }

    /// What a probe of a /16 costs: `cargo test -p scan --release -- --ignored --nocapture a_probe_costs`.
    #[test]
    #[ignore = "a measurement"]
    fn a_probe_costs_little() {
        for (name, pacer) in [
            ("no caps", Arc::new(Pacer::unlimited())),
            ("caps on node, networks and targets", pacer(1_000_000_000, 100_000_000, 10_000_000, Vec::new())),
        ] {
            let mut lease = Lease::new(pacer, None);
            let probes = 10_000_000u64;
            let order = crate::order::Permutation::new(1 << 16, 7);
            let ips: Vec<IpAddr> =
                (0..1u64 << 16).map(|i| IpAddr::from((0x0a00_0000 + order.at(i) as u32).to_be_bytes())).collect();
            let (mut sent, mut i) = (0u64, 0usize);
            let began = std::time::Instant::now();
            while sent < probes {
                let now = Instant::now();
                let Ok(granted) = lease.take(256, now) else { continue };
                for _ in 0..granted {
                    sent += u64::from(lease.allows(ips[i & 0xffff], now).is_ok());
                    i += 1;
                }
            }
            eprintln!("{name}: {} ns a probe", began.elapsed().as_nanos() as u64 / sent);
        }
    }
}
