//! The cells of a walk, host × question, and where each is. Which are settled is a bit for each; what is asked and told is
//! `ports`'.

use crate::ask::Ask;
use crate::hosts::Hosts;
use crate::order::{Permutation, Rotation, mix};
use crate::target::Part;
use model::PortSet;
use model::address::to_u128;
use model::udp::Payloads;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// One bit for each cell.
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub fn new(len: u64) -> Self {
        Bits(vec![0; len.div_ceil(64) as usize])
    }
    pub fn get(&self, at: u64) -> bool {
        self.0[(at / 64) as usize] >> (at % 64) & 1 == 1
    }
    /// Sets the bit; true if it was not set.
    pub fn set(&mut self, at: u64) -> bool {
        let word = &mut self.0[(at / 64) as usize];
        let new = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        new
    }
    /// Clears the bit.
    pub fn clear(&mut self, at: u64) {
        self.0[(at / 64) as usize] &= !(1 << (at % 64));
    }
    /// How many are set.
    pub fn ones(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
    /// The first from `from` on that is not set, looking at no more than so many words; where to go on looking if all of
    /// them are. It may lie beyond the last bit.
    pub fn next_clear(&self, from: u64, words: u64) -> u64 {
        let first = (from / 64) as usize;
        // Bits before `from` count as set.
        let mut before = (1u64 << (from % 64)) - 1;
        let last = first.saturating_add(usize::try_from(words).unwrap_or(usize::MAX)).min(self.0.len());
        for at in first..last {
            let word = self.0[at] | std::mem::take(&mut before);
            if word != u64::MAX {
                return at as u64 * 64 + u64::from(word.trailing_ones());
            }
        }
        last.max(first) as u64 * 64
    }
}

/// The questions of a sweep, the place of each among them, and in which round whom is asked which.
///
/// Half a megabyte with all 65,535 TCP ports, a quarter more with UDP; one for a sweep.
pub(crate) struct PortTable {
    questions: Vec<Ask>,
    tcp: Vec<u32>,
    udp: Vec<u32>,
    udp_len: u32,
    rotation: Rotation,
    seed: u64,
}

const NO_QUESTION: u32 = u32::MAX;

impl PortTable {
    /// These ports in the order of the seed, `early` ones first.
    pub fn new(tcp: &PortSet, udp: &PortSet, early: &PortSet, seed: u64) -> Self {
        let questions: Vec<Ask> = tcp.iter().map(Ask::Syn).chain(udp.iter().map(Ask::Udp)).collect();
        let table = |any: bool| vec![NO_QUESTION; if any { 65_536 } else { 0 }];
        let (mut tcp_at, mut udp_at) = (table(!tcp.is_empty()), table(!udp.is_empty()));
        for (i, ask) in questions.iter().enumerate() {
            match ask {
                Ask::Syn(port) => tcp_at[usize::from(*port)] = i as u32,
                Ask::Udp(port) => udp_at[usize::from(*port)] = i as u32,
                Ask::Ack(_) | Ask::Echo | Ask::Neighbor => {}
            }
        }
        let is_early = |question: u32| matches!(questions[question as usize], Ask::Syn(port) if early.contains(port));
        let rotation = Rotation::new(questions.len() as u32, mix(seed ^ 0x706f_7274), is_early);
        PortTable { rotation, questions, tcp: tcp_at, udp: udp_at, udp_len: udp.len() as u32, seed }
    }

    /// Number of questions for each host.
    pub fn len(&self) -> u32 {
        self.questions.len() as u32
    }

    /// Its UDP ports.
    fn udp_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.questions.iter().filter_map(|ask| if let Ask::Udp(port) = ask { Some(*port) } else { None })
    }

    fn hash(&self, ip: IpAddr) -> u64 {
        let n = to_u128(ip);
        mix(self.seed ^ n as u64 ^ ((n >> 64) as u64).rotate_left(17))
    }

    fn in_round(&self, round: u32, ip: IpAddr) -> u32 {
        self.rotation.question(round, self.hash(ip))
    }

    fn round(&self, ask: Ask, ip: IpAddr) -> Option<u32> {
        let at = match ask {
            Ask::Syn(port) => self.tcp.get(usize::from(port)),
            Ask::Udp(port) => self.udp.get(usize::from(port)),
            Ask::Ack(_) | Ask::Echo | Ask::Neighbor => None,
        };
        at.filter(|&&at| at != NO_QUESTION).map(|&at| self.rotation.round(at, self.hash(ip)))
    }
}

/// The cells of a walk.
pub(crate) enum Cells {
    /// Hosts × rounds: cell n is the (n mod hosts)-th host in the (n div hosts)-th round, so cells in their order are rounds
    /// over all hosts.
    Grid { table: Arc<PortTable>, hosts: u32, rounds: u32, first_round: u32, stride: u32 },
    /// These, shuffled.
    List { list: Vec<(u32, Ask)>, places: HashMap<(u32, Ask), u32> },
}

impl Cells {
    /// All questions of the part to so many hosts.
    pub fn grid(table: Arc<PortTable>, hosts: u64, part: &Part) -> Self {
        let rounds = part.rounds(table.len());
        Cells::Grid { table, hosts: hosts as u32, rounds, first_round: part.first_round, stride: part.stride }
    }

    /// The cells of a list of host and question, each once.
    pub fn list(cells: impl IntoIterator<Item = (u32, Ask)>, seed: u64) -> Self {
        let mut seen = HashSet::new();
        let given: Vec<(u32, Ask)> = cells.into_iter().filter(|cell| seen.insert(*cell)).collect();
        let order = Permutation::new(given.len() as u64, seed);
        let list: Vec<(u32, Ask)> = (0..given.len() as u64).map(|i| given[order.at(i) as usize]).collect();
        let places = list.iter().enumerate().map(|(i, cell)| (*cell, i as u32)).collect();
        Cells::List { list, places }
    }

    pub fn len(&self) -> u64 {
        match self {
            Cells::Grid { hosts, rounds, .. } => u64::from(*hosts) * u64::from(*rounds),
            Cells::List { list, .. } => list.len() as u64,
        }
    }

    /// Questions for each host; of a list, all.
    pub fn questions(&self) -> u32 {
        match self {
            Cells::Grid { rounds, .. } => *rounds,
            Cells::List { list, .. } => list.len() as u32,
        }
    }

    /// Of these, TCP ports; of a list, all.
    pub fn tcp_questions(&self) -> u32 {
        match self {
            Cells::Grid { table, rounds, .. } => {
                let all = u64::from(table.len().max(1));
                (u64::from(*rounds) * (all - u64::from(table.udp_len)) / all) as u32
            }
            Cells::List { list, .. } => list.len() as u32,
        }
    }

    /// Whether UDP ports are among them.
    pub fn has_udp(&self) -> bool {
        match self {
            Cells::Grid { table, .. } => table.udp_len > 0,
            Cells::List { list, .. } => list.iter().any(|(_, ask)| matches!(ask, Ask::Udp(_))),
        }
    }

    /// Questions that a host has been asked when everything before `next` has been drawn.
    pub fn asked(&self, host: u32, next: u64) -> u32 {
        match self {
            Cells::Grid { hosts, .. } => {
                let (round, drawn) = (next / u64::from((*hosts).max(1)), next % u64::from((*hosts).max(1)));
                round as u32 + u32::from(u64::from(host) < drawn)
            }
            Cells::List { list, .. } => list.len() as u32,
        }
    }

    /// The hosts of cells that are not settled, if there is a list of them.
    pub fn listed<'a>(&'a self, settled: &'a Bits) -> Option<impl Iterator<Item = u32> + 'a> {
        match self {
            Cells::Grid { .. } => None,
            Cells::List { list, .. } => {
                Some(list.iter().enumerate().filter(|(i, _)| !settled.get(*i as u64)).map(|(_, (host, _))| *host))
            }
        }
    }

    /// The UDP ports that a host is asked: whether nothing is known to ask there, port and cell.
    pub fn udp_of(&self, host: u32, ip: IpAddr) -> Vec<(bool, u16, u64)> {
        let known = |port: u16| Payloads::builtin().of_port(port).len() > 0;
        let cell = |port: u16| Some((!known(port), port, self.place(host, ip, Ask::Udp(port))?));
        match self {
            Cells::Grid { table, .. } => table.udp_ports().filter_map(cell).collect(),
            Cells::List { list, .. } => {
                let asked = list.iter().filter(|(of, _)| *of == host);
                asked.filter_map(|(_, ask)| if let Ask::Udp(port) = ask { cell(*port) } else { None }).collect()
            }
        }
    }

    /// Host and number of the question of a cell; a list has no numbers.
    pub fn question(&self, cell: u64, at_work: &Hosts) -> Option<(u32, u32)> {
        match self {
            Cells::Grid { table, hosts, first_round, stride, .. } => {
                // Cells of a slice fit into 32 bits, and 32 bits are divided faster than 64.
                let (round, host) = match u32::try_from(cell) {
                    Ok(cell) => (cell / hosts, cell % hosts),
                    Err(_) => ((cell / u64::from(*hosts)) as u32, (cell % u64::from(*hosts)) as u32),
                };
                Some((host, table.in_round(first_round + round * stride, at_work.ip(host))))
            }
            Cells::List { .. } => None,
        }
    }

    /// The TCP port of a question.
    pub fn port_of(&self, question: u32) -> Option<u16> {
        match self {
            Cells::Grid { table, .. } => match table.questions.get(question as usize)? {
                Ask::Syn(port) => Some(*port),
                _ => None,
            },
            Cells::List { .. } => None,
        }
    }

    /// Questions there are, asked here or not.
    pub fn all_questions(&self) -> u32 {
        match self {
            Cells::Grid { table, .. } => table.len(),
            Cells::List { list, .. } => list.len() as u32,
        }
    }

    /// The cells of a host, in their order.
    pub fn of_host(&self, host: u32) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            Cells::Grid { hosts, rounds, .. } => {
                let (hosts, rounds) = (u64::from(*hosts), u64::from(*rounds));
                Box::new((0..rounds).map(move |round| round * hosts + u64::from(host)))
            }
            Cells::List { list, .. } => {
                Box::new(list.iter().enumerate().filter(move |(_, (of, _))| *of == host).map(|(i, _)| i as u64))
            }
        }
    }

    /// Host and question of a cell.
    pub fn at(&self, cell: u64, at_work: &Hosts) -> (u32, Ask) {
        match self {
            Cells::Grid { table, .. } => {
                let (host, question) = self.question(cell, at_work).unwrap_or_default();
                (host, table.questions[question as usize])
            }
            Cells::List { list, .. } => list[cell as usize],
        }
    }

    /// The cell of a host and question.
    pub fn place(&self, host: u32, ip: IpAddr, ask: Ask) -> Option<u64> {
        match self {
            Cells::Grid { table, hosts, rounds, first_round, stride } => {
                let round = table.round(ask, ip)?.checked_sub(*first_round)?;
                let (at, rest) = (round / stride, round % stride);
                (rest == 0 && at < *rounds).then(|| u64::from(at) * u64::from(*hosts) + u64::from(host))
            }
            Cells::List { places, .. } => places.get(&(host, ask)).map(|&i| i.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Shard;
    use crate::target::Targets;
    use crate::way::WayId;
    use model::Scope;
    use proptest::prelude::*;

    #[test]
    fn settled_bits_are_skipped_words_at_a_time() {
        let mut bits = Bits::new(300);
        (0..200).for_each(|i| assert!(bits.set(i)));
        assert!(!bits.set(7) && bits.get(7) && !bits.get(200));
        assert_eq!(bits.next_clear(0, 2), 128, "two words are set, look on there");
        assert_eq!(bits.next_clear(128, 9), 200);
        assert_eq!(bits.next_clear(0, u64::MAX), 200);
        bits.clear(3);
        assert_eq!((bits.next_clear(0, 1), bits.next_clear(3, 1), bits.next_clear(4, 1)), (3, 3, 64));
        (200..320).for_each(|i| {
            bits.set(i);
        });
        assert_eq!((bits.next_clear(10, u64::MAX), bits.next_clear(320, 9), bits.ones()), (320, 320, 319));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Over all shards and slices, every host and port comes exactly once, in both protocols, and knows its place.
        #[test]
        fn every_cell_comes_exactly_once(
            hosts in 1u8..40,
            tcp in prop::collection::hash_set(1u16..500, 0..30),
            udp in prop::collection::hash_set(1u16..500, 0..9),
            of in 1u32..60,
            slice in 1u64..50,
            seed: u64,
        ) {
            let range = model::IpRange::new([192, 0, 2, 1].into(), [192, 0, 2, hosts].into()).unwrap();
            let targets = Arc::new(Targets::new(&[range], &Scope::new(&[range], &[]), seed).unwrap());
            let sets: [PortSet; 2] = [tcp.iter().copied().collect(), udp.iter().copied().collect()];
            let early = "1-100".parse().unwrap();
            let table = Arc::new(PortTable::new(&sets[0], &sets[1], &early, seed));
            let mut seen = HashSet::new();
            for index in 0..of {
                let part = targets.part(Shard { index, of });
                for (first, count) in part.slices(slice) {
                    let hosts = Hosts::stretch(&targets, first, count, |_| WayId::KERNEL, Arc::default());
                    let cells = Cells::grid(table.clone(), hosts.len(), &part);
                    for cell in 0..cells.len() {
                        let (host, ask) = cells.at(cell, &hosts);
                        let ip = hosts.ip(host);
                        prop_assert_eq!(cells.place(host, ip, ask), Some(cell));
                        prop_assert!(seen.insert((ip, ask)), "{} {:?} twice", ip, ask);
                    }
                    prop_assert_eq!(cells.place(0, hosts.ip(0), Ask::Syn(501)), None);
                }
            }
            prop_assert_eq!(seen.len(), usize::from(hosts) * (tcp.len() + udp.len()));
        }
    }

    #[test]
    fn a_list_is_walked_once_and_knows_its_places() {
        let wanted = [(0, Ask::Syn(1)), (3, Ask::Syn(2)), (0, Ask::Syn(1)), (0, Ask::Udp(1)), (7, Ask::Syn(9))];
        let cells = Cells::list(wanted, 5);
        assert_eq!(cells.len(), 4);
        let ips: Vec<IpAddr> = (0..8u8).map(|n| [192, 0, 2, n].into()).collect();
        let hosts = Hosts::sorted(&ips, |_| WayId::KERNEL, Arc::default());
        for cell in 0..4 {
            let (host, ask) = cells.at(cell, &hosts);
            assert_eq!(cells.place(host, ips[host as usize], ask), Some(cell));
        }
    }
}
