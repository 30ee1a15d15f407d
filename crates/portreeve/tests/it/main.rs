//! The real binary against the real lab: what the whole must do, asked through the command line and the API only.
//!
//! One file per subject. What a single crate must do is left to that crate's own tests.

mod api_surface;
mod canaries;
mod catch_all;
mod console;
mod faults;
mod findings;
mod hostile;
mod import;
mod named;
mod notifications;
mod politeness;
mod quiet;
mod recovery;
mod scan_cli;
mod states;
mod truth;
mod truth_limits;
mod truth_order;
mod truth_pace;
mod truth_pseudo;
mod truth_spoof;
mod truth_udp;
mod truth_wire;
mod udp;
mod watch;
mod world;
