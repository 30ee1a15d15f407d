//! Taking reports in: what a node saw becomes state, events, exposures, alerts and further work, in one transaction.
//!
//! Reports are taken one at a time, so that no two fold the same state. What a sighting means is decided by `assess`; here
//! it is loaded, judged and written. Sending the alerts is left to `alerting`.

use crate::authority::Authority;
use crate::context::Context;
use crate::ingest_admit::{Admitted, admit};
use crate::ingest_attempts::count_attempts;
use crate::ingest_follow_up::{FollowUps, Wanted};
use crate::ingest_import::{Import, ImportOutcome, admit_import, open_among};
use crate::live::Topic;
use crate::segments::Watches;
use assess::exposure::Change;
use assess::hosts;
use assess::segments::Sight;
use assess::{Dossier, Judge, alerts, asset_for};
use model::address::IpRange;
use model::alert::{AlertKind, AlertState};
use model::audit::AuditEntry;
use model::job::Job;
use model::observation::{Liveness, SeenFrom};
use model::port_state::{Host, Phase};
use model::settings::Settings;
use model::task::TaskKind;
use model::{AlertId, Duration, Endpoint, ExposureId, HostObservation, JobId, NodeName, State, Ts, Vantage};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use store::{AlertFilter, End, ExposureFilter, IngestBatch, IngestOutcome, Paging, StoreError};
use tokio::sync::Mutex;
use uuid::Uuid;
use wire::{Report, ReportReply};

/// How old the asset list may be that a report is judged by. What may be probed is always read afresh; this only says whose
/// an address is.
const FRESH: std::time::Duration = std::time::Duration::from_secs(1);

/// First wait before a failed job is tried again; it grows fourfold with every attempt.
const RETRY: Duration = Duration::secs(5);

/// Takes reports in.
pub struct Ingest {
    context: Arc<Context>,
    turn: Mutex<Turn>,
}

/// What one report leaves for the next.
struct Turn {
    follow_ups: FollowUps,
    /// Hosts that answer on every port, by the lease of the job that said so, until that ends.
    pseudo: HashMap<(JobId, i64), BTreeSet<IpAddr>>,
    known: Option<(Instant, Arc<Authority>, Arc<Settings>)>,
}

/// Hosts of a report, folded.
#[derive(Default)]
struct Hosts {
    /// Every host whose row is to be written.
    write: Vec<Host>,
    /// Those seen online for the first time ever.
    new: Vec<IpAddr>,
    /// Those that turned out to answer on every port.
    pseudo_now: Vec<IpAddr>,
    /// Those that turned out not to any more.
    plain_now: Vec<IpAddr>,
    /// Which of the report's hosts answer on every port.
    pseudo: BTreeSet<IpAddr>,
    /// Those that seem to be offline while nobody can tell whether we would hear them.
    doubted: Vec<IpAddr>,
    changed: bool,
}

fn mint() -> Uuid {
    Uuid::now_v7()
}

impl Ingest {
    /// Over this context.
    pub fn new(context: Arc<Context>) -> Self {
        Ingest { context, turn: Mutex::new(Turn { follow_ups: FollowUps::default(), pseudo: HashMap::new(), known: None }) }
    }

    /// Takes one report in. `allowed` is what the job was allowed to probe, where this process handed it out.
    ///
    /// A report that cannot be written for a reason that will not go away fails its job and stops its node from repeating
    /// it; everything else that is transient is the caller's to have repeated.
    pub async fn report(&self, report: Report, allowed: Option<Vec<IpRange>>) -> Result<ReportReply, StoreError> {
        let mut turn = self.turn.lock().await;
        let Some(job) = self.context.store.job(report.job).await? else { return Ok(ReportReply::Fenced) };
        match self.take(&mut turn, &job, &report, allowed.as_deref()).await {
            Err(error) if !error.is_transient() => {
                tracing::error!(job = %job.id, task = %job.task, %error, "a report cannot be recorded; its job is given up");
                metrics::counter!("portreeve_reports_refused_total").increment(1);
                let mut batch = empty_batch(&report, self.context.now());
                batch.end = Some(End::Failed {
                    error: format!("its report could not be recorded: {error}"),
                    retry_at: retry_at(&job, batch.now),
                });
                self.context.store.ingest(&batch).await?;
                Ok(ReportReply::Fenced)
            }
            other => other,
        }
    }

    async fn take(
        &self,
        turn: &mut Turn,
        job: &Job,
        report: &Report,
        allowed: Option<&[IpRange]>,
    ) -> Result<ReportReply, StoreError> {
        let now = self.context.now();
        let (authority, settings) = self.known(turn).await?;
        let mut seen = admit(report, &job.work, allowed, now);
        if seen.refused > 0 {
            tracing::warn!(node = %report.node, job = %job.id, refused = seen.refused, "sightings outside the job's scope are refused");
            metrics::counter!("portreeve_sightings_refused_total").increment(seen.refused);
        }
        let judge = Judge {
            vantage: &report.vantage,
            assets: &authority.assets,
            catalog: self.context.catalog,
            policy: &settings.alerts,
            hysteresis: &settings.hysteresis,
            now,
        };
        let mut batch = empty_batch(report, now);
        let mut watches = Watches::load(&self.context.store, &authority, &report.vantage, &seen, now).await?;
        watches.set_aside(&mut seen);
        let plain = ordinary(turn, report, &seen);
        let hosts = self.fold_hosts(&judge, &authority, &seen, &plain, &mut watches, &mut batch).await?;
        let dossiers = self.fold_endpoints(&judge, &seen, &hosts, &watches, &mut batch).await?;
        self.pseudo_alerts(&judge, &hosts, &dossiers, &mut batch).await?;
        watches.settle(&self.context.store, &authority, &mut batch).await?;
        let wanted = Wanted { dossiers: &dossiers, new_hosts: &hosts.new, doubted_hosts: &hosts.doubted, watches: &watches };
        turn.follow_ups.plan(&self.context, Some(job), &wanted, now, &mut batch).await?;
        count_attempts(&self.context.store, report, &seen, &mut batch).await?;
        batch.hosts = hosts.write;
        batch.coverage = seen.coverage;
        batch.end = report.end.as_ref().map(|end| match end {
            wire::End::Done => End::Done,
            wire::End::Failed { error } => End::Failed { error: error.clone(), retry_at: retry_at(job, now) },
        });
        let outcome = self.context.store.ingest(&batch).await?;
        match outcome {
            IngestOutcome::Recorded => {
                turn.follow_ups.queued(now);
                self.publish(&batch, Some(job.kind), hosts.changed);
                Ok(ReportReply::Accepted)
            }
            IngestOutcome::Duplicate => {
                turn.follow_ups.dropped();
                Ok(ReportReply::Accepted)
            }
            IngestOutcome::Fenced => {
                turn.follow_ups.dropped();
                Ok(ReportReply::Fenced)
            }
        }
    }

    /// Takes in a part of a file with another scanner's results: judged as a report from its vantage is, except that it
    /// covers no ground, so nothing closes because it is missing there. What lies outside the scope is refused and counted.
    pub async fn import(&self, import: Import) -> Result<ImportOutcome, StoreError> {
        let mut turn = self.turn.lock().await;
        let store = &self.context.store;
        if store.imported(&import.part).await? {
            return Ok(ImportOutcome { recorded: false, ..ImportOutcome::default() });
        }
        let now = self.context.now();
        // Whoever has just added the asset imports its results next.
        turn.known = None;
        let (authority, settings) = self.known(&mut turn).await?;
        let vantage = import.part.vantage.clone();
        let closing = open_among(store, &import).await?;
        let mut seen = admit_import(&import, closing, &authority.scope, now);
        let outcome = ImportOutcome { recorded: true, taken: seen.taken(), refused: seen.refused };
        let judge = Judge {
            vantage: &vantage,
            assets: &authority.assets,
            catalog: self.context.catalog,
            policy: &settings.alerts,
            hysteresis: &settings.hysteresis,
            now,
        };
        let mut batch = IngestBatch { now, ..no_batch() };
        let mut watches = Watches::load(store, &authority, &vantage, &seen, now).await?;
        watches.set_aside(&mut seen);
        let hosts = self.fold_hosts(&judge, &authority, &seen, &[], &mut watches, &mut batch).await?;
        let dossiers = self.fold_endpoints(&judge, &seen, &hosts, &watches, &mut batch).await?;
        self.pseudo_alerts(&judge, &hosts, &dossiers, &mut batch).await?;
        watches.settle(store, &authority, &mut batch).await?;
        // Another look can only be had from where our own node stands.
        if vantage == self.context.vantage {
            let wanted = Wanted { dossiers: &dossiers, new_hosts: &hosts.new, doubted_hosts: &hosts.doubted, watches: &watches };
            turn.follow_ups.plan(&self.context, None, &wanted, now, &mut batch).await?;
        }
        batch.hosts = hosts.write;
        let detail = json!({
            "source": import.source, "vantage": vantage, "part": import.part.part, "digest": import.part.digest,
            "taken": outcome.taken, "refused": outcome.refused,
        });
        let audit = AuditEntry { at: now, detail, ..import.audit };
        match store.ingest_import(&batch, &import.part, &audit).await? {
            IngestOutcome::Recorded => {
                turn.follow_ups.queued(now);
                self.publish(&batch, None, hosts.changed);
                metrics::counter!("portreeve_imported_sightings_total").increment(outcome.taken);
                metrics::counter!("portreeve_sightings_refused_total").increment(outcome.refused);
                Ok(outcome)
            }
            IngestOutcome::Duplicate | IngestOutcome::Fenced => {
                turn.follow_ups.dropped();
                Ok(ImportOutcome { recorded: false, ..ImportOutcome::default() })
            }
        }
    }

    /// The asset list and settings, at most [`FRESH`] old.
    async fn known(&self, turn: &mut Turn) -> Result<(Arc<Authority>, Arc<Settings>), StoreError> {
        if let Some((at, authority, settings)) = &turn.known
            && at.elapsed() < FRESH
        {
            return Ok((Arc::clone(authority), Arc::clone(settings)));
        }
        let authority = Arc::new(Authority::load(&self.context.store).await?);
        let settings = Arc::new(self.context.store.settings().await?);
        turn.known = Some((Instant::now(), Arc::clone(&authority), Arc::clone(&settings)));
        Ok((authority, settings))
    }

    /// Folds what was said of hosts, and what endpoints prove about theirs. None goes offline in a segment of which nobody can
    /// tell whether its silence is ours (PR-13).
    /// `plain` are hosts that would have been noticed if they answered on every port.
    async fn fold_hosts(
        &self,
        judge: &Judge<'_>,
        authority: &Authority,
        seen: &Admitted,
        plain: &[IpAddr],
        watches: &mut Watches,
        batch: &mut IngestBatch,
    ) -> Result<Hosts, StoreError> {
        let mut said: BTreeMap<IpAddr, Vec<HostObservation>> = BTreeMap::new();
        for host in &seen.hosts {
            said.entry(host.ip).or_default().push(host.clone());
        }
        let mut proofs: BTreeMap<IpAddr, HostObservation> = BTreeMap::new();
        for proof in seen.observations.iter().filter_map(hosts::evidence) {
            let latest = proofs.entry(proof.ip).or_insert_with(|| proof.clone());
            if proof.observed_at > latest.observed_at {
                *latest = proof;
            }
        }
        for (ip, proof) in proofs {
            said.entry(ip).or_default().push(proof);
        }
        let mut ips: BTreeSet<IpAddr> = said.keys().copied().collect();
        ips.extend(seen.pseudo_open.iter().map(|p| p.ip));
        ips.extend(seen.observations.iter().map(|o| o.endpoint.ip));
        ips.extend(plain);
        let asked: Vec<IpAddr> = ips.into_iter().collect();
        let mut known = self.context.store.hosts_by(&asked, judge.vantage).await?;
        // Only a host that would go offline needs to be asked about its doors.
        let doubtful: Vec<IpAddr> = said
            .iter()
            .filter(|(ip, said)| {
                known.get(ip).is_some_and(|h| h.liveness == Liveness::Online)
                    && said.iter().any(|o| o.liveness == Liveness::Offline)
            })
            .map(|(ip, _)| *ip)
            .collect();
        let open = if doubtful.is_empty() { HashMap::new() } else { self.context.store.open_counts(&doubtful).await? };
        let leaving: Vec<IpAddr> = doubtful.into_iter().filter(|ip| open.get(ip).is_none_or(|n| *n == 0)).collect();
        watches.ensure(&self.context.store, authority, seen, &leaving).await?;
        let mut out = Hosts::default();
        let mut write: BTreeSet<IpAddr> = BTreeSet::new();
        for (ip, mut said) in said {
            said.sort_by_key(|o| o.observed_at);
            let has_open = open.get(&ip).is_some_and(|n| *n > 0);
            for obs in said {
                let leaves = obs.liveness == Liveness::Offline && !has_open;
                if leaves
                    && known.get(&ip).is_some_and(|h| h.liveness == Liveness::Online && h.last_observed_at < obs.observed_at)
                    && watches.host_sight(ip, obs.observed_at) != Sight::Clear
                {
                    out.doubted.push(ip);
                    continue;
                }
                let before = known.remove(&ip);
                let last = before.as_ref().map(|h| h.last_observed_at);
                let folded = hosts::fold(before.clone(), &obs, judge.vantage, has_open);
                if folded.changed {
                    batch.events.push(judge.host_event(&folded.host, last, &obs, &mut mint));
                    out.changed = true;
                }
                if folded.new {
                    out.new.push(ip);
                }
                if before.as_ref() != Some(&folded.host) {
                    write.insert(ip);
                }
                known.insert(ip, folded.host);
            }
        }
        for pseudo in &seen.pseudo_open {
            let host = known.entry(pseudo.ip).or_insert_with(|| accepting(pseudo.ip, judge.vantage, pseudo.observed_at));
            if hosts::pseudo_open(host, pseudo.open_ports, pseudo.observed_at) {
                batch.events.push(judge.pseudo_event(pseudo.ip, pseudo.open_ports, pseudo.observed_at, &mut mint));
                out.pseudo_now.push(pseudo.ip);
                out.changed = true;
            }
            write.insert(pseudo.ip);
        }
        for ip in plain {
            if let Some(host) = known.get_mut(ip)
                && hosts::not_pseudo_open(host)
            {
                tracing::info!(host = %ip, "the host does not answer on every port any more");
                out.plain_now.push(*ip);
                write.insert(*ip);
                out.changed = true;
            }
        }
        out.pseudo = known.values().filter(|h| h.pseudo_open_ports.is_some()).map(|h| h.ip).collect();
        out.write = write.iter().filter_map(|ip| known.remove(ip)).collect();
        Ok(out)
    }

    /// Folds everything that was said of endpoints, and settles each once.
    async fn fold_endpoints(
        &self,
        judge: &Judge<'_>,
        seen: &Admitted,
        hosts: &Hosts,
        watches: &Watches,
        batch: &mut IngestBatch,
    ) -> Result<Vec<Dossier>, StoreError> {
        let store = &self.context.store;
        let mut endpoints: BTreeSet<Endpoint> = seen.observations.iter().map(|o| o.endpoint).collect();
        endpoints.extend(seen.identifications.iter().map(|i| i.endpoint));
        endpoints.extend(seen.panels.iter().map(|p| p.endpoint));
        endpoints.extend(seen.checks.iter().map(|c| c.endpoint));
        if !hosts.pseudo_now.is_empty() || !hosts.plain_now.is_empty() {
            // What was believed about the host's other doors has to be looked at again.
            let ranges: Vec<IpRange> = hosts.pseudo_now.iter().chain(&hosts.plain_now).copied().map(IpRange::single).collect();
            let open = store.open_endpoints_in(&ranges).await?;
            endpoints.extend(open.into_iter().filter(|s| s.vantage == *judge.vantage).map(|s| s.endpoint));
        }
        let key = |endpoint: &Endpoint| SeenFrom { endpoint: *endpoint, vantage: judge.vantage.clone() };
        let keys: Vec<SeenFrom> = endpoints.iter().map(key).collect();
        let mut ports = store.port_states(&keys).await?;
        let mut exposures = store.exposures_by(&keys).await?;
        // Nothing is proved of what was never seen open.
        let known: Vec<SeenFrom> = keys.iter().filter(|key| ports.contains_key(key)).cloned().collect();
        let mut findings = store.findings_by(&known).await?;
        let opening: Vec<Endpoint> = seen
            .observations
            .iter()
            .filter(|o| o.state == State::Open && ports.get(&key(&o.endpoint)).is_none_or(|p| p.phase == Phase::Closed))
            .map(|o| o.endpoint)
            .collect();
        let covered = if opening.is_empty() { HashMap::new() } else { store.last_covered(judge.vantage, &opening).await? };

        let mut dossiers: BTreeMap<Endpoint, Dossier> = BTreeMap::new();
        for key in keys {
            let mut d = Dossier::new(key.endpoint, ports.remove(&key), exposures.remove(&key));
            d.host_pseudo = hosts.pseudo.contains(&key.endpoint.ip);
            d.last_covered = covered.get(&key.endpoint).copied();
            d.watch = watches.of(key.endpoint.ip);
            d.findings = findings.remove(&key).unwrap_or_default().into_iter().map(|f| (f.check.clone(), f)).collect();
            dossiers.insert(key.endpoint, d);
        }
        let mut observations: Vec<_> = seen.observations.iter().collect();
        observations.sort_by_key(|o| o.observed_at);
        for obs in observations {
            let Some(d) = dossiers.get_mut(&obs.endpoint) else { continue };
            // A host that accepts on every port has sixty-five thousand doors to nowhere: those that services commonly use are
            // kept, the rest is the number that its row holds (PR-12).
            if d.host_pseudo && d.port.is_none() && !self.context.catalog.common_ports().contains(obs.endpoint.port) {
                continue;
            }
            judge.observe(d, obs, &mut mint);
        }
        for seen in &seen.identifications {
            if let Some(d) = dossiers.get_mut(&seen.endpoint) {
                judge.identify(d, seen, &mut mint);
            }
        }
        for seen in &seen.panels {
            if let Some(d) = dossiers.get_mut(&seen.endpoint) {
                judge.panel(d, seen, &mut mint);
            }
        }
        let mut checks: Vec<_> = seen.checks.iter().collect();
        checks.sort_by_key(|c| c.observed_at);
        for run in checks {
            if let Some(d) = dossiers.get_mut(&run.endpoint) {
                judge.check(d, run, &mut mint);
            }
        }
        let mut settled = Vec::with_capacity(dossiers.len());
        for (endpoint, mut d) in dossiers {
            judge.settle(&mut d, &mut mint);
            if let Some(change) = d.change.as_ref().filter(|c| c.closed())
                && self.told(change.after.id, change.after.opening).await?
            {
                let asset = asset_for(endpoint.ip, judge.assets);
                d.alert = alerts::raise(change, true, judge.policy, asset, AlertId(mint()), judge.now);
            }
            if d.port_changed {
                batch.port_states.extend(d.port.clone());
            }
            batch.exposures.extend(d.change.as_ref().map(|c| c.after.clone()));
            batch.findings.append(&mut d.findings_changed);
            batch.events.append(&mut d.events);
            batch.alerts.extend(d.alert.clone());
            settled.push(d);
        }
        Ok(settled)
    }

    /// Whether somebody was told, or is about to be, that this opening began.
    async fn told(&self, exposure: ExposureId, opening: u32) -> Result<bool, StoreError> {
        // An opening has few of those kinds, one for each kind of risk and proof; the newest come first.
        let filter = AlertFilter { exposure: Some(exposure), ..AlertFilter::default() };
        let alerts = self.context.store.alerts(&filter, Paging::first(20)).await?.items;
        let opened =
            |a: &model::alert::Alert| matches!(a.kind, AlertKind::Opened | AlertKind::FindingProved) && a.opening == opening;
        Ok(alerts.iter().any(|a| opened(a) && a.state != AlertState::Suppressed))
    }

    /// One alert for each host that answers on every port, carried by the first of its open exposures: when the host is
    /// recognised, or, where none of its doors was open by then, when the first one is.
    async fn pseudo_alerts(
        &self,
        judge: &Judge<'_>,
        hosts: &Hosts,
        dossiers: &[Dossier],
        batch: &mut IngestBatch,
    ) -> Result<(), StoreError> {
        let mut done: BTreeSet<IpAddr> = BTreeSet::new();
        for d in dossiers.iter().filter(|d| hosts.pseudo.contains(&d.endpoint.ip)) {
            let ip = d.endpoint.ip;
            let Some(exposure) = d.exposure.as_ref().filter(|e| e.phase == Phase::Open && !done.contains(&ip)) else { continue };
            if !hosts.pseudo_now.contains(&ip) {
                if !d.change.as_ref().is_some_and(Change::opened) {
                    continue;
                }
                let before = ExposureFilter { ip: Some(ip), phase: Some(Phase::Open), ..ExposureFilter::all(judge.now) };
                if self.context.store.exposures(&before, Paging::first(1)).await?.total > 0 {
                    done.insert(ip);
                    continue;
                }
            }
            done.insert(ip);
            let asset = asset_for(ip, judge.assets);
            batch.alerts.push(alerts::pseudo_open(exposure, asset, AlertId(mint()), judge.now));
        }
        Ok(())
    }

    /// Counts what was recorded and tells whoever looks.
    fn publish(&self, batch: &IngestBatch, kind: Option<TaskKind>, hosts_changed: bool) {
        let live = &self.context.live;
        metrics::counter!("portreeve_reports_recorded_total").increment(1);
        metrics::counter!("portreeve_events_recorded_total").increment(batch.events.len() as u64);
        if !batch.exposures.is_empty() {
            live.changed(Topic::Exposures);
        }
        if !batch.findings.is_empty() {
            metrics::counter!("portreeve_findings_recorded_total").increment(batch.findings.len() as u64);
            live.changed(Topic::Findings);
        }
        if !batch.port_states.is_empty() {
            live.changed(Topic::Endpoints);
        }
        if !batch.hosts.is_empty() {
            live.changed(Topic::Hosts);
        }
        if !batch.segments.is_empty() {
            live.changed(Topic::Segments);
        }
        if batch.end.is_some() {
            live.changed(Topic::Tasks);
        }
        if batch.end.is_some() || !batch.follow_ups.is_empty() {
            live.changed(Topic::Jobs);
        }
        if !batch.alerts.is_empty() {
            metrics::counter!("portreeve_alerts_raised_total").increment(batch.alerts.len() as u64);
            live.changed(Topic::Alerts);
            self.context.alert_now.notify_one();
        }
        if hosts_changed || (batch.end.is_some() && kind == Some(TaskKind::Liveness)) {
            // Tasks may be waiting for their first live host, or for the end of the pass.
            self.context.schedule_now.notify_one();
        }
    }
}

/// Ports of a sweep that would have noticed a host that answers on every port: twice the number of open ones at which `scan`
/// has a closer look.
const NOTICES: usize = 40;
/// Addresses of a sweep that are gone through at its end. A sweep of that many ports has fewer.
const SWEPT: u128 = 8_192;

/// The hosts that a sweep which ends with this report has found to answer as hosts do.
fn ordinary(turn: &mut Turn, report: &Report, seen: &Admitted) -> Vec<IpAddr> {
    let lease = (report.job, report.fencing);
    let said = turn.pseudo.entry(lease).or_default();
    said.extend(seen.pseudo_open.iter().map(|p| p.ip));
    let covered = seen
        .coverage
        .as_ref()
        .filter(|c| c.ports.len() >= NOTICES && c.targets.iter().map(IpRange::len).fold(0, u128::saturating_add) <= SWEPT);
    let plain =
        covered.map_or_else(Vec::new, |c| c.targets.iter().flat_map(IpRange::iter).filter(|ip| !said.contains(ip)).collect());
    if report.end.is_some() || said.is_empty() {
        turn.pseudo.remove(&lease);
    }
    plain
}

/// A host of which nothing is known but that it accepts on every port.
fn accepting(ip: IpAddr, vantage: &Vantage, at: Ts) -> Host {
    Host {
        ip,
        vantage: vantage.clone(),
        liveness: Liveness::Online,
        reason: model::Reason::SynAck,
        since: at,
        last_online_at: Some(at),
        last_observed_at: at,
        pseudo_open_ports: None,
    }
}

fn retry_at(job: &Job, now: Ts) -> Ts {
    now.plus(Duration::millis(RETRY.0 << (2 * job.attempts.saturating_sub(1)).min(10)))
}

fn empty_batch(report: &Report, now: Ts) -> IngestBatch {
    IngestBatch {
        job: report.job,
        node: report.node.clone(),
        fencing: report.fencing,
        sequence: report.sequence,
        probes_sent: report.probes_sent,
        now,
        ..no_batch()
    }
}

/// Nothing, of no job.
fn no_batch() -> IngestBatch {
    IngestBatch {
        job: JobId(Uuid::nil()),
        node: NodeName(String::new()),
        fencing: 0,
        sequence: 0,
        probes_sent: 0,
        port_states: Vec::new(),
        hosts: Vec::new(),
        exposures: Vec::new(),
        findings: Vec::new(),
        attempts: Vec::new(),
        audit: Vec::new(),
        segments: Vec::new(),
        events: Vec::new(),
        alerts: Vec::new(),
        follow_ups: Vec::new(),
        coverage: None,
        end: None,
        now: Ts(0),
    }
}
