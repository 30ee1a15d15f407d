//! The hosts at work, and finding out which of them are there: neighbours by ARP and neighbour discovery, others by a handful
//! of probes. Their ports are `ports`' to ask.

use crate::api::{Found, Progress};
use crate::ask::{Answer, Ask, Said, now};
use crate::syn::Hop;
use crate::walk::Walk;
use model::{HostObservation, Liveness, Reason};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A host at work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub ip: IpAddr,
    pub hop: Hop,
    /// Why it is believed to be up.
    pub up: Option<Reason>,
}

/// The hosts at work: about 150 bytes each with the index, for at most [`crate::engine::SLICE_HOSTS`] at a time.
pub(crate) struct Hosts {
    list: Vec<Host>,
    by_ip: HashMap<IpAddr, u32>,
    progress: Arc<Progress>,
}

impl Hosts {
    pub fn new(list: Vec<Host>, progress: Arc<Progress>) -> Self {
        let by_ip = list.iter().enumerate().map(|(i, host)| (host.ip, i as u32)).collect();
        Hosts { list, by_ip, progress }
    }
    pub fn len(&self) -> u64 {
        self.list.len() as u64
    }
    pub fn get(&self, index: u32) -> Host {
        self.list[index as usize]
    }
    pub fn index(&self, ip: IpAddr) -> Option<u32> {
        self.by_ip.get(&ip).copied()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.list.iter()
    }
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Host> {
        self.list.iter_mut()
    }
    pub fn into_list(self) -> Vec<Host> {
        self.list
    }
    /// Notes that the host is up; true the first time.
    pub fn mark_up(&mut self, index: u32, reason: Reason) -> bool {
        let first = self.list[index as usize].up.is_none();
        if first {
            self.list[index as usize].up = Some(reason);
            self.progress.hosts_up.fetch_add(1, Ordering::Relaxed);
        }
        first
    }
}

/// Whether the host can be asked at all.
pub(crate) fn reachable(hop: Hop) -> bool {
    matches!(hop, Hop::Kernel | Hop::Frames(..))
}

fn online(ip: IpAddr, reason: Reason, answer: &Answer) -> Found {
    Found::Host(HostObservation { ip, liveness: Liveness::Online, reason, observed_at: answer.at })
}

/// Asks for the hardware addresses of hosts on our own links.
pub(crate) struct NeighborWalk {
    pub hosts: Hosts,
    /// Indices of the hosts to ask for.
    wanted: Vec<u32>,
    outstanding: u64,
    /// Send a [`HostObservation`] for each that answers.
    report: bool,
}

impl NeighborWalk {
    pub fn new(hosts: Hosts, report: bool) -> Self {
        let wanted: Vec<u32> = (0..hosts.len() as u32).filter(|&i| matches!(hosts.get(i).hop, Hop::Neighbor(_))).collect();
        NeighborWalk { outstanding: wanted.len() as u64, wanted, hosts, report }
    }
}

impl Walk for NeighborWalk {
    fn host(&self, index: u32) -> Host {
        self.hosts.get(index)
    }
    fn cells(&self) -> u64 {
        self.wanted.len() as u64
    }
    fn step(&mut self, cell: u64, _: &mut Vec<Found>) -> Option<(u32, Ask)> {
        let host = self.wanted[cell as usize];
        self.hosts.get(host).up.is_none().then_some((host, Ask::Neighbor))
    }
    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if answer.ask == Ask::Neighbor && self.hosts.mark_up(host, Reason::ArpReply) {
            self.outstanding -= 1;
            if self.report {
                found.push(online(answer.ip, Reason::ArpReply, answer));
            }
        }
    }
    fn outstanding(&self) -> u64 {
        self.outstanding
    }
}

/// What a host behind a router is asked: an echo; SYNs to the ports most often let through; an ACK, which filters without
/// state take for part of a connection. One answer is enough.
const RAW_ASKS: [Ask; 5] = [Ask::Echo, Ask::Syn(443), Ask::Syn(80), Ask::Syn(22), Ask::Ack(80)];
/// The same by `connect`: two more ports, of the machines that have none of the first three.
const CONNECT_ASKS: [Ask; 5] = [Ask::Syn(443), Ask::Syn(80), Ask::Syn(22), Ask::Syn(445), Ask::Syn(3389)];

/// Asks hosts for any sign of life.
pub(crate) struct LiveWalk {
    pub hosts: Hosts,
    /// For each host, questions that have left and not come back unsent.
    asked: Vec<u16>,
    outstanding: u64,
}

impl LiveWalk {
    pub fn new(hosts: Hosts) -> Self {
        let outstanding = hosts.iter().filter(|h| h.up.is_none() && reachable(h.hop)).count() as u64;
        LiveWalk { asked: vec![0; hosts.len() as usize], outstanding, hosts }
    }

    /// The hosts that did not answer, less those that could not be asked; and how many those are.
    pub fn silent(&self) -> (Vec<Found>, u64) {
        let mut not_probed = 0;
        let mut silent = Vec::new();
        for (host, &asked) in self.hosts.iter().zip(&self.asked).filter(|(host, _)| host.up.is_none()) {
            if reachable(host.hop) && asked == 0 {
                not_probed += 1;
                continue;
            }
            // No neighbour and no route count as silence: nothing answered any kind of probe.
            let observation =
                HostObservation { ip: host.ip, liveness: Liveness::Offline, reason: Reason::Timeout, observed_at: now() };
            silent.push(Found::Host(observation));
        }
        (silent, not_probed)
    }
}

impl Walk for LiveWalk {
    fn host(&self, index: u32) -> Host {
        self.hosts.get(index)
    }
    fn cells(&self) -> u64 {
        self.hosts.len() * RAW_ASKS.len() as u64
    }
    fn step(&mut self, cell: u64, _: &mut Vec<Found>) -> Option<(u32, Ask)> {
        let index = (cell % self.hosts.len()) as u32;
        let host = self.hosts.get(index);
        if host.up.is_some() || !reachable(host.hop) {
            return None;
        }
        self.asked[index as usize] += 1;
        let which = (cell / self.hosts.len()) as usize;
        Some((index, if host.hop == Hop::Kernel { CONNECT_ASKS[which] } else { RAW_ASKS[which] }))
    }
    fn answered(&mut self, answer: &Answer, found: &mut Vec<Found>) {
        let Some(host) = self.hosts.index(answer.ip) else { return };
        if answer.said == Said::CouldNotSend {
            let asked = &mut self.asked[host as usize];
            *asked = asked.saturating_sub(1);
        }
        let Some(reason) = answer.said.proves_alive() else { return };
        if self.hosts.mark_up(host, reason) {
            self.outstanding -= 1;
            found.push(online(answer.ip, reason, answer));
        }
    }
    fn outstanding(&self) -> u64 {
        self.outstanding
    }
}
