//! Deciding what to probe next: when a task is due, which addresses and endpoints it covers now, and into which jobs that
//! is cut.
//!
//! Everything here is a function of its arguments (PR-5): no clock, no socket, no randomness. Queueing the jobs, leasing
//! them and sending the probes is left to `server` and `node`.

pub mod blackout;
pub mod budget;
pub mod checks;
pub mod expand;
pub mod follow_up;
pub mod preset;
pub mod schedule;
pub mod status;
pub mod validate;

pub use blackout::{silent_from, silent_ranges, silent_until};
pub use expand::{Expansion, JobPlan, Snapshot, expand};
pub use schedule::{ScheduleError, due, first_due, next_due};
pub use status::{TaskStatus, status};
