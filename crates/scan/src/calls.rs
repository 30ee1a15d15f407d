//! An echo to each of a few hosts before and while their ports are asked, where the rate follows the path: who answers it is
//! a measure of what the path loses, and a host that drops what it does not serve has no other until an open port is found.
//! Decides whom to ask when; sending is `walk`'s, what the answers are worth as a measure `canary`'s.

use std::time::Duration;
use tokio::time::Instant;

/// More hosts than this are not called: among so many somebody refuses, or has an open port that is found early.
pub(crate) const MOST_HOSTS: u64 = 24;

/// Fewer questions to each host than this are asked without: the echo costs one in twenty at most.
pub(crate) const LEAST_QUESTIONS: u32 = 20;

/// When all are asked, and those that have not been heard of again. A path with a limit lets the first packets through; what is
/// lost of them by chance is made good while the sweep is still slow.
const ROUNDS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(60), Duration::from_millis(200)];

/// Who is to be asked.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    hosts: u32,
    began: Option<Instant>,
    round: usize,
    next: u32,
}

impl Calls {
    /// These many hosts.
    pub fn new(hosts: u32) -> Self {
        Calls { hosts, ..Calls::default() }
    }

    /// The next host that is to be asked now; `is_wanted` says of one whether it can be asked, and of one that was asked before
    /// whether it should be again.
    pub fn next(&mut self, now: Instant, is_wanted: impl Fn(u32, bool) -> bool) -> Option<u32> {
        while self.hosts > 0 && self.round < ROUNDS.len() {
            if now < *self.began.get_or_insert(now) + ROUNDS[self.round] {
                return None;
            }
            if self.next >= self.hosts {
                (self.round, self.next) = (self.round + 1, 0);
                continue;
            }
            self.next += 1;
            if is_wanted(self.next - 1, self.round > 0) {
                return Some(self.next - 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_called_at_once_and_the_silent_twice_more() {
        let now = Instant::now();
        let mut calls = Calls::new(4);
        let mut asked = Vec::new();
        for ms in 0..400 {
            // The second cannot be asked, the third has answered when it is asked again.
            let wanted = |host: u32, again: bool| host != 1 && !(again && host == 2);
            while let Some(host) = calls.next(now + Duration::from_millis(ms), wanted) {
                asked.push((ms, host));
            }
        }
        assert_eq!(asked, [(0, 0), (0, 2), (0, 3), (60, 0), (60, 3), (200, 0), (200, 3)]);
        assert_eq!(Calls::default().next(now, |_, _| true), None);
    }
}
