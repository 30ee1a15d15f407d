//! The acting half: draws questions from a walk, sends them at the pace of every cap, in batches, listens, and waits for
//! stragglers no longer than they are worth. What a question is, what its answer means and what is told is the walk's own
//! (`live`, `ports`).

use crate::admission::Admission;
use crate::api::{Found, Progress, ScanError};
use crate::ask::{Answer, Ask};
use crate::connect::ConnectAsker;
use crate::hear::Inbox;
use crate::held::Held;
use crate::link::Outlet;
use crate::pace::Lease;
use crate::syn::SynAsker;
use crate::tempo::Tempo;
use crate::way::{Way, WayId, Ways};
use model::InScope;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Something to walk: questions to hosts, in an order of its own.
pub(crate) trait Walk {
    /// A host by its index: its address, and where its probes go.
    fn target(&self, host: u32) -> (IpAddr, WayId);
    /// The next question.
    fn draw(&mut self, found: &mut Vec<Found>) -> Draw;
    /// A question that goes before all others: host, question, number of the try.
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
    /// Where a host stands, if it is at work; asked for canaries only.
    fn host_of(&self, _ip: IpAddr) -> Option<u32> {
        None
    }
    /// How many questions of the pass under way have been drawn or skipped.
    fn position(&self) -> u64 {
        0
    }
    /// Everything before this position has been asked by now. Called about once a second while questions are drawn.
    fn mark(&mut self, _now: Instant, _position: u64) {}
    /// A question that was drawn waits for a cap.
    fn delayed(&mut self) {}
    /// How long to listen after the last probe, given how long an answer may take.
    fn patience(&self, timeout: Duration) -> Duration {
        timeout
    }
}

/// A walk of which parts can be walked once more.
pub(crate) trait WalkAgain: Walk {
    /// Begins a pass over parts of the last one, given by its positions: what stayed silent there is asked once more.
    fn walk_again(&mut self, parts: &[Range<u64>]);
}

/// What a walk draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// Ask this host this, for the n-th time.
    Ask(u32, Ask, u8),
    /// Some questions need no asking any more; there may be others.
    Skipped,
    /// There are no more.
    End,
}

/// Asks by frames or by `connect`, as each host's way wants it.
pub(crate) struct Asker {
    pub syn: Option<SynAsker>,
    pub connect: ConnectAsker,
    pub ways: Ways,
}

impl Asker {
    /// Sends one probe; takes only what the scope has admitted.
    fn send(&mut self, to: InScope<IpAddr>, way: WayId, ask: Ask, attempt: u8) -> io::Result<()> {
        match (&mut self.syn, self.ways.get(way)) {
            (_, Way::Kernel) => self.connect.send(to, ask, attempt),
            (Some(syn), way) => syn.send(to, way, ask, attempt),
            (None, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn hand_over(&mut self) -> Result<Option<Outlet>, ScanError> {
        self.syn.as_mut().map_or(Ok(None), SynAsker::hand_over).map_err(sending)
    }

    /// Frames on their way to the wire.
    fn waiting(&self) -> u64 {
        self.syn.as_ref().map_or(0, SynAsker::waiting)
    }
}

fn sending(source: io::Error) -> ScanError {
    ScanError::Link { what: "sending frames".into(), source }
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
    pub inbox: Arc<Inbox>,
    pub out: Sender<Found>,
    pub progress: Arc<Progress>,
    pub cancel: CancellationToken,
    pub lease: Lease,
    /// What makes the rate, unless it is fixed.
    pub tempo: Option<Tempo>,
    /// The stretches of the last pass, by [`Walk::position`], in which the path lost so much that what stayed silent there
    /// should be asked again.
    pub again: Vec<Range<u64>>,
    pub admission: Admission,
    pub tally: Tally,
    pub found: Vec<Found>,
    /// Answers being looked at; kept for its memory.
    pub answers: Vec<Answer>,
}

/// What has been sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub sent: u64,
    /// Of these, repetitions.
    pub repeated: u64,
    /// Time in which probes were being sent.
    pub sending: Duration,
    /// When the last probe left.
    pub last_sent: Option<Instant>,
}

/// A probe on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub host: u32,
    pub ask: Ask,
    pub attempt: u8,
    /// Network and target allowed it, and counted it.
    pub allowed: bool,
    /// Where in the walk it was drawn; at the end if it was not.
    pub position: u64,
}

impl From<(u32, Ask, u8)> for Probe {
    fn from((host, ask, attempt): (u32, Ask, u8)) -> Self {
        Probe { host, ask, attempt, allowed: false, position: u64::MAX }
    }
}

/// One pass over a walk.
struct Pass {
    held: Held,
    /// The probe that waits for room on the link.
    waiting: Option<Probe>,
    /// Everything has been drawn.
    ended: bool,
    began: Instant,
    last_sent: Instant,
    /// Until when to listen, and when that was found out.
    listen: Option<(Instant, Instant)>,
    /// When we wanted to be woken, and by how much we were woken too late, all in all: while nobody lets us listen, nothing
    /// can be heard.
    alarm: Option<Instant>,
    late: Duration,
    /// When the walk is told next how far it has come.
    mark: Instant,
    /// Frames lost so far, when that is looked at next, and where the walk stood the last two times.
    lost: u64,
    look: Instant,
    stood: [u64; 2],
}

/// What comes after a turn.
enum Next {
    Turn,
    /// Nothing can be sent before.
    Wait(Instant),
    /// The link has no room.
    Room(Outlet),
    /// The link is behind the rate.
    Leave(Outlet),
    Done,
}

/// How long to wait when there is no room and nobody says when there will be.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// How many questions are drawn in a turn at most, so that skipping over many does not keep others waiting.
const MOST_DRAWN: u32 = 4_096;

/// Probes in a turn from which on the next turn follows so soon that what is left of a batch can wait for it.
const WHOLE_BATCH: u32 = 128;

/// How often a walk is told how far it has come.
const MARK_EVERY: Duration = Duration::from_millis(250);

/// How often losses are looked for at a fixed rate: longer than most answers take, and a few thousand probes at full rate.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// By how much a sleep is usually too long: a timer's tick, and others that run first.
const USUALLY_LATE: Duration = Duration::from_millis(10);

/// How often it is looked at again how long to listen: hosts that answer meanwhile are waited for by their own time.
const LISTEN_CHECK: Duration = Duration::from_millis(20);

impl Pass {
    fn begin(now: Instant, lost: u64) -> Self {
        Pass {
            held: Held::default(),
            waiting: None,
            ended: false,
            began: now,
            last_sent: now,
            listen: None,
            alarm: None,
            late: Duration::ZERO,
            mark: now,
            lost,
            look: now + LOOK_EVERY,
            stood: [0; 2],
        }
    }
}

impl Walker {
    /// Sends all that the walk draws, and listens up to `timeout` for answers. Ends early when nothing is open.
    pub async fn pass(&mut self, walk: &mut impl Walk, timeout: Duration) -> Result<End, ScanError> {
        let now = Instant::now();
        let mut pass = Pass::begin(now, self.lost());
        self.again.clear();
        if let Some(tempo) = &mut self.tempo {
            tempo.begin_pass(now);
        }
        let end = self.turns(walk, &mut pass, timeout).await;
        if let Some(tempo) = &mut self.tempo {
            self.again = tempo.end_pass(Instant::now());
        } else {
            self.look_for_losses(walk, &mut pass, Instant::now());
        }
        self.tally.sending += pass.last_sent - pass.began;
        if matches!(end, Ok(End::Done)) {
            return end;
        }
        // Frames that nobody has seen have not been sent.
        let discarded = self.asker.syn.as_mut().map_or(0, SynAsker::discard);
        self.tally.sent -= discarded.min(self.tally.sent);
        self.progress.probes_sent.fetch_sub(discarded, Ordering::Relaxed);
        end
    }

    async fn turns(&mut self, walk: &mut impl Walk, pass: &mut Pass, timeout: Duration) -> Result<End, ScanError> {
        loop {
            self.take_in(walk);
            if self.flush().await == End::Cancelled {
                return Ok(End::Cancelled);
            }
            self.set_rate(walk, pass);
            let next = match self.turn(walk, pass, timeout)? {
                // What has been gathered leaves before anything is waited for.
                next @ (Next::Wait(_) | Next::Done) => self.asker.hand_over()?.map_or(next, Next::Room),
                next => next,
            };
            match self.until_tick(walk, next) {
                Next::Turn => tokio::task::yield_now().await,
                Next::Done => return Ok(self.flush().await),
                Next::Wait(at) => tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Ok(End::Cancelled),
                    () = self.inbox.arrived() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Next::Leave(outlet) => tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Ok(End::Cancelled),
                    left = outlet.drained() => drop(left.map_err(sending)?),
                    () = self.inbox.arrived() => {}
                },
                Next::Room(outlet) => tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Ok(End::Cancelled),
                    room = outlet.reserve() => drop(room.map_err(sending)?),
                    () = self.inbox.arrived() => {}
                },
            }
        }
    }

    /// Looks at the answers that have arrived.
    fn take_in(&mut self, walk: &mut impl Walk) {
        self.inbox.take(&mut self.answers);
        if let Some(tempo) = self.tempo.as_mut().filter(|_| !self.answers.is_empty()) {
            tempo.heard(&self.answers, Instant::now());
        }
        for answer in &self.answers {
            walk.answered(answer, &mut self.found);
        }
        self.answers.clear();
    }

    /// Frames that were lost by ourselves: what could not leave, and what was not received.
    fn lost(&self) -> u64 {
        self.asker.syn.as_ref().map_or(0, |syn| syn.drops() + syn.lost()) + self.inbox.overrun()
    }

    /// At a fixed rate, what stayed silent while frames were lost is asked again.
    fn look_for_losses(&mut self, walk: &impl Walk, pass: &mut Pass, now: Instant) {
        let lost = self.lost();
        // An answer that was lost just now answers what was asked a while ago.
        let asked = pass.stood[0]..walk.position();
        if lost > pass.lost && !asked.is_empty() {
            self.again.push(asked);
        }
        (pass.lost, pass.look, pass.stood) = (lost, now + LOOK_EVERY, [pass.stood[1], walk.position()]);
    }

    /// Looks at the rate, if that follows the path, and else at what has been lost.
    fn set_rate(&mut self, walk: &impl Walk, pass: &mut Pass) {
        let now = Instant::now();
        let Some(tempo) = &self.tempo else {
            if now >= pass.look {
                self.look_for_losses(walk, pass, now);
            }
            return;
        };
        if now < tempo.next_tick() {
            return;
        }
        let lost = self.lost();
        let Some(tempo) = &mut self.tempo else { return };
        if let Some(pps) = tempo.tick(now, self.tally.sent, lost, walk.position()) {
            self.lease.set_rate(pps, now);
        }
    }

    /// No longer than until the rate is looked at again; and not done while canaries may tell what has to be asked again.
    fn until_tick(&self, walk: &impl Walk, next: Next) -> Next {
        match (&self.tempo, next) {
            (Some(tempo), Next::Wait(at)) => Next::Wait(at.min(tempo.next_tick())),
            (Some(tempo), Next::Done) if walk.outstanding() > 0 && tempo.undecided(Instant::now()) => {
                Next::Wait(tempo.next_tick())
            }
            (_, next) => next,
        }
    }

    /// The next canary, if its host is at work.
    fn canary(&mut self, walk: &impl Walk, now: Instant) -> Option<Probe> {
        let tempo = self.tempo.as_mut()?;
        let (ip, ask) = tempo.canary(now)?;
        let host = walk.host_of(ip);
        if host.is_none() || self.lease.allows(ip, now).is_err() {
            tempo.unsent(host.is_none().then_some(ip));
            return None;
        }
        // Asked before, so not the first try.
        host.map(|host| Probe { allowed: true, ..Probe::from((host, ask, 1)) })
    }

    /// Sends as many probes as the caps give tokens for, or says what to wait for.
    fn turn(&mut self, walk: &mut impl Walk, pass: &mut Pass, timeout: Duration) -> Result<Next, ScanError> {
        let now = Instant::now();
        if now >= pass.mark {
            pass.mark = now + MARK_EVERY;
            let held = pass.held.probes().chain(&pass.waiting).map(|probe| probe.position).min();
            walk.mark(now, walk.position().min(held.unwrap_or(u64::MAX)));
        }
        pass.waiting = pass.waiting.take().or_else(|| walk.urgent(now).map(Probe::from));
        let ready = pass.held.earliest().is_some_and(|at| at <= now);
        if pass.waiting.is_none() && !ready && (pass.ended || pass.held.is_full()) {
            return Ok(self.idle(walk, pass, timeout, now));
        }
        if self.asker.waiting() > self.lease.most_waiting()
            && let Some(outlet) = self.asker.syn.as_ref().and_then(SynAsker::busy)
        {
            return Ok(Next::Leave(outlet));
        }
        let granted = match self.lease.take(self.lease.batch(), now) {
            Ok(granted) => granted,
            Err(at) => {
                walk.overdue(now, &mut self.found);
                // What is due already waits for a token like everything else.
                let wake = walk.wake().filter(|wake| *wake > now);
                return Ok(Next::Wait(wake.map_or(at, |wake| wake.min(at))));
            }
        };
        if let Some(syn) = &mut self.asker.syn {
            syn.set_time(now);
        }
        let mut used = 0;
        let next = self.send(walk, pass, now, granted, &mut used)?;
        self.lease.give_back(granted - used);
        if used > 0 {
            pass.last_sent = now;
            self.tally.last_sent = Some(now);
            self.tally.sent += u64::from(used);
            self.progress.probes_sent.fetch_add(used.into(), Ordering::Relaxed);
        }
        // At full speed batches leave when they are full; at any other, nothing that may leave now is kept waiting.
        if used < WHOLE_BATCH && matches!(next, Next::Turn) {
            return Ok(self.asker.hand_over()?.map_or(next, Next::Room));
        }
        Ok(next)
    }

    fn send(
        &mut self,
        walk: &mut impl Walk,
        pass: &mut Pass,
        now: Instant,
        granted: u32,
        used: &mut u32,
    ) -> Result<Next, ScanError> {
        let mut drawn = 0;
        while *used < granted && drawn < MOST_DRAWN {
            let mut from = None;
            let is_due = self.tempo.as_mut().is_some_and(Tempo::canary_is_due);
            let due = if is_due { self.canary(walk, now) } else { None };
            let probe = due.or_else(|| pass.waiting.take()).or_else(|| walk.urgent(now).map(Probe::from)).or_else(|| {
                let (probe, lane) = pass.held.pop(now)?;
                from = Some(lane);
                Some(probe)
            });
            let mut probe = match probe {
                Some(probe) => probe,
                None if pass.ended || pass.held.is_full() => break,
                None => {
                    drawn += 1;
                    let position = walk.position();
                    match walk.draw(&mut self.found) {
                        Draw::Ask(host, ask, attempt) => Probe { position, ..Probe::from((host, ask, attempt)) },
                        Draw::Skipped => continue,
                        Draw::End => {
                            pass.ended = true;
                            continue;
                        }
                    }
                }
            };
            let (ip, way) = walk.target(probe.host);
            if !probe.allowed {
                if let Err(not_before) = self.lease.allows(ip, now) {
                    pass.held.hold(not_before.at, not_before.lane, probe, from);
                    walk.delayed();
                    continue;
                }
                probe.allowed = true;
            }
            // The scope is asked last, right before the frame is written.
            let sent = match self.admission.admit(ip) {
                Some(to) => self.asker.send(to, way, probe.ask, probe.attempt),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            match sent {
                Ok(()) => {
                    *used += 1;
                    if let Some(tempo) = &mut self.tempo {
                        tempo.probe_left();
                    }
                    self.tally.repeated += u64::from(probe.attempt > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    pass.waiting = Some(probe);
                    let full = self.asker.syn.as_ref().and_then(SynAsker::full);
                    return Ok(full.map_or(Next::Wait(now + BUSY_WAIT), Next::Room));
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::NotConnected | io::ErrorKind::Unsupported) => {
                    walk.answered(&Answer::could_not_send(ip, probe.ask), &mut self.found);
                }
                Err(source) => return Err(ScanError::Link { what: format!("sending to {ip}"), source }),
            }
        }
        Ok(Next::Turn)
    }

    /// There is nothing to send just now.
    fn idle(&mut self, walk: &mut impl Walk, pass: &mut Pass, timeout: Duration, now: Instant) -> Next {
        walk.overdue(now, &mut self.found);
        if walk.outstanding() == 0 {
            return Next::Done;
        }
        let overslept = pass.alarm.take().map_or(Duration::ZERO, |alarm| now.saturating_duration_since(alarm));
        pass.late += if overslept > USUALLY_LATE { overslept } else { Duration::ZERO };
        if !(pass.ended && pass.held.is_empty()) {
            let soonest = [pass.held.earliest(), walk.wake()].into_iter().flatten().min();
            return Next::Wait(soonest.unwrap_or(now + BUSY_WAIT));
        }
        if self.asker.waiting() > 0 {
            // The last probe has not left yet.
            (pass.last_sent, pass.listen) = (now, None);
            return Next::Wait(now + BUSY_WAIT);
        }
        let until = match pass.listen {
            Some((until, checked)) if now < checked + LISTEN_CHECK && now < until => until,
            _ => pass.last_sent + walk.patience(timeout) + pass.late,
        };
        pass.listen = Some((until, now));
        match walk.wake() {
            None if until <= now => Next::Done,
            None => {
                let at = until.min(now + LISTEN_CHECK);
                pass.alarm = Some(at);
                Next::Wait(at)
            }
            Some(wake) => Next::Wait(wake.max(now + BUSY_WAIT)),
        }
    }

    /// Hands over what has been found.
    pub async fn flush(&mut self) -> End {
        for found in self.found.drain(..) {
            let Err(rest) = self.out.try_send(found) else { continue };
            tokio::select! {
                biased;
                sent = self.out.send(rest.into_inner()) => if sent.is_err() { return End::Cancelled },
                () = self.cancel.cancelled() => return End::Cancelled,
            }
        }
        if self.cancel.is_cancelled() || self.out.is_closed() { End::Cancelled } else { End::Done }
    }
}
