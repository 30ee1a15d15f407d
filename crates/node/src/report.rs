//! Handing sightings in: in numbered reports, soon after they are found, and again until the server has them.
//!
//! While the server cannot take a report the channel from the prober fills up and the prober waits, so nothing is lost
//! and nothing grows without bound (PR-12). Judging the sightings is left to the server.

use crate::BACKOFF;
use crate::job::JobContext;
use crate::sightings::{Sighting, add, count};
use model::JobId;
use model::port_state::Coverage;
use scan::Progress;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::{End, Report, ReportReply, Sightings};

/// Sightings in one report at most: the store writes five hundred rows in one statement.
const BATCH: usize = 500;
/// How long a sighting waits for others. With the node's idle wait and the server's own this keeps opening to alert at a few
/// seconds, and a report a second is no load.
const LINGER: Duration = Duration::from_secs(1);

/// The reports of one job.
pub(crate) struct Reporter {
    pub context: Arc<JobContext>,
    pub job: JobId,
    pub fencing: i64,
    pub progress: Arc<Progress>,
    /// Ends the job: fenced, stopped, or the node ends.
    pub stop: CancellationToken,
    pub sequence: u32,
}

impl Reporter {
    /// Hands in what comes until the channel closes; returns what is left for the last report. Sightings that come after
    /// the job was stopped are dropped: whoever has the job now finds them again.
    pub async fn stream(&mut self, sightings: &mut Receiver<Sighting>) -> Sightings {
        let mut batch = Sightings::default();
        let mut due: Option<Instant> = None;
        loop {
            let linger = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                sighting = sightings.recv() => match sighting {
                    None => return batch,
                    Some(sighting) => {
                        add(&mut batch, sighting);
                        due.get_or_insert_with(|| Instant::now() + LINGER);
                        if count(&batch) < BATCH {
                            continue;
                        }
                    }
                },
                () = linger => {}
            }
            due = None;
            if !self.send(std::mem::take(&mut batch), None).await {
                // Nobody wants more; drain so that the prober can end.
                while sightings.recv().await.is_some() {}
                return Sightings::default();
            }
        }
    }

    /// The last report, with how the job ended.
    pub async fn end(&mut self, mut rest: Sightings, coverage: Option<Coverage>, end: End) -> bool {
        rest.coverage = coverage;
        self.send(rest, Some(end)).await
    }

    /// Hands in what is left when the node ends, once, without an end: the job is not done.
    pub async fn hand_over(&mut self, rest: Sightings) {
        if count(&rest) == 0 {
            return;
        }
        let report = self.make(rest, None);
        if let Err(error) = self.context.transport.report(report).await {
            tracing::warn!(job = %self.job, %error, "sightings could not be handed in at the end; they will be found again");
        }
    }

    /// Sends one report until the server has it. False when the job is another's by now, or was stopped meanwhile.
    async fn send(&mut self, sightings: Sightings, end: Option<End>) -> bool {
        let report = self.make(sightings, end);
        let mut wait = BACKOFF.0;
        let mut said = false;
        loop {
            match self.context.transport.report(report.clone()).await {
                Ok(ReportReply::Accepted) => {
                    metrics::counter!("portreeve_reports_sent_total").increment(1);
                    if said {
                        tracing::info!(job = %self.job, "reports go through again");
                    }
                    return true;
                }
                Ok(ReportReply::Fenced) => {
                    tracing::info!(job = %self.job, "the job is another's by now");
                    self.stop.cancel();
                    return false;
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(job = %self.job, %error, "a report is kept and sent again until the server has it");
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return false,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(BACKOFF.1);
                }
            }
        }
    }

    fn make(&mut self, sightings: Sightings, end: Option<End>) -> Report {
        self.sequence += 1;
        Report {
            node: self.context.config.name.clone(),
            vantage: self.context.config.vantage.clone(),
            job: self.job,
            fencing: self.fencing,
            sequence: self.sequence,
            probes_sent: self.progress.probes_sent.load(Ordering::Relaxed),
            sightings,
            end,
        }
    }
}
