//! Receivers and notifications.
use crate::{Page, Paging, Result, Store};
use model::alert::{Notification, NotificationState, Receiver};
use model::audit::AuditEntry;
use model::{AlertId, NotificationId, ReceiverId, Ts};

/// Which notifications.
#[derive(Clone, Debug, Default)]
pub struct NotificationFilter {
    pub states: Vec<NotificationState>,
    pub receiver: Option<ReceiverId>,
}

impl Store {
    pub async fn receivers(&self) -> Result<Vec<Receiver>> {
        unimplemented!()
    }
    pub async fn receiver(&self, id: ReceiverId) -> Result<Option<Receiver>> {
        unimplemented!()
    }
    pub async fn insert_receiver(&self, receiver: &Receiver, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    pub async fn update_receiver(&self, receiver: &Receiver, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// Its notifications go with it.
    pub async fn delete_receiver(&self, id: ReceiverId, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn notifications(&self, filter: &NotificationFilter, paging: Paging) -> Result<Page<Notification>> {
        unimplemented!()
    }
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>> {
        unimplemented!()
    }
    /// One transaction: the notifications are queued and the alerts become notified.
    pub async fn enqueue_notifications(&self, notifications: &[Notification], notified: &[AlertId]) -> Result<()> {
        unimplemented!()
    }
    /// Queued ones whose time has come, oldest first.
    pub async fn due_notifications(&self, now: Ts, limit: u64) -> Result<Vec<Notification>> {
        unimplemented!()
    }
    /// Takes a queued one for sending and counts the try. False when it is not queued.
    pub async fn mark_sending(&self, id: NotificationId) -> Result<bool> {
        unimplemented!()
    }
    pub async fn mark_sent(&self, id: NotificationId, receipt: &str, now: Ts) -> Result<()> {
        unimplemented!()
    }
    /// Queued again for `next_try_at`, or given up when that is `None`.
    pub async fn mark_failed(&self, id: NotificationId, error: &str, next_try_at: Option<Ts>) -> Result<()> {
        unimplemented!()
    }
    /// After a restart: what was being sent is queued again. Number of notifications.
    pub async fn requeue_sending(&self, now: Ts) -> Result<u64> {
        unimplemented!()
    }
    /// A person has a failed one tried again.
    pub async fn retry_notification(&self, id: NotificationId, now: Ts, audit: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// When the group last was sent, or queued, to the receiver; failed ones do not count.
    pub async fn last_notified(&self, receiver: ReceiverId, group: &str) -> Result<Option<Ts>> {
        unimplemented!()
    }
}
