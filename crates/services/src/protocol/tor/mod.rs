//! Tor relays: the VERSIONS cell inside TLS, with which either side begins.
//!
//! Source: Tor specification, "Negotiating versions with VERSIONS cells". No circuit is built.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "tor-versions", request: Some(versions), unasked: false, read };

const VERSIONS: u64 = 7;
const CERTS: u8 = 129;

/// A cell of variable length on circuit 0: link protocols 3, 4 and 5.
fn versions() -> Vec<u8> {
    b"\0\0\x07\0\x06\0\x03\0\x04\0\x05".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() || !b"\0\0\x07".starts_with(&bytes[..bytes.len().min(3)]) {
        return Reading::Foreign;
    }
    let Some(length) = be::<2>(bytes, 3) else { return Reading::Partial };
    if length == 0 || length % 2 != 0 || length > 64 || be::<1>(bytes, 2) != Some(VERSIONS) {
        return Reading::Foreign;
    }
    let Some(list) = bytes.get(5..5 + length as usize) else { return Reading::Partial };
    let highest = list.chunks_exact(2).map(|v| u16::from_be_bytes([v[0], v[1]])).max().unwrap_or(0);
    let rest = &bytes[5 + list.len()..];
    // Then its certificates, in a cell whose circuit takes two bytes in protocol 3 and four from 4 on.
    let at = if highest >= 4 { 4 } else { 2 };
    let (Some(&command), Some(certificates)) = (rest.get(at), be::<2>(rest, at + 1)) else { return Reading::Partial };
    if rest[..at].iter().any(|&b| b != 0) || command != CERTS || certificates < 8 || !(3..=16).contains(&highest) {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "tor".into(),
        product: Some("Tor".into()),
        shown: Some(format!("link protocols up to {highest}")),
        ..Found::default()
    })
}
