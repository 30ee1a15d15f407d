//! Hosts that limit their SYN-ACKs: found out once a pass is over, and asked again as slowly as they answer. The deciding
//! half, driven by time; `ports` says which cells are silent and `walk` sends.
//!
//! A host that was asked quickly and has open ports is asked at some of these once more, twenty times at once. One that
//! answers few of them limits, and its silence proves nothing. What is silent there is asked again in rounds of a second, with
//! four questions to known open ports among it. A round in which these are answered was slow enough, and the next is twice as
//! fast; one in which they are not is asked again at half the rate. A host is done when all was asked and nothing new came of
//! it, after three times, or when [`LONGEST`] is over for all hosts together: what is likely to be open was asked first.

use crate::ask::Ask;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What all of it may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);

/// Questions of the test. Limits let a handful pass at once (nftables: five).
const TEST: u32 = 20;
/// Between two of them: five hundred a second are more than any limit in use lets through, and no burden.
const TEST_GAP: Duration = Duration::from_millis(2);
/// A host that answers less than this share of them limits. A path that loses a third would have been noticed.
const ANSWERS: f64 = 0.6;
/// How fast a limited host is asked at first, cells per second; no slower and no faster than that later. Twice a second is
/// slower than limits are, and 2,000 a second is as fast as targets are asked in general.
const FIRST_PPS: f64 = 20.0;
const LEAST_PPS: f64 = 5.0;
const MOST_PPS: f64 = 2_000.0;
/// Length of a round, and questions to known open ports in it.
const ROUND: Duration = Duration::from_secs(1);
const CANARIES: u32 = 4;
/// How long an answer may take after the last question of a round.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often all that is silent is asked.
const TIMES: u32 = 3;
/// Hosts with open ports that are remembered, and ports of each.
const HOSTS: usize = 1_024;
const PORTS: usize = 4;

/// One of a host's questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// This known open port.
    Known(Ask),
    /// This cell.
    Cell(u64),
}

/// The hosts with open ports, and those among them that are asked slowly.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    known: HashMap<u32, Vec<Ask>>,
    asked: Vec<Asked>,
    until: Option<Instant>,
    /// Hosts that were found to limit.
    limited: u64,
}

#[derive(Debug)]
struct Asked {
    host: u32,
    known: Vec<Ask>,
    /// What is left of the round, and when the next of it is due.
    round: VecDeque<Question>,
    at: Instant,
    gap: Duration,
    /// Cells of the round, for the case that it has to be asked again.
    cells: Vec<u64>,
    /// Known open ports asked and answered in this round.
    canaries: (u32, u32),
    /// Cells still to be asked; `None` while it is being tested.
    left: Option<VecDeque<u64>>,
    pps: f64,
    times: u32,
    /// Something new came of this time.
    found: bool,
}

impl Limited {
    /// A port is open. True when it had been asked for to see whether it is answered again.
    pub fn open(&mut self, host: u32, ask: Ask) -> bool {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.host == host) {
            if asked.known.contains(&ask) {
                let (of, answered) = &mut asked.canaries;
                *answered = (*answered + 1).min(*of);
                return true;
            }
            asked.found = true;
        }
        if self.known.len() < HOSTS || self.known.contains_key(&host) {
            let known = self.known.entry(host).or_default();
            if known.len() < PORTS && !known.contains(&ask) {
                known.push(ask);
            }
        }
        false
    }

    /// Begins to test the hosts that `worth` picks. False when there are none.
    pub fn begin(&mut self, now: Instant, worth: impl Fn(u32) -> bool) -> bool {
        self.until = Some(now + LONGEST);
        let hosts = self.known.iter().filter(|(host, _)| worth(**host));
        self.asked = hosts.map(|(host, known)| Asked::test(*host, known.clone(), now)).collect();
        self.asked.sort_unstable_by_key(|asked| asked.host);
        !self.asked.is_empty()
    }

    /// Whether it is under way.
    pub fn is_under_way(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Hosts that were found to limit their answers.
    pub fn found(&self) -> u64 {
        self.limited
    }

    /// When the next question is due, or the end of a round.
    pub fn wake(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.at).min()
    }

    /// The next question that is due. `silent` says which cells of a host are silent, likely ones first, and whether one is.
    pub fn next(
        &mut self,
        now: Instant,
        all_silent: impl Fn(u32) -> VecDeque<u64>,
        is_silent: impl Fn(u64) -> bool,
    ) -> Option<(u32, Question)> {
        let over = self.until.is_some_and(|until| now >= until);
        let mut at = 0;
        while at < self.asked.len() {
            let asked = &mut self.asked[at];
            if now < asked.at && !over {
                at += 1;
                continue;
            }
            while let Some(question) = asked.round.pop_front().filter(|_| !over) {
                match question {
                    Question::Cell(cell) if !is_silent(cell) => continue,
                    Question::Cell(cell) => asked.cells.push(cell),
                    Question::Known(_) => asked.canaries.0 += 1,
                }
                // What a late wake-up missed is not caught up: the rate is the point.
                asked.at = now + if asked.round.is_empty() { PATIENCE } else { asked.gap };
                return Some((asked.host, question));
            }
            let tested = asked.left.is_none();
            if !over && asked.goes_on(now, &all_silent, &is_silent) {
                self.limited += u64::from(tested);
            } else {
                self.asked.remove(at);
            }
        }
        None
    }
}

impl Asked {
    fn test(host: u32, known: Vec<Ask>, now: Instant) -> Self {
        let round = (0..TEST as usize).map(|i| Question::Known(known[i % known.len()])).collect();
        Asked {
            host,
            known,
            round,
            at: now,
            gap: TEST_GAP,
            cells: Vec::new(),
            canaries: (0, 0),
            left: None,
            pps: FIRST_PPS,
            times: 0,
            found: false,
        }
    }

    /// A round is over: begins the next one, if there is one.
    fn goes_on(&mut self, now: Instant, all_silent: &impl Fn(u32) -> VecDeque<u64>, is_silent: &impl Fn(u64) -> bool) -> bool {
        let (of, answered) = std::mem::take(&mut self.canaries);
        let cells = std::mem::take(&mut self.cells);
        match &mut self.left {
            None if f64::from(answered) >= ANSWERS * f64::from(of) => return false,
            None => {}
            Some(_) if answered >= of => self.pps = (2.0 * self.pps).min(MOST_PPS),
            // One in four may be lost on the way.
            Some(_) if answered + 1 >= of && of == CANARIES => {}
            Some(left) => {
                self.pps = (self.pps / 2.0).max(LEAST_PPS);
                cells.into_iter().rev().filter(|cell| is_silent(*cell)).for_each(|cell| left.push_front(cell));
            }
        }
        let left = match &mut self.left {
            Some(left) if !left.is_empty() => left,
            _ if self.times == 0 || self.found && self.times < TIMES => {
                self.times += 1;
                self.found = false;
                self.left.insert(all_silent(self.host))
            }
            _ => return false,
        };
        let cells = left.len().min((self.pps * ROUND.as_secs_f64()) as usize);
        let canaries = CANARIES as usize;
        // The last question of the round is to a known port: it sees what all the others have left of the limit.
        let mut round: VecDeque<Question> = left.drain(..cells).map(Question::Cell).collect();
        for i in 1..=canaries {
            let known = Question::Known(self.known[(i + self.times as usize) % self.known.len()]);
            round.insert(i * cells / canaries + i - 1, known);
        }
        // A short last round is asked no faster than a long one.
        let gap = 1.0 / (self.pps + f64::from(CANARIES));
        (self.gap, self.at, self.round) = (Duration::from_secs_f64(gap), now, round);
        // Known ports alone prove nothing when there is nothing to ask between them.
        cells > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A host that accepts on some ports, and answers only so many a second.
    struct Target {
        open: HashSet<u64>,
        tokens: f64,
        pps: f64,
        at: Instant,
    }

    impl Target {
        fn answers(&mut self, cell: u64, now: Instant) -> bool {
            self.tokens = (self.tokens + self.pps * (now - self.at).as_secs_f64()).min(5.0);
            self.at = now;
            let answers = self.open.contains(&cell) && self.tokens >= 1.0;
            self.tokens -= f64::from(u8::from(answers));
            answers
        }
    }

    /// Asks all that is silent; what is open and was found, how many questions that took, and how long.
    fn run(cells: u64, open: impl Iterator<Item = u64>, pps: f64, known: &[u16]) -> (usize, usize, u64, Duration) {
        let began = Instant::now();
        let mut target = Target { open: open.collect(), tokens: 5.0, pps, at: began };
        let mut settled: HashSet<u64> = known.iter().map(|port| u64::from(*port)).collect();
        let mut limited = Limited::default();
        known.iter().for_each(|port| assert!(!limited.open(0, Ask::Syn(*port))));
        assert!(limited.begin(began, |_| true));
        let (mut now, mut asked) = (began, 0);
        while limited.is_under_way() {
            let silent = |_: u32| (0..cells).filter(|cell| !settled.contains(cell)).collect();
            match limited.next(now, silent, |cell| !settled.contains(&cell)) {
                Some((0, question)) => {
                    asked += 1;
                    let cell = match question {
                        Question::Cell(cell) => cell,
                        Question::Known(Ask::Syn(port)) => port.into(),
                        other => panic!("{other:?}"),
                    };
                    if target.answers(cell, now) {
                        settled.insert(cell);
                        limited.open(0, Ask::Syn(cell as u16));
                    }
                }
                Some(other) => panic!("{other:?}"),
                None => now = limited.wake().map_or(now, |at| at.max(now + Duration::from_micros(100))),
            }
        }
        (settled.len(), target.open.len(), asked, now - began)
    }

    #[test]
    fn a_host_that_answers_ten_a_second_is_asked_until_all_is_known() {
        for (cells, open) in [(1_000, 40), (1_000, 5), (1_000, 200), (5_000, 100)] {
            let (found, of, asked, took) = run(cells, (0..open).map(|i| i * (cells / open)), 10.0, &[0]);
            assert!(found as f64 >= 0.995 * of as f64, "{found} of {of} among {cells} in {took:?}");
            assert!(took <= LONGEST && asked < 8 * cells + 500, "{asked} questions in {took:?}");
        }
    }

    #[test]
    fn a_host_that_does_not_limit_is_left_alone() {
        let (_, _, asked, took) = run(65_535, (0..40).map(|i| i * 7), 1e6, &[0, 7]);
        assert_eq!(asked, u64::from(TEST));
        assert!(took < Duration::from_secs(1));
    }

    #[test]
    fn a_whole_host_of_silence_ends_in_time_and_begins_with_what_is_likely() {
        // One open port in four: more than can be found in the time at ten a second.
        let (found, _, _, took) = run(65_535, (0..65_535).step_by(4), 10.0, &[0]);
        assert!(found > 300, "{found}");
        assert!(took <= LONGEST + Duration::from_secs(1), "{took:?}");
    }
}
