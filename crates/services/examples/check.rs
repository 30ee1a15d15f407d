//! Checks ports of this machine by hand, while a check is being written: `cargo run -p services --example check 6379 8080`.
//!
//! Loopback only, and nothing intrusive; anything else goes through a task, whose policy says what may be done.

use model::finding::{CheckPolicy, SideEffect};
use model::{Endpoint, IpRange, Proto, Scope};
use services::{Budget, Unpaced, check, identify};
use std::net::{IpAddr, Ipv4Addr};

#[tokio::main]
async fn main() {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let scope = Scope::new(&[IpRange::single(here)], &[]);
    let policy = CheckPolicy { range: IpRange::single(here), ceiling: Some(SideEffect::Session), credentials: None };
    for word in std::env::args().skip(1) {
        let (number, udp) = word.strip_suffix("/udp").map_or((word.as_str(), false), |number| (number, true));
        let endpoint = number
            .parse()
            .ok()
            .map(|port| if udp { Endpoint { ip: here, port, proto: Proto::Udp } } else { Endpoint::tcp(here, port) });
        let Some(endpoint) = endpoint.and_then(|endpoint| scope.admit(endpoint)) else {
            eprintln!("`{word}` is not a port number, nor one with /udp");
            std::process::exit(2);
        };
        let found = identify(endpoint, &Budget::default(), &Unpaced).await.identification;
        println!("{word}: {} {:?}", found.identity, found.service);
        for run in check::run(endpoint, &found, &policy, &Budget::default(), &Unpaced).await {
            println!("  {}: {} {} {:?}", run.check, run.verdict, run.reason.unwrap_or_default(), run.evidence);
        }
    }
}
