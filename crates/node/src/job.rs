//! The life of one job on a node: probing, heartbeats and reports side by side, and an end that harms no other job.
//!
//! How each kind of work is done is `work`'s.

use crate::NodeConfig;
use crate::now;
use crate::report::Reporter;
use crate::sightings::Sighting;
use crate::work::{self, Outcome};
use model::Ts;
use scan::{Pacer, Progress};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::{Dispatch, End, Heartbeat, HeartbeatReply, JobOffer, NodePace};

/// Sightings that may wait for a report: a few reports' worth. When they are that many the prober waits.
const BUFFER: usize = 2_000;

/// How often the server is told that a job is given back, a second apart: as long as a lease lasts.
const GIVING_BACK: u32 = 15;

/// What all jobs of a node share.
pub(crate) struct JobContext {
    pub transport: Arc<dyn Dispatch>,
    pub pacer: Arc<Pacer>,
    pub config: NodeConfig,
    /// The caps as the server last told them, for scanners that pace themselves.
    pace: Mutex<NodePace>,
    /// One such scanner runs at a time, because each is told the whole of what it may send.
    pub engine_turn: tokio::sync::Mutex<()>,
}

impl JobContext {
    pub fn new(transport: Arc<dyn Dispatch>, pacer: Arc<Pacer>, config: NodeConfig) -> JobContext {
        JobContext { transport, pacer, config, pace: Mutex::default(), engine_turn: tokio::sync::Mutex::default() }
    }
    /// Takes over the caps of an answer.
    pub fn told(&self, pace: &NodePace) {
        let mut kept = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept != *pace {
            kept.clone_from(pace);
        }
    }
    /// The caps in force.
    pub fn caps(&self) -> NodePace {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Does one job. `cancel` is the node's end.
pub(crate) async fn run(context: Arc<JobContext>, offer: JobOffer, cancel: CancellationToken) {
    metrics::counter!("portreeve_jobs_started_total", "work" => offer.work.as_str()).increment(1);
    tracing::debug!(job = %offer.id, work = offer.work.as_str(), probes = offer.work.probes(), "job begins");
    let stop = cancel.child_token();
    let progress = Arc::new(Progress::default());
    let (sender, mut receiver) = mpsc::channel::<Sighting>(BUFFER);
    let mut reporter = Reporter {
        context: Arc::clone(&context),
        job: offer.id,
        fencing: offer.fencing,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
        sequence: 0,
    };
    let beat = tokio::spawn(beat(
        Arc::clone(&context),
        offer.id,
        offer.fencing,
        offer.lease.to_std(),
        Arc::clone(&progress),
        stop.clone(),
    ));
    // Told beforehand, so that a quiet time begins when it begins and not with the next heartbeat.
    let quiet = stop.child_token();
    let alarm = offer.quiet_from.map(|from| tokio::spawn(ring(from, quiet.clone())));
    // A task of its own, so that a panic in a prober is an error of this job and nothing more.
    let worker = tokio::spawn(work::perform(Arc::clone(&context), offer, sender, Arc::clone(&progress), quiet.clone()));
    let rest = reporter.stream(&mut receiver).await;
    let outcome = match worker.await {
        Ok(outcome) => outcome,
        Err(panic) => Outcome::Failed(format!("the job panicked: {}", panic_text(panic))),
    };
    metrics::counter!("portreeve_probes_sent_total").increment(progress.probes_sent.load(Ordering::Relaxed));
    match outcome {
        _ if cancel.is_cancelled() => reporter.hand_over(rest).await,
        _ if stop.is_cancelled() => {}
        Outcome::Done(coverage) => _ = reporter.end(rest, coverage.map(|c| *c), End::Done).await,
        Outcome::Stopped => {
            reporter.hand_over(rest).await;
            if quiet.is_cancelled() {
                give_back(&context, reporter.job, reporter.fencing, &progress).await;
            }
        }
        Outcome::Failed(error) => {
            metrics::counter!("portreeve_jobs_failed_total").increment(1);
            tracing::warn!(job = %reporter.job, error, "job failed");
            _ = reporter.end(rest, None, End::Failed { error }).await;
        }
    }
    beat.abort();
    if let Some(alarm) = alarm {
        alarm.abort();
    }
}

/// Ends the work when a quiet time begins.
async fn ring(from: Ts, quiet: CancellationToken) {
    let wait = from.since(now()).to_std();
    tokio::select! {
        () = quiet.cancelled() => {}
        () = tokio::time::sleep(wait) => {
            tracing::info!(%from, "a quiet time begins; the job goes back");
            quiet.cancel();
        }
    }
}

/// Lets the server see that the job stands still, until it has taken it back: its clock may be a little behind ours.
async fn give_back(context: &JobContext, job: model::JobId, fencing: i64, progress: &Progress) {
    for _ in 0..GIVING_BACK {
        let probes_sent = progress.probes_sent.load(Ordering::Relaxed);
        let heartbeat = Heartbeat { node: context.config.name.clone(), job, fencing, probes_sent };
        if matches!(context.transport.heartbeat(heartbeat).await, Ok(HeartbeatReply::Stop)) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Its lease ends by itself, and then it is somebody else's.
    tracing::warn!(%job, "the server did not take the job back");
}

/// Keeps the lease alive until the job is stopped or ends.
async fn beat(
    context: Arc<JobContext>,
    job: model::JobId,
    fencing: i64,
    lease: Duration,
    progress: Arc<Progress>,
    stop: CancellationToken,
) {
    // Three to a lease: one may be lost and another late.
    let every = (lease / 3).max(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let heartbeat = Heartbeat {
            node: context.config.name.clone(),
            job,
            fencing,
            probes_sent: progress.probes_sent.load(Ordering::Relaxed),
        };
        match context.transport.heartbeat(heartbeat).await {
            Ok(HeartbeatReply::Continue) => {}
            Ok(HeartbeatReply::Stop) => {
                tracing::info!(%job, "the server stopped the job");
                return stop.cancel();
            }
            // The server decides by the fencing token whether the work still counts; giving it up here would only lose it.
            Err(error) => tracing::debug!(%job, %error, "heartbeat did not go through"),
        }
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(cause) => cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "unknown".to_owned()),
        Err(error) => error.to_string(),
    }
}
