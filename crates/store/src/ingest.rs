//! Recording what a report led to, all of it or nothing, once (PR-6), and only from the holder of the lease.
//!
//! What the report means was decided by `assess`; here it is only written down, and people's decisions are not touched (L12).

use crate::alerts::insert_alerts;
use crate::approvals::{Attempt, insert_attempts, release_holds};
use crate::audit::{append, insert_events};
use crate::coverage::insert_coverage;
use crate::exposures::{Upsert, upsert_exposures};
use crate::findings::upsert_findings;
use crate::hosts::upsert_hosts;
use crate::jobs::insert_follow_ups;
use crate::lease::{Held, held, progress};
use crate::ports::upsert_port_states;
use crate::runs::count_end;
use crate::segments::upsert_segments;
use crate::sql::*;
use crate::{Result, Store};
use model::alert::Alert;
use model::audit::AuditEntry;
use model::event::Event;
use model::exposure::Exposure;
use model::finding::Finding;
use model::job::Job;
use model::port_state::{Coverage, Host, PortState};
use model::segment::SegmentState;
use model::{JobId, NodeName, Ts, Vantage};
use sea_orm::ConnectionTrait;

/// How the job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was probed.
    Done,
    /// It could not be done; tried again at `retry_at` unless that was its last attempt.
    Failed {
        /// Why.
        error: String,
        /// When to try again.
        retry_at: Ts,
    },
}

/// Everything one report led to.
#[derive(Clone, Debug)]
pub struct IngestBatch {
    /// Of which job.
    pub job: JobId,
    /// From whom.
    pub node: NodeName,
    /// Under which lease.
    pub fencing: i64,
    /// Number of the report within the lease.
    pub sequence: u32,
    /// Probes the job has sent so far.
    pub probes_sent: u64,
    /// Folded states, whole.
    pub port_states: Vec<PortState>,
    /// Folded hosts, whole.
    pub hosts: Vec<Host>,
    /// New and changed exposures. The disposition counts for new ones only.
    pub exposures: Vec<Exposure>,
    /// New and changed findings, whole.
    pub findings: Vec<Finding>,
    /// Attempts to sign in; one that is known is not counted again.
    pub attempts: Vec<Attempt>,
    /// What is to be audited of it: every attempt.
    pub audit: Vec<AuditEntry>,
    /// Segments that are doubted, or are not any more, whole.
    pub segments: Vec<SegmentState>,
    /// Transitions.
    pub events: Vec<Event>,
    /// Alerts; one that exists for its exposure, opening, kind and risk is not raised again.
    pub alerts: Vec<Alert>,
    /// Jobs to queue because of what was seen.
    pub follow_ups: Vec<Job>,
    /// Ground covered.
    pub coverage: Option<Coverage>,
    /// The end of the job, with its last report.
    pub end: Option<End>,
    /// Now.
    pub now: Ts,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Written down.
    Recorded,
    /// Had been written down before; nothing changed.
    Duplicate,
    /// The lease is another's, or the job has ended; nothing changed.
    Fenced,
}

/// A part of a file with another scanner's results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportPart {
    /// Digest of the whole file and of where it was seen from, lower-case hex.
    pub digest: String,
    /// Number of the part, from 1.
    pub part: u32,
    /// Where it was seen from.
    pub vantage: Vantage,
}

impl Store {
    /// Records what a part of an imported file led to, with its audit entry, in one transaction and once. The batch's job and
    /// lease do not matter: there are none.
    pub async fn ingest_import(&self, batch: &IngestBatch, part: &ImportPart, audit: &AuditEntry) -> Result<IngestOutcome> {
        let tx = self.begin().await?;
        let row = vec![text(&part.digest), part.part.value(), part.vantage.value(), batch.now.value()];
        let head = "INSERT INTO imports (digest, part, vantage, recorded_at)";
        if insert(&tx, head, vec![row], "ON CONFLICT DO NOTHING").await? == 0 {
            return Ok(IngestOutcome::Duplicate);
        }
        write(&tx, batch).await?;
        append(&tx, audit).await?;
        tx.commit().await?;
        Ok(IngestOutcome::Recorded)
    }

    /// Whether the part has been recorded.
    pub async fn imported(&self, part: &ImportPart) -> Result<bool> {
        let sql = "SELECT 1 AS one FROM imports WHERE digest = $1 AND part = $2";
        Ok(one(self.read(), sql, vec![text(&part.digest), part.part.value()]).await?.is_some())
    }

    /// One transaction. The report's number is remembered, so that the same report again is a [`IngestOutcome::Duplicate`].
    pub async fn ingest(&self, batch: &IngestBatch) -> Result<IngestOutcome> {
        let b = batch;
        let tx = self.begin().await?;
        let seen = "SELECT 1 AS one FROM reports WHERE job = $1 AND fencing = $2 AND sequence = $3";
        if one(&tx, seen, vec![b.job.value(), b.fencing.value(), b.sequence.value()]).await?.is_some() {
            return Ok(IngestOutcome::Duplicate);
        }
        // The row stays locked until the end, so the lease cannot change hands in between.
        let Some(held) = held(&tx, self.for_update(), b.job, &b.node, b.fencing).await? else {
            return Ok(IngestOutcome::Fenced);
        };
        let report = vec![b.job.value(), b.fencing.value(), b.sequence.value(), b.now.value()];
        let head = "INSERT INTO reports (job, fencing, sequence, recorded_at)";
        if insert(&tx, head, vec![report], "ON CONFLICT DO NOTHING").await? == 0 {
            return Ok(IngestOutcome::Duplicate);
        }
        write(&tx, b).await?;
        if let Some(coverage) = &b.coverage {
            insert_coverage(&tx, b.job, b.fencing, coverage, b.now).await?;
        }
        progress(&tx, b.job, &held, b.probes_sent).await?;
        if b.end == Some(End::Done) {
            // Everything that it tried has been reported. A job that failed may have tried more than it could say.
            release_holds(&tx, b.job, b.fencing).await?;
        }
        if let Some(end) = &b.end {
            end_job(&tx, b.job, &held, end, b.now).await?;
        }
        tx.commit().await?;
        Ok(IngestOutcome::Recorded)
    }
}

/// What was seen and what it led to.
async fn write<C: ConnectionTrait>(db: &C, b: &IngestBatch) -> Result<()> {
    upsert_port_states(db, &b.port_states).await?;
    upsert_hosts(db, &b.hosts).await?;
    upsert_exposures(db, &b.exposures, Upsert::Observed).await?;
    upsert_findings(db, &b.findings).await?;
    insert_attempts(db, &b.attempts).await?;
    for entry in &b.audit {
        append(db, entry).await?;
    }
    upsert_segments(db, &b.segments).await?;
    insert_events(db, &b.events).await?;
    insert_alerts(db, &b.alerts).await?;
    insert_follow_ups(db, &b.follow_ups).await
}

async fn end_job<C: ConnectionTrait>(db: &C, job: JobId, held: &Held, end: &End, now: Ts) -> Result<()> {
    match end {
        End::Done => {
            let sql = "UPDATE jobs SET state = 'done', lease_until = NULL, finished_at = $2, error = NULL WHERE id = $1";
            run(db, sql, vec![job.value(), now.value()]).await?;
            count_end(db, held.run, None, now).await
        }
        End::Failed { error, retry_at } if held.attempts < held.max_attempts => {
            let sql = "UPDATE jobs SET state = 'queued', node = NULL, incarnation = NULL, lease_until = NULL, probes_sent = 0, \
                       not_before = $2, error = $3 WHERE id = $1";
            run(db, sql, vec![job.value(), retry_at.value(), text(error)]).await.map(drop)
        }
        End::Failed { error, .. } => {
            let sql = "UPDATE jobs SET state = 'failed', lease_until = NULL, finished_at = $2, error = $3 WHERE id = $1";
            run(db, sql, vec![job.value(), now.value(), text(error)]).await?;
            count_end(db, held.run, Some(error), now).await
        }
    }
}
