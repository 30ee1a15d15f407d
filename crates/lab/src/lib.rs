//! A small real network for tests: namespaces, a border between scanner and hosts, and real servers with known ground truth.
//!
//! Every end-to-end test stands on it: it knows what is open (see [`Lab::truth`]) so that a test can compare what portreeve
//! reports with what is so. What is expected of portreeve is left to the tests; this crate uses nothing of ours but the
//! finished binary.
//! [`recipe`] lists every real server that can stand in it, with what is true of it.
//!
//! ```text
//!   scanner ── 10.99.1.0/30, fd99:1::/64 ── border ── 10.99.7.0/24, fd99:7::/64 ── hosts
//!   (portreeve, sinks, databases)          (routes, counts packets)              (refusing, dropping, dark, …)
//! ```
//!
//! Needs root, because making namespaces does. Nothing of it is reachable from, or can reach, the machine's own network.

mod capture;
mod host;
mod http;
mod lab;
mod namespace;
mod portreeve;
mod postgres;
mod pretender;
mod proc;
pub mod recipe;
mod server;
mod sink;
mod weather;

pub use crate::capture::{Capture, Carries, Seen, read_pcap};
pub use crate::host::{Host, Kind};
pub use crate::http::{Http, Reply};
pub use crate::lab::{
    BORDER_V4, BORDER_V6, Lab, LabSpec, NEAR_V4, NEAR_V6, NETWORK_V4, NETWORK_V6, Open, SCANNER_V4, SCANNER_V6,
};
pub use crate::namespace::Namespace;
pub use crate::portreeve::{Api, Output, Portreeve, ServeSpec, run_cli};
pub use crate::postgres::TempPostgres;
pub use crate::pretender::{Manner, Pretender};
pub use crate::proc::{Proc, eventually};
pub use crate::server::{Running, Server};
pub use crate::sink::{Mail, Post, SmtpSink, WebhookSink};
pub use crate::weather::Refusal;
pub use rustix::process::Signal;
