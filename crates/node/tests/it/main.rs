//! The node against real doors on this machine, with the server's side of the wire played by hand.

mod checks;
mod doors;
mod engines;
mod jobs;
mod server;
