//! Where a sweep could go on from: what is written down while it runs, so that a sweep that was stopped or killed need not
//! start over. Writing it to a file is the caller's.

use crate::api::Shard;
use model::address::IpRange;
use serde::{Deserialize, Serialize};

/// A place in a sweep, and enough of the sweep to refuse another one's.
///
/// Everything before the place has been asked and had time to answer. What was told before the checkpoint was taken is not
/// told again unless it is asked again; that happens to a few, so readers must take an endpoint told twice for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Of this form.
    pub(crate) version: u32,
    /// A hash of targets, ports and scope.
    pub(crate) what: u64,
    /// Seed of the order.
    pub(crate) seed: u64,
    /// Part of the sweep.
    pub(crate) shard: Shard,
    /// Slices that are done.
    pub(crate) slices: u64,
    /// Steps of the next slice's first pass that are done.
    pub(crate) steps: u64,
    /// Hosts of that slice that have answered.
    pub(crate) alive: Vec<IpRange>,
}
