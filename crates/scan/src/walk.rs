//! The acting half: walks an index space in seeded order at the pace of every cap, sends, listens, repeats what stayed
//! silent. What a cell is, what its answer means and what is told is the walk's own (`hosts`, `ports`).

use crate::api::{Found, Progress, ScanError};
use crate::ask::{Answer, Ask, Said};
use crate::connect::ConnectAsker;
use crate::hosts::Host;
use crate::order::{Permutation, mix};
use crate::pace::{Lane, OwnPace, Pacer};
use crate::syn::{Hop, SynAsker};
use model::{InScope, Scope};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Something to walk: cells, each a question to a host.
pub(crate) trait Walk {
    /// A host by its index.
    fn host(&self, index: u32) -> Host;
    /// Number of cells.
    fn cells(&self) -> u64;
    /// The question of a cell, or `None` when it needs no asking any more.
    fn step(&mut self, cell: u64, found: &mut Vec<Found>) -> Option<(u32, Ask)>;
    /// A question that goes before all cells: host, question, number of the try.
    fn urgent(&mut self, _now: Instant) -> Option<(u32, Ask, u8)> {
        None
    }
    /// When [`Walk::overdue`] wants to be called.
    fn wake(&self) -> Option<Instant> {
        None
    }
    /// Time has passed.
    fn overdue(&mut self, _now: Instant, _found: &mut Vec<Found>) {}
    /// An answer came, to whichever question.
    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>);
    /// Questions that are open still; at zero the walk ends.
    fn outstanding(&self) -> u64;
    /// Whether its cells count as progress of the sweep.
    fn counts(&self) -> bool {
        false
    }
}

/// Asks by frames or by `connect`, as each host's way wants it.
pub(crate) struct Asker {
    pub syn: Option<SynAsker>,
    pub connect: ConnectAsker,
}

impl Asker {
    /// The way to a host.
    pub async fn hop(&self, to: IpAddr) -> io::Result<Hop> {
        match &self.syn {
            Some(syn) => syn.hop(to).await,
            None => Ok(Hop::Kernel),
        }
    }

    /// Sends one probe; takes only what the scope has admitted.
    fn send(&self, frame: &mut Vec<u8>, to: InScope<IpAddr>, hop: Hop, ask: Ask, attempt: u8) -> io::Result<()> {
        match (&self.syn, hop) {
            (_, Hop::Kernel) => self.connect.send(to, ask),
            (Some(syn), _) => syn.send(frame, to, hop, ask, attempt),
            (None, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Cancelled,
}

/// Everything that walks share.
pub(crate) struct Walker {
    pub asker: Asker,
    pub answers: Receiver<Answer>,
    pub out: Sender<Found>,
    pub progress: Arc<Progress>,
    pub cancel: CancellationToken,
    pub pace: Arc<Pacer>,
    pub own: OwnPace,
    pub scope: Scope,
    pub sent: u64,
    pub found: Vec<Found>,
    pub meter: Meter,
    pub frame: Vec<u8>,
}

/// Progress in whole questions: with n tries, a cell walked past once is an n-th of a question.
#[derive(Default)]
pub(crate) struct Meter {
    walked: u64,
    tries: u64,
}

impl Meter {
    pub fn new(tries: u64) -> Self {
        Meter { walked: 0, tries }
    }
    fn add(&mut self, cells: u64, progress: &Progress) {
        self.walked += cells;
        progress.probes_settled.store(self.walked / self.tries.max(1), Ordering::Relaxed);
    }
}

/// A probe on its way out.
#[derive(Clone, Copy, Debug)]
struct Probe {
    host: u32,
    ask: Ask,
    attempt: u8,
    /// Its place in every bucket has been taken.
    paced: bool,
}

/// What became of it.
enum Fired {
    Sent,
    /// A cap holds it back.
    Held(Instant, Lane),
    /// The link has no room just now.
    Busy,
    /// It must not or cannot leave.
    Dropped,
}

/// Probes that a cap of their network or target holds back, so that others need not wait: one queue for each cap, ordered by
/// when the cap lets the next one through. Bounded: when full, no new cell is drawn until one has left.
#[derive(Default)]
struct Held {
    lanes: HashMap<Lane, (Instant, VecDeque<Probe>)>,
    ready: BTreeSet<(Instant, Lane)>,
    count: usize,
}

/// About 2 MB. One slow network of many fills it in the end, and then slows the others; more memory would only defer that.
const MOST_HELD: usize = 65_536;

/// How long to wait when the link has no room.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// How many probes leave in a row before others of the process get a turn and the token is looked at.
const TURN: u32 = 64;

impl Held {
    fn is_full(&self) -> bool {
        self.count >= MOST_HELD
    }
    fn earliest(&self) -> Option<Instant> {
        self.ready.first().map(|(at, _)| *at)
    }
    /// Queues a probe in its lane, which is not ready before `at`: in front if it had been taken out, else behind.
    fn hold(&mut self, at: Instant, lane: Lane, probe: Probe, in_front: bool) {
        let (ready, queue) = self.lanes.entry(lane).or_insert_with(|| (at, VecDeque::new()));
        self.ready.remove(&(*ready, lane));
        *ready = at;
        self.ready.insert((at, lane));
        if in_front {
            queue.push_front(probe)
        } else {
            queue.push_back(probe)
        }
        self.count += 1;
    }
    /// Takes out the next probe whose lane is ready.
    fn pop(&mut self, now: Instant) -> Option<Probe> {
        let &(at, lane) = self.ready.first().filter(|(at, _)| *at <= now)?;
        let (_, queue) = self.lanes.get_mut(&lane)?;
        let probe = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.lanes.remove(&lane);
            self.ready.remove(&(at, lane));
        }
        Some(probe)
    }
}

impl Walker {
    /// Walks every cell up to `tries` times, waiting `wait` for answers after each time. Ends early when nothing is open.
    pub async fn walk(&mut self, walk: &mut impl Walk, tries: u64, wait: Duration, seed: u64) -> Result<End, ScanError> {
        let mut skipped = tries * walk.cells();
        for attempt in 0..tries {
            if walk.outstanding() == 0 {
                break;
            }
            skipped -= walk.cells();
            if self.round(walk, attempt as u8, wait, seed ^ mix(attempt)).await? == End::Cancelled {
                return Ok(End::Cancelled);
            }
        }
        if walk.counts() {
            self.meter.add(skipped, &self.progress);
        }
        Ok(End::Done)
    }

    async fn round(&mut self, walk: &mut impl Walk, attempt: u8, wait: Duration, seed: u64) -> Result<End, ScanError> {
        let order = Permutation::new(walk.cells(), seed);
        let mut next = 0;
        let mut held = Held::default();
        // The probe that everything waits for: the node's cap, the sweep's own, or the link holds it.
        let mut waiting: Option<Probe> = None;
        let mut last_sent = Instant::now();
        let mut turn = 0;
        loop {
            while let Ok(answer) = self.answers.try_recv() {
                walk.answered(&answer, &mut self.found);
            }
            if self.flush().await == End::Cancelled {
                return Ok(End::Cancelled);
            }
            let now = Instant::now();
            let mut taken_out = false;
            let probe = waiting.take().or_else(|| walk.urgent(now).map(Probe::from)).or_else(|| {
                let probe = held.pop(now);
                taken_out = probe.is_some();
                probe
            });
            let probe = match probe {
                Some(probe) => Some(probe),
                None if next < order.len() && !held.is_full() => {
                    let cell = order.at(next);
                    next += 1;
                    if walk.counts() {
                        self.meter.add(1, &self.progress);
                    }
                    match walk.step(cell, &mut self.found) {
                        Some((host, ask)) => Some(Probe::from((host, ask, attempt))),
                        None => {
                            turn += 1;
                            if turn >= TURN {
                                turn = 0;
                                tokio::task::yield_now().await;
                            }
                            continue;
                        }
                    }
                }
                None => None,
            };
            let until = match probe {
                Some(mut probe) => {
                    let host = walk.host(probe.host);
                    match self.fire(host, &mut probe, now)? {
                        Fired::Sent => {
                            last_sent = now;
                            None
                        }
                        Fired::Held(at, Lane::All) => {
                            waiting = Some(probe);
                            Some(at)
                        }
                        Fired::Held(at, lane) => {
                            held.hold(at, lane, probe, taken_out);
                            None
                        }
                        Fired::Busy => {
                            waiting = Some(probe);
                            Some(now + BUSY_WAIT)
                        }
                        Fired::Dropped => {
                            let said = Said::CouldNotSend;
                            walk.answered(&Answer { ip: host.ip, ask: probe.ask, said, at: crate::ask::now() }, &mut self.found);
                            None
                        }
                    }
                }
                None => {
                    walk.overdue(now, &mut self.found);
                    let listened = now >= last_sent + wait;
                    if walk.outstanding() == 0 || (next == order.len() && held.count == 0 && walk.wake().is_none() && listened) {
                        return Ok(self.flush().await);
                    }
                    let deadline = (next == order.len() && !listened).then_some(last_sent + wait);
                    let soonest = [deadline, held.earliest(), walk.wake()].into_iter().flatten().min();
                    Some(soonest.unwrap_or(now + BUSY_WAIT))
                }
            };
            match until {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => return Ok(End::Cancelled),
                        Some(answer) = self.answers.recv() => walk.answered(&answer, &mut self.found),
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => {
                    turn += 1;
                    if turn >= TURN {
                        turn = 0;
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    /// Sends the probe if every cap allows it. The scope is asked last, right before the link.
    fn fire(&mut self, host: Host, probe: &mut Probe, now: Instant) -> Result<Fired, ScanError> {
        if !probe.paced {
            if let Some(at) = self.own.wait(now) {
                return Ok(Fired::Held(at, Lane::All));
            }
            if let Err(not_before) = self.pace.try_take(host.ip) {
                return Ok(Fired::Held(not_before.at, not_before.lane));
            }
            self.own.take(now);
            probe.paced = true;
        }
        let Some(to) = self.scope.admit_ip(host.ip) else {
            return Ok(Fired::Dropped);
        };
        match self.asker.send(&mut self.frame, to, host.hop, probe.ask, probe.attempt) {
            Ok(()) => {
                self.sent += 1;
                self.progress.probes_sent.fetch_add(1, Ordering::Relaxed);
                Ok(Fired::Sent)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Fired::Busy),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotConnected | io::ErrorKind::Unsupported) => Ok(Fired::Dropped),
            Err(source) => Err(ScanError::Link { what: format!("sending to {}", host.ip), source }),
        }
    }

    /// Hands over what has been found.
    pub async fn flush(&mut self) -> End {
        for found in self.found.drain(..) {
            tokio::select! {
                biased;
                sent = self.out.send(found) => if sent.is_err() { return End::Cancelled },
                () = self.cancel.cancelled() => return End::Cancelled,
            }
        }
        if self.cancel.is_cancelled() || self.out.is_closed() { End::Cancelled } else { End::Done }
    }
}

impl From<(u32, Ask, u8)> for Probe {
    fn from((host, ask, attempt): (u32, Ask, u8)) -> Self {
        Probe { host, ask, attempt, paced: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_lane_does_not_hold_up_others() {
        let now = Instant::now();
        let lane = |n: u8| Lane::Target([192, 0, 2, n].into());
        let probe = |host| Probe::from((host, Ask::Echo, 0));
        let mut held = Held::default();
        held.hold(now + Duration::from_secs(5), lane(1), probe(1), false);
        held.hold(now + Duration::from_secs(5), lane(1), probe(2), false);
        held.hold(now + Duration::from_secs(1), lane(2), probe(3), false);
        let mut order = Vec::new();
        let mut at = now;
        while let Some(ready) = held.earliest() {
            at = at.max(ready);
            order.push(held.pop(at).unwrap().host);
        }
        assert_eq!((order, held.count), (vec![3, 1, 2], 0));
        assert!(held.pop(now + Duration::from_secs(9)).is_none());
        // Taken out too early, a probe keeps its place and its lane waits on.
        held.hold(now, lane(1), probe(4), false);
        held.hold(now, lane(1), probe(5), false);
        let four = held.pop(now).unwrap();
        held.hold(now + Duration::from_secs(1), lane(1), four, true);
        assert!(held.pop(now).is_none());
        assert_eq!(held.pop(now + Duration::from_secs(1)).unwrap().host, 4);
    }
}
