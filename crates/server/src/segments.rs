//! Watching the segments that a report touches: their canaries are looked up, judged with what the report says of them, and
//! what that means for the report is handed back to `ingest` (PR-13).
//!
//! What silence means is decided by `assess::segments`. Asking the canaries of doubted segments goes on here too, in
//! [`run`], so that a segment is known again without anybody scheduling anything; the probing is left to the nodes.

use crate::authority::Authority;
use crate::context::Context;
use crate::ingest_admit::Admitted;
use crate::ingest_follow_up::job;
use crate::live::Topic;
use assess::alerts;
use assess::ports::unseen;
use assess::segments::{self, Candidate, EVERY, Sight, Sighting, Watch, choose, enough, is_silence, segment};
use model::address::subtract;
use model::alert::{Alert, AlertKind};
use model::asset::Asset;
use model::event::EventKind;
use model::job::{Job, JobState};
use model::observation::SeenFrom;
use model::port_state::{Host, Phase};
use model::segment::{CanaryChoice, CanaryRole, Guard, SegmentNote, SegmentState, SegmentStatus, segment_of};
use model::task::{Task, TaskKind, TaskState};
use model::{AlertId, Endpoint, EventId, IpRange, JobId, Liveness, Scope, TaskId, Ts, Vantage};
use plan::{follow_up, silent_ranges};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use store::{IngestBatch, Store, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Open endpoints of one segment that are looked at as canaries, the oldest of them. A /24 with more has enough old ones.
const IN_SEGMENT: u64 = 1_024;
/// The same over a whole vantage: enough to find eight in different segments, even where one old host has thousands.
const IN_VANTAGE: u64 = 8_192;
/// How often doubted segments are looked at.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// Wait while the database does not answer.
const BACKOFF: std::time::Duration = std::time::Duration::from_secs(5);

/// What decides who is a canary, read once.
pub struct Roster {
    assets: Vec<Asset>,
    /// What may be probed at the moment: a canary that must be left in peace cannot speak.
    reach: Scope,
    choices: Vec<CanaryChoice>,
}

/// The canaries of a segment and who they are.
pub struct Canaries {
    /// Whether they are its own.
    pub guard: Guard,
    /// They, or those it borrows; none when nobody guards it.
    pub endpoints: Vec<Endpoint>,
    /// Its own open endpoints, the steadiest first: some of them are its canaries if it has enough.
    pub open: Vec<Endpoint>,
}

impl Roster {
    /// As the database has it.
    pub async fn load(store: &Store, authority: &Authority, now: Ts) -> Result<Roster, StoreError> {
        let silent = silent_ranges(&authority.blackouts, now);
        let reach = Scope::new(authority.scope.ranges(), &silent);
        Ok(Roster { assets: authority.assets.clone(), reach, choices: store.canary_choices().await? })
    }

    /// What an operator said of an endpoint.
    pub fn role(&self, endpoint: Endpoint) -> Option<CanaryRole> {
        self.choices.iter().find(|c| c.endpoint == endpoint).map(|c| c.role)
    }

    /// Of these endpoints, those that may be canaries.
    pub fn candidates(&self, open: &[(Endpoint, Ts)]) -> Vec<Candidate> {
        let usable = |&(endpoint, opened_at): &(Endpoint, Ts)| {
            let role = self.role(endpoint);
            let wanted = role != Some(CanaryRole::Never) && self.reach.contains(endpoint.ip);
            wanted.then_some(Candidate { endpoint, opened_at, named: role == Some(CanaryRole::Named) })
        };
        open.iter().filter_map(usable).collect()
    }

    /// The segment of an address.
    pub fn segment(&self, ip: IpAddr) -> Option<IpRange> {
        segment(ip, &self.assets)
    }

    /// Whether the range is still a segment of some asset.
    fn is_segment(&self, range: IpRange) -> bool {
        self.assets.iter().any(|a| segment_of(range.first(), &a.range) == Some(range))
    }

    /// The canaries that speak for the whole vantage: of different segments, and of different hosts within each.
    pub async fn pool(&self, store: &Store, vantage: &Vantage) -> Result<Vec<Endpoint>, StoreError> {
        let open = store.canary_candidates(vantage, None, IN_VANTAGE).await?;
        let mut places: BTreeMap<IpRange, Vec<Candidate>> = BTreeMap::new();
        for candidate in self.candidates(&open) {
            if let Some(range) = self.segment(candidate.endpoint.ip) {
                places.entry(range).or_default().push(candidate);
            }
        }
        let mut ranked: Vec<(usize, IpRange, Endpoint)> = Vec::new();
        for (range, candidates) in places {
            let own = choose(&candidates, |c| c.endpoint.ip);
            ranked.extend(own.into_iter().enumerate().map(|(rank, endpoint)| (rank, range, endpoint)));
        }
        ranked.sort_unstable();
        Ok(ranked.into_iter().take(segments::MOST).map(|(_, _, endpoint)| endpoint).collect())
    }

    /// The canaries of a segment: its own if it has enough, else those of the `pool`, which is filled when it is needed.
    pub async fn canaries(
        &self,
        store: &Store,
        vantage: &Vantage,
        range: IpRange,
        pool: &mut Option<Vec<Endpoint>>,
    ) -> Result<Canaries, StoreError> {
        let mut found = store.canary_candidates(vantage, Some(range), IN_SEGMENT).await?;
        // A more specific asset inside has segments of its own.
        found.retain(|(endpoint, _)| self.segment(endpoint.ip) == Some(range));
        let own = choose(&self.candidates(&found), |c| c.endpoint.ip);
        let open = found.into_iter().map(|(endpoint, _)| endpoint).collect();
        if enough(&own) {
            return Ok(Canaries { guard: Guard::Own, endpoints: own, open });
        }
        if pool.is_none() {
            *pool = Some(self.pool(store, vantage).await?);
        }
        Ok(match pool.as_deref().filter(|pool| enough(pool)) {
            Some(pool) => Canaries { guard: Guard::Borrowed, endpoints: pool.to_vec(), open },
            None => Canaries { guard: Guard::Nobody, endpoints: Vec::new(), open },
        })
    }
}

/// One segment of a report.
struct Entry {
    watch: Arc<Watch>,
    /// As it was before the report.
    before: SegmentState,
    /// Whether the database knows it.
    stored: bool,
    /// Endpoints of it that may carry an alert.
    open: Vec<Endpoint>,
    set_aside: u64,
}

/// The segments that a report touches.
pub struct Watches {
    vantage: Vantage,
    now: Ts,
    /// Every segment of the vantage that was ever doubted.
    states: HashMap<IpRange, SegmentState>,
    roster: Option<Roster>,
    pool: Option<Vec<Endpoint>>,
    entries: BTreeMap<IpRange, Entry>,
}

impl Watches {
    /// Those that the report gives reason to watch: where something is silent, and where something was before.
    pub async fn load(
        store: &Store,
        authority: &Authority,
        vantage: &Vantage,
        seen: &Admitted,
        now: Ts,
    ) -> Result<Watches, StoreError> {
        let states = store.segments(&[], Some(vantage)).await?.into_iter().map(|s| (s.range, s)).collect();
        let mut watches = Watches { vantage: vantage.clone(), now, states, roster: None, pool: None, entries: BTreeMap::new() };
        let silent = seen.observations.iter().filter(|o| is_silence(o)).map(|o| o.endpoint.ip);
        let mut ranges: BTreeSet<IpRange> = silent.filter_map(|ip| segment(ip, &authority.assets)).collect();
        let doubted = watches.states.values().filter(|s| s.status != SegmentStatus::Known);
        let touched = |s: &SegmentState| {
            s.guard == Guard::Borrowed
                || seen.observations.iter().any(|o| s.range.contains(o.endpoint.ip))
                || seen.hosts.iter().any(|h| s.range.contains(h.ip))
        };
        ranges.extend(doubted.filter(|s| touched(s)).map(|s| s.range));
        for range in ranges {
            watches.add(store, authority, seen, range).await?;
        }
        Ok(watches)
    }

    /// Watches the segments of these addresses as well.
    pub async fn ensure(
        &mut self,
        store: &Store,
        authority: &Authority,
        seen: &Admitted,
        ips: &[IpAddr],
    ) -> Result<(), StoreError> {
        let ranges: BTreeSet<IpRange> = ips.iter().filter_map(|ip| segment(*ip, &authority.assets)).collect();
        for range in ranges {
            if !self.entries.contains_key(&range) {
                self.add(store, authority, seen, range).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, store: &Store, authority: &Authority, seen: &Admitted, range: IpRange) -> Result<(), StoreError> {
        if self.roster.is_none() {
            self.roster = Some(Roster::load(store, authority, self.now).await?);
        }
        let Some(roster) = &self.roster else { return Ok(()) };
        let canaries = roster.canaries(store, &self.vantage, range, &mut self.pool).await?;
        let sightings = sightings(store, &self.vantage, &canaries.endpoints, seen).await?;
        let stored = self.states.get(&range);
        let before = stored.cloned().unwrap_or_else(|| Watch::fresh(range, self.vantage.clone(), self.now));
        let state = SegmentState { guard: canaries.guard, ..before.clone() };
        let judged = Watch { state, sightings };
        let watch = Arc::new(Watch { state: judged.review(self.now), ..judged });
        self.entries.insert(range, Entry { watch, before, stored: stored.is_some(), open: canaries.open, set_aside: 0 });
        Ok(())
    }

    fn entry(&self, ip: IpAddr) -> Option<&Entry> {
        // Segments do not share addresses with each other but where an asset lies inside another: the smallest is the one.
        self.entries.values().filter(|e| e.watch.state.range.contains(ip)).min_by_key(|e| e.watch.state.range.len())
    }

    /// Whether that is the vantage of the report.
    pub fn is_from(&self, vantage: &Vantage) -> bool {
        self.vantage == *vantage
    }

    /// The segment of an address, if it is watched.
    pub fn of(&self, ip: IpAddr) -> Option<Arc<Watch>> {
        self.entry(ip).map(|e| Arc::clone(&e.watch))
    }

    /// Takes out of a report what could not be seen: silence in segments that are unknown, and ground that only seems covered.
    pub fn set_aside(&mut self, seen: &mut Admitted) {
        let mut counts: HashMap<IpRange, u64> = HashMap::new();
        let mut blind = |ip: IpAddr, at: Ts| {
            let range = self.entry(ip).filter(|e| unseen(&e.watch, at)).map(|e| e.watch.state.range);
            range.inspect(|range| *counts.entry(*range).or_default() += 1).is_some()
        };
        seen.observations.retain(|o| !is_silence(o) || !blind(o.endpoint.ip, o.observed_at));
        seen.hosts.retain(|h| h.liveness == Liveness::Online || !blind(h.ip, h.observed_at));
        for (range, count) in counts {
            metrics::counter!("portreeve_silences_set_aside_total").increment(count);
            if let Some(entry) = self.entries.get_mut(&range) {
                entry.set_aside += count;
            }
        }
        if let Some(coverage) = &mut seen.coverage {
            let doubted = |s: &&SegmentState| s.status != SegmentStatus::Known;
            let ours = self.entries.values().map(|e| &e.watch.state).filter(doubted);
            let others = self.states.values().filter(|s| !self.entries.contains_key(&s.range)).filter(doubted);
            let dark: Vec<IpRange> = ours.chain(others).map(|s| s.range).collect();
            coverage.targets = subtract(&coverage.targets, &dark);
        }
        if seen.coverage.as_ref().is_some_and(|c| c.targets.is_empty()) {
            seen.coverage = None;
        }
    }

    /// What may be made of a host that answered nothing at that instant.
    pub fn host_sight(&self, ip: IpAddr, at: Ts) -> Sight {
        self.entry(ip).map_or(Sight::Clear, |e| e.watch.host_sight(at))
    }

    /// The canaries by which the silence of an address is judged.
    pub fn canaries_of(&self, ip: IpAddr) -> impl Iterator<Item = Endpoint> + '_ {
        self.entry(ip).into_iter().flat_map(|e| e.watch.sightings.iter().map(|s| s.endpoint))
    }

    /// The segments that are known again: everything open in them is to be looked at.
    pub fn known_again(&self) -> Vec<IpRange> {
        let again = |e: &&Entry| e.before.status == SegmentStatus::Unknown && e.watch.state.status == SegmentStatus::Known;
        self.entries.values().filter(again).map(|e| e.watch.state.range).collect()
    }

    /// Writes into the batch what became of the segments, with events and alerts.
    pub async fn settle(&self, store: &Store, authority: &Authority, batch: &mut IngestBatch) -> Result<(), StoreError> {
        for entry in self.entries.values() {
            let mut after = entry.watch.state.clone();
            after.set_aside += entry.set_aside;
            let before = &entry.before;
            let moved = after.status != before.status;
            let said = after.status != SegmentStatus::Known && after != *before;
            if !(moved || said || (entry.stored && entry.set_aside > 0)) {
                continue;
            }
            if let Some(event) = segments::event(before, &after, EventId(Uuid::now_v7()), self.now) {
                let (range, vantage, silent, of) = (after.range, &after.vantage, after.silent, after.canaries);
                match event.kind {
                    EventKind::SegmentUnknown => {
                        metrics::counter!("portreeve_segments_unknown_total").increment(1);
                        tracing::warn!(segment = %range, %vantage, silent, of, "the canaries of a segment are silent; nothing closes there");
                    }
                    _ => tracing::info!(segment = %range, %vantage, "the canaries of a segment answer again"),
                }
                batch.alerts.extend(alert(store, authority, before, &after, &entry.open, event.kind, self.now).await?);
                batch.events.push(event);
            }
            batch.segments.push(after);
        }
        Ok(())
    }
}

/// The latest of these endpoints, with what the report says of them.
pub async fn sightings(
    store: &Store,
    vantage: &Vantage,
    canaries: &[Endpoint],
    seen: &Admitted,
) -> Result<Vec<Sighting>, StoreError> {
    let keys: Vec<SeenFrom> = canaries.iter().map(|&endpoint| SeenFrom { endpoint, vantage: vantage.clone() }).collect();
    let ports = store.port_states(&keys).await?;
    let ips: Vec<IpAddr> = canaries.iter().map(|c| c.ip).collect::<BTreeSet<_>>().into_iter().collect();
    let hosts: HashMap<IpAddr, Host> = store.hosts_by(&ips, vantage).await?;
    let mut sightings: Vec<Sighting> =
        keys.iter().filter_map(|key| ports.get(key)).map(|port| Sighting::new(port, hosts.get(&port.endpoint.ip))).collect();
    let mut observations: Vec<_> = seen.observations.iter().filter(|o| hosts_any(&ips, o.endpoint.ip)).collect();
    observations.sort_by_key(|o| o.observed_at);
    for sighting in &mut sightings {
        observations.iter().for_each(|o| sighting.take(o));
        seen.hosts.iter().for_each(|h| sighting.take_host(h));
    }
    Ok(sightings)
}

fn hosts_any(ips: &[IpAddr], ip: IpAddr) -> bool {
    ips.binary_search(&ip).is_ok()
}

/// The alert of a segment that became unknown or known again; none when nothing open in it could carry it.
async fn alert(
    store: &Store,
    authority: &Authority,
    before: &SegmentState,
    after: &SegmentState,
    open: &[Endpoint],
    kind: EventKind,
    now: Ts,
) -> Result<Option<Alert>, StoreError> {
    let keys: Vec<SeenFrom> =
        open.iter().take(segments::MOST).map(|&endpoint| SeenFrom { endpoint, vantage: after.vantage.clone() }).collect();
    let exposures = store.exposures_by(&keys).await?;
    let Some(carrier) = keys.iter().filter_map(|key| exposures.get(key)).find(|e| e.phase == Phase::Open) else {
        return Ok(None);
    };
    let (kind, since) = match kind {
        EventKind::SegmentUnknown => (AlertKind::SegmentUnknown, after.since),
        _ => (AlertKind::SegmentKnown, before.since),
    };
    let note =
        SegmentNote { range: after.range, vantage: after.vantage.clone(), canaries: after.canaries, silent: after.silent, since };
    let asset = assess::asset_for(carrier.endpoint.ip, &authority.assets);
    Ok(Some(alerts::segment(kind, note, after.episode, carrier, asset, AlertId(Uuid::now_v7()), now)))
}

/// Has the canaries of doubted segments asked until cancelled.
pub async fn run(context: Arc<Context>, cancel: CancellationToken) {
    let mut tending = Tending::new(context);
    let mut outage = false;
    while !cancel.is_cancelled() {
        let wait = match tending.step().await {
            Ok(()) => {
                outage = false;
                TICK
            }
            Err(error) => {
                if !std::mem::replace(&mut outage, true) {
                    tracing::error!(%error, "watching the segments waits for the database");
                }
                BACKOFF
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks the canaries of doubted segments.
pub struct Tending {
    context: Arc<Context>,
    /// The job that asks, for each segment: there is one at a time, however long nobody works (PR-12).
    asked: HashMap<(IpRange, Vantage), JobId>,
}

impl Tending {
    /// Over this context.
    pub fn new(context: Arc<Context>) -> Self {
        Tending { context, asked: HashMap::new() }
    }

    /// Queues the looks that are due, and forgets segments that are none any more.
    pub async fn step(&mut self) -> Result<(), StoreError> {
        let context = Arc::clone(&self.context);
        let (store, now) = (&context.store, context.now());
        let due = store.segments_due(now).await?;
        if due.is_empty() {
            return Ok(());
        }
        let authority = Authority::load(store).await?;
        let roster = Roster::load(store, &authority, now).await?;
        let tasks = store.tasks().await?;
        let mut pools: HashMap<Vantage, Option<Vec<Endpoint>>> = HashMap::new();
        let mut jobs: Vec<Job> = Vec::new();
        for state in due {
            let pool = pools.entry(state.vantage.clone()).or_default();
            let canaries = roster.canaries(store, &state.vantage, state.range, pool).await?;
            if !roster.is_segment(state.range) || canaries.open.is_empty() {
                self.forget(&authority, &state, now).await?;
                continue;
            }
            let key = (state.range, state.vantage.clone());
            if let Some(id) = self.asked.get(&key)
                && let Some(job) = store.job(*id).await?
                && matches!(job.state, JobState::Queued | JobState::Leased)
            {
                continue;
            }
            // Some of its own as well, so that the answer touches the segment even where others speak for it.
            let mut ask: BTreeSet<Endpoint> = canaries.endpoints.into_iter().collect();
            ask.extend(canaries.open.into_iter().take(segments::MOST));
            let Some((task, kind)) = booked_on(&tasks) else { continue };
            let endpoints: Vec<Endpoint> = ask.into_iter().collect();
            for plan in follow_up::recheck(&endpoints, now) {
                let job = job(task, kind, plan, now);
                self.asked.insert(key.clone(), job.id);
                jobs.push(job);
            }
            store.segment_looks(&state, now.plus(EVERY)).await?;
        }
        if !jobs.is_empty() {
            store.enqueue(&jobs).await?;
            context.live.changed(Topic::Jobs);
        }
        Ok(())
    }

    /// The assets changed, or nothing is open there any more: there is nothing left to be doubted.
    async fn forget(&mut self, authority: &Authority, state: &SegmentState, now: Ts) -> Result<(), StoreError> {
        let store = &self.context.store;
        let after = SegmentState { status: SegmentStatus::Known, since: now, next_look_at: None, ..state.clone() };
        let event = segments::event(state, &after, EventId(Uuid::now_v7()), now);
        // Whoever may own it now: what was open in it carried the first alert, and carries the last.
        let open = store.canary_candidates(&state.vantage, Some(state.range), IN_SEGMENT).await?;
        let open: Vec<Endpoint> = open.into_iter().map(|(endpoint, _)| endpoint).collect();
        let alert = match &event {
            Some(event) => alert(store, authority, state, &after, &open, event.kind, now).await?,
            None => None,
        };
        tracing::info!(segment = %state.range, vantage = %state.vantage, "the segment is none any more, or nothing is open in it");
        store.forget_segment(state, event.as_slice(), alert.as_slice()).await?;
        self.context.live.changed(Topic::Segments);
        Ok(())
    }
}

/// The task on which a look is booked: the one that re-checks open endpoints, else any that is not paused.
fn booked_on(tasks: &[Task]) -> Option<(TaskId, TaskKind)> {
    let rechecks = tasks.iter().find(|t| t.kind == TaskKind::OpenRecheck && t.state == TaskState::Active);
    rechecks.or_else(|| tasks.iter().find(|t| t.state != TaskState::Paused)).map(|t| (t.id, t.kind))
}
