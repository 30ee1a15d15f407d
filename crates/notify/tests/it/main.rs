//! The integration tests of notify: plans over time, and real conversations with mail and web servers on loopback.
//!
//! Parsing and arithmetic are tested beside the code; here whole behaviours are.

mod common;
mod group;
mod guide;
mod mail;
mod webhook;
