//! The ports of the hosts at work: which are asked, which are settled, what is told. The deciding half; `walk` sends.

use crate::api::{Found, Progress};
use crate::ask::{Answer, Ask, Said, now};
use crate::hosts::{Host, Hosts, reachable};
use crate::pseudo::Guard;
use crate::walk::Walk;
use model::{Endpoint, Observation, Proto, Reason, State};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// One bit for each cell.
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: u64) -> Self {
        Bits(vec![0; len.div_ceil(64) as usize])
    }
    fn get(&self, at: u64) -> bool {
        self.0[(at / 64) as usize] >> (at % 64) & 1 == 1
    }
    /// Sets the bit; true if it was not set.
    fn set(&mut self, at: u64) -> bool {
        let word = &mut self.0[(at / 64) as usize];
        let new = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        new
    }
    /// Clears the bit; true if it was set.
    fn clear(&mut self, at: u64) -> bool {
        let word = &mut self.0[(at / 64) as usize];
        let was = *word >> (at % 64) & 1 == 1;
        *word &= !(1 << (at % 64));
        was
    }
}

/// The ports of a sweep, and the place of each among them.
pub(crate) struct PortTable {
    ports: Vec<u16>,
    rank: Vec<u16>,
}

/// No port has this rank: there are only 65,535 of them.
const NO_RANK: u16 = u16::MAX;

impl PortTable {
    pub fn new(ports: impl Iterator<Item = u16>) -> Self {
        let ports: Vec<u16> = ports.collect();
        let mut rank = vec![NO_RANK; 65_536];
        ports.iter().enumerate().for_each(|(i, &port)| rank[usize::from(port)] = i as u16);
        PortTable { ports, rank }
    }
    pub fn len(&self) -> u64 {
        self.ports.len() as u64
    }
}

/// The cells of a walk.
pub(crate) enum Cells {
    /// Every host × port.
    Grid(Arc<PortTable>),
    /// These: host and port, and where each is.
    List(Vec<(u32, u16)>, HashMap<(u32, u16), u32>),
}

impl Cells {
    /// The cells of a list of host and port, each once.
    pub fn list(cells: impl IntoIterator<Item = (u32, u16)>) -> Self {
        let mut list = Vec::new();
        let mut places = HashMap::new();
        for cell in cells {
            places.entry(cell).or_insert_with(|| {
                list.push(cell);
                list.len() as u32 - 1
            });
        }
        Cells::List(list, places)
    }
    fn len(&self, hosts: u64) -> u64 {
        match self {
            Cells::Grid(table) => hosts * table.len(),
            Cells::List(list, _) => list.len() as u64,
        }
    }
    fn at(&self, cell: u64) -> (u32, u16) {
        match self {
            Cells::Grid(table) => ((cell / table.len()) as u32, table.ports[(cell % table.len()) as usize]),
            Cells::List(list, _) => list[cell as usize],
        }
    }
    fn place(&self, host: u32, port: u16) -> Option<u64> {
        match self {
            Cells::Grid(table) => match table.rank[usize::from(port)] {
                NO_RANK => None,
                rank => Some(u64::from(host) * table.len() + u64::from(rank)),
            },
            Cells::List(_, places) => places.get(&(host, port)).map(|&i| i.into()),
        }
    }
}

/// What is told.
pub(crate) struct Telling<'a> {
    /// Every state rather than only open.
    pub all: bool,
    /// Endpoints whose state is told in any case.
    pub named: &'a HashSet<Endpoint>,
}

/// Asks ports. Remembers two bits for each: answered, and could not be asked.
pub(crate) struct PortWalk<'a> {
    pub hosts: Hosts,
    cells: Cells,
    settled: Bits,
    unsent: Bits,
    outstanding: u64,
    telling: Telling<'a>,
    guard: Option<Guard<'a>>,
    progress: Arc<Progress>,
}

impl<'a> PortWalk<'a> {
    pub fn new(hosts: Hosts, cells: Cells, telling: Telling<'a>, guard: Option<Guard<'a>>, progress: Arc<Progress>) -> Self {
        let len = cells.len(hosts.len());
        PortWalk { hosts, cells, settled: Bits::new(len), unsent: Bits::new(len), outstanding: len, telling, guard, progress }
    }

    fn endpoint(&self, cell: u64) -> Endpoint {
        let (host, port) = self.cells.at(cell);
        Endpoint { ip: self.hosts.get(host).ip, port, proto: Proto::Tcp }
    }

    fn tell(&self, observation: Observation, found: &mut Vec<Found>) {
        if self.telling.all || self.telling.named.contains(&observation.endpoint) {
            found.push(Found::Endpoint(observation));
        }
    }

    /// The states of cells that nothing answered, from `from` on, at most `most` at a time; the cell to go on from, if any.
    /// Cells that could not be asked have no state.
    pub fn silent(&self, from: u64, most: usize, found: &mut Vec<Found>) -> Option<u64> {
        let silent = |endpoint| Observation { endpoint, state: State::Filtered, reason: Reason::Timeout, observed_at: now() };
        let told = |cell| !self.settled.get(cell) && !self.unsent.get(cell);
        if self.telling.all {
            for cell in from..self.cells() {
                if found.len() >= most {
                    return Some(cell);
                }
                if told(cell) {
                    found.push(Found::Endpoint(silent(self.endpoint(cell))));
                }
            }
            return None;
        }
        // Few are named, so those are looked up rather than every cell.
        for endpoint in self.telling.named.iter().filter(|e| e.proto == Proto::Tcp) {
            let cell = self.hosts.index(endpoint.ip).and_then(|host| self.cells.place(host, endpoint.port));
            if cell.is_some_and(told) {
                found.push(Found::Endpoint(silent(*endpoint)));
            }
        }
        None
    }

    /// Cells that could not be asked.
    pub fn not_probed(&self) -> u64 {
        self.unsent.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Ends the watch over hosts with many opens.
    pub fn finish(&mut self, found: &mut Vec<Found>) {
        if let Some(guard) = &mut self.guard {
            guard.finish(now(), found);
        }
    }
}

impl Walk for PortWalk<'_> {
    fn host(&self, index: u32) -> Host {
        self.hosts.get(index)
    }

    fn cells(&self) -> u64 {
        self.cells.len(self.hosts.len())
    }

    fn step(&mut self, cell: u64, found: &mut Vec<Found>) -> Option<(u32, Ask)> {
        if self.settled.get(cell) {
            return None;
        }
        let (host, port) = self.cells.at(cell);
        if !reachable(self.hosts.get(host).hop) {
            self.settled.set(cell);
            self.outstanding -= 1;
            let endpoint = self.endpoint(cell);
            let reason = Reason::IcmpUnreachable;
            self.tell(Observation { endpoint, state: State::Filtered, reason, observed_at: now() }, found);
            return None;
        }
        self.unsent.clear(cell);
        if let Some(guard) = &mut self.guard {
            guard.sent(host);
        }
        Some((host, Ask::Syn(port)))
    }

    fn urgent(&mut self, now: Instant) -> Option<(u32, Ask, u8)> {
        let (host, port, attempt) = self.guard.as_mut()?.next_control(now)?;
        Some((host, Ask::Syn(port), attempt))
    }

    fn wake(&self) -> Option<Instant> {
        self.guard.as_ref()?.wake()
    }

    fn overdue(&mut self, at: Instant, found: &mut Vec<Found>) {
        if let Some(guard) = &mut self.guard {
            guard.overdue(at, now(), found);
        }
    }

    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if let Some(reason) = answer.said.proves_alive() {
            self.hosts.mark_up(host, reason);
        }
        let Ask::Syn(port) = answer.ask else { return };
        let place = self.cells.place(host, port);
        if answer.said == Said::CouldNotSend {
            if let Some(cell) = place.filter(|&cell| !self.settled.get(cell)) {
                self.unsent.set(cell);
            }
            return;
        }
        let Some((state, reason)) = answer.said.port_state() else {
            return;
        };
        if let Some(cell) = place.filter(|&cell| self.settled.set(cell)) {
            self.outstanding -= 1;
            self.unsent.clear(cell);
            let observation = Observation { endpoint: self.endpoint(cell), state, reason, observed_at: answer.at };
            if state == State::Open {
                self.progress.open_found.fetch_add(1, Ordering::Relaxed);
                match &mut self.guard {
                    Some(guard) => guard.open(host, observation, found),
                    None => found.push(Found::Endpoint(observation)),
                }
            } else {
                self.tell(observation, found);
            }
        }
        if let Some(guard) = &mut self.guard {
            guard.control_answered(host, port, state == State::Open, answer.at, found);
        }
    }

    fn outstanding(&self) -> u64 {
        self.outstanding + self.guard.as_ref().map_or(0, Guard::undecided)
    }

    fn counts(&self) -> bool {
        true
    }
}
