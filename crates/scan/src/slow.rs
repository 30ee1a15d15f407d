//! UDP ports that stayed silent on hosts that refuse others, asked again at the pace at which hosts may refuse.
//!
//! Linux sends an address one "port unreachable" a second, after six at once (`net.ipv4.icmp_ratelimit`; other systems have
//! like limits), so most closed ports of a host seem silent when they are asked quickly. Asked one a second, a closed port
//! says so. A port that stays silent then is open or filtered as far as anybody can tell. Which ports those are is `ports`' to
//! say; this keeps the time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Between two questions to a host: the second that Linux keeps, and what the network may add to the first or take from the
/// second.
const GAP: Duration = Duration::from_millis(1_100);

/// Ports of one host that are asked again: a minute and ten seconds. All hosts are asked at the same time, so this is what
/// the repetition takes at most.
pub(crate) const MOST_OF_HOST: usize = 64;

/// Ports that are asked again altogether; about 4 MB.
pub(crate) const MOST: usize = 65_536;

/// What is remembered of UDP ports and hosts until the end of a walk: a few bytes for each host that refuses UDP ports, and for
/// each port that was answered without an id.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Hosts that refused a UDP port themselves.
    refusing: BTreeSet<u32>,
    /// Cells answered once, without an id: the host, and to which port of ours.
    once: BTreeMap<u64, (u32, u16)>,
}

impl Doubts {
    /// The host refused a UDP port.
    pub fn refused(&mut self, host: u32) {
        self.refusing.insert(host);
    }

    /// An answer without an id has come to this port of ours. Whether another has come to another port: who guesses one of
    /// 4,096 right does not guess two.
    pub fn is_second(&mut self, host: u32, cell: u64, to_port: u16) -> bool {
        if self.once.len() >= MOST && !self.once.contains_key(&cell) {
            return false;
        }
        let (_, first) = *self.once.entry(cell).or_insert((host, to_port));
        first != to_port
    }

    pub fn refusing(&self) -> impl Iterator<Item = u32> + '_ {
        self.refusing.iter().copied()
    }

    /// Hosts and cells that were answered once.
    pub fn answered_once(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.once.iter().map(|(cell, (host, _))| (*host, *cell))
    }

    pub fn has_answered_once(&self, cell: u64) -> bool {
        self.once.contains_key(&cell)
    }
}

/// The cells to ask again, by host.
#[derive(Debug, Default)]
pub(crate) struct Slowly {
    cells: HashMap<u32, VecDeque<u64>>,
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    count: usize,
}

impl Slowly {
    /// Adds the cell of a host; false when there are too many already. The first of each host is asked a gap from `now`: the
    /// host may just have used up what it had left.
    pub fn add(&mut self, host: u32, cell: u64, now: Instant) -> bool {
        let cells = self.cells.entry(host).or_default();
        if self.count >= MOST || cells.len() >= MOST_OF_HOST {
            return false;
        }
        if cells.is_empty() {
            self.due.push(Reverse((now + GAP, host)));
        }
        cells.push_back(cell);
        self.count += 1;
        true
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the next one is due.
    pub fn wake(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The next cell that is due and still wanted. Those that are not cost no time.
    pub fn next(&mut self, now: Instant, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        while let Some(&Reverse((at, host))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            let cells = self.cells.get_mut(&host)?;
            while let Some(cell) = cells.pop_front() {
                self.count -= 1;
                if wanted(cell) {
                    if cells.is_empty() {
                        self.cells.remove(&host);
                    } else {
                        self.due.push(Reverse((now + GAP, host)));
                    }
                    return Some(cell);
                }
            }
            self.cells.remove(&host);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_one_port_a_second_and_hosts_do_not_wait_for_each_other() {
        let start = Instant::now();
        let mut slowly = Slowly::default();
        for (host, cell) in [(1, 10), (1, 11), (1, 12), (2, 20), (2, 21)] {
            assert!(slowly.add(host, cell, start));
        }
        let (mut now, mut asked) = (start, Vec::new());
        while let Some(at) = slowly.wake() {
            now = now.max(at);
            while let Some(cell) = slowly.next(now, |cell| cell != 11) {
                asked.push((now.duration_since(start).as_millis(), cell));
            }
        }
        // 11 was settled meanwhile: the next one takes its place.
        assert_eq!(asked, [(1_100, 10), (1_100, 20), (2_200, 12), (2_200, 21)]);
        assert!(slowly.is_empty());
    }

    #[test]
    fn two_answers_without_an_id_count_when_they_come_to_two_ports() {
        let mut doubts = Doubts::default();
        assert!(!doubts.is_second(1, 5, 61_000));
        assert!(!doubts.is_second(1, 5, 61_000), "the same answer twice, or its other half");
        assert!(!doubts.is_second(1, 6, 61_001), "of another port");
        assert!(doubts.is_second(1, 5, 61_001));
        assert_eq!(doubts.answered_once().collect::<Vec<_>>(), [(1, 5), (1, 6)]);
    }

    #[test]
    fn what_is_asked_again_is_bounded_for_a_host_and_for_all() {
        let now = Instant::now();
        let mut slowly = Slowly::default();
        assert_eq!((0..100).filter(|&cell| slowly.add(7, cell, now)).count(), MOST_OF_HOST);
        let all = (0..u64::from(u16::MAX) * 4).filter(|&cell| slowly.add(100 + (cell / 64) as u32, cell, now)).count();
        assert_eq!(all + MOST_OF_HOST, MOST);
    }
}
