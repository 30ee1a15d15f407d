//! The server over a real database: its background workflows with a node played by hand, and its HTTP API.

mod api;
mod findings;
mod segments;
mod sink;
mod workflows;
mod world;
