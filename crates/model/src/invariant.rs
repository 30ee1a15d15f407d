//! The promises portreeve keeps, by id. Tests, docs and logs refer to them by these names.

use crate::observation::words;

words! {
    /// An invariant of the system.
    Invariant: "invariant" {
        /// No packet leaves for an address outside the authorised scope.
        ScopeHolds = "PR-1",
        /// No firewall changes without two different people, or one and a policy approved beforehand.
        TwoPeople = "PR-2",
        /// Applying an order twice equals applying it once; a failed step unwinds.
        OrdersIdempotent = "PR-3",
        /// An older order never overwrites a newer one.
        OrdersFenced = "PR-4",
        /// Same snapshot, time and seed give the same plan and the same assessment.
        Deterministic = "PR-5",
        /// A lost, repeated or reordered report changes nothing but timing.
        ReportsIdempotent = "PR-6",
        /// Probe rate per target, per network and per node never exceeds its pace in any window.
        PaceHolds = "PR-7",
        /// Checks never write to a target, and stop at the first proof.
        ChecksReadOnly = "PR-8",
        /// No exposure closes without an observation from the vantage that opened it.
        ClosedByObservation = "PR-9",
        /// Every mutation has an audit entry.
        Audited = "PR-10",
        /// Nothing from the network panics a parser.
        ParsersHold = "PR-11",
        /// Every backlog is bounded; at the bound the least urgent is shed, and it says so.
        BacklogsBounded = "PR-12",
        /// Silence closes nothing while the canaries of its segment are silent, nor before they have been asked.
        SilenceDoubted = "PR-13",
    }
}
