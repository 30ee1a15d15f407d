//! Receivers, and the notifications on their way to them. A notification is queued before it is sent and its receipt written
//! down after, so that a crash in between sends it again under the same id; telling repetitions apart is the receiver's.

use crate::alerts::mark;
use crate::audit::append;
use crate::sql::*;
use crate::{Page, Paging, Result, Store};
use model::alert::{AlertState, Notification, NotificationState, Receiver};
use model::audit::AuditEntry;
use model::{AlertId, NotificationId, ReceiverId, Ts};
use sea_orm::{QueryResult, Value};

/// Which notifications.
#[derive(Clone, Debug, Default)]
pub struct NotificationFilter {
    /// In one of these states; any when empty.
    pub states: Vec<NotificationState>,
    /// To this receiver.
    pub receiver: Option<ReceiverId>,
}

const RECEIVER: &str = "id, name, enabled, destination, language, min_severity, send_closed, owners, created_at";
const NOTIFICATION: &str =
    "id, receiver, group_key, digest, alerts, state, attempts, next_try_at, receipt, error, created_at, sent_at";

fn receiver_values(r: &Receiver) -> Vec<Value> {
    vec![
        r.id.value(),
        text(&r.name),
        r.enabled.value(),
        json(&r.destination),
        r.language.value(),
        r.min_severity.value(),
        r.send_closed.value(),
        json(&r.owners),
        r.created_at.value(),
    ]
}

fn receiver_from(row: &QueryResult) -> Result<Receiver> {
    Ok(Receiver {
        id: get(row, "id")?,
        name: get(row, "name")?,
        enabled: get(row, "enabled")?,
        destination: get_json(row, "destination")?,
        language: get(row, "language")?,
        min_severity: get(row, "min_severity")?,
        send_closed: get(row, "send_closed")?,
        owners: get_json(row, "owners")?,
        created_at: get(row, "created_at")?,
    })
}

fn values(n: &Notification) -> Vec<Value> {
    vec![
        n.id.value(),
        n.receiver.value(),
        text(&n.group),
        n.digest.value(),
        json(&n.alerts),
        n.state.value(),
        n.attempts.value(),
        n.next_try_at.value(),
        value(&n.receipt),
        value(&n.error),
        n.created_at.value(),
        value(&n.sent_at),
    ]
}

fn from(row: &QueryResult) -> Result<Notification> {
    Ok(Notification {
        id: get(row, "id")?,
        receiver: get(row, "receiver")?,
        group: get(row, "group_key")?,
        digest: get(row, "digest")?,
        alerts: get_json(row, "alerts")?,
        state: get(row, "state")?,
        attempts: get(row, "attempts")?,
        next_try_at: get(row, "next_try_at")?,
        receipt: opt(row, "receipt")?,
        error: opt(row, "error")?,
        created_at: get(row, "created_at")?,
        sent_at: opt(row, "sent_at")?,
    })
}

impl Store {
    /// Every receiver, by name.
    pub async fn receivers(&self) -> Result<Vec<Receiver>> {
        let sql = format!("SELECT {RECEIVER} FROM receivers ORDER BY LOWER(name), id");
        all(self.read(), &sql, vec![]).await?.iter().map(receiver_from).collect()
    }

    /// One receiver.
    pub async fn receiver(&self, id: ReceiverId) -> Result<Option<Receiver>> {
        let row = one(self.read(), &format!("SELECT {RECEIVER} FROM receivers WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(receiver_from).transpose()
    }

    /// Adds one.
    pub async fn insert_receiver(&self, receiver: &Receiver, audit: &AuditEntry) -> Result<()> {
        let tx = self.begin().await?;
        insert(&tx, &format!("INSERT INTO receivers ({RECEIVER})"), vec![receiver_values(receiver)], "").await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Replaces it.
    pub async fn update_receiver(&self, receiver: &Receiver, audit: &AuditEntry) -> Result<()> {
        let sql = "UPDATE receivers SET name = $2, enabled = $3, destination = $4, language = $5, min_severity = $6, send_closed = $7, \
                   owners = $8, created_at = $9 WHERE id = $1";
        let tx = self.begin().await?;
        run_one(&tx, sql, receiver_values(receiver), || format!("receiver {}", receiver.id)).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Removes it with its notifications.
    pub async fn delete_receiver(&self, id: ReceiverId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("receivers", "receiver", id.value(), audit).await
    }

    /// Newest first.
    pub async fn notifications(&self, filter: &NotificationFilter, paging: Paging) -> Result<Page<Notification>> {
        let mut sql = Sql::new(" FROM notifications WHERE 1 = 1");
        sql.and_in("state", &filter.states).and("receiver =", &filter.receiver);
        self.page(&sql, NOTIFICATION, "created_at DESC, id DESC", paging, from).await
    }

    /// One notification.
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>> {
        let row = one(self.read(), &format!("SELECT {NOTIFICATION} FROM notifications WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(from).transpose()
    }

    /// One transaction: the notifications are queued and the alerts become notified, so that no alert is sent twice or not at
    /// all.
    pub async fn enqueue_notifications(&self, notifications: &[Notification], notified: &[AlertId]) -> Result<()> {
        let tx = self.begin().await?;
        let rows = notifications.iter().map(values).collect();
        insert(&tx, &format!("INSERT INTO notifications ({NOTIFICATION})"), rows, "ON CONFLICT DO NOTHING").await?;
        mark(&tx, notified, AlertState::Notified, None).await?;
        Ok(tx.commit().await?)
    }

    /// Queued ones whose time has come, the longest due first.
    pub async fn due_notifications(&self, now: Ts, limit: u64) -> Result<Vec<Notification>> {
        let sql = format!(
            "SELECT {NOTIFICATION} FROM notifications WHERE state = 'queued' AND next_try_at <= $1 ORDER BY next_try_at, id LIMIT $2"
        );
        all(self.read(), &sql, vec![now.value(), limit.value()]).await?.iter().map(from).collect()
    }

    /// Takes a queued one for sending and counts the try. False when it is not queued.
    pub async fn mark_sending(&self, id: NotificationId) -> Result<bool> {
        let sql = "UPDATE notifications SET state = 'sending', attempts = attempts + 1 WHERE id = $1 AND state = 'queued'";
        Ok(run(self.write().await?, sql, vec![id.value()]).await? > 0)
    }

    /// The receiver took it.
    pub async fn mark_sent(&self, id: NotificationId, receipt: &str, now: Ts) -> Result<()> {
        let sql = "UPDATE notifications SET state = 'sent', receipt = $2, error = NULL, sent_at = $3 WHERE id = $1";
        run_one(self.write().await?, sql, vec![id.value(), text(receipt), now.value()], || format!("notification {id}")).await
    }

    /// The receiver did not take it: queued again for `next_try_at`, or given up when that is `None`.
    pub async fn mark_failed(&self, id: NotificationId, error: &str, next_try_at: Option<Ts>) -> Result<()> {
        let state = if next_try_at.is_some() { NotificationState::Queued } else { NotificationState::Failed };
        let sql = "UPDATE notifications SET state = $2, error = $3, next_try_at = COALESCE($4, next_try_at) WHERE id = $1";
        let values = vec![id.value(), state.value(), text(error), value(&next_try_at)];
        run_one(self.write().await?, sql, values, || format!("notification {id}")).await
    }

    /// After a restart: what was being sent is queued again, for at once. Number of notifications.
    pub async fn requeue_sending(&self, now: Ts) -> Result<u64> {
        let sql = "UPDATE notifications SET state = 'queued', next_try_at = $1 WHERE state = 'sending'";
        run(self.write().await?, sql, vec![now.value()]).await
    }

    /// A person has a failed one tried again, with all its tries.
    pub async fn retry_notification(&self, id: NotificationId, now: Ts, audit: &AuditEntry) -> Result<()> {
        let sql = "UPDATE notifications SET state = 'queued', attempts = 0, next_try_at = $2 WHERE id = $1 AND state IN ('failed', 'queued')";
        let tx = self.begin().await?;
        run_one(&tx, sql, vec![id.value(), now.value()], || format!("a failed notification {id}")).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// When something for the group was last sent or queued to the receiver. What was given up does not count.
    pub async fn last_notified(&self, receiver: ReceiverId, group: &str) -> Result<Option<Ts>> {
        let sql = "SELECT MAX(COALESCE(sent_at, created_at)) AS at FROM notifications \
                   WHERE receiver = $1 AND group_key = $2 AND state <> 'failed'";
        match one(self.read(), sql, vec![receiver.value(), text(group)]).await? {
            Some(row) => opt(&row, "at"),
            None => Ok(None),
        }
    }
}
