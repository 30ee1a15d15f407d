//! Probes that a cap of their network or target holds back, so that others need not wait. When they may leave, `pace` says.

use crate::pace::Lane;
use crate::walk::Probe;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Probes that a cap of their network or target holds back, so that others need not wait: one queue for each cap, ordered by
/// when the cap lets the next one through. Bounded: when full, no new cell is drawn until one has left.
#[derive(Default)]
pub(crate) struct Held {
    lanes: HashMap<Lane, (Instant, VecDeque<Probe>)>,
    ready: BTreeSet<(Instant, Lane)>,
    count: usize,
    turn: u32,
}

/// So many lanes are a crowd, which comes by turns of so much time, up to so many.
const CROWD: usize = 16;
const APART: Duration = Duration::from_micros(250);
const TURNS: u32 = 32;

/// About 2 MB. One slow network of many fills it in the end, and then slows the others; more memory would only defer that.
const MOST_HELD: usize = 65_536;

impl Held {
    pub fn is_full(&self) -> bool {
        self.count >= MOST_HELD
    }
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// All of them.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.lanes.values().flat_map(|(_, queue)| queue)
    }
    pub fn earliest(&self) -> Option<Instant> {
        self.ready.first().map(|(at, _)| *at)
    }
    /// Queues a probe that may not leave before `at`, because of the cap of `lane`. One that had been taken out of a lane goes
    /// back to the front of it, if that is the lane that holds it now or the lane of its target: all that is behind it there
    /// is held by the same caps, and probes that change lanes to and fro would cost more than they gain.
    pub fn hold(&mut self, at: Instant, lane: Lane, probe: Probe, from: Option<Lane>) {
        let back = from.filter(|from| *from == lane || matches!(from, Lane::Target(_)));
        // Many targets of one network wait for the same tokens. If all came for each of them, they would do little else, so
        // they come by turns; the bucket of a cap of hundreds a second keeps ten milliseconds of tokens for them.
        let crowded = self.lanes.len() >= CROWD && back.is_some_and(|back| back != lane);
        self.turn = self.turn.wrapping_add(1);
        let at = if crowded { at + APART * (self.turn % TURNS) } else { at };
        let lane = back.unwrap_or(lane);
        let (ready, queue) = self.lanes.entry(lane).or_insert_with(|| (at, VecDeque::new()));
        self.ready.remove(&(*ready, lane));
        *ready = at;
        self.ready.insert((at, lane));
        if back.is_some() {
            queue.push_front(probe)
        } else {
            queue.push_back(probe)
        }
        self.count += 1;
    }
    /// Takes out the next probe whose lane is ready, and says which lane that was.
    pub fn pop(&mut self, now: Instant) -> Option<(Probe, Lane)> {
        let &(at, lane) = self.ready.first().filter(|(at, _)| *at <= now)?;
        let (_, queue) = self.lanes.get_mut(&lane)?;
        let probe = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.lanes.remove(&lane);
            self.ready.remove(&(at, lane));
        }
        Some((probe, lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Ask;

    fn lane(n: u8) -> Lane {
        Lane::Target([192, 0, 2, n].into())
    }

    fn probe(host: u32) -> Probe {
        Probe::from((host, Ask::Echo, 0))
    }

    #[test]
    fn a_slow_lane_does_not_hold_up_others() {
        let now = Instant::now();
        let mut held = Held::default();
        held.hold(now + Duration::from_secs(5), lane(1), probe(1), None);
        held.hold(now + Duration::from_secs(5), lane(1), probe(2), None);
        held.hold(now + Duration::from_secs(1), lane(2), probe(3), None);
        let mut order = Vec::new();
        let mut at = now;
        while let Some(ready) = held.earliest() {
            at = at.max(ready);
            order.push(held.pop(at).unwrap().0.host);
        }
        assert_eq!((order, held.count), (vec![3, 1, 2], 0));
        assert!(held.pop(now + Duration::from_secs(9)).is_none());
    }

    #[test]
    fn a_probe_taken_out_too_early_keeps_its_place() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let network = Lane::Network([192, 0, 2, 0].into());
        let mut held = Held::default();
        held.hold(now, lane(1), probe(4), None);
        held.hold(now, lane(1), probe(5), None);
        let (four, from) = held.pop(now).unwrap();
        // Its network holds it now; whatever is behind it goes to the same network.
        held.hold(later, network, four, Some(from));
        assert!(held.pop(now).is_none());
        assert_eq!(held.pop(later).unwrap().0.host, 4);
        // Out of the lane of a network into that of a target, so that others of the network can pass.
        let mut held = Held::default();
        held.hold(now, network, probe(6), None);
        held.hold(now, network, probe(7), None);
        let (six, from) = held.pop(now).unwrap();
        held.hold(later, lane(6), six, Some(from));
        assert_eq!(held.pop(now).unwrap().0.host, 7);
        assert_eq!(held.pop(later).unwrap(), (six, lane(6)));
        assert!(held.is_empty());
    }
}
