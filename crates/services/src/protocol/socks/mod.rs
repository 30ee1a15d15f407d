//! SOCKS proxies, version 5 and 4: which way of logging in they would take, and that they refuse a request for nothing.
//!
//! Source: RFC 1928; the SOCKS 4 memo of Ying-Da Lee. The request that follows the greeting has a command that does not exist,
//! so the proxy connects nowhere. That it would for anybody is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const FIVE: Codec = Codec { name: "socks5-greeting", request: Some(greeting), unasked: false, read: read_five };
pub(crate) const FOUR: Codec = Codec { name: "socks4-request", request: Some(request_four), unasked: false, read: read_four };

/// Nothing, GSSAPI, user and password.
fn greeting() -> Vec<u8> {
    b"\x05\x03\x00\x01\x02".to_vec()
}

/// Command 0x7f to 0.0.0.0 port 0.
const NO_COMMAND: &[u8] = b"\x05\x7f\x00\x01\0\0\0\0\0\0";

fn read_five(bytes: &[u8]) -> Reading {
    let method = match bytes {
        [5] => return Reading::Partial,
        [5, method @ (0 | 1 | 2 | 0xff), ..] => *method,
        _ => return Reading::Foreign,
    };
    let method_name = ["none", "GSSAPI", "user and password"].get(usize::from(method)).copied().unwrap_or("no acceptable one");
    let mut found = Found { service: "socks".into(), shown: Some(format!("SOCKS5, method: {method_name}")), ..Found::default() };
    let reply = &bytes[2..];
    match (method, reply) {
        (0, []) => found.next = Some(NO_COMMAND.to_vec()),
        (_, []) => {}
        // What wants a log-in waits for it.
        (1.., _) => return Reading::Foreign,
        (0, [5, 1..=8, 0, kind @ (1 | 4), rest @ ..]) => {
            let whole = if *kind == 1 { 6 } else { 18 };
            match rest.len() {
                n if n < whole => return Reading::Partial,
                n if n > whole => return Reading::Foreign,
                _ => found.shown = Some(format!("SOCKS5, method: none; no such command: reply {}", reply[1])),
            }
        }
        (0, [5] | [5, 1..=8] | [5, 1..=8, 0]) => return Reading::Partial,
        _ => return Reading::Foreign,
    }
    Reading::Is(found)
}

/// CONNECT to 0.0.0.0 port 0 with an empty user: where nobody can be.
fn request_four() -> Vec<u8> {
    b"\x04\x01\0\0\0\0\0\0\0".to_vec()
}

fn read_four(bytes: &[u8]) -> Reading {
    match bytes {
        [0] => Reading::Partial,
        // Rejected or failed, identd unreachable or of another mind; an address of eight bytes in all. Granted is impossible.
        [0, 0x5b..=0x5d, rest @ ..] => match rest.len() {
            ..6 => Reading::Partial,
            6 if be::<2>(rest, 0).is_some() => {
                let shown = Some(format!("SOCKS4, reply {}", bytes[1]));
                Reading::Is(Found { service: "socks".into(), shown, ..Found::default() })
            }
            _ => Reading::Foreign,
        },
        _ => Reading::Foreign,
    }
}
