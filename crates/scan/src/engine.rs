//! Sweep, liveness and recheck from beginning to end: cut the targets into slices that fit into bounded memory, find the way
//! to each host, walk what is to be walked, tell what stayed silent, sum up. How a walk is walked is `walk`'s.
//!
//! What is remembered of a slice: 20 bytes for each host (32 where there are IPv6 targets), one bit for each host × port, and
//! one more once probes could not be sent. With at most 2^20 hosts and 2^26 cells in a slice that is 28 MB, and up to 20 MB
//! more in the worst case, however many targets there are; besides, up to 6 MB of answers that wait, 2 MB of probes held back
//! by caps and 0.7 MB of port tables.

use crate::api::{Found, Ping, Progress, Recheck, Retries, ScanError, Summary, Sweep};
use crate::ask::Ask;
use crate::cells::{Cells, PortTable};
use crate::hosts::Hosts;
use crate::order::mix;
use crate::ports::{Meter, PortWalk, Telling};
use crate::pseudo::Guard;
use crate::resume::{Checkpoint, Keeper, holds};
use crate::run::{Common, Run, Wire};
use crate::target::{Part, Targets};
use crate::walk::End;
use crate::way::{WayId, Ways};
use model::catalog::Catalog;
use model::{Endpoint, IpRange, Scope};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// Hosts at work at once: at a million probes a second and 42 ports, three quarters of a minute of work.
pub(crate) const SLICE_HOSTS: u64 = 1 << 20;
/// Host × port cells at work at once: a minute of work.
const SLICE_CELLS: u64 = 1 << 26;
/// Cells that a slice has if there are as many: at a million probes a second four seconds of work. After a slice answers are waited
/// for, a second and a half by default; a sweep of one port in slices of 2^20 hosts would spend more time waiting than asking.
const WORTH_A_WAIT: u64 = 1 << 22;

/// Hosts in a slice, when each is asked so many questions.
fn slice_hosts(questions: u32) -> u64 {
    let questions = u64::from(questions.max(1));
    (SLICE_CELLS / questions).clamp(1, SLICE_HOSTS.max(WORTH_A_WAIT / questions))
}

fn targets(wanted: &[IpRange], scope: &Scope, ports: usize, seed: u64) -> Result<Arc<Targets>, ScanError> {
    Targets::new(wanted, scope, seed).map(Arc::new).map_err(|hosts| ScanError::TooLarge { hosts, ports })
}

/// The way of each address, as the regions have it.
fn way(ways: &Ways) -> impl FnMut(IpAddr) -> WayId {
    let mut hint = 0;
    move |ip| ways.find(ip, &mut hint)
}

pub(crate) async fn sweep(
    wire: Wire,
    sweep: Sweep,
    out: Sender<Found>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Summary, ScanError> {
    let Sweep { scope, pace, rate_pps, mut timeout, mut ping, seed, shard, mut report_all, mut always_report, .. } = sweep;
    let (mut retries, dry_run) = (sweep.retries, sweep.dry_run);
    if dry_run {
        // Nobody is there to answer, so nobody is waited for and nothing is known of anybody.
        (ping, retries, timeout, report_all) = (false, Retries::Fixed(0), Duration::ZERO, false);
        always_report.clear();
    }
    if shard.index >= shard.of {
        return Err(ScanError::NoSuchShard(shard));
    }
    let targets = targets(&sweep.targets, &scope, sweep.ports.len() + sweep.udp_ports.len(), seed)?;
    let early = Catalog::builtin().high_risk_ports();
    let table = Arc::new(PortTable::new(&sweep.ports, &sweep.udp_ports, &early, seed));
    let part = targets.part(shard);
    let rounds = part.rounds(table.len());
    let beginning = Checkpoint::beginning(targets.ranges(), &sweep.ports, &sweep.udp_ports, seed, shard);
    let from = sweep.resume.unwrap_or_else(|| beginning.clone());
    from.admit(&beginning)?;
    progress.probes_total.fetch_add(part.hosts * u64::from(rounds), Ordering::Relaxed);
    let common = Common::new(scope, pace, rate_pps, timeout, (out, progress.clone(), cancel));
    let mut run = Run::begin(wire, Common { adapt: sweep.adapt, tap: sweep.tap, dry_run, ..common })?;
    run.hosts_total = part.hosts;
    run.out_of_scope = targets.out_of_scope;
    if rounds == 0 || part.hosts == 0 {
        return Ok(run.end(End::Done));
    }
    if !run.find_ways(targets.ranges()).await? {
        return Ok(run.end(End::Cancelled));
    }
    let tries = if let Retries::Fixed(n) = retries { n.saturating_add(1) } else { 2 };
    let named_hosts: HashSet<IpAddr> = always_report.iter().map(|endpoint| endpoint.ip).collect();
    let mut meter = Meter::new(if retries == Retries::Auto { 1 } else { tries.into() });
    let mut keeper = Keeper::new(from.clone(), progress.clone(), run.timeout, !report_all);
    let slices = part.slices(slice_hosts(rounds));
    for (number, (first, count)) in slices.enumerate() {
        if (number as u64) < from.slices {
            progress.probes_total.fetch_sub(count * u64::from(rounds), Ordering::Relaxed);
            continue;
        }
        let under_way = (number as u64 == from.slices).then_some(&from);
        let hosts = Hosts::stretch(&targets, first, count, way(&run.walker.asker.ways), progress.clone());
        let Some(mut hosts) = run.neighbors(hosts, ping).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let picked = under_way.and_then(|from| from.picked.as_deref());
        if ping || picked.is_some() {
            hosts = match picked {
                Some(picked) => hosts.keep(|ip, _| holds(picked, ip)),
                None => {
                    let Some(walk) = run.ping(hosts, tries).await? else {
                        return Ok(run.end(End::Cancelled));
                    };
                    // A host with an endpoint known by name is asked in any case: its state must not depend on an answer to a
                    // ping.
                    walk.hosts.keep(|ip, host| host.up.is_some() || named_hosts.contains(&ip))
                }
            };
            progress.probes_total.fetch_sub((count - hosts.len()) * u64::from(rounds), Ordering::Relaxed);
        }
        let done = under_way.map_or(0, |from| from.cells);
        keeper.begin(ping.then_some(&hosts), done);
        let cells = Cells::grid(table.clone(), hosts.len(), &part);
        let guard = Guard::new(cells.tcp_questions(), run.timeout, mix(seed ^ mix(first)), &always_report);
        let telling = Telling { all: report_all, named: &always_report };
        let mut walk = PortWalk::new(hosts, cells, telling, Some(guard), std::mem::take(&mut meter), progress.clone());
        walk.keeper = Some(keeper);
        let mut end = End::Done;
        if let Some(from) = under_way.filter(|from| from.cells > 0)
            && walk.go_on(from.cells, &from.alive)
        {
            end = run.walker.pass(&mut walk, run.timeout).await?;
        }
        if end == End::Done {
            end = match retries {
                Retries::Fixed(_) => run.ports(&mut walk, tries).await?,
                Retries::Auto => run.ports_choosing(&mut walk).await?,
            };
        }
        let Some(mut kept) = walk.keeper.take() else { break };
        if end == End::Cancelled {
            kept.stop(&walk.hosts);
            return Ok(run.end(End::Cancelled));
        }
        kept.done();
        keeper = kept;
        meter = walk.meter;
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
    let targets = targets(&wanted, &scope, 1, seed)?;
    progress.probes_total.fetch_add(targets.len(), Ordering::Relaxed);
    let common = Common::new(scope, pace, rate_pps, timeout, (out, progress.clone(), cancel));
    let mut run = Run::begin(wire, Common { adapt: ping.adapt, ..common })?;
    run.hosts_total = targets.len();
    run.out_of_scope = targets.out_of_scope;
    if !run.find_ways(targets.ranges()).await? {
        return Ok(run.end(End::Cancelled));
    }
    let all = Part { first: 0, hosts: targets.len(), first_round: 0, stride: 1 };
    for (first, count) in all.slices(SLICE_HOSTS) {
        let hosts = Hosts::stretch(&targets, first, count, way(&run.walker.asker.ways), progress.clone());
        let Some(hosts) = run.neighbors(hosts, true).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let Some(walk) = run.ping(hosts, retries.saturating_add(1)).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let (silent, not_probed) = walk.silent();
        run.not_probed += not_probed;
        run.walker.found.extend(silent);
        progress.probes_settled.fetch_add(count, Ordering::Relaxed);
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
    endpoints.retain(|endpoint| endpoint.port != 0);
    let no_port = all - endpoints.len();
    let in_scope: Vec<Endpoint> = endpoints.iter().copied().filter(|&endpoint| scope.admit(endpoint).is_some()).collect();
    progress.probes_total.fetch_add(in_scope.len() as u64, Ordering::Relaxed);
    let common = Common::new(scope, pace, rate_pps, timeout, (out, progress.clone(), cancel));
    let mut run = Run::begin(wire, Common { adapt: recheck.adapt, ..common })?;
    run.not_probed = no_port as u64;
    run.out_of_scope = (endpoints.len() - in_scope.len()) as u128;
    let tries = retries.saturating_add(1);
    let nobody = HashSet::new();
    let mut meter = Meter::new(tries.into());
    // Sorted by address, so a chunk has no more hosts than endpoints.
    for chunk in in_scope.chunks(SLICE_HOSTS as usize) {
        let mut ips: Vec<IpAddr> = chunk.iter().map(|endpoint| endpoint.ip).collect();
        ips.dedup();
        run.hosts_total += ips.len() as u64;
        let singles: Vec<IpRange> = ips.iter().map(|ip| IpRange::single(*ip)).collect();
        if !run.find_ways(&model::address::merge(&singles)).await? {
            return Ok(run.end(End::Cancelled));
        }
        let hosts = Hosts::sorted(&ips, way(&run.walker.asker.ways), progress.clone());
        let Some(hosts) = run.neighbors(hosts, false).await? else {
            return Ok(run.end(End::Cancelled));
        };
        let asked = chunk.iter().filter_map(|endpoint| Some((hosts.index(endpoint.ip)?, Ask::of(endpoint))));
        let cells = Cells::list(asked, mix(seed ^ 3));
        let telling = Telling { all: true, named: &nobody };
        let mut walk = PortWalk::new(hosts, cells, telling, None, std::mem::take(&mut meter), progress.clone());
        if run.ports(&mut walk, tries).await? == End::Cancelled {
            return Ok(run.end(End::Cancelled));
        }
        meter = walk.meter;
    }
    Ok(run.end(End::Done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_as_long_as_its_wait_is_worth_and_no_larger_than_memory_allows() {
        for (questions, hosts) in
            [(0, 1 << 22), (1, 1 << 22), (2, 1 << 21), (4, 1 << 20), (42, 1 << 20), (64, 1 << 20), (65_536, 1 << 10)]
        {
            assert_eq!(slice_hosts(questions), hosts, "{questions} questions");
        }
        assert_eq!(slice_hosts(u32::MAX), 1);
    }
}
