//! The vocabulary of portreeve: entities, lifecycles and the words every other crate shares.
//!
//! It stands under everything and decides nothing: no IO, no clock, no randomness. Instants and seeds are arguments.
//! What an observation *means* is left to `assess`; what to probe next to `plan`.

pub mod access;
pub mod address;
pub mod alert;
pub mod asset;
pub mod audit;
pub mod catalog;
pub mod check;
pub mod event;
pub mod exposure;
pub mod finding;
pub mod id;
pub mod invariant;
pub mod job;
pub mod observation;
pub mod port;
pub mod port_state;
pub mod scope;
pub mod segment;
pub mod service;
pub mod settings;
pub mod task;
pub mod time;
pub mod udp;

pub use access::{ApiToken, Permission, Role, Session, User};
pub use address::{Cidr, IpRange, TargetError};
pub use id::*;
pub use observation::{HostObservation, Liveness, Observation, Reason, State};
pub use port::{Endpoint, PortSet, Ports, Proto};
pub use scope::{InScope, Scope};
pub use service::Service;
pub use time::{Duration, Ts};
