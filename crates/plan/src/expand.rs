//! What a firing of a task covers now, cut into jobs: its label's members, within its target, within the scope.
//!
//! Storing the jobs and handing them out is left to the server; every node checks scope again before every probe.

use crate::blackout::silent_until;
use model::address::{IpRange, merge};
use model::asset::{Asset, Blackout};
use model::catalog::Catalog;
use model::job::Work;
use model::port_state::PortState;
use model::service::Identity;
use model::task::{Engine, Label, Task, TaskKind, TaskTarget};
use model::{Duration, Endpoint, Ports, Proto, Scope, Ts};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Probes of one sweep job: 40 s of a node's default pace, so that a lost job is redone cheaply and jobs of different
/// tasks take turns. One host × 65,535 ports fits.
pub const SWEEP_PROBES: u64 = 200_000;
/// Addresses of one liveness job: a dozen probes each, so about as long as a sweep job.
pub const LIVENESS_ADDRESSES: u64 = 4_096;
/// Endpoints of one re-check, identification or panel job; an identification may take seconds.
pub const ENDPOINTS: usize = 256;
/// Endpoints of one job of the slow lane: each may take a minute and a half, so that a job takes about as long as another's.
pub const EXAMINED: usize = 32;
/// Jobs of one run. Beyond it jobs grow instead: the queue stays short enough to be listed and leased quickly (PR-12).
pub const MAX_JOBS: u64 = 5_000;
/// IPv6 ranges larger than this (a /112) are not gone through address by address: a /64 at a million probes a second
/// would take 580,000 years. Their hosts have to be known individually.
pub const ENUMERABLE_V6: u128 = 65_536;

/// How the evidence of an identification begins when an HTTP response decided it.
const HTTP_EVIDENCE: &str = "http-get";
/// Services that count a visit that ends before the login as an interrupted handshake and block the visitor's address at a
/// limit: MySQL and MariaDB, `max_connect_errors`, 100 by default.
const COUNTS_VISITS: &[&str] = &["mysql"];
/// How long one of those is left alone once it is known in its current opening: fifty visits a year.
const VISIT_AGAIN: Duration = Duration::days(7);
/// How long until what the slow lane could not explain is asked again, and TLS is surveyed again.
const EXAMINE_AGAIN: Duration = Duration::days(7);

/// Everything that decides what a task covers at an instant.
pub struct Snapshot<'a> {
    /// The instant.
    pub now: Ts,
    /// The asset list.
    pub assets: &'a [Asset],
    /// The authorised scope.
    pub scope: &'a Scope,
    /// Blackouts, whether they hold now or not.
    pub blackouts: &'a [Blackout],
    /// Hosts last seen online from the vantage.
    pub online: &'a [IpAddr],
    /// Hosts last seen offline, whether they were ever seen online or not.
    pub offline: &'a [IpAddr],
    /// Endpoints that are open or pending from the vantage, with what is known of them.
    pub open: &'a [PortState],
    /// The catalogue, for `high-risk` and `common`.
    pub catalog: &'a Catalog,
}

/// A job before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    /// What to do.
    pub work: Work,
    /// Lower goes first.
    pub priority: u8,
    /// Probes per second; `None` for the global pace.
    pub rate_pps: Option<u32>,
    /// Repetitions of an unanswered probe; `None` where they buy most.
    pub retries: Option<u8>,
    /// Who probes.
    pub engine: Engine,
    /// Not before this instant: the snapshot's, or the end of the blackout that covers the whole job.
    pub not_before: Ts,
}

/// What a firing covers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The jobs, most of the time in address order.
    pub jobs: Vec<JobPlan>,
    /// What was left out and why; never left out silently.
    pub notes: Vec<String>,
    /// The label the task consumes has no members yet because nobody has looked: firing now would do nothing and count
    /// as done. The task waits for its first liveness pass instead.
    pub waits_for: Option<Label>,
}

/// What the task covers at the snapshot's instant.
pub fn expand(task: &Task, snapshot: &Snapshot) -> Expansion {
    let mut out = Expansion::default();
    let ranges = target_ranges(&task.target, snapshot);
    if ranges.is_empty() {
        out.notes.push(match &task.target {
            TaskTarget::AllAssets => "no asset is in scope".to_owned(),
            TaskTarget::Ranges { .. } => {
                "none of the target's ranges is covered by an asset, or all of it is excluded".to_owned()
            }
            TaskTarget::Tags { tags } => format!("no asset in scope carries the tag {}", tags.join(" or ")),
        });
        return out;
    }
    let label = task.kind.consumes();
    if label != Label::IpAssets && !in_ranges(&ranges, snapshot.online).chain(in_ranges(&ranges, snapshot.offline)).any(|_| true)
    {
        out.waits_for = Some(label);
        out.notes
            .push(format!("waits for {label}: no address of the target has been looked at yet, a liveness pass comes first"));
        return out;
    }
    let works = match label {
        Label::IpAssets => {
            let addresses = enumerable(&ranges, snapshot, &mut out.notes);
            address_work(task, &addresses, snapshot, &mut out.notes)
        }
        Label::IpOnline => address_work(task, &coalesce(in_ranges(&ranges, snapshot.online)), snapshot, &mut out.notes),
        Label::IpOffline => address_work(task, &coalesce(in_ranges(&ranges, snapshot.offline)), snapshot, &mut out.notes),
        Label::PortOpen | Label::PortDown => {
            let wanted = |port: &&PortState| holds(&ranges, port.endpoint.ip) && is_for(task.kind, port, snapshot.now);
            let mut endpoints: Vec<_> = snapshot.open.iter().filter(wanted).map(|port| port.endpoint).collect();
            endpoints.sort_unstable();
            endpoints.dedup();
            let mut slow = Vec::new();
            if task.kind == TaskKind::ServiceIdentification {
                let due: BTreeSet<Endpoint> =
                    snapshot.open.iter().filter(|p| is_unexplained(p, snapshot.now)).map(|p| p.endpoint).collect();
                (slow, endpoints) = endpoints.into_iter().partition(|endpoint| due.contains(endpoint));
            }
            let usual = endpoints.chunks(ENDPOINTS).map(|chunk| endpoint_work(task.kind, chunk.to_vec()));
            usual.chain(slow.chunks(EXAMINED).map(|chunk| Work::Examine { endpoints: chunk.to_vec() })).collect()
        }
    };
    out.jobs = works.into_iter().map(|work| job(task, work, snapshot)).collect();
    let put_off = out.jobs.iter().filter(|job| job.not_before > snapshot.now).count();
    if put_off > 0 {
        out.notes.push(format!("{put_off} of {} jobs wait for the end of a blackout", out.jobs.len()));
    }
    out
}

/// Whether the kind's work is for that endpoint: a front page is asked only of what is known to speak HTTP, or TLS and
/// nothing else we know, because other protocols log a stray GET as an attack (Redis does); a service that counts
/// interrupted handshakes against us is visited only so often; and a port that hangs up on every question there is, each on a
/// connection of its own, is left to the slow lane's week.
fn is_for(kind: TaskKind, port: &PortState, now: Ts) -> bool {
    let service = port.service.as_ref();
    match kind {
        TaskKind::Panels => {
            let spoke_http = port.evidence.as_deref().is_some_and(|e| e.starts_with(HTTP_EVIDENCE));
            let only_tls = service.is_some_and(|s| s.tls.is_some() && matches!(s.name.as_str(), "" | "tls"));
            spoke_http || only_tls || port.panel.is_some()
        }
        TaskKind::ServiceIdentification => {
            let counts_visits = service.is_some_and(|s| COUNTS_VISITS.contains(&s.name.as_str()));
            let within = |at: Option<Ts>, time: Duration| {
                at.is_some_and(|at| port.opened_at.is_none_or(|opened| at >= opened) && now.since(at) < time)
            };
            let hangs_up = port.identity == Some(Identity::ClosesOnData);
            !(counts_visits && within(port.identified_at, VISIT_AGAIN) || hangs_up && within(port.thorough_at, EXAMINE_AGAIN))
        }
        _ => true,
    }
}

/// Whether the slow lane is due: for a port that said nothing, hung up, or answered in no known protocol, and for TLS whose
/// versions nobody has asked for; once in an opening, and again every week (requirement R9). Silence of a UDP port is its way.
fn is_unexplained(port: &PortState, now: Ts) -> bool {
    let looked = port.thorough_at.filter(|at| port.opened_at.is_none_or(|opened| *at >= opened));
    if port.endpoint.proto == Proto::Udp || port.pseudo_open || looked.is_some_and(|at| now.since(at) < EXAMINE_AGAIN) {
        return false;
    }
    let service = port.service.as_ref();
    let ours = service.is_none_or(|s| s.source.is_none());
    let unexplained = port.identity.is_some_and(|identity| identity.is_unexplained(service));
    let encrypted = service.is_some_and(|s| s.tls.is_some());
    ours && (unexplained || encrypted)
}

/// The addresses that the work touches, as ranges.
pub fn targets_of(work: &Work) -> Vec<IpRange> {
    match work {
        Work::Liveness { targets } | Work::Sweep { targets, .. } => targets.clone(),
        Work::Recheck { endpoints } | Work::Identify { endpoints } | Work::Examine { endpoints } | Work::Panels { endpoints } => {
            coalesce(endpoints.iter().map(|e| e.ip))
        }
    }
}

/// Single addresses as the fewest ranges, in order.
pub fn coalesce(ips: impl IntoIterator<Item = IpAddr>) -> Vec<IpRange> {
    merge(&ips.into_iter().map(IpRange::single).collect::<Vec<_>>())
}

/// Sweep jobs over the addresses, each of at most `limit` probes or one address.
pub fn sweeps(addresses: &[IpRange], ports: &Ports, open: &[Endpoint], limit: u64) -> Vec<Work> {
    if ports.is_empty() {
        return Vec::new();
    }
    let per_job = (limit / ports.len() as u64).max(1);
    let mut known: Vec<_> = open.iter().copied().filter(|e| ports.contains(e.proto, e.port)).collect();
    known.sort_unstable();
    known.dedup();
    let within = |targets: &[IpRange]| -> Vec<Endpoint> {
        let run = |range: &IpRange| {
            let from = known.partition_point(|e| e.ip < range.first());
            let to = known.partition_point(|e| e.ip <= range.last());
            known[from..to].iter().copied()
        };
        targets.iter().flat_map(run).collect()
    };
    batches(addresses, per_job)
        .into_iter()
        .map(|targets| Work::Sweep { known_open: within(&targets), targets, ports: ports.clone() })
        .collect()
}

fn target_ranges(target: &TaskTarget, snapshot: &Snapshot) -> Vec<IpRange> {
    let wanted: Vec<IpRange> = match target {
        TaskTarget::AllAssets => snapshot.assets.iter().map(|a| a.range).collect(),
        TaskTarget::Ranges { ranges } => ranges.clone(),
        TaskTarget::Tags { tags } => {
            snapshot.assets.iter().filter(|a| a.tags.iter().any(|t| tags.contains(t))).map(|a| a.range).collect()
        }
    };
    snapshot.scope.restrict(&wanted)
}

/// Whether one of the sorted disjoint ranges holds the address.
fn holds(ranges: &[IpRange], ip: IpAddr) -> bool {
    let after = ranges.partition_point(|r| r.first() <= ip);
    after > 0 && ranges[after - 1].contains(ip)
}

fn in_ranges<'a>(ranges: &'a [IpRange], ips: &'a [IpAddr]) -> impl Iterator<Item = IpAddr> + 'a {
    ips.iter().copied().filter(|&ip| holds(ranges, ip))
}

/// The ranges less what is too large to go through, plus the hosts known individually in there.
fn enumerable(ranges: &[IpRange], snapshot: &Snapshot, notes: &mut Vec<String>) -> Vec<IpRange> {
    let (small, large): (Vec<IpRange>, Vec<IpRange>) =
        ranges.iter().partition(|r| r.first().is_ipv4() || r.len() <= ENUMERABLE_V6);
    if large.is_empty() {
        return small;
    }
    let mut known: Vec<IpAddr> = in_ranges(&large, snapshot.online).chain(in_ranges(&large, snapshot.offline)).collect();
    known.extend(snapshot.open.iter().map(|port| port.endpoint.ip).filter(|&ip| holds(&large, ip)));
    known.sort_unstable();
    known.dedup();
    for range in &large {
        let here = known.iter().filter(|&&ip| range.contains(ip)).count();
        notes.push(format!(
            "{range} is too large to go through address by address (at most a /112 of IPv6 is); {here} known host{} in it {} covered\nhint: add the hosts or smaller ranges as assets",
            if here == 1 { "" } else { "s" },
            if here == 1 { "is" } else { "are" },
        ));
    }
    let mut all = small;
    all.extend(known.into_iter().map(IpRange::single));
    merge(&all)
}

fn address_work(task: &Task, addresses: &[IpRange], snapshot: &Snapshot, notes: &mut Vec<String>) -> Vec<Work> {
    if task.kind == TaskKind::Liveness {
        let limit = grown(LIVENESS_ADDRESSES, count(addresses), 1, notes);
        return batches(addresses, limit).into_iter().map(|targets| Work::Liveness { targets }).collect();
    }
    let Some(choice) = task.ports.clone().or_else(|| task.kind.default_ports()) else {
        return Vec::new();
    };
    let ports = choice.resolve(snapshot.catalog);
    let limit = grown(SWEEP_PROBES, count(addresses), ports.len() as u64, notes);
    let open: Vec<Endpoint> = snapshot.open.iter().map(|port| port.endpoint).collect();
    sweeps(addresses, &ports, &open, limit)
}

fn endpoint_work(kind: TaskKind, endpoints: Vec<Endpoint>) -> Work {
    match kind {
        TaskKind::ServiceIdentification => Work::Identify { endpoints },
        TaskKind::Panels => Work::Panels { endpoints },
        _ => Work::Recheck { endpoints },
    }
}

fn job(task: &Task, work: Work, snapshot: &Snapshot) -> JobPlan {
    let not_before = silent_until(snapshot.blackouts, &targets_of(&work), snapshot.now).unwrap_or(snapshot.now);
    JobPlan {
        work,
        priority: task.kind.priority(),
        rate_pps: task.rate_pps,
        retries: task.retries,
        engine: task.engine.clone(),
        not_before,
    }
}

fn count(ranges: &[IpRange]) -> u64 {
    ranges.iter().map(|r| u64::try_from(r.len()).unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
}

/// The probes of a job: the usual number, or more when the run would have too many jobs.
fn grown(usual: u64, addresses: u64, per_address: u64, notes: &mut Vec<String>) -> u64 {
    // Whole addresses: a job holds at least one.
    let usual_addresses = (usual / per_address.max(1)).max(1);
    if addresses.div_ceil(usual_addresses) <= MAX_JOBS {
        return usual;
    }
    notes.push(format!("{addresses} addresses in at most {MAX_JOBS} jobs: the jobs of this run are larger than usual"));
    addresses.div_ceil(MAX_JOBS).saturating_mul(per_address)
}

/// The addresses in batches of at most `size`, ranges split where a batch is full.
fn batches(ranges: &[IpRange], size: u64) -> Vec<Vec<IpRange>> {
    let size = u128::from(size.max(1));
    let (mut all, mut batch, mut room) = (Vec::new(), Vec::new(), size);
    for range in ranges {
        let mut rest = Some(*range);
        while let Some(range) = rest.take() {
            if range.len() <= room {
                room -= range.len();
                batch.push(range);
            } else {
                // Less room than the range is long, so both halves exist.
                let (head, tail) = (range.nth(room - 1), range.nth(room));
                let (Some(head), Some(tail)) = (head, tail) else { break };
                batch.extend(IpRange::new(range.first(), head));
                rest = IpRange::new(tail, range.last());
                room = 0;
            }
            if room == 0 {
                all.push(std::mem::take(&mut batch));
                room = size;
            }
        }
    }
    if !batch.is_empty() {
        all.push(batch);
    }
    all
}
