//! The kinds of receiver. One more is a file with its neighbours' names (`deliver(message, …)`) and a line below.
//!
//! Each takes a finished message to its server and brings back the receipt; when to try again is left to the caller.

mod mail;
mod webhook;

use crate::error::{Receipt, SendError};
use crate::message::Message;
use model::alert::Destination;

/// Delivers by whatever way the receiver's destination is.
pub(crate) async fn deliver(message: &Message<'_>) -> Result<Receipt, SendError> {
    // rustls panics without a provider; whoever came first (main, a test) has installed the same one
    rustls::crypto::ring::default_provider().install_default().ok();
    match &message.receiver.destination {
        Destination::Mail { .. } => mail::deliver(message).await,
        Destination::Webhook { .. } => webhook::deliver(message).await,
    }
}
