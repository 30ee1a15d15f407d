//! AJP 1.3, between web server and Tomcat: CPING, which the container answers with CPONG.
//!
//! Source: Apache Tomcat connectors, "AJP Protocol Reference". No request is forwarded, so no file can be read through it
//! (CVE-2020-1938); that is left to the checks.

use super::{Codec, Found, Reading};

pub(crate) const CODEC: Codec = Codec { name: "ajp-cping", request: Some(cping), unasked: false, read };

fn cping() -> Vec<u8> {
    // To the container 0x1234, from it "AB"; a length of one; the message.
    b"\x12\x34\0\x01\x0a".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    let pong = b"AB\0\x01\x09";
    match bytes {
        [] => Reading::Foreign,
        b if b == pong => Reading::Is(Found { service: "ajp".into(), shown: Some("CPONG".into()), ..Found::default() }),
        b if pong.starts_with(b) => Reading::Partial,
        _ => Reading::Foreign,
    }
}
