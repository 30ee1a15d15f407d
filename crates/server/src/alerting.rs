//! Telling people: pending alerts become notifications, notifications are sent until somebody takes them or the last try
//! fails, and every step is in the database first.
//!
//! What goes together, when, and to whom is decided by `notify::group`; this reads and writes what it needs. A restart sends
//! nothing twice but what was being sent at that moment, and that under the same id.

use crate::context::Context;
use crate::live::Topic;
use model::alert::{AlertState, Notification, Receiver};
use model::{Duration, NotificationId, Ts};
use notify::group::{Input, plan, since};
use std::sync::Arc;
use store::{NotificationFilter, Paging, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often notifications are looked at when nothing wakes us: tries that fall due, groups whose wait is over.
const TICK: Duration = Duration::secs(1);
/// Notifications being sent at a time. A mail server that takes forty seconds to time out holds up one of them.
const SENDING: usize = 8;
/// Alerts looked at in one go. Beyond it they are a storm anyway, and a digest names the worst.
const ALERTS: u64 = 5_000;
/// Notifications read in one go to know what was sent lately.
const PAGE: u64 = 500;
/// Wait while the database does not answer.
const BACKOFF: (Duration, Duration) = (Duration::secs(1), Duration::secs(10));

/// Sends until cancelled; what is being sent then is finished first, as long as that takes no more than a few seconds.
pub async fn run(context: Arc<Context>, cancel: CancellationToken) {
    let mut alerting = Alerting { context, slots: Arc::new(Semaphore::new(SENDING)), sending: JoinSet::new(), started: false };
    let mut outage: Option<Duration> = None;
    while !cancel.is_cancelled() {
        let wait = match alerting.step().await {
            Ok(next) => {
                if outage.take().is_some() {
                    tracing::info!("the database answers again; alerting goes on");
                }
                next
            }
            Err(error) => {
                let wait = outage.map_or(BACKOFF.0, |w| Duration::millis(w.0 * 2).min(BACKOFF.1));
                if outage.replace(wait).is_none() {
                    tracing::error!(%error, "alerting waits for the database");
                }
                wait
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = alerting.context.alert_now.notified() => {}
            () = tokio::time::sleep(wait.to_std()) => {}
        }
    }
    let rest = async { while alerting.sending.join_next().await.is_some() {} };
    if tokio::time::timeout(std::time::Duration::from_secs(5), rest).await.is_err() {
        tracing::warn!("a notification was being sent when the process ended; it is sent again under the same id");
    }
}

struct Alerting {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    sending: JoinSet<()>,
    started: bool,
}

impl Alerting {
    /// Makes the notifications that are due and starts sending those whose time has come. When to look again.
    async fn step(&mut self) -> Result<Duration, StoreError> {
        let context = Arc::clone(&self.context);
        let now = context.now();
        if !self.started {
            let interrupted = context.store.requeue_sending(now).await?;
            if interrupted > 0 {
                tracing::info!(interrupted, "notifications that the last process was sending are sent again");
            }
            self.started = true;
        }
        let next = gather(&context, now).await?;
        while self.sending.try_join_next().is_some() {}
        self.send_due(now).await?;
        Ok(next.map_or(TICK, |at| at.since(now).clamp(Duration::millis(50), TICK)))
    }

    async fn send_due(&mut self, now: Ts) -> Result<(), StoreError> {
        let free = self.slots.available_permits();
        if free == 0 {
            return Ok(());
        }
        let due = self.context.store.due_notifications(now, free as u64).await?;
        if due.is_empty() {
            return Ok(());
        }
        let receivers = self.context.store.receivers().await?;
        let tries = self.context.store.settings().await?.alerts.max_attempts;
        for notification in due {
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            let Some(receiver) = receivers.iter().find(|r| r.id == notification.receiver).cloned() else { continue };
            if !self.context.store.mark_sending(notification.id).await? {
                continue;
            }
            let context = Arc::clone(&self.context);
            self.sending.spawn(async move {
                deliver(&context, notification, &receiver, tries).await;
                drop(slot);
                context.live.changed(Topic::Notifications);
                context.alert_now.notify_one();
            });
        }
        Ok(())
    }
}

/// Turns pending alerts into notifications. When a held one falls due.
async fn gather(context: &Context, now: Ts) -> Result<Option<Ts>, StoreError> {
    let store = &context.store;
    let pending = store.pending_alerts(ALERTS).await?;
    if pending.is_empty() {
        return Ok(None);
    }
    let policy = store.settings().await?.alerts;
    let receivers = store.receivers().await?;
    let recent = recent(context, since(&pending, &policy, now)).await?;
    let plan = plan(&Input { pending: &pending, receivers: &receivers, policy: &policy, recent: &recent, now });
    if !plan.notifications.is_empty() || !plan.notified.is_empty() {
        let made: Vec<Notification> =
            plan.notifications.into_iter().map(|p| p.into_notification(NotificationId(Uuid::now_v7()), now)).collect();
        store.enqueue_notifications(&made, &plan.notified).await?;
        metrics::counter!("portreeve_notifications_made_total").increment(made.len() as u64);
        context.live.changed(Topic::Notifications);
        context.live.changed(Topic::Alerts);
    }
    if !plan.unwanted.is_empty() {
        store.mark_alerts(&plan.unwanted, AlertState::Suppressed, Some("no-receiver")).await?;
        context.live.changed(Topic::Alerts);
    }
    Ok(plan.next_look)
}

/// The notifications made since then.
async fn recent(context: &Context, since: Ts) -> Result<Vec<Notification>, StoreError> {
    let mut all = Vec::new();
    loop {
        let paging = Paging { offset: all.len() as u64, limit: PAGE };
        let page = context.store.notifications(&NotificationFilter::default(), paging).await?.items;
        let (read, before) = (page.len() as u64, all.len());
        all.extend(page.into_iter().filter(|n| n.created_at >= since));
        // Newest first: the first older one ends it.
        if read < PAGE || (all.len() - before) < read as usize {
            return Ok(all);
        }
    }
}

/// Sends one notification and writes down what came of it.
async fn deliver(context: &Context, notification: Notification, receiver: &Receiver, tries: u32) {
    let Some(alerts) = retried(context, || context.store.alerts_by(&notification.alerts)).await else { return };
    // In the order in which the notification names them.
    let alerts: Vec<_> = notification.alerts.iter().filter_map(|id| alerts.get(id).cloned()).collect();
    let sent = notify::send(&notification, receiver, &alerts, context.console_url().as_deref()).await;
    let kind = match receiver.destination {
        model::alert::Destination::Mail { .. } => "mail",
        model::alert::Destination::Webhook { .. } => "webhook",
    };
    match sent {
        Ok(receipt) => {
            tracing::info!(notification = %notification.id, receiver = %receiver.name, alerts = alerts.len(), %receipt, "notification taken");
            metrics::counter!("portreeve_notifications_sent_total", "receiver" => kind).increment(1);
            let now = context.now();
            retried(context, || context.store.mark_sent(notification.id, &receipt.0, now)).await;
        }
        Err(error) => {
            // The row was read before this try was counted.
            let attempts = notification.attempts + 1;
            let delay = notify::retry_delay(attempts, tries, error.transient, notify::seed(notification.id));
            tracing::warn!(notification = %notification.id, receiver = %receiver.name, %error, attempts, gave_up = delay.is_none(), "notification not taken");
            metrics::counter!("portreeve_notifications_failed_total", "receiver" => kind).increment(1);
            let next = delay.map(|d| context.now().plus(d));
            let text = error.to_string();
            retried(context, || context.store.mark_failed(notification.id, &text, next)).await;
        }
    }
}

/// Asks the database until it answers: what has been sent must be written down, or it would be sent again. Gives up on
/// errors that will not go away.
async fn retried<T, F>(context: &Context, question: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut wait = BACKOFF.0;
    loop {
        match question().await {
            Ok(answer) => return Some(answer),
            Err(error) if error.is_transient() => {
                tokio::time::sleep(wait.to_std()).await;
                wait = Duration::millis(wait.0 * 2).min(BACKOFF.1);
            }
            Err(error) => {
                tracing::error!(%error, "the fate of a notification could not be written down");
                context.live.changed(Topic::Notifications);
                return None;
            }
        }
    }
}
