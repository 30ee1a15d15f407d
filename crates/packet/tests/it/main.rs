//! What is built reads back the same, what arrives is read without fear, and answers mean what the RFCs say.

mod bytes;
mod corpus;
mod hostile;
mod replies;
mod round_trip;

use packet::{Ethernet, Ip, Mac};
use std::net::IpAddr;

/// An Ethernet header between two made-up stations.
pub const LINK: Ethernet = Ethernet { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]) };

/// An IP header as our probes have it.
pub fn ip(src: &str, dst: &str) -> Ip {
    let parse = |s: &str| s.parse::<IpAddr>().unwrap();
    Ip { src: parse(src), dst: parse(dst), ttl: 64, id: 0 }
}
