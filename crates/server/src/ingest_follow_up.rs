//! Further work that a report asks for: confirming what was just seen open, asking again what was not, and a first look at
//! hosts that have just turned up. Never the same twice in a row, never without bound (PR-12).
//!
//! What is wanted is said by `assess`, what it amounts to by `plan`; this queues it with the report, in one transaction.

use crate::context::Context;
use crate::segments::Watches;
use assess::Dossier;
use assess::ports::{FollowUp, is_refusal};
use model::job::{Job, JobState};
use model::port_state::PortState;
use model::task::{Task, TaskKind, TaskState};
use model::{Duration, Endpoint, JobId, Ts};
use plan::expand::JobPlan;
use plan::follow_up;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use store::{IngestBatch, StoreError};
use uuid::Uuid;

/// A confirmation that was queued this recently is on its way: jobs of this kind are leased before all others.
const CONFIRMING: Duration = Duration::secs(30);
/// Endpoints that may have a follow-up on its way. Beyond it no more are asked for until some are through; the scheduled
/// re-check gets to them.
const MOST: usize = 50_000;
/// Hosts that get a first look in any hour: twice what one liveness pass may ask for.
const FIRST_LOOKS: usize = 2 * follow_up::FIRST_LOOK_HOSTS;
/// All ports of a new host are not swept at once when the task that does it fires this soon.
const SOON: Duration = Duration::minutes(5);
/// How long after the canaries of its segment a host that seems to be offline is asked again.
const WITNESSED: Duration = Duration::secs(5);
/// Attempts of a follow-up.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Confirm,
    Recheck,
}

/// What a report gives reason to look at again.
pub struct Wanted<'a> {
    /// Its endpoints, judged.
    pub dossiers: &'a [Dossier],
    /// Hosts seen for the first time.
    pub new_hosts: &'a [IpAddr],
    /// Hosts that seem to be offline while nobody can tell whether we would hear them.
    pub doubted_hosts: &'a [IpAddr],
    /// The segments it touches.
    pub watches: &'a Watches,
}

/// What is on its way.
#[derive(Default)]
pub struct FollowUps {
    /// When the follow-up of an endpoint is done at the latest, as far as can be told. A confirmation on its way is no
    /// answer to whether the door has shut since, so the two kinds are kept apart.
    until: HashMap<(Endpoint, Kind), Ts>,
    /// Those of the report in hand.
    fresh: Vec<((Endpoint, Kind), Ts)>,
    looks: VecDeque<(Ts, usize)>,
    fresh_looks: usize,
    shedding: bool,
}

impl FollowUps {
    /// Adds to the batch the jobs that the judgements ask for.
    pub async fn plan(
        &mut self,
        context: &Context,
        origin: Option<&Job>,
        wanted: &Wanted<'_>,
        now: Ts,
        batch: &mut IngestBatch,
    ) -> Result<(), StoreError> {
        let Wanted { dossiers, new_hosts, doubted_hosts, watches } = *wanted;
        self.until.retain(|_, until| *until > now);
        self.fresh.clear();
        self.fresh_looks = 0;
        let mut confirm = Vec::new();
        let mut recheck: BTreeMap<Ts, BTreeSet<Endpoint>> = BTreeMap::new();
        for d in dossiers {
            let Some(want) = d.follow_up else { continue };
            if self.until.len() + self.fresh.len() >= MOST {
                if !std::mem::replace(&mut self.shedding, true) {
                    tracing::warn!(
                        most = MOST,
                        "too many endpoints wait for another look; the rest waits for the scheduled re-check"
                    );
                }
                metrics::counter!("portreeve_follow_ups_shed_total").increment(1);
                continue;
            }
            match want {
                FollowUp::Confirm => {
                    let key = (d.endpoint, Kind::Confirm);
                    if !self.until.contains_key(&key) {
                        confirm.push(d.endpoint);
                        self.fresh.push((key, now.plus(CONFIRMING)));
                    }
                }
                FollowUp::Recheck { at } => {
                    let key = (d.endpoint, Kind::Recheck);
                    if self.until.get(&key).is_none_or(|until| *until < at) {
                        // To the second, so that what went dark together is asked again together.
                        let at = Ts(at.0.div_euclid(1_000) * 1_000 + 1_000);
                        let together = recheck.entry(at).or_default();
                        together.insert(d.endpoint);
                        // Silence has to be witnessed: the canaries of its segment are asked in the same breath.
                        if d.port.as_ref().is_some_and(|p| !is_refusal(p.last_reason)) {
                            together.extend(watches.canaries_of(d.endpoint.ip));
                        }
                        self.fresh.push((key, at));
                    }
                }
            }
        }
        self.shedding &= self.until.len() >= MOST / 2;
        let again = watches.known_again();
        if !again.is_empty() {
            // What has closed in the dark is to be noticed now, not when the schedule comes round.
            let open = context.store.open_endpoints_in(&again).await?;
            let room = MOST.saturating_sub(self.until.len() + self.fresh.len());
            let ours = open.into_iter().filter(|o| watches.is_from(&o.vantage)).map(|o| o.endpoint).take(room);
            recheck.entry(now).or_default().extend(ours);
        }
        // Once: a host whose segment stays doubtful waits for the next pass.
        let looks = if origin.is_some_and(|job| job.run.is_some()) { doubted_hosts } else { &[] };
        let witnesses: BTreeSet<Endpoint> = looks.iter().flat_map(|ip| watches.canaries_of(*ip)).collect();
        if !witnesses.is_empty() {
            recheck.entry(now).or_default().extend(witnesses);
        }
        let hosts = self.first_looks(new_hosts, now);
        let pages: Vec<Endpoint> = dossiers.iter().filter(|d| shows_pages(d)).map(|d| d.endpoint).collect();
        if confirm.is_empty() && recheck.is_empty() && hosts.is_empty() && pages.is_empty() && looks.is_empty() {
            return Ok(());
        }
        let tasks = context.store.tasks().await?;
        let mut queue = |kind: TaskKind, plans: Vec<JobPlan>| {
            // An import's follow-ups wait for the schedule where no task of their kind is active.
            let Some((task, kind)) = booked_on(&tasks, kind, origin) else { return };
            batch.follow_ups.extend(plans.into_iter().map(|plan| job(task, kind, plan, now)));
        };
        queue(TaskKind::ServiceIdentification, follow_up::confirm(&confirm, now));
        for (at, endpoints) in recheck {
            let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
            queue(TaskKind::OpenRecheck, follow_up::recheck(&endpoints, at));
        }
        queue(TaskKind::Liveness, follow_up::hosts(looks, now.plus(WITNESSED)));
        for (kind, plan) in follow_up::first_look(&hosts, &[], context.catalog, now) {
            if kind != TaskKind::FullOnline || !due_soon(&tasks, kind, now) {
                queue(kind, vec![plan]);
            }
        }
        // Without an active task for them nobody wants front pages.
        if tasks.iter().any(|t| t.kind == TaskKind::Panels && t.state == TaskState::Active) {
            queue(TaskKind::Panels, follow_up::front_pages(&pages, now));
        }
        Ok(())
    }

    /// The report was recorded: its follow-ups are on their way.
    pub fn queued(&mut self, now: Ts) {
        self.until.extend(self.fresh.drain(..));
        if self.fresh_looks > 0 {
            self.looks.push_back((now, self.fresh_looks));
        }
    }

    /// It was not.
    pub fn dropped(&mut self) {
        self.fresh.clear();
        self.fresh_looks = 0;
    }

    /// The new hosts that get a first look, as far as the hour has room.
    fn first_looks(&mut self, new_hosts: &[IpAddr], now: Ts) -> Vec<IpAddr> {
        while self.looks.front().is_some_and(|(at, _)| now.since(*at) > Duration::hours(1)) {
            self.looks.pop_front();
        }
        let room = FIRST_LOOKS.saturating_sub(self.looks.iter().map(|(_, n)| n).sum());
        if room < new_hosts.len() {
            tracing::info!(
                hosts = new_hosts.len() - room,
                "more new hosts than get a first look at once; the schedule gets to them"
            );
        }
        let hosts: Vec<IpAddr> = new_hosts.iter().copied().take(room).collect();
        self.fresh_looks = hosts.len();
        hosts
    }
}

/// Whether the endpoint has just turned out to speak HTTP, or something else over it, and nobody has seen its front page since.
fn shows_pages(d: &Dossier) -> bool {
    let unseen = |p: &PortState| p.panel_at.is_none() || p.panel_at < p.identified_at;
    let http = |p: &PortState| unseen(p) && p.service.as_ref().is_some_and(|s| s.name == "http");
    d.identified && d.port.as_ref().is_some_and(http)
}

/// Whether an active task of the kind fires so soon that it covers what has just been seen anyway.
fn due_soon(tasks: &[Task], kind: TaskKind, now: Ts) -> bool {
    let soon = now.plus(SOON);
    tasks.iter().any(|t| t.kind == kind && t.state == TaskState::Active && t.next_due_at.is_some_and(|at| at <= soon))
}

/// The task that a follow-up is booked on: the active one of its kind, else the one whose report asked for it. A paused
/// task's jobs wait, and a confirmation must not.
fn booked_on(tasks: &[Task], kind: TaskKind, origin: Option<&Job>) -> Option<(model::TaskId, TaskKind)> {
    let active = tasks.iter().find(|t| t.kind == kind && t.state == TaskState::Active);
    active.map(|t| (t.id, t.kind)).or(origin.map(|job| (job.task, job.kind)))
}

/// A job outside a run.
pub fn job(task: model::TaskId, kind: TaskKind, plan: JobPlan, now: Ts) -> Job {
    Job {
        id: JobId(Uuid::now_v7()),
        task,
        kind,
        run: None,
        probes_total: plan.work.probes(),
        work: plan.work,
        state: JobState::Queued,
        priority: plan.priority,
        rate_pps: plan.rate_pps,
        retries: plan.retries,
        engine: plan.engine,
        not_before: plan.not_before,
        attempts: 0,
        max_attempts: ATTEMPTS,
        fencing: 0,
        node: None,
        lease_until: None,
        probes_sent: 0,
        error: None,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}
