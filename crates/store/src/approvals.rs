//! Who agreed that default pairs may be tried where, what was tried, and where something may be being tried.
//!
//! An address is held from the moment a job that may try accounts there is handed out until that job's last report: what was
//! tried and never reported keeps it held for a day, so that a lost report never leads to one attempt too many. What may be
//! tried is decided by `plan` and looked at again by the node.

use crate::assets::range_from;
use crate::audit::append;
use crate::ports::endpoint_from;
use crate::sql::*;
use crate::{Result, Store, StoreError};
use model::address::IpRange;
use model::audit::AuditEntry;
use model::finding::{Approval, AttemptOutcome, EndpointNote, SpentAttempt};
use model::{ApprovalId, Endpoint, JobId, NodeName, Ts};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// An attempt to sign in, as it was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub endpoint: Endpoint,
    /// Account that was tried.
    pub account: String,
    /// Id of the pair, or `control`.
    pub pair: String,
    /// Id of the check.
    pub check: String,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Under which approval, where one was in force.
    pub approval: Option<ApprovalId>,
    /// By which node.
    pub node: NodeName,
    /// When.
    pub at: Ts,
}

const APPROVAL: &str = "id, ip_first, ip_last, owner, reason, not_before, until_at, max_attempts, created_by, asked_by, created_at, granted_at, \
     granted_by, revoked_at, revoked_by";

fn values(a: &Approval) -> Vec<Value> {
    vec![
        a.id.value(),
        a.range.first().value(),
        a.range.last().value(),
        text(&a.owner),
        text(&a.reason),
        a.not_before.value(),
        a.until.value(),
        a.max_attempts.value(),
        text(&a.created_by),
        text(&a.asked_by),
        a.created_at.value(),
        value(&a.granted_at),
        value(&a.granted_by),
        value(&a.revoked_at),
        value(&a.revoked_by),
    ]
}

fn from(row: &QueryResult) -> Result<Approval> {
    Ok(Approval {
        id: get(row, "id")?,
        range: range_from(row)?,
        owner: get(row, "owner")?,
        reason: get(row, "reason")?,
        not_before: get(row, "not_before")?,
        until: get(row, "until_at")?,
        max_attempts: get(row, "max_attempts")?,
        created_by: get(row, "created_by")?,
        asked_by: get(row, "asked_by")?,
        created_at: get(row, "created_at")?,
        granted_at: opt(row, "granted_at")?,
        granted_by: opt(row, "granted_by")?,
        revoked_at: opt(row, "revoked_at")?,
        revoked_by: opt(row, "revoked_by")?,
    })
}

pub(crate) async fn insert_attempts<C: ConnectionTrait>(db: &C, attempts: &[Attempt]) -> Result<()> {
    let row = |a: &Attempt| {
        vec![
            a.endpoint.ip.value(),
            a.endpoint.port.value(),
            a.endpoint.proto.value(),
            text(&a.account),
            a.at.value(),
            text(&a.pair),
            text(&a.check),
            a.outcome.value(),
            value(&a.approval),
            a.node.value(),
        ]
    };
    let head = "INSERT INTO credential_attempts (ip, port, proto, account, at, pair, check_id, outcome, approval, node)";
    insert(db, head, attempts.iter().map(row).collect(), "ON CONFLICT DO NOTHING").await.map(drop)
}

/// The job has reported everything that it tried.
pub(crate) async fn release_holds<C: ConnectionTrait>(db: &C, job: JobId, fencing: i64) -> Result<()> {
    let sql = "DELETE FROM attempt_holds WHERE job = $1 AND fencing = $2";
    run(db, sql, vec![job.value(), fencing.value()]).await.map(drop)
}

impl Store {
    /// Every approval, those that end last first.
    pub async fn approvals(&self) -> Result<Vec<Approval>> {
        let sql = format!("SELECT {APPROVAL} FROM approvals ORDER BY until_at DESC, id DESC");
        all(self.read(), &sql, vec![]).await?.iter().map(from).collect()
    }

    /// Those granted and not taken back that end after `now`, whether they have begun or not. Read from where is written, so that
    /// one that has just been taken back is not handed out.
    pub async fn approvals_open(&self, now: Ts) -> Result<Vec<Approval>> {
        let sql = format!(
            "SELECT {APPROVAL} FROM approvals WHERE granted_at IS NOT NULL AND revoked_at IS NULL AND until_at > $1 ORDER BY id"
        );
        all(self.write().await?, &sql, vec![now.value()]).await?.iter().map(from).collect()
    }

    /// One approval.
    pub async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>> {
        let row = one(self.read(), &format!("SELECT {APPROVAL} FROM approvals WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(from).transpose()
    }

    /// Writes one down as it was asked for.
    pub async fn insert_approval(&self, approval: &Approval, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        insert(&tx, &format!("INSERT INTO approvals ({APPROVAL})"), vec![values(approval)], "").await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// A second person, `by`, agrees; [`StoreError::NotAllowed`] to who asked for it, and when it was granted, declined or over
    /// before.
    pub async fn grant_approval(&self, id: ApprovalId, by: &str, at: Ts, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        // Said in the statement itself, so that nothing that happens meanwhile makes one person of two.
        let sql = "UPDATE approvals SET granted_at = $2, granted_by = $3 WHERE id = $1 AND granted_at IS NULL AND revoked_at IS NULL \
                   AND until_at > $2 AND asked_by <> $3 AND created_by <> $3";
        if run(&tx, sql, vec![id.value(), at.value(), text(by)]).await? == 0 {
            let Some(a) = self.approval(id).await? else { return Err(StoreError::NotFound(format!("approval {id}"))) };
            let why = if a.revoked_at.is_some() {
                "has been declined or taken back"
            } else if a.granted_at.is_some() {
                "has been granted before"
            } else if a.until <= at {
                "is over"
            } else {
                "is to be granted by another person than who asked for it"
            };
            return Err(StoreError::NotAllowed(format!("approval {id} {why}")));
        }
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Takes one back; [`StoreError::NotAllowed`] when that was done before.
    pub async fn revoke_approval(&self, id: ApprovalId, by: &str, at: Ts, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        let sql = "UPDATE approvals SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL";
        if run(&tx, sql, vec![id.value(), at.value(), text(by)]).await? == 0 {
            return match self.approval(id).await? {
                Some(_) => Err(StoreError::NotAllowed(format!("approval {id} has been revoked before"))),
                None => Err(StoreError::NotFound(format!("approval {id}"))),
            };
        }
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Attempts since then at the addresses of the ranges, summed by endpoint and account.
    pub async fn attempts_since(&self, ranges: &[IpRange], since: Ts) -> Result<Vec<SpentAttempt>> {
        let mut spent: BTreeMap<(Endpoint, String), SpentAttempt> = BTreeMap::new();
        for some in ranges.chunks(IN_LIST) {
            let mut sql = Sql::new(
                "SELECT ip, port, proto, account, COUNT(*) AS n, MAX(at) AS last_at FROM credential_attempts WHERE at > ",
            );
            sql.bind(since.value()).push(" AND (1 = 0");
            for range in some {
                sql.push(" OR (ip >= ").bind(range.first().value()).push(" AND ip <= ").bind(range.last().value()).push(")");
            }
            sql.push(") GROUP BY ip, port, proto, account");
            for row in sql.all(self.write().await?).await? {
                let (endpoint, account): (_, String) = (endpoint_from(&row)?, get(&row, "account")?);
                let attempts = u8::try_from(get::<u64>(&row, "n")?).unwrap_or(u8::MAX);
                let one = SpentAttempt { endpoint, account: account.clone(), attempts, last_at: get(&row, "last_at")? };
                spent.insert((endpoint, account), one);
            }
        }
        Ok(spent.into_values().collect())
    }

    /// Holds the addresses for the lease of a job, and gives those of them that another lease holds since `since` or later: there
    /// the job is to try nothing. Written with the audit entry that names the approvals used, if it got any.
    pub async fn hold_attempts(
        &self,
        job: JobId,
        fencing: i64,
        ips: &[IpAddr],
        since: Ts,
        now: Ts,
        audit: &AuditEntry,
    ) -> Result<Vec<IpAddr>> {
        let ips: BTreeSet<IpAddr> = ips.iter().copied().collect();
        let tx = self.begin().await?;
        let row = |ip: &IpAddr| vec![ip.value(), job.value(), fencing.value(), now.value()];
        // A hold that is older than a day counts no more; what a lease holds itself stays its own.
        let mut old = Sql::new("DELETE FROM attempt_holds WHERE held_at <= ");
        old.bind(since.value());
        old.run(&tx).await?;
        let head = "INSERT INTO attempt_holds (ip, job, fencing, held_at)";
        insert(&tx, head, ips.iter().map(row).collect(), "ON CONFLICT DO NOTHING").await?;
        let mut held = Vec::new();
        for some in ips.iter().copied().collect::<Vec<_>>().chunks(IN_LIST) {
            let mut sql = Sql::new("SELECT ip FROM attempt_holds WHERE NOT (job = ");
            sql.bind(job.value()).push(" AND fencing = ").bind(fencing.value()).push(")").and_in("ip", some);
            for row in sql.all(&tx).await? {
                held.push(get(&row, "ip")?);
            }
        }
        if held.len() < ips.len() {
            append(&tx, audit).await?;
        }
        tx.commit().await?;
        Ok(held)
    }

    /// What people said of those endpoints.
    pub async fn endpoint_notes(&self, endpoints: &[Endpoint]) -> Result<HashMap<Endpoint, EndpointNote>> {
        let mut notes = HashMap::new();
        for some in endpoints.chunks(IN_LIST) {
            let mut sql = Sql::new("WITH wanted (w_ip, w_port, w_proto) AS (VALUES ");
            for (i, e) in some.iter().enumerate() {
                sql.push(if i > 0 { "," } else { "" }).tuple([e.ip.value(), e.port.value(), e.proto.value()]);
            }
            sql.push(
                ") SELECT ip, port, proto, note, noted_by, noted_at FROM wanted JOIN endpoint_notes \
                 ON ip = w_ip AND port = w_port AND proto = w_proto",
            );
            for row in sql.all(self.read()).await? {
                let endpoint = endpoint_from(&row)?;
                let note =
                    EndpointNote { endpoint, text: get(&row, "note")?, by: get(&row, "noted_by")?, at: get(&row, "noted_at")? };
                notes.insert(endpoint, note);
            }
        }
        Ok(notes)
    }

    /// A person says what an endpoint is; what was said before is replaced.
    pub async fn set_endpoint_note(&self, note: &EndpointNote, audit: &AuditEntry) -> Result<()> {
        let e = &note.endpoint;
        let row = vec![e.ip.value(), e.port.value(), e.proto.value(), text(&note.text), text(&note.by), note.at.value()];
        let tx = self.begin().await?;
        let tail = "ON CONFLICT (ip, port, proto) DO UPDATE SET note = excluded.note, noted_by = excluded.noted_by, \
                    noted_at = excluded.noted_at";
        insert(&tx, "INSERT INTO endpoint_notes (ip, port, proto, note, noted_by, noted_at)", vec![row], tail).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Takes back what was said.
    pub async fn delete_endpoint_note(&self, endpoint: Endpoint, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        let sql = "DELETE FROM endpoint_notes WHERE ip = $1 AND port = $2 AND proto = $3";
        let key = vec![endpoint.ip.value(), endpoint.port.value(), endpoint.proto.value()];
        run_one(&tx, sql, key, || format!("a note about {endpoint}")).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }
}
