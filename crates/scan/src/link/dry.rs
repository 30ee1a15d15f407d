//! A link that sends nothing: real routes and source addresses, frames to a tap. What it shows is what would leave for the
//! targets; asking neighbours for hardware addresses is left out, because without asking there would be no answer, so frames
//! are bare IP packets. Nobody ever answers.

use super::outlet::{Account, Carrier};
use super::route::{Kernel, Lookup};
use super::{Arrivals, Batch, Interface, Link, Outlet, Route, merged};
use crate::tap::{Tap, Tapped};
use model::IpRange;
use packet::{Framing, Mac};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Routes without a wire.
pub(crate) struct DryLink {
    kernel: Mutex<Kernel>,
    outlets: Mutex<HashMap<u32, Outlet>>,
    tap: Arc<dyn Tap>,
}

/// The loopback interface and its usual MTU: what leads to addresses of this machine.
const LOOPBACK: (u32, u32) = (1, 65_536);

impl DryLink {
    /// Frames go to the tap instead of the wire.
    pub fn new(tap: Arc<dyn Tap>) -> io::Result<Self> {
        Ok(DryLink { kernel: Mutex::new(Kernel::open()?), outlets: Mutex::default(), tap })
    }

    fn regions(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>> {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = kernel.regions(range)?;
        let kernel = Mutex::new(&mut *kernel);
        merged(parts, |part, lookup| {
            let ((index, mtu), src) = match lookup {
                Lookup::None | Lookup::Complicated | Lookup::Unicast { src: None, .. } => return Ok(Route::Unreachable),
                // A machine talks to itself from the address it talks to.
                Lookup::Local => (LOOPBACK, part.first()),
                Lookup::Unicast { interface, src: Some(src), .. } => {
                    let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
                    ((interface, kernel.link(interface)?.mtu), src)
                }
            };
            Ok(Route::PointToPoint(Interface { index, framing: Framing::Bare, mac: Mac::ZERO, src, mtu }))
        })
    }
}

impl Link for DryLink {
    fn route(&self, to: IpAddr) -> io::Result<Route> {
        let routes = self.regions(IpRange::single(to))?;
        Ok(routes.first().map_or(Route::Unreachable, |(_, route)| *route))
    }

    fn routes(&self, range: IpRange) -> io::Result<Vec<(IpRange, Route)>> {
        self.regions(range)
    }

    fn outlet(&self, interface: u32) -> io::Result<Outlet> {
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let tapped = Tapped { interface, framing: Framing::Bare, tap: Some(self.tap.clone()) };
            Outlet::inline(tapped, Nowhere)
        };
        Ok(outlets.entry(interface).or_insert_with(new).clone())
    }

    fn arrivals(&self) -> Arrivals {
        Arrivals::default()
    }
}

/// Where frames go that are only looked at.
struct Nowhere;

impl Carrier for Nowhere {
    fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
        account.left(batch, 0..batch.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Seen;

    struct Lines(Mutex<Vec<String>>);

    impl Tap for Lines {
        fn see(&self, seen: &Seen<'_>) {
            self.0.lock().unwrap().push(crate::tap::line(seen.framing, seen.frame));
        }
    }

    #[test]
    fn what_would_leave_is_shown_and_does_not_leave() {
        let lines = Arc::new(Lines(Mutex::default()));
        let link = DryLink::new(lines.clone()).unwrap();
        let to: IpAddr = [127, 0, 0, 1].into();
        let Route::PointToPoint(interface) = link.route(to).unwrap() else { panic!("a way to loopback") };
        assert_eq!(interface.src, to);
        let mut frame = Vec::new();
        let ip = packet::Ip { src: interface.src, dst: to, ttl: 64, id: 0 };
        packet::build::echo_request(&mut frame, None, &ip, 1, 2, b"");
        link.send(interface.index, &frame).unwrap();
        assert_eq!(*lines.0.lock().unwrap(), ["127.0.0.1 > 127.0.0.1 icmp echo request id 1 seq 2"]);
        assert_eq!(link.outlet(interface.index).unwrap().left().frames, 1);
    }
}
