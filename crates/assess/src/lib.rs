//! Deciding what observations mean: folding them into port and host state, assessing exposures, and asking for alerts.
//!
//! Everything here is a function of its arguments (PR-5): no clock, no socket, no randomness. Storing the results is left
//! to the server, sending the alerts to `notify`.

pub mod alerts;
pub mod exposure;
pub mod findings;
pub mod hosts;
pub mod judge;
pub mod metrics;
pub mod owner;
pub mod ports;
pub mod segments;

pub use judge::{Dossier, Judge};
pub use owner::asset_for;
