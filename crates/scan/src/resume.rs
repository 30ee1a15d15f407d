//! Where a sweep could go on from: what is written down while it runs, so that a sweep that was stopped or killed need not
//! start over. Writing it to a file is the caller's.

use crate::api::{Progress, ScanError, Shard};
use crate::hosts::Hosts;
use crate::order::mix;
use model::PortSet;
use model::address::{IpRange, merge, to_u128};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A place in a sweep, and enough of the sweep to refuse another one's.
///
/// Everything before the place has been asked and had time to answer, and what was open there has been told. What was asked
/// after it is asked again, so a few endpoints may be told twice over the two runs; readers take them for one. Of the slice
/// under way it is known which hosts had answered, so that repetitions go to them, and where a ping had picked the hosts, which
/// those were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Of this form.
    pub(crate) version: u32,
    /// A hash of the addresses and ports.
    pub(crate) what: u64,
    /// Seed of the order.
    pub(crate) seed: u64,
    /// Part of the sweep.
    pub(crate) shard: Shard,
    /// Slices that are done.
    pub(crate) slices: u64,
    /// Cells of the next slice that the first pass has done.
    pub(crate) cells: u64,
    /// Hosts of that slice that a ping had picked.
    pub(crate) picked: Option<Vec<IpRange>>,
    /// Hosts of that slice that had answered.
    pub(crate) alive: Vec<IpRange>,
}

/// Changes with the meaning of a place: slices, order, rounds.
const VERSION: u32 = 1;

/// A checkpoint is renewed at most this often, and takes at most a fiftieth of the time.
const RENEWED: Duration = Duration::from_secs(1);
const SHARE: u32 = 50;

impl Checkpoint {
    /// The beginning of a sweep of these addresses, in order, and ports.
    pub(crate) fn beginning(targets: &[IpRange], tcp: &PortSet, udp: &PortSet, seed: u64, shard: Shard) -> Self {
        let mut what = u64::from(VERSION);
        let mut add = |n: u64| what = mix(what.rotate_left(1) ^ mix(n));
        for range in targets {
            for n in [to_u128(range.first()), to_u128(range.last())] {
                add(n as u64);
                add((n >> 64) as u64);
            }
        }
        for (mark, ports) in [(1, tcp), (2, udp)] {
            add(mark);
            ports.ranges().iter().for_each(|&(first, last)| add(u64::from(first) << 16 | u64::from(last)));
        }
        Checkpoint { version: VERSION, what, seed, shard, slices: 0, cells: 0, picked: None, alive: Vec::new() }
    }

    /// Refuses to go on from here in another sweep than the one that begins like this.
    pub(crate) fn admit(&self, beginning: &Checkpoint) -> Result<(), ScanError> {
        let differs = [
            (self.version != beginning.version, "version of the program and that of this one"),
            (self.what != beginning.what, "targets or ports"),
            (self.seed != beginning.seed, "seed"),
            (self.shard != beginning.shard, "shard"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(ScanError::OtherSweep { what }),
            None => Ok(()),
        }
    }
}

/// Keeps the checkpoint of a sweep.
pub(crate) struct Keeper {
    now: Checkpoint,
    progress: Arc<Progress>,
    /// How long an answer may take.
    timeout: Duration,
    /// How far the first pass had come when.
    trail: VecDeque<(Instant, u64)>,
    renew: Instant,
    /// The place within a slice is kept. Where every state is told, the silent ones are told at the end of a slice, so it
    /// begins again.
    within: bool,
}

impl Keeper {
    /// Of a sweep that goes on from here.
    pub fn new(from: Checkpoint, progress: Arc<Progress>, timeout: Duration, within: bool) -> Self {
        let keeper = Keeper { now: from, progress, timeout, trail: VecDeque::new(), renew: Instant::now(), within };
        keeper.publish();
        keeper
    }

    /// The hosts of the slice at work are these, and it is done up to this cell.
    pub fn begin(&mut self, picked: Option<&Hosts>, cells: u64) {
        self.trail.clear();
        self.now.cells = cells;
        self.now.picked = picked.map(|hosts| ranges(hosts, |_| true));
        self.publish();
    }

    /// Everything before this cell has been asked.
    pub fn mark(&mut self, now: Instant, cells: u64, hosts: &Hosts) {
        if !self.within {
            return;
        }
        self.trail.push_back((now, cells));
        while let Some(&(at, cells)) = self.trail.front()
            && at + self.timeout <= now
        {
            self.now.cells = self.now.cells.max(cells);
            self.trail.pop_front();
        }
        if now >= self.renew {
            self.now.alive = ranges(hosts, |at| hosts.get(at).up.is_some());
            self.publish();
            let took = now.elapsed();
            self.renew = now + RENEWED.max(took * SHARE);
        }
    }

    /// The first pass is over, and had its time.
    pub fn passed(&mut self, cells: u64, hosts: &Hosts) {
        if self.within {
            self.now.cells = cells;
            self.stop(hosts);
        }
    }

    /// The sweep ends here, before its end.
    pub fn stop(&mut self, hosts: &Hosts) {
        self.now.alive = ranges(hosts, |at| hosts.get(at).up.is_some());
        self.publish();
    }

    /// The slice at work is done.
    pub fn done(&mut self) {
        (self.now.slices, self.now.cells) = (self.now.slices + 1, 0);
        (self.now.picked, self.now.alive) = (None, Vec::new());
        self.publish();
    }

    fn publish(&self) {
        *self.progress.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.now.clone());
    }
}

/// Whether merged ranges hold an address.
pub(crate) fn holds(ranges: &[IpRange], ip: IpAddr) -> bool {
    let after = ranges.partition_point(|range| range.first() <= ip);
    after > 0 && ranges[after - 1].contains(ip)
}

/// The addresses of these hosts.
fn ranges(hosts: &Hosts, which: impl Fn(u32) -> bool) -> Vec<IpRange> {
    let singles: Vec<IpRange> = (0..hosts.len() as u32).filter(|&at| which(at)).map(|at| IpRange::single(hosts.ip(at))).collect();
    merge(&singles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::way::WayId;
    use model::Reason;

    fn beginning(targets: &[&str], tcp: &str, udp: &str, seed: u64) -> Checkpoint {
        let targets: Vec<IpRange> = targets.iter().map(|t| t.parse().unwrap()).collect();
        let ports = |s: &str| if s.is_empty() { PortSet::default() } else { s.parse().unwrap() };
        Checkpoint::beginning(&targets, &ports(tcp), &ports(udp), seed, Shard::WHOLE)
    }

    #[test]
    fn another_sweep_is_refused_with_what_differs() {
        let from = beginning(&["192.0.2.0/24"], "22,80", "", 7);
        assert!(from.admit(&beginning(&["192.0.2.0/24"], "22,80", "", 7)).is_ok());
        for (other, what) in [
            (beginning(&["192.0.2.0/25"], "22,80", "", 7), "targets or ports"),
            (beginning(&["192.0.2.0/24", "2001:db8::1"], "22,80", "", 7), "targets or ports"),
            (beginning(&["192.0.2.0/24"], "22,81", "", 7), "targets or ports"),
            (beginning(&["192.0.2.0/24"], "22", "80", 7), "targets or ports"),
            (beginning(&["192.0.2.0/24"], "", "22,80", 7), "targets or ports"),
            (beginning(&["192.0.2.0/24"], "22,80", "", 8), "seed"),
            (Checkpoint { shard: Shard { index: 0, of: 2 }, ..from.clone() }, "shard"),
        ] {
            let error = from.admit(&other).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn a_place_lags_behind_by_the_time_an_answer_may_take() {
        let progress = Arc::<Progress>::default();
        let ips: Vec<std::net::IpAddr> = (1..=9u8).map(|n| [192, 0, 2, n].into()).collect();
        let mut hosts = Hosts::sorted(&ips, |_| WayId::KERNEL, progress.clone());
        let from = beginning(&["192.0.2.1-192.0.2.9"], "22", "", 1);
        let second = Duration::from_secs(1);
        let mut keeper = Keeper::new(from, progress.clone(), second * 2, true);
        assert_eq!(progress.checkpoint().unwrap().cells, 0, "there from the start");
        keeper.begin(None, 0);
        let start = Instant::now();
        hosts.mark_up(2, Reason::Rst);
        hosts.mark_up(3, Reason::Rst);
        (0..=5).for_each(|n| keeper.mark(start + second * n, 100 * u64::from(n), &hosts));
        let kept = progress.checkpoint().unwrap();
        assert_eq!((kept.cells, kept.alive), (300, vec!["192.0.2.3-192.0.2.4".parse().unwrap()]));
        // Nothing is lost when the walk has gone back, to ask again.
        keeper.mark(start + second * 20, 0, &hosts);
        assert_eq!(progress.checkpoint().unwrap().cells, 500);
        keeper.done();
        let kept = progress.checkpoint().unwrap();
        assert_eq!((kept.slices, kept.cells, kept.alive.len()), (1, 0, 0));
    }
}
