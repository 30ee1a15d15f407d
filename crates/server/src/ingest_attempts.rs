//! Attempts to sign in that a report tells of: counted against the next ones, and audited one by one (PR-10). Those with an
//! empty password, which checks for access without one make, need no approval; all others do.
//!
//! What they proved is a finding like any other and judged in `ingest`; what may be tried at all is `dispatch`'s.

use crate::ingest_admit::Admitted;
use model::AuditId;
use model::audit::AuditEntry;
use model::finding::{Approval, CredentialAttempt};
use serde_json::json;
use store::{Attempt, IngestBatch, Store, StoreError};
use uuid::Uuid;
use wire::Report;

/// Attempts to sign in: counted against the next ones, and audited one by one. Neither holds a secret.
pub async fn count_attempts(store: &Store, report: &Report, seen: &Admitted, batch: &mut IngestBatch) -> Result<(), StoreError> {
    let now = batch.now;
    if seen.checks.iter().all(|c| c.attempts.is_empty()) {
        return Ok(());
    }
    let approvals = store.approvals().await?;
    for run in &seen.checks {
        for tried in &run.attempts {
            let in_force = |a: &&Approval| {
                let asked = a.not_before <= tried.at && tried.at < a.until;
                asked && a.granted_since(tried.at) && a.range.contains(run.endpoint.ip)
            };
            // As the policies choose: the most specific one, of equals the one that lasts longest.
            let by_pair = tried.pair != CredentialAttempt::EMPTY_PASSWORD;
            let open = approvals.iter().filter(|a| by_pair && in_force(a));
            let under = open.min_by_key(|a| (a.range.len(), std::cmp::Reverse((a.until, a.id))));
            if by_pair && under.is_none() {
                tracing::error!(node = %report.node, endpoint = %run.endpoint, account = tried.account, "an attempt to sign in without an approval");
            }
            batch.attempts.push(Attempt {
                endpoint: run.endpoint,
                account: tried.account.clone(),
                pair: tried.pair.clone(),
                check: run.check.clone(),
                outcome: tried.outcome,
                approval: under.map(|a| a.id),
                node: report.node.clone(),
                at: tried.at,
            });
            batch.audit.push(AuditEntry {
                id: AuditId(Uuid::now_v7()),
                at: now,
                actor: format!("node:{}", report.node),
                from: None,
                action: "credential.attempt".into(),
                subject: format!("endpoint:{}", run.endpoint),
                result: tried.outcome.to_string(),
                detail: json!({
                    "check": run.check, "account": tried.account, "pair": tried.pair, "at": tried.at,
                    "approval": under.map(|a| a.id), "job": report.job,
                }),
            });
        }
    }
    metrics::counter!("portreeve_credential_attempts_total").increment(batch.attempts.len() as u64);
    Ok(())
}
