//! The ports of the hosts at work: which are asked, which are settled, what is told. The deciding half; `walk` sends.

use crate::api::{Found, Progress};
use crate::ask::{Answer, Ask, Said, now};
use crate::calls::{self, Calls};
use crate::cells::{Bits, Cells};
use crate::hosts::Hosts;
use crate::limited::{Limited, Question};
use crate::pseudo::{Guard, Opened};
use crate::resume::{Keeper, holds};
use crate::slow::{Doubts, Slowly};
use crate::stretch::Stretches;
use crate::walk::{Draw, Walk, WalkAgain};
use crate::waves::Again;
use crate::way::WayId;
use model::{Endpoint, IpRange, Observation, Proto, Reason, State};
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// What is told.
pub(crate) struct Telling<'a> {
    /// Every state rather than only open.
    pub all: bool,
    /// Endpoints whose state is told in any case.
    pub named: &'a HashSet<Endpoint>,
}

/// Progress in whole questions: with n tries, a cell walked past once is an n-th of a question.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    walked: u64,
    tries: u64,
    told: u64,
}

impl Meter {
    pub fn new(tries: u64) -> Self {
        Meter { walked: 0, tries, told: 0 }
    }
    fn add(&mut self, cells: u64, progress: &Progress) {
        self.walked += cells;
        let settled = self.walked / self.tries.max(1);
        if settled != self.told {
            progress.probes_settled.fetch_add(settled - self.told, Ordering::Relaxed);
            self.told = settled;
        }
    }
}

/// Which cells are drawn.
pub(crate) enum Plan {
    /// All that are not settled, from this one on.
    All(u64),
    /// These, from this place of the list on.
    Listed(Vec<u64>, usize),
    /// Those that are worth asking again, from this one on, after so many of a list.
    Chosen(u64, u64),
    /// Parts of all.
    Parts(Stretches),
    /// An echo to each host never heard of, from this one on.
    Echoes(u32),
}

/// Words of settled cells skipped in one draw: a quarter of a million cells, some ten microseconds.
pub(crate) const MOST_SKIPPED: u64 = 4_096;

/// From so many ports on, a host that is up and has none that answers is said to be filtered altogether. Fewer prove little.
const ALL_FILTERED: u32 = 5;

/// Hosts that were asked no faster than this can have lost little to a limit of their own: a limit on SYN-ACKs of ten a second
/// is a low one, and few hosts have a port open for every two that are asked.
const QUICKLY_PPS: f64 = 20.0;

/// How long the first pass of a sweep that repeats is listened to at least, though nobody who was heard of owes an answer: what
/// is on its way would look like an answer to a repetition. Longer than answers of most networks take.
const SETTLING: Duration = Duration::from_millis(50);

/// So many cells of few hosts are a small sweep: at the thousand a second that any path takes, seconds of work.
pub(crate) const SMALL: u64 = 8_192;

/// UDP is answered by programs, which take longer than a kernel takes to refuse or accept a connection.
const UDP_WAIT: Duration = Duration::from_millis(500);

/// Asks ports. Remembers a bit for each whether it is settled, and another, once there is such a one, whether it could not be
/// asked.
pub(crate) struct PortWalk<'a> {
    pub hosts: Hosts,
    pub(crate) cells: Cells,
    pub(crate) plan: Plan,
    pub(crate) attempt: u8,
    pub(crate) settled: Bits,
    unsent: Option<Bits>,
    pub(crate) outstanding: u64,
    pub(crate) telling: Telling<'a>,
    guard: Option<Guard<'a>>,
    progress: Arc<Progress>,
    pub meter: Meter,
    /// Answers to what had been answered before.
    pub duplicates: u64,
    /// The account of repetitions, when they are chosen.
    pub(crate) again: Option<Box<Again>>,
    /// Keeps the place to go on from, while the first pass lasts.
    pub keeper: Option<Keeper>,
    /// The first pass begins here; what is before it was asked by an earlier run.
    from: u64,
    /// Hosts with open ports, and those of them that limit their answers; when that is looked after.
    pub limited: Option<Box<Limited>>,
    udp: Doubts,
    /// This pass asks UDP ports alone.
    only_udp: bool,
    /// Silent UDP ports being asked again.
    slowly: Slowly,
    /// The rate follows the path, and there are few hosts: what silence of theirs is loss is found out, at the price of seconds.
    pub(crate) few: bool,
    calls: Calls,
    /// The path has been found to have a limit.
    pub limited_path: bool,
}

impl<'a> PortWalk<'a> {
    pub fn new(
        hosts: Hosts,
        cells: Cells,
        telling: Telling<'a>,
        guard: Option<Guard<'a>>,
        meter: Meter,
        progress: Arc<Progress>,
    ) -> Self {
        let len = cells.len();
        PortWalk {
            plan: Plan::All(0),
            attempt: 0,
            settled: Bits::new(len),
            unsent: None,
            outstanding: len,
            hosts,
            cells,
            telling,
            guard,
            progress,
            meter,
            duplicates: 0,
            again: None,
            keeper: None,
            from: 0,
            limited: None,
            udp: Doubts::default(),
            only_udp: false,
            slowly: Slowly::default(),
            few: false,
            calls: Calls::default(),
            limited_path: false,
        }
    }

    /// The rate follows the path: few hosts are asked for an echo as well. False when there are many.
    pub fn begin_calling(&mut self) -> bool {
        self.few = self.hosts.len() <= calls::MOST_HOSTS;
        if self.few && self.cells.questions() >= calls::LEAST_QUESTIONS {
            self.calls = Calls::new(self.hosts.len() as u32);
        }
        self.few
    }

    /// Begins the n-th pass over everything that is not settled.
    pub fn begin(&mut self, attempt: u8) {
        (self.plan, self.attempt) = (Plan::All(if attempt == 0 { self.from } else { 0 }), attempt);
    }

    /// Goes on from this cell, knowing that these hosts had answered. The endpoints before it that are known by name are asked
    /// first, because a silent one has not been told; false when there are none.
    pub fn go_on(&mut self, from: u64, alive: &[IpRange]) -> bool {
        self.from = from.min(self.cells.len());
        self.meter.add(self.from, &self.progress);
        for at in 0..self.hosts.len() as u32 {
            let ip = self.hosts.ip(at);
            if holds(alive, ip) {
                self.hosts.mark_up(at, Reason::SynAck);
            }
        }
        let named = self.telling.named.iter().filter_map(|named| self.place(named)).filter(|&cell| cell < self.from).collect();
        self.plan = Plan::Listed(named, 0);
        !matches!(&self.plan, Plan::Listed(named, _) if named.is_empty())
    }

    /// Begins to ask silent UDP ports once more, whatever the repetitions of others are worth: a port has up to two questions,
    /// and an answer without an id takes two tries. False when no UDP port is asked.
    pub fn begin_udp(&mut self, attempt: u8) -> bool {
        (self.plan, self.attempt) = (Plan::Parts(Stretches::new(std::iter::once(0..self.cells.len()).collect())), attempt);
        self.only_udp = self.cells.has_udp();
        self.only_udp
    }

    /// Begins to ask UDP ports again whose silence proves little: those answered once without an id, and those of hosts that
    /// refuse UDP ports, as slowly as hosts refuse. False when there is none. This pass draws nothing else.
    pub fn begin_slowly(&mut self, attempt: u8, now: Instant) -> bool {
        (self.plan, self.attempt, self.slowly) = (Plan::Parts(Stretches::new(Vec::new())), attempt, Slowly::default());
        let settled = |cell: u64| self.settled.get(cell);
        for (host, cell) in self.udp.answered_once().filter(|(_, cell)| !settled(*cell)) {
            self.slowly.add(host, cell, now);
        }
        for host in self.udp.refusing() {
            // Ports that have a payload first: those are what a sweep of UDP ports is for.
            let mut cells: Vec<(bool, u16, u64)> = self.cells.udp_of(host, self.hosts.ip(host));
            cells.retain(|(.., cell)| !settled(*cell) && !self.udp.has_answered_once(*cell));
            cells.sort_unstable();
            for (.., cell) in cells {
                if !self.slowly.add(host, cell, now) {
                    break;
                }
            }
        }
        !self.slowly.is_empty()
    }

    /// Begins to ask hosts again that limit their answers, as slowly as they answer, after passes that took so long. False when
    /// there is no host that was asked so quickly. This pass draws nothing else.
    pub fn begin_limited(&mut self, attempt: u8, took: Duration, now: Instant) -> bool {
        let questions = self.cells.questions();
        let Some(limited) = self.limited.as_mut().filter(|_| f64::from(questions) > QUICKLY_PPS * took.as_secs_f64()) else {
            return false;
        };
        (self.plan, self.attempt) = (Plan::Listed(Vec::new(), 0), attempt);
        let hosts = &self.hosts;
        limited.begin(now, |host| {
            let host = hosts.get(host);
            !host.pseudo && host.settled < questions && host.way != WayId::KERNEL
        })
    }

    /// The first pass is over: whoever goes on from here goes on with the repetitions.
    pub fn passed(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.passed(self.cells.len(), &self.hosts);
        }
    }

    /// Passes that will not be made count as made.
    pub fn spare(&mut self, passes: u64) {
        self.meter.add(passes * self.cells.len(), &self.progress);
    }

    fn endpoint(&self, cell: u64) -> Endpoint {
        let (host, ask) = self.cells.at(cell, &self.hosts);
        endpoint(self.hosts.ip(host), ask)
    }

    fn tell(&self, observation: Observation, found: &mut Vec<Found>) {
        if self.telling.all || self.telling.named.contains(&observation.endpoint) {
            found.push(Found::Endpoint(observation));
        }
    }

    /// Takes a cell for settled; true if it was not.
    fn settle(&mut self, cell: u64, host: u32) -> bool {
        let new = self.settled.set(cell);
        if new {
            self.outstanding -= 1;
            self.hosts.get_mut(host).settled += 1;
        }
        new
    }

    /// The states of cells that nothing answered, from `from` on, at most `most` at a time; the cell to go on from, if any.
    /// Cells that could not be asked have no state.
    pub fn silent(&self, from: u64, most: usize, found: &mut Vec<Found>) -> Option<u64> {
        let unsent = |cell| self.unsent.as_ref().is_some_and(|unsent| unsent.get(cell));
        if self.telling.all {
            let mut cell = self.settled.next_clear(from, u64::MAX);
            while cell < self.cells.len() {
                if found.len() >= most {
                    return Some(cell);
                }
                if !unsent(cell) {
                    found.push(Found::Endpoint(silence(self.endpoint(cell))));
                }
                cell = self.settled.next_clear(cell + 1, u64::MAX);
            }
            return None;
        }
        // Few are named, so those are looked up rather than every cell.
        for named in self.telling.named {
            let cell = self.place(named);
            if cell.is_some_and(|cell| !self.settled.get(cell) && !unsent(cell)) {
                found.push(Found::Endpoint(silence(*named)));
            }
        }
        None
    }

    pub(crate) fn place(&self, endpoint: &Endpoint) -> Option<u64> {
        let ask = match endpoint.proto {
            Proto::Tcp => Ask::Syn(endpoint.port),
            Proto::Udp => Ask::Udp(endpoint.port),
        };
        self.cells.place(self.hosts.index(endpoint.ip)?, endpoint.ip, ask)
    }

    /// Cells that could not be asked.
    pub fn not_probed(&self) -> u64 {
        self.unsent.as_ref().map_or(0, Bits::ones)
    }

    /// Ends the watch over hosts with many opens, and says which hosts are up and answer nowhere.
    pub fn finish(&mut self, found: &mut Vec<Found>) {
        if let Some(guard) = &mut self.guard {
            guard.finish(now(), &mut self.hosts, found);
        }
        let ports = self.cells.tcp_questions();
        if ports < ALL_FILTERED {
            return;
        }
        for (i, host) in self.hosts.iter().enumerate() {
            if host.up.is_some() && host.open == 0 && host.refused == 0 && host.way.is_open() {
                found.push(Found::AllFiltered { ip: self.hosts.ip(i as u32), ports, observed_at: now() });
            }
        }
    }

    /// A question about this cell, unless it needs no asking.
    pub(crate) fn question(&mut self, cell: u64, found: &mut Vec<Found>) -> Draw {
        let (host, ask) = self.cells.at(cell, &self.hosts);
        if self.only_udp && !matches!(ask, Ask::Udp(_)) {
            return Draw::Skipped;
        }
        let state = self.hosts.get(host);
        if !state.way.is_open() {
            self.settle(cell, host);
            let (endpoint, reason) = (endpoint(self.hosts.ip(host), ask), Reason::IcmpUnreachable);
            self.tell(Observation { endpoint, state: State::Filtered, reason, observed_at: now() }, found);
            return Draw::Skipped;
        }
        if let Some(unsent) = &mut self.unsent {
            unsent.clear(cell);
        }
        Draw::Ask(host, ask, self.attempt)
    }
}

fn endpoint(ip: IpAddr, ask: Ask) -> Endpoint {
    match ask {
        Ask::Udp(port) => Endpoint { ip, port, proto: Proto::Udp },
        Ask::Syn(port) | Ask::Ack(port) => Endpoint::tcp(ip, port),
        Ask::Echo | Ask::Neighbor => Endpoint::tcp(ip, 0),
    }
}

/// Silence of a TCP port is a filter; that of a UDP port may be a service that did not like what it was asked.
fn silence(endpoint: Endpoint) -> Observation {
    let state = if endpoint.proto == Proto::Udp { State::OpenFiltered } else { State::Filtered };
    Observation { endpoint, state, reason: Reason::Timeout, observed_at: now() }
}

impl Walk for PortWalk<'_> {
    fn target(&self, host: u32) -> (IpAddr, WayId) {
        (self.hosts.ip(host), self.hosts.get(host).way)
    }

    fn draw(&mut self, found: &mut Vec<Found>) -> Draw {
        match &mut self.plan {
            Plan::All(next) => {
                let from = *next;
                if from >= self.cells.len() {
                    return Draw::End;
                }
                let cell = self.settled.next_clear(from, MOST_SKIPPED).min(self.cells.len());
                let open = cell < self.cells.len() && !self.settled.get(cell);
                *next = cell + u64::from(open);
                let passed = *next - from;
                self.meter.add(passed, &self.progress);
                if open { self.question(cell, found) } else { Draw::Skipped }
            }
            Plan::Parts(stretches) => {
                let Some(left) = stretches.left() else { return Draw::End };
                let cell = self.settled.next_clear(left.start, MOST_SKIPPED).min(left.end);
                let open = cell < left.end && !self.settled.get(cell);
                stretches.walk_to(cell + u64::from(open));
                if open { self.question(cell, found) } else { Draw::Skipped }
            }
            Plan::Listed(cells, next) => {
                let Some(&cell) = cells.get(*next) else {
                    let before = cells.len() as u64;
                    return self.draw_chosen(0, before, found);
                };
                *next += 1;
                let sampled = self.again.as_ref().is_some_and(|again| again.samples(cell));
                if self.settled.get(cell) && !sampled { Draw::Skipped } else { self.question(cell, found) }
            }
            Plan::Chosen(next, before) => {
                let (next, before) = (*next, *before);
                self.draw_chosen(next, before, found)
            }
            Plan::Echoes(next) => {
                let next = *next;
                self.draw_echo(next)
            }
        }
    }

    fn urgent(&mut self, now: Instant) -> Option<(u32, Ask, u8)> {
        if let Some((host, port, attempt)) = self.guard.as_mut().and_then(|guard| guard.next_control(now)) {
            return Some((host, Ask::Syn(port), attempt));
        }
        let hosts = &self.hosts;
        let wanted = |host: u32, again: bool| {
            let host = hosts.get(host);
            let known = host.up == Some(Reason::EchoReply) || again && host.up.is_some();
            host.way.is_open() && host.way != WayId::KERNEL && !known
        };
        if let Some(host) = self.calls.next(now, wanted) {
            return Some((host, Ask::Echo, 0));
        }
        let (settled, cells, hosts) = (&self.settled, &self.cells, &self.hosts);
        if let Some(limited) = self.limited.as_mut().filter(|limited| limited.is_under_way()) {
            let silent = |cell: &u64| !settled.get(*cell);
            let is_tcp = |cell: &u64| matches!(cells.at(*cell, hosts).1, Ask::Syn(_));
            let all_silent = |host| cells.of_host(host).filter(silent).filter(is_tcp).collect();
            return limited.next(now, all_silent, |cell| silent(&cell)).map(|(host, question)| match question {
                Question::Known(ask) => (host, ask, self.attempt),
                Question::Cell(cell) => (host, cells.at(cell, hosts).1, self.attempt),
            });
        }
        let cell = self.slowly.next(now, |cell| !settled.get(cell))?;
        let (host, ask) = self.cells.at(cell, &self.hosts);
        Some((host, ask, self.attempt))
    }

    fn wake(&self) -> Option<Instant> {
        let limited = self.limited.as_ref().and_then(|limited| limited.wake());
        [self.guard.as_ref().and_then(Guard::wake), self.slowly.wake(), limited].into_iter().flatten().min()
    }

    fn overdue(&mut self, at: Instant, found: &mut Vec<Found>) {
        if let Some(guard) = &mut self.guard {
            guard.overdue(at, now(), &mut self.hosts, found);
        }
    }

    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if let Said::UdpUnsure { to_port } = answer.said {
            let cell = self.cells.place(host, answer.ip, answer.ask);
            if cell.is_some_and(|cell| self.udp.is_second(host, cell, to_port)) {
                self.answered(&Answer { said: Said::UdpResponse, ..*answer }, found);
            }
            return;
        }
        if matches!((answer.ask, answer.said), (Ask::Udp(_), Said::PortUnreachable { by_target: true })) {
            self.udp.refused(host);
        }
        if let Some(reason) = answer.said.proves_alive() {
            self.hosts.get_mut(host).took(answer.rtt);
            self.hosts.mark_up(host, reason);
        }
        if !matches!(answer.ask, Ask::Syn(_) | Ask::Udp(_)) {
            return;
        }
        let place = self.cells.place(host, answer.ip, answer.ask);
        if answer.said == Said::CouldNotSend {
            if let Some(cell) = place.filter(|&cell| !self.settled.get(cell)) {
                self.unsent.get_or_insert_with(|| Bits::new(self.cells.len())).set(cell);
            }
            return;
        }
        let Some((state, reason)) = answer.said.port_state() else {
            return;
        };
        if let Some(cell) = place {
            if self.settle(cell, host) {
                if let Some(again) = &mut self.again {
                    again.settled(cell, answer.rtt);
                }
                if let Some(unsent) = &mut self.unsent {
                    unsent.clear(cell);
                }
                let endpoint = endpoint(answer.ip, answer.ask);
                let observation = Observation { endpoint, state, reason, observed_at: answer.at };
                match state {
                    State::Open => {
                        if let Some(again) = &mut self.again {
                            again.opened(host, cell);
                        }
                        self.opened(host, observation, found)
                    }
                    State::Closed => {
                        let host = self.hosts.get_mut(host);
                        host.refused = host.refused.saturating_add(1);
                        self.tell(observation, found);
                    }
                    _ => self.tell(observation, found),
                }
            } else if state == State::Open && self.limited.as_mut().is_some_and(|limited| limited.open(host, answer.ask)) {
                // It was asked to see whether it answers again.
            } else if !self.again.as_mut().is_some_and(|again| again.answered(cell, answer)) {
                self.duplicates += 1;
            }
        }
        if let (Some(guard), Ask::Syn(port)) = (&mut self.guard, answer.ask) {
            let accepts = state == State::Open;
            guard.control_answered(host, port, accepts, answer, &mut self.hosts, found);
        }
    }

    fn outstanding(&self) -> u64 {
        self.outstanding + self.guard.as_ref().map_or(0, Guard::undecided)
    }

    fn host_of(&self, ip: IpAddr) -> Option<u32> {
        // A host that accepts everything proves nothing about the path: what is in front of it may answer.
        self.hosts.index(ip).filter(|host| !self.hosts.get(*host).pseudo)
    }

    fn position(&self) -> u64 {
        match &self.plan {
            Plan::All(next) => *next,
            Plan::Chosen(next, before) => next.saturating_add(*before),
            Plan::Listed(_, next) => *next as u64,
            Plan::Parts(stretches) => stretches.walked(),
            Plan::Echoes(next) => u64::from(*next),
        }
    }

    fn mark(&mut self, now: Instant, position: u64) {
        if let (Some(keeper), Plan::All(_), 0) = (&mut self.keeper, &self.plan, self.attempt) {
            keeper.mark(now, position, &self.hosts);
        }
    }

    fn patience(&self, timeout: Duration) -> Duration {
        let mut longest = if self.cells.has_udp() { UDP_WAIT.min(timeout) } else { Duration::ZERO };
        if self.again.is_some() && matches!(self.plan, Plan::All(_)) {
            longest = longest.max(SETTLING.min(timeout));
        }
        // Blind repetitions come further and further apart, as TCP's own do: what is silent because its host answers only so
        // often must not be asked every time in the same second.
        let doubled = match self.plan {
            Plan::All(_) => 1u32 << self.attempt.min(8),
            _ => 1,
        };
        let mut look = |host: u32| {
            let host = self.hosts.get(host);
            if host.up.is_none() && self.again.as_ref().is_some_and(|again| !again.waits_for_unheard()) {
                // Hosts never heard of get their time once, while those that were heard of are asked again.
                return true;
            }
            if host.way == WayId::KERNEL {
                // `connect` says itself when it has waited enough.
                longest = timeout;
            } else if host.way.is_open() {
                longest = longest.max((host.patience(timeout) * doubled).min(timeout));
            }
            longest < timeout
        };
        if let Some(again) = &self.again {
            again.sampled().filter_map(|cell| self.cells.question(cell, &self.hosts)).for_each(|(host, _)| {
                look(host);
            });
        }
        match self.cells.listed(&self.settled) {
            Some(mut hosts) => hosts.all(&mut look),
            None => {
                let questions = self.cells.questions();
                (0..self.hosts.len() as u32).filter(|&host| self.hosts.get(host).settled < questions).all(look)
            }
        };
        longest
    }
}

impl WalkAgain for PortWalk<'_> {
    fn walk_again(&mut self, parts: &[Range<u64>]) {
        self.plan = match std::mem::replace(&mut self.plan, Plan::All(0)) {
            // What is chosen is chosen from all; where much was lost, the rest may be worth it as well.
            Plan::All(_) => Plan::Parts(Stretches::new(parts.to_vec())),
            Plan::Listed(cells, _) => {
                let parts = parts.iter().map(|part| &cells[part.start as usize..part.end as usize]);
                Plan::Listed(parts.flatten().copied().collect(), 0)
            }
            Plan::Parts(stretches) => Plan::Parts(stretches.parts(parts)),
            // What is worth it is asked again by the next wave.
            Plan::Chosen(_, before) if self.few && self.cells.len() <= SMALL => {
                // Of so few, what else is silent there costs no more than a second look at what was chosen.
                let parts = parts.iter().map(|part| part.start.saturating_sub(before)..part.end.saturating_sub(before));
                Plan::Parts(Stretches::new(parts.collect()))
            }
            Plan::Chosen(..) => Plan::Chosen(u64::MAX, 0),
            Plan::Echoes(_) => Plan::Echoes(u32::MAX),
        };
    }
}

impl PortWalk<'_> {
    fn opened(&mut self, host: u32, observation: Observation, found: &mut Vec<Found>) {
        self.progress.open_found.fetch_add(1, Ordering::Relaxed);
        if let (Some(limited), Proto::Tcp) = (&mut self.limited, observation.endpoint.proto) {
            limited.open(host, Ask::Syn(observation.endpoint.port));
        }
        let state = self.hosts.get_mut(host);
        state.open = state.open.saturating_add(1);
        let asked = match &self.plan {
            Plan::All(next) if self.attempt == 0 => self.cells.asked(host, *next),
            _ => self.cells.questions(),
        };
        match &mut self.guard {
            Some(guard) if observation.endpoint.proto == Proto::Tcp => {
                let opened = Opened { host, asked, observation };
                guard.open(opened, &mut self.hosts, found);
            }
            _ => found.push(Found::Endpoint(observation)),
        }
    }
}
