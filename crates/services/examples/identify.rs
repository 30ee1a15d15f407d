//! Identifies ports of this machine by hand, while a rule is being written: `cargo run -p services --example identify 6379 8080`.
//!
//! Loopback only; anything else goes through `portreeve scan`, which knows the scope.

use model::{Endpoint, Scope};
use services::{Budget, Unpaced, fetch_panel, identify};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

#[tokio::main]
async fn main() {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let scope = Scope::new(&[model::IpRange::single(here)], &[]);
    let thorough = std::env::args().any(|word| word == "--thorough");
    let budget = if thorough { Budget::thorough() } else { Budget::default() };
    for word in std::env::args().skip(1).filter(|word| word != "--thorough") {
        let Some(endpoint) = word.parse().ok().and_then(|port| scope.admit(Endpoint::tcp(here, port))) else {
            eprintln!("`{word}` is not a port number");
            std::process::exit(2);
        };
        let begun = Instant::now();
        let identified = identify(endpoint, &budget, &Unpaced).await;
        println!("{:#?}\nafter {:?}", identified.identification, begun.elapsed());
        if let Some(panel) = fetch_panel(endpoint, &Budget::default(), &Unpaced).await.panel {
            println!("{panel:#?}");
        }
    }
}
