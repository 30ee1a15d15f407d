//! Alertmanager's ideas in a crate: gathering alerts into notifications, and carrying those to mail and webhooks.
//!
//! It stands at the end of an exposure's opening and of its closing: `assess` asked for an alert, [`group::plan`] says which
//! notifications to make now, [`send`] carries one of them, [`retry_delay`] says when to try again. It never reads the store
//! and keeps no state: alerts, receivers and history are arguments, receipts are results; keeping them is `server`'s.

mod error;
pub mod group;
mod message;
mod receivers;
mod retry;
mod sign;
mod words;

pub use error::{Receipt, SendError};
pub use message::{TEST_GROUP, test_message};
pub use retry::{retry_delay, seed};
pub use sign::{signature, verify};

use message::Message;
use model::alert::{Alert, Notification, Receiver};

/// Carries one notification to its receiver and brings back the receipt.
///
/// `alerts` are the notification's alerts as far as they still exist; `console_url` (such as
/// `https://portreeve.example.net`) becomes the links of the message. Takes at most about 40 seconds: every step has a
/// timeout. Trying again under the same id is safe for the receiver: the id is the mail's Message-ID and the webhook's
/// idempotency key.
pub async fn send(
    notification: &Notification,
    receiver: &Receiver,
    alerts: &[Alert],
    console_url: Option<&str>,
) -> Result<Receipt, SendError> {
    let message = Message { notification, receiver, alerts, console_url };
    receivers::deliver(&message).await
}
