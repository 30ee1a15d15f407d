//! Asking the network: which hosts answer, and in what state their TCP ports are.
//!
//! This is where probes leave and answers are believed or not. A sweep takes targets, walks them in a seeded order at a
//! shared pace, checks the scope once more at the last step before the wire (PR-1), and sends what it finds as it finds
//! it. What the findings mean over time is left to `assess`; what answers behind an open port to `services`.
//!
//! Two ways of asking share one engine and one vocabulary of results: raw SYN probes over AF_PACKET where the process may
//! open raw sockets, and ordinary `connect` elsewhere. docs/concepts/scanning.md tells the whole story.

mod admission;
mod api;
mod ask;
mod calls;
mod canary;
mod capability;
mod cells;
mod congestion;
mod connect;
mod cookie;
mod datagram;
mod engine;
mod evidence;
pub mod external;
mod frame;
mod gate;
mod hear;
mod held;
mod hosts;
mod limited;
mod link;
mod live;
mod order;
mod pace;
mod ports;
mod pseudo;
mod resume;
mod retransmit;
mod run;
mod slow;
mod stretch;
mod syn;
pub mod tap;
mod target;
mod tempo;
mod udp;
mod walk;
mod waves;
mod way;

pub use api::{
    Acceptance, Found, Method, Ping, Progress, Recheck, Retries, ScanError, Shard, Summary, Sweep, liveness, liveness_in,
    probe_endpoints, probe_endpoints_in, sweep, sweep_in,
};
pub use capability::{MethodChoice, capability};
pub use pace::{Pacer, RangeCap, UNLIMITED_PPS};
pub use resume::Checkpoint;

/// A simulated network for tests and simulation.
pub mod memory {
    pub use crate::link::memory::{Host, MemoryNetwork, Otherwise, Quirks, RateLimit, UdpService};
}

/// Readers of bytes that are not ours to choose, for fuzzing and for nothing else.
#[doc(hidden)]
pub mod parsers {
    /// What the kernel hands over: blocks of the receive ring, datagrams of netlink.
    pub fn kernel(bytes: &[u8]) {
        crate::link::read_any(bytes);
    }
}
