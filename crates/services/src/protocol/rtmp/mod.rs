//! RTMP: the handshake, in which the server sends our own block of 1,536 bytes back.
//!
//! Source: Adobe's Real Time Messaging Protocol, section 5.2. No stream is named.

use super::{Codec, Found, Reading};

pub(crate) const CODEC: Codec = Codec { name: "rtmp-handshake", request: Some(hello), unasked: false, read };

/// A block: time, zero, and filling.
const BLOCK: usize = 1_536;

fn hello() -> Vec<u8> {
    let mut bytes = vec![3, 0x70, 0x72, 0x74, 1, 0, 0, 0, 0];
    // Any filling does; this one is ours and not random, so that its return proves something.
    bytes.extend((0..BLOCK - 8).map(|i| (i % 251) as u8));
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.first() != Some(&3) {
        return Reading::Foreign;
    }
    if bytes.len() < 1 + 2 * BLOCK {
        return if bytes.len() <= 9 || bytes[1..] != hello()[1..bytes.len().min(1 + BLOCK)] {
            Reading::Partial
        } else {
            Reading::Foreign
        };
    }
    // Its own version and block, then ours: the first eight bytes may be replaced by times, the filling not.
    let ours = &bytes[1 + BLOCK..1 + 2 * BLOCK];
    if ours[8..] != hello()[9..] || bytes[9..1 + BLOCK] == ours[8..] {
        return Reading::Foreign;
    }
    Reading::Is(Found { service: "rtmp".into(), shown: Some("handshake of version 3".into()), ..Found::default() })
}
