//! Where frames leave and arrive. A link says which way addresses lie, takes batches of frames and delivers frames; it knows
//! no probe and no answer, those are `syn`'s.

mod batch;
pub(crate) mod dry;
pub(crate) mod errors;
mod filter;
#[cfg(test)]
mod measure;
pub(crate) mod memory;
mod outlet;
pub(crate) mod raw;
mod ring;
mod route;
mod send;
mod sys;
#[cfg(test)]
mod wire;

pub(crate) use batch::Batch;
pub(crate) use outlet::Outlet;
pub(crate) use ring::Arrivals;

use model::IpRange;
use packet::{Framing, Mac};
use std::io;
use std::net::IpAddr;

/// Reads bytes as anything that the kernel hands over, whatever they are; for fuzzing.
pub(crate) fn read_any(bytes: &[u8]) {
    ring::read_any(bytes);
    route::read_any(bytes);
}

/// Takes every frame that arrives. Called by the link's own receiver threads: it must not block for long.
pub(crate) trait Sink: Send + Sync {
    /// A frame that came in by the interface.
    fn frame(&self, interface: u32, framing: Framing, frame: &[u8]);
    /// No more frames just now: the time to hand on what was gathered.
    fn pause(&self) {}
}

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
    /// Largest IP packet it takes.
    pub mtu: u32,
}

/// The routes of parts that follow one another, neighbours that go the same way as one.
fn merged<L: Copy>(
    parts: Vec<(IpRange, L)>,
    route: impl Fn(IpRange, L) -> io::Result<Route>,
) -> io::Result<Vec<(IpRange, Route)>> {
    let mut routes: Vec<(IpRange, Route)> = Vec::new();
    for (part, lookup) in parts {
        let route = route(part, lookup)?;
        match routes.last_mut() {
            Some((before, same)) if *same == route => *before = IpRange::new(before.first(), part.last()).unwrap_or(*before),
            _ => routes.push((part, route)),
        }
    }
    Ok(routes)
}

/// A way to the wire.
pub(crate) trait Link: Send + Sync {
    /// Which way the address lies.
    fn route(&self, to: IpAddr) -> io::Result<Route>;
    /// Which way each part of the range lies: parts in order, without a gap, exact for every address.
    fn routes(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>>;
    /// The way out by an interface that [`Link::route`] has named.
    fn outlet(&self, interface: u32) -> io::Result<Outlet>;
    /// What arrived so far, and what the kernel had to drop of it.
    fn arrivals(&self) -> Arrivals;

    /// Frames that arrived and had to be dropped before the sink saw them, so far.
    fn drops(&self) -> u64 {
        self.arrivals().dropped
    }

    /// Hands over one frame. [`io::ErrorKind::WouldBlock`] when there is no room just now.
    fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let outlet = self.outlet(interface)?;
        let room = outlet.try_reserve()?.ok_or(io::ErrorKind::WouldBlock)?;
        let mut batch = outlet.batch();
        batch.push(frame);
        drop(room.send(batch));
        Ok(())
    }
}
