//! How each kind of work is done: sweeps, liveness and re-checks by `scan`, identification and front pages by `services`.
//!
//! Everything goes through the scope that came with the offer; what lies outside is left out here and refused again below.

use crate::checks::Checks;
use crate::engine::{self, Order};
use crate::job::JobContext;
use crate::now;
use crate::permit::JobPermit;
use crate::sightings::Sighting;
use futures::StreamExt;
use model::address::IpRange;
use model::job::Work;
use model::port_state::Coverage;
use model::task::Engine;
use model::{Endpoint, InScope, Ports, Proto, Scope, Ts};
use scan::{Found, Ping, Progress, Recheck, Retries, ScanError, Summary, Sweep};
use services::Budget;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;
use wire::JobOffer;

/// Endpoints talked to at a time by one job, and of those on one host. A conversation is mostly waiting, so sixty-four keep
/// a job of 256 endpoints under half a minute. Thirty-two to a host stay well below the 128 half-open and idle connections that
/// small firewalls allow a source, and get through fifty silent doors of a host that accepts everything in twelve seconds: a
/// real service among them must not wait for all of the others.
const TALKS: (usize, usize) = (64, 32);

/// Repetitions of work that is no sweep, where the offer leaves them to us.
const RETRIES: u8 = 1;

/// How the work ended.
pub(crate) enum Outcome {
    /// All of it was done; for a sweep, with the ground covered.
    Done(Option<Box<Coverage>>),
    /// It was stopped from outside.
    Stopped,
    /// It could not be done.
    Failed(String),
}

/// Does the work and sends what it finds.
pub(crate) async fn perform(
    context: Arc<JobContext>,
    offer: JobOffer,
    out: Sender<Sighting>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Outcome {
    let started_at = now();
    let method = context.config.method;
    let timeout = context.config.timeout;
    let pace = Arc::clone(&context.pacer);
    // Back off where the path drops (D16).
    let adapt = true;
    let JobOffer { work, scope, rate_pps, retries, engine, seed, check_policies, .. } = offer;
    let number = retries.unwrap_or(RETRIES);
    let external = |name, targets, ports, known_open| Order {
        name,
        targets,
        ports,
        known_open,
        scope: scope.clone(),
        rate_pps,
        retries,
        seed,
    };
    let budget = match &work {
        Work::Examine { .. } => Budget::thorough(),
        Work::Panels { .. } => Budget::panels(),
        _ => Budget::default(),
    };
    match (work, engine) {
        (Work::Liveness { targets }, Engine::External(name)) => {
            engine::perform(Arc::clone(&context), external(name, targets, None, Vec::new()), out, progress, stop).await
        }
        (Work::Sweep { targets, ports, known_open }, Engine::External(name)) => {
            engine::perform(Arc::clone(&context), external(name, targets, Some(ports), known_open), out, progress, stop).await
        }
        // Everything else is only done by ourselves, whatever its task says of its sweeps.
        (Work::Liveness { targets }, _) => {
            let targets = scope.restrict(&targets);
            let ping = Ping { method, rate_pps, retries: number, adapt, timeout, seed, ..Ping::new(targets, scope, pace) };
            let (found, pump) = pump(out);
            let summary = scan::liveness(ping, found, progress, stop).await;
            pump.await.ok();
            scanned(summary, |_| None)
        }
        (Work::Sweep { targets, ports, known_open }, _) => {
            let targets = scope.restrict(&targets);
            let sweep = Sweep {
                method,
                rate_pps,
                retries: retries.map_or(Retries::Auto, Retries::Fixed),
                adapt,
                timeout,
                seed,
                always_report: known_open.into_iter().collect(),
                udp_ports: ports.udp.clone(),
                ..Sweep::new(targets.clone(), ports.tcp.clone(), scope, pace)
            };
            let (found, pump) = pump(out);
            let summary = scan::sweep(sweep, found, progress, stop).await;
            pump.await.ok();
            scanned(summary, |summary| coverage(&context, targets, ports, started_at, summary))
        }
        (Work::Recheck { endpoints }, _) => {
            let endpoints = admitted(&scope, &endpoints).into_iter().map(|e| e.get()).collect();
            let recheck =
                Recheck { method, rate_pps, retries: number, adapt, timeout, seed, ..Recheck::new(endpoints, scope, pace) };
            let (found, pump) = pump(out);
            let summary = scan::probe_endpoints(recheck, found, progress, stop).await;
            pump.await.ok();
            scanned(summary, |_| None)
        }
        (Work::Identify { endpoints } | Work::Examine { endpoints }, _) => {
            let endpoints = admitted(&scope, &endpoints);
            progress.probes_total.store(endpoints.len() as u64, Ordering::Relaxed);
            let permit = JobPermit::new(pace, Arc::clone(&progress), rate_pps);
            let (sender, identified) = mpsc::channel(TALKS.0);
            // The sender goes with the call, so that the checks end.
            let talk = services::identify_all(endpoints, &budget, &permit, TALKS.0, TALKS.1, sender, &stop);
            let each = Budget::default();
            let checks = Checks { policies: &check_policies, scope: &scope, budget: &each, permit: &permit };
            tokio::join!(talk, checks.forward(identified, &out, &progress, &stop));
            if stop.is_cancelled() { Outcome::Stopped } else { Outcome::Done(None) }
        }
        (Work::Panels { endpoints }, _) => {
            let mut endpoints = admitted(&scope, &endpoints);
            endpoints.retain(|e| e.get().proto == Proto::Tcp);
            progress.probes_total.store(endpoints.len() as u64, Ordering::Relaxed);
            let permit = JobPermit::new(pace, Arc::clone(&progress), rate_pps);
            let mut pages =
                futures::stream::iter(endpoints).map(|e| services::fetch_panel(e, &budget, &permit)).buffer_unordered(TALKS.0);
            loop {
                let page = tokio::select! {
                    () = stop.cancelled() => return Outcome::Stopped,
                    page = pages.next() => page,
                };
                let Some(page) = page else { return Outcome::Done(None) };
                progress.probes_settled.fetch_add(1, Ordering::Relaxed);
                if out.send(Sighting::Panel(Box::new(page))).await.is_err() {
                    return Outcome::Stopped;
                }
            }
        }
    }
}

/// The endpoints that the scope admits.
fn admitted(scope: &Scope, endpoints: &[Endpoint]) -> Vec<InScope<Endpoint>> {
    endpoints.iter().filter_map(|e| scope.admit(*e)).collect()
}

/// A channel that `scan` sends into, carried on as sightings.
fn pump(out: Sender<Sighting>) -> (Sender<Found>, tokio::task::JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel::<Found>(256);
    let carry = tokio::spawn(async move {
        while let Some(found) = receiver.recv().await {
            let Some(sighting) = Sighting::from_found(found) else { continue };
            if out.send(sighting).await.is_err() {
                return;
            }
        }
    });
    (sender, carry)
}

fn scanned(summary: Result<Summary, ScanError>, covered: impl FnOnce(&Summary) -> Option<Coverage>) -> Outcome {
    match summary {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(summary) if summary.cancelled => Outcome::Stopped,
        Ok(summary) if summary.not_probed > 0 => Outcome::Failed(format!(
            "{} probes could not be sent from here\nhint: raise the limit of open files or lower the pace",
            summary.not_probed
        )),
        Ok(summary) => Outcome::Done(covered(&summary).map(Box::new)),
    }
}

/// The ground that a sweep covered. None when answers may have been missed: a coverage is a promise.
fn coverage(context: &JobContext, targets: Vec<IpRange>, ports: Ports, started_at: Ts, summary: &Summary) -> Option<Coverage> {
    if summary.drops > 0 {
        tracing::warn!(drops = summary.drops, "answers may have been missed; the sweep does not count as coverage");
        return None;
    }
    let (vantage, node) = (context.config.vantage.clone(), context.config.name.clone());
    (!targets.is_empty()).then(|| Coverage { vantage, node, targets, ports, started_at, finished_at: now() })
}
