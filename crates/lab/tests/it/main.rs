//! The lab held to its own word: reachability, manners of hosts, ground truth, sinks, databases, and cleaning up.
//!
//! Whatever else uses the lab may then trust it; portreeve itself is not run here.

mod network;
mod servers;
mod sinks;
