//! The server's side of the wire: handing out jobs under leases, keeping those alive, and taking reports.
//!
//! The database's lease is the truth about who may work on a job; here it is dressed as an offer with a scope, a pace and a
//! seed. What a report means is left to `ingest`.

use crate::authority::{Authority, Verdict};
use crate::context::Context;
use crate::ingest::Ingest;
use crate::live::Topic;
use async_trait::async_trait;
use model::address::IpRange;
use model::asset::Asset;
use model::audit::AuditEntry;
use model::finding::CheckPolicy;
use model::job::{Job, Work};
use model::settings::Settings;
use model::{AuditId, Duration, JobId, Scope, Ts};
use plan::checks::{ATTEMPTS_SPAN, policies, policy_for, restricted, tried};
use plan::expand::targets_of;
use plan::silent_from;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use store::{LeaseQuery, StoreError};
use uuid::Uuid;
use wire::{
    Dispatch, Heartbeat, HeartbeatReply, JobOffer, LeaseReply, LeaseRequest, NodePace, RangePace, Report, ReportReply, WireError,
};

/// How long a lease lasts without a heartbeat. Nodes beat three times as often: a job of a node that died is somebody else's
/// after a quarter of a minute, and a pause of ten seconds (a database restart) loses no lease.
pub const LEASE: Duration = Duration::secs(15);
/// Leased jobs of one task at a time. Two keep a task moving while one of its jobs waits for silent hosts to time out, and
/// leave the node's other slots to the other tasks: one task never delays another.
pub const PER_TASK: u32 = 2;

/// How old the caps may be that a node is told when there is no job for it.
const PACE_AGE: std::time::Duration = std::time::Duration::from_secs(2);

/// What a job was allowed when it was handed out.
struct Handed {
    fencing: i64,
    scope: Vec<IpRange>,
    checks: Vec<CheckPolicy>,
}

/// The server as nodes see it.
pub struct Dispatcher {
    context: Arc<Context>,
    ingest: Arc<Ingest>,
    handed: Mutex<HashMap<JobId, Handed>>,
    pace: tokio::sync::Mutex<Option<(Instant, NodePace)>>,
}

impl Dispatcher {
    /// The server's side over this context.
    pub fn new(context: Arc<Context>) -> Arc<Dispatcher> {
        let ingest = Arc::new(Ingest::new(Arc::clone(&context)));
        context.set_ingest(&ingest);
        Arc::new(Dispatcher { context, ingest, handed: Mutex::new(HashMap::new()), pace: tokio::sync::Mutex::new(None) })
    }

    fn handed(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Handed>> {
        // Insertions and removals only: a panic elsewhere leaves no half-made entry.
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dresses leased jobs as offers; what must wait for the end of a blackout goes back to the queue.
    async fn offers(&self, jobs: &[Job], now: Ts) -> Result<(Vec<JobOffer>, NodePace), StoreError> {
        let authority = Authority::load(&self.context.store).await?;
        let settings = self.context.store.settings().await?;
        let mut offers = Vec::with_capacity(jobs.len());
        for job in jobs {
            match authority.judge(&targets_of(&job.work), now) {
                Verdict::Later(until) => {
                    tracing::info!(job = %job.id, %until, "job waits for the end of a blackout");
                    self.context.store.release_job(job.id, job.fencing, until).await?;
                }
                Verdict::Now(scope) => {
                    let quiet_from = silent_from(&authority.blackouts, scope.ranges(), now);
                    let checks = self.check_policies(job, &scope, &authority.assets, now).await?;
                    let handed = Handed { fencing: job.fencing, scope: scope.ranges().to_vec(), checks: checks.clone() };
                    self.handed().insert(job.id, handed);
                    offers.push(offer(job, scope, quiet_from, checks));
                }
            }
        }
        let fresh = pace(&settings, &authority.assets);
        // Kept for the polls that follow: an older answer would take the caps away again while these jobs go on (PR-7).
        *self.pace.lock().await = Some((Instant::now(), fresh.clone()));
        Ok((offers, fresh))
    }

    /// What may be checked of a job's endpoints. Where an approval lets accounts be tried, their addresses are held for this
    /// lease first: another lease that may still be at it, or that was lost with what it tried, leaves nothing to be tried here.
    async fn check_policies(&self, job: &Job, scope: &Scope, assets: &[Asset], now: Ts) -> Result<Vec<CheckPolicy>, StoreError> {
        let (Work::Identify { endpoints } | Work::Examine { endpoints }) = &job.work else { return Ok(Vec::new()) };
        let store = &self.context.store;
        let targets = scope.ranges();
        let approvals = store.approvals_open(now).await?;
        let plain = policies(assets, &approvals, &[], &[], targets, now);
        let ips: BTreeSet<IpAddr> = endpoints.iter().map(|e| e.ip).filter(|ip| scope.contains(*ip)).collect();
        let wanted = tried(ips, &plain);
        if wanted.is_empty() {
            return Ok(plain);
        }
        let since = now.minus(ATTEMPTS_SPAN);
        let used: BTreeSet<_> =
            wanted.iter().filter_map(|ip| policy_for(*ip, &plain)?.credentials.as_ref().map(|c| c.approval)).collect();
        let entry = AuditEntry {
            id: AuditId(Uuid::now_v7()),
            at: now,
            actor: "system".into(),
            from: None,
            action: "approval.use".into(),
            subject: format!("job:{}", job.id),
            result: "ok".into(),
            detail: json!({ "approvals": used, "addresses": wanted.iter().take(100).collect::<Vec<_>>() }),
        };
        let held = store.hold_attempts(job.id, job.fencing, &wanted, since, now, &entry).await?;
        if !held.is_empty() {
            tracing::info!(job = %job.id, addresses = held.len(), "attempts to sign in may still be going on there, or were lost; none are made");
        }
        // Read after the hold, so that whatever an earlier lease reported before it let go is among it.
        let wanted: Vec<IpRange> = wanted.into_iter().map(IpRange::single).collect();
        let spent = store.attempts_since(&wanted, since).await?;
        Ok(policies(assets, &approvals, &spent, &held, targets, now))
    }

    /// The caps in force, at most [`PACE_AGE`] old: nodes ask twice a second, and their jobs go on under the answer.
    async fn current_pace(&self) -> Result<NodePace, StoreError> {
        let mut kept = self.pace.lock().await;
        if let Some((at, pace)) = &*kept
            && at.elapsed() < PACE_AGE
        {
            return Ok(pace.clone());
        }
        let assets = self.context.store.assets().await?;
        let fresh = pace(&self.context.store.settings().await?, &assets);
        *kept = Some((Instant::now(), fresh.clone()));
        Ok(fresh)
    }

    /// Whether a job that is going on may still probe and check everything it was allowed. When not, it goes back to the queue, to be
    /// handed out again under what holds by then.
    async fn still_allowed(&self, job: JobId, fencing: i64, now: Ts) -> Result<bool, StoreError> {
        let (given, checks) = match self.handed().get(&job) {
            Some(handed) if handed.fencing == fencing => (handed.scope.clone(), handed.checks.clone()),
            // Handed out before this process started: the lease is kept, and the next one is judged.
            _ => return Ok(true),
        };
        let authority = Authority::load(&self.context.store).await?;
        let less = !checks.is_empty() && {
            let approvals = self.context.store.approvals_open(now).await?;
            restricted(&checks, &policies(&authority.assets, &approvals, &[], &[], &given, now))
        };
        let not_before = match authority.judge(&given, now) {
            Verdict::Now(scope) if scope.ranges() == given && !less => return Ok(true),
            Verdict::Now(_) => now,
            Verdict::Later(until) => until,
        };
        tracing::info!(%job, less, "the scope of a job has shrunk, or what it may check; it is handed out again");
        self.context.store.release_job(job, fencing, not_before).await?;
        self.handed().remove(&job);
        Ok(false)
    }
}

#[async_trait]
impl Dispatch for Dispatcher {
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseReply, WireError> {
        let now = self.context.now();
        self.context.node_called(&request.node, Some((&request.vantage, &request.engines)));
        let query = LeaseQuery {
            node: request.node,
            incarnation: request.incarnation,
            slots: request.slots,
            per_task_slots: PER_TASK,
            lease_until: now.plus(LEASE),
            now,
            // A job that a blackout touches in part is done for the rest; see `offers`.
            avoid: Vec::new(),
        };
        let jobs = self.context.store.lease(&query).await.map_err(unavailable)?;
        if jobs.is_empty() {
            return Ok(LeaseReply { jobs: Vec::new(), pace: self.current_pace().await.map_err(unavailable)? });
        }
        metrics::counter!("portreeve_jobs_leased_total").increment(jobs.len() as u64);
        self.context.live.changed(Topic::Jobs);
        match self.offers(&jobs, now).await {
            Ok((jobs, pace)) => Ok(LeaseReply { jobs, pace }),
            Err(error) => {
                // Nobody will beat for them; given back at once they need not wait for their leases to end.
                for job in &jobs {
                    self.context.store.release_job(job.id, job.fencing, now).await.ok();
                }
                Err(unavailable(error))
            }
        }
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, WireError> {
        let now = self.context.now();
        self.context.node_called(&beat.node, None);
        let store = &self.context.store;
        let ours =
            store.heartbeat(beat.job, &beat.node, beat.fencing, now.plus(LEASE), beat.probes_sent).await.map_err(unavailable)?;
        self.context.live.changed(Topic::Jobs);
        if ours && self.still_allowed(beat.job, beat.fencing, now).await.map_err(unavailable)? {
            return Ok(HeartbeatReply::Continue);
        }
        self.handed().remove(&beat.job);
        Ok(HeartbeatReply::Stop)
    }

    async fn report(&self, report: Report) -> Result<ReportReply, WireError> {
        self.context.node_called(&report.node, None);
        let (job, fencing, ended) = (report.job, report.fencing, report.end.is_some());
        let allowed = self.handed().get(&job).filter(|h| h.fencing == fencing).map(|h| h.scope.clone());
        let reply = self.ingest.report(report, allowed).await.map_err(unavailable)?;
        if ended || reply == ReportReply::Fenced {
            self.handed().remove(&job);
        }
        Ok(reply)
    }
}

fn offer(job: &Job, scope: Scope, quiet_from: Option<Ts>, check_policies: Vec<CheckPolicy>) -> JobOffer {
    let (high, low) = job.id.0.as_u64_pair();
    JobOffer {
        id: job.id,
        fencing: job.fencing,
        lease: LEASE,
        work: job.work.clone(),
        scope,
        quiet_from,
        // The task's rate is for the whole task, and this many of its jobs may be going on.
        rate_pps: job.rate_pps.map(|pps| (pps / PER_TASK).max(1)),
        retries: job.retries,
        engine: job.engine.clone(),
        // Another order with every attempt, so that a place that broke one does not break the next at the same point.
        seed: high ^ low.rotate_left(17) ^ job.fencing.cast_unsigned(),
        check_policies,
    }
}

fn pace(settings: &Settings, assets: &[Asset]) -> NodePace {
    let capped = assets.iter().filter(|a| a.rate_pps.is_some() || a.per_target_pps.is_some());
    let ranges = capped.map(|a| RangePace { range: a.range, rate_pps: a.rate_pps, per_target_pps: a.per_target_pps });
    let pace = &settings.pace;
    NodePace {
        node_pps: pace.node_pps,
        per_network_pps: pace.per_network_pps,
        per_target_pps: pace.per_target_pps,
        ranges: ranges.collect(),
    }
}

/// Whatever the database's trouble, the node keeps what it has and calls again.
fn unavailable(error: StoreError) -> WireError {
    if !error.is_transient() {
        tracing::error!(%error, "a node's call failed");
    }
    WireError::Unavailable(error.to_string())
}
