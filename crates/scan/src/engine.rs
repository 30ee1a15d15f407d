//! Sweep, liveness and recheck from beginning to end: cut the targets into slices that fit into bounded memory, find the way
//! to each host, walk what is to be walked, tell what stayed silent, sum up. How a walk is walked is `walk`'s.
//!
//! What is remembered: for each host of a slice about 150 bytes, for each host × port of a slice two bits, for each sweep
//! 192 kB of port tables and at most 65,536 answers and 65,536 held-back probes. With slices of at most 65,536 hosts and
//! 2^24 host × port cells that is under 30 MB, however many targets there are.

use crate::api::{Found, Method, Ping, Progress, Recheck, Retries, ScanError, Summary, Sweep};
use crate::ask::Answer;
use crate::capability::{capability, try_raw};
use crate::connect::{ConnectAsker, LONGEST};
use crate::cookie::{Secret, SourcePorts};
use crate::hosts::{Host, Hosts, LiveWalk, NeighborWalk};
use crate::link::memory::{MemoryLink, MemoryNetwork};
use crate::link::raw::RawLink;
use crate::link::{Link, Sink};
use crate::order::mix;
use crate::pace::{OwnPace, Pacer};
use crate::ports::{Cells, PortTable, PortWalk, Telling};
use crate::pseudo::Guard;
use crate::syn::{Hop, SynAsker};
use crate::target::Targets;
use crate::walk::{Asker, End, Meter, Walker};
use model::{Endpoint, Proto, Scope};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Hosts at work at once.
pub(crate) const SLICE_HOSTS: u64 = 65_536;
/// Host × port cells at work at once: two bits each.
const SLICE_CELLS: u64 = 1 << 24;
/// Answers that wait to be looked at; beyond, they are dropped and counted.
const ANSWERS: usize = 65_536;
/// A neighbour that does not answer is asked three times, as Linux does (`mcast_solicit`). On a link answers take
/// milliseconds; a third of a second each leaves room for stations that sleep.
const NEIGHBOR_TRIES: u64 = 3;
const NEIGHBOR_WAIT: Duration = Duration::from_millis(300);
/// How many routes are looked up before others of the process get a turn; each takes about ten microseconds.
const ROUTE_TURN: usize = 64;

/// Where probes go: this machine's network, or one in memory.
pub(crate) enum Wire {
    Real(Method),
    Memory(Arc<MemoryNetwork>),
}

/// Opens a link that hands its frames to the sink.
type MakeLink = Box<dyn FnOnce(SourcePorts, Arc<dyn Sink>) -> io::Result<Arc<dyn Link>>>;

/// What all three kinds of work have in common.
struct Common {
    scope: Scope,
    pace: Arc<Pacer>,
    rate_pps: Option<u32>,
    retries: u8,
    timeout: Duration,
    seed: u64,
}

/// One piece of work under way.
struct Run {
    walker: Walker,
    method: Method,
    note: String,
    started: Instant,
    tries: u64,
    /// How long to listen after the last probe.
    wait: Duration,
    seed: u64,
    hosts_total: u64,
    not_probed: u64,
    out_of_scope: u128,
    /// What the progress said at the beginning: hosts up, open endpoints. It may be older than this work.
    before: (u64, u64),
}

impl Run {
    fn begin(
        wire: Wire,
        common: Common,
        out: Sender<Found>,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<Run, ScanError> {
        let (answers_in, answers) = channel::<Answer>(ANSWERS);
        let (method, note) = choose(&wire)?;
        let before = (progress.hosts_up.load(Ordering::Relaxed), progress.open_found.load(Ordering::Relaxed));
        let make: Option<MakeLink> = match wire {
            Wire::Real(_) if method == Method::Syn => Some(Box::new(|ports, sink| Ok(Arc::new(RawLink::new(ports, sink)?)))),
            Wire::Real(_) => None,
            Wire::Memory(network) => Some(Box::new(|_, sink| Ok(Arc::new(MemoryLink::new(network, sink))))),
        };
        let syn = match make {
            Some(make) => Some(
                SynAsker::new(Secret::random(), answers_in.clone(), make).map_err(|source| ScanError::RawSockets { source })?,
            ),
            None => None,
        };
        let connect = ConnectAsker::new(answers_in, common.timeout);
        let tries = u64::from(common.retries) + 1;
        let walker = Walker {
            asker: Asker { syn, connect },
            answers,
            out,
            progress,
            cancel,
            pace: common.pace,
            own: OwnPace::new(common.rate_pps),
            scope: common.scope,
            sent: 0,
            found: Vec::new(),
            meter: Meter::new(tries),
            frame: Vec::with_capacity(128),
        };
        // By `connect`, a try ends a little after its own timeout, when the task that made it has run.
        let timeout = if method == Method::Syn { common.timeout } else { common.timeout.min(LONGEST) };
        let wait = timeout + Duration::from_millis(30);
        Ok(Run {
            walker,
            method,
            note,
            started: Instant::now(),
            tries,
            wait,
            seed: common.seed,
            hosts_total: 0,
            not_probed: 0,
            out_of_scope: 0,
            before,
        })
    }

    fn end(self, end: End) -> Summary {
        let progress = &self.walker.progress;
        Summary {
            probes_sent: self.walker.sent,
            hosts_total: self.hosts_total,
            hosts_up: progress.hosts_up.load(Ordering::Relaxed) - self.before.0,
            open_found: progress.open_found.load(Ordering::Relaxed) - self.before.1,
            method: self.method,
            method_note: self.note,
            elapsed: self.started.elapsed(),
            cancelled: end == End::Cancelled,
            drops: self.walker.asker.syn.as_ref().map_or(0, SynAsker::drops),
            rate_pps: self.walker.sent as f64 / self.started.elapsed().as_secs_f64().max(1e-6),
            path_rate_pps: None,
            loss: None,
            duplicates: 0,
            rejected: 0,
            retransmitted: 0,
            not_probed: self.not_probed,
            out_of_scope: self.out_of_scope,
        }
    }

    /// The ways to the hosts, neighbours asked for where need be. `None` when cancelled.
    async fn resolve(&mut self, ips: Vec<IpAddr>, report: bool) -> Result<Option<Hosts>, ScanError> {
        let mut list = Vec::with_capacity(ips.len());
        for (i, ip) in ips.into_iter().enumerate() {
            let hop = tokio::select! {
                biased;
                hop = self.walker.asker.hop(ip) => hop,
                () = self.walker.cancel.cancelled() => return Ok(None),
            };
            let hop = hop.map_err(|source| ScanError::Link { what: format!("looking up the route to {ip}"), source })?;
            list.push(Host { ip, hop, up: None });
            if i % ROUTE_TURN == ROUTE_TURN - 1 {
                tokio::task::yield_now().await;
                if self.walker.cancel.is_cancelled() {
                    return Ok(None);
                }
            }
        }
        let mut walk = NeighborWalk::new(Hosts::new(list, self.walker.progress.clone()), report);
        let end = self.walker.walk(&mut walk, NEIGHBOR_TRIES, NEIGHBOR_WAIT, mix(self.seed ^ 1)).await?;
        let mut hosts = walk.hosts;
        if let Some(syn) = &self.walker.asker.syn {
            for host in hosts.iter_mut() {
                if let Hop::Neighbor(interface) = host.hop {
                    host.hop = syn.neighbor(interface, host.ip).unwrap_or(host.hop);
                    syn.forget(interface, host.ip);
                }
            }
        }
        Ok((end == End::Done).then_some(hosts))
    }

    /// Asks the hosts not known to be up for a sign of life. `None` when cancelled.
    async fn ping(&mut self, hosts: Hosts) -> Result<Option<LiveWalk>, ScanError> {
        let mut walk = LiveWalk::new(hosts);
        let end = self.walker.walk(&mut walk, self.tries, self.wait, mix(self.seed ^ 2)).await?;
        Ok((end == End::Done).then_some(walk))
    }

    /// Asks the ports and tells what stayed silent.
    async fn ports(&mut self, walk: &mut PortWalk<'_>) -> Result<End, ScanError> {
        let end = self.walker.walk(walk, self.tries, self.wait, mix(self.seed ^ 3)).await?;
        if end == End::Cancelled {
            return Ok(End::Cancelled);
        }
        self.not_probed += walk.not_probed();
        walk.finish(&mut self.walker.found);
        let mut from = Some(0);
        while let Some(cell) = from {
            if self.walker.flush().await == End::Cancelled {
                return Ok(End::Cancelled);
            }
            from = walk.silent(cell, 256, &mut self.walker.found);
        }
        Ok(self.walker.flush().await)
    }
}

/// The method to use and why.
fn choose(wire: &Wire) -> Result<(Method, String), ScanError> {
    match wire {
        Wire::Memory(_) => Ok((Method::Syn, "a network in memory".into())),
        Wire::Real(Method::Auto) => {
            let choice = capability();
            Ok((choice.method, choice.note))
        }
        Wire::Real(Method::Syn) => {
            try_raw().map_err(|source| ScanError::RawSockets { source })?;
            Ok((Method::Syn, "asked for".into()))
        }
        Wire::Real(Method::Connect) => Ok((Method::Connect, "asked for".into())),
    }
}

fn targets(wanted: &[model::address::IpRange], scope: &Scope, ports: usize) -> Result<Targets, ScanError> {
    Targets::new(wanted, scope).map_err(|hosts| ScanError::TooLarge { hosts, ports })
}

pub(crate) async fn sweep(
    wire: Wire,
    sweep: Sweep,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    let Sweep { targets: wanted, ports, scope, pace, rate_pps, retries, timeout, ping, seed, report_all, always_report, .. } =
        sweep;
    let targets = targets(&wanted, &scope, ports.len())?;
    let retries = if let Retries::Fixed(n) = retries { n } else { 1 };
    let table = Arc::new(PortTable::new(ports.iter()));
    progress.probes_total.fetch_add(targets.len() * table.len(), Ordering::Relaxed);
    let common = Common { scope, pace, rate_pps, retries, timeout, seed };
    let mut run = Run::begin(wire, common, out, progress, cancel)?;
    run.hosts_total = targets.len();
    run.out_of_scope = targets.out_of_scope;
    if table.len() == 0 {
        return Ok(run.end(End::Done));
    }
    let named_hosts: HashSet<IpAddr> = always_report.iter().map(|endpoint| endpoint.ip).collect();
    let slice_hosts = (SLICE_CELLS / table.len()).clamp(1, SLICE_HOSTS);
    for (number, ips) in targets.slices(slice_hosts, seed).enumerate() {
        let Some(mut hosts) = run.resolve(ips, ping).await? else {
            return Ok(run.end(End::Cancelled));
        };
        if ping {
            let Some(walk) = run.ping(hosts).await? else {
                return Ok(run.end(End::Cancelled));
            };
            let list = walk.hosts.into_list();
            let before = list.len() as u64;
            // A host with an endpoint known by name is asked in any case: its state must not depend on an answer to a ping.
            let kept: Vec<Host> = list.into_iter().filter(|h| h.up.is_some() || named_hosts.contains(&h.ip)).collect();
            let gone = (before - kept.len() as u64) * table.len();
            run.walker.progress.probes_total.fetch_sub(gone, Ordering::Relaxed);
            hosts = Hosts::new(kept, run.walker.progress.clone());
        }
        let slice_seed = mix(seed ^ mix(number as u64));
        let guard = Guard::new(hosts.len() as usize, table.len() as u32, run.wait, slice_seed, &always_report);
        let telling = Telling { all: report_all, named: &always_report };
        let progress = run.walker.progress.clone();
        let mut walk = PortWalk::new(hosts, Cells::Grid(table.clone()), telling, Some(guard), progress);
        if run.ports(&mut walk).await? == End::Cancelled {
            return Ok(run.end(End::Cancelled));
        }
    }
    Ok(run.end(End::Done))
}

pub(crate) async fn liveness(
    wire: Wire,
    ping: Ping,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    let Ping { targets: wanted, scope, pace, rate_pps, retries, timeout, seed, .. } = ping;
    let targets = targets(&wanted, &scope, 1)?;
    progress.probes_total.fetch_add(targets.len(), Ordering::Relaxed);
    let common = Common { scope, pace, rate_pps, retries, timeout, seed };
    let mut run = Run::begin(wire, common, out, progress, cancel)?;
    run.hosts_total = targets.len();
    run.out_of_scope = targets.out_of_scope;
    for ips in targets.slices(SLICE_HOSTS, seed) {
        let count = ips.len() as u64;
        let Some(hosts) = run.resolve(ips, true).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let Some(walk) = run.ping(hosts).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let (silent, not_probed) = walk.silent();
        run.not_probed += not_probed;
        run.walker.found.extend(silent);
        run.walker.progress.probes_settled.fetch_add(count, Ordering::Relaxed);
        if run.walker.flush().await == End::Cancelled {
            return Ok(run.end(End::Cancelled));
        }
    }
    Ok(run.end(End::Done))
}

pub(crate) async fn probe_endpoints(
    wire: Wire,
    recheck: Recheck,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    let Recheck { mut endpoints, scope, pace, rate_pps, retries, timeout, seed, .. } = recheck;
    endpoints.sort_unstable();
    endpoints.dedup();
    let all = endpoints.len();
    endpoints.retain(|endpoint| endpoint.proto == Proto::Tcp && endpoint.port != 0);
    let not_tcp = all - endpoints.len();
    let in_scope: Vec<Endpoint> = endpoints.iter().copied().filter(|&endpoint| scope.admit(endpoint).is_some()).collect();
    progress.probes_total.fetch_add(in_scope.len() as u64, Ordering::Relaxed);
    let common = Common { scope, pace, rate_pps, retries, timeout, seed };
    let mut run = Run::begin(wire, common, out, progress, cancel)?;
    run.not_probed = not_tcp as u64;
    run.out_of_scope = (endpoints.len() - in_scope.len()) as u128;
    let nobody = HashSet::new();
    // Sorted by address, so a chunk has no more hosts than endpoints.
    for chunk in in_scope.chunks(SLICE_HOSTS as usize) {
        let mut ips: Vec<IpAddr> = chunk.iter().map(|endpoint| endpoint.ip).collect();
        ips.dedup();
        run.hosts_total += ips.len() as u64;
        let Some(hosts) = run.resolve(ips, false).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let cells = Cells::list(chunk.iter().filter_map(|endpoint| Some((hosts.index(endpoint.ip)?, endpoint.port))));
        let telling = Telling { all: true, named: &nobody };
        let mut walk = PortWalk::new(hosts, cells, telling, None, run.walker.progress.clone());
        if run.ports(&mut walk).await? == End::Cancelled {
            return Ok(run.end(End::Cancelled));
        }
    }
    Ok(run.end(End::Done))
}
