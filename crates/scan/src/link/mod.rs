//! Where frames leave and arrive. A link says which way an address lies, takes frames and delivers frames; it knows no probe
//! and no answer, those are `syn`'s.

pub(crate) mod memory;
pub(crate) mod raw;
mod route;

use packet::{Framing, Mac};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Takes every frame that arrives.
pub(crate) type Sink = Arc<dyn Fn(u32, Framing, &[u8]) + Send + Sync>;

/// Which way an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Raw frames are not the way: an address of this machine, or a kind of route only the kernel can follow. `connect` is.
    Kernel,
    /// On a link of ours, behind neighbour discovery.
    OnLink(Interface),
    /// Behind this router on a link of ours.
    Via(Interface, IpAddr),
    /// At the other end of a link that has only one.
    PointToPoint(Interface),
    /// Nowhere.
    Unreachable,
}

/// The interface a frame leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its index.
    pub index: u32,
    /// What its frames begin with.
    pub framing: Framing,
    /// Its hardware address.
    pub mac: Mac,
    /// Our address for this destination.
    pub src: IpAddr,
}

/// A way to the wire.
pub(crate) trait Link: Send + Sync {
    /// Which way the address lies.
    fn route(&self, to: IpAddr) -> io::Result<Route>;
    /// Sends one frame. [`io::ErrorKind::WouldBlock`] when there is no room just now.
    fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()>;
    /// Frames that arrived and had to be dropped before the sink saw them.
    fn drops(&self) -> u64;
}
