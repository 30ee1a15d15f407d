//! OpenWire, ActiveMQ's own protocol: the WireFormatInfo that the broker sends unasked.
//!
//! Source: ActiveMQ's documentation of OpenWire version 2 and its WireFormatInfo. Nothing is said. That an old broker runs
//! whatever it is sent is left to the advisories.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "openwire-info", request: None, unasked: true, read };

fn read(bytes: &[u8]) -> Reading {
    let magic = b"\x01ActiveMQ";
    let Some(length) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    // Magic, version, a flag and a length; the properties are some three hundred bytes.
    if !(14..=8_192).contains(&length) {
        return Reading::Foreign;
    }
    let body = &bytes[4..];
    if body.len() < magic.len() {
        return if magic.starts_with(body) { Reading::Partial } else { Reading::Foreign };
    }
    if !body.starts_with(magic) {
        return Reading::Foreign;
    }
    let Some(body) = body.get(..length as usize) else { return Reading::Partial };
    let Some(protocol) = be::<4>(body, 9).filter(|v| (1..=64).contains(v)) else { return Reading::Foreign };
    let version = properties(body).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    Reading::Is(Found {
        service: "activemq".into(),
        product: Some("ActiveMQ".into()),
        shown: Some(format!("WireFormatInfo protocol={protocol} version={}", version.as_deref().unwrap_or("-"))),
        version,
        ..Found::default()
    })
}

/// `ProviderVersion` among the properties: a count, then names, each with a typed value.
fn properties(body: &[u8]) -> Option<String> {
    // Behind magic and protocol: whether there are properties, and how many bytes they take.
    let (there, length) = (*body.get(13)?, be::<4>(body, 14)? as usize);
    let map = body.get(18..18 + length).filter(|_| there == 1)?;
    let (count, mut at) = (be::<4>(map, 0)?, 4usize);
    for _ in 0..count.min(64) {
        let text = |at: usize| {
            let length = be::<2>(map, at)? as usize;
            Some((map.get(at + 2..at + 2 + length)?, at + 2 + length))
        };
        let (name, after) = text(at)?;
        let kind = *map.get(after)?;
        at = after + 1;
        match kind {
            0 => {}
            1 | 2 => at += 1,
            3 | 4 => at += 2,
            5 | 8 => at += 4,
            6 | 7 => at += 8,
            9 => {
                let (value, after) = text(at)?;
                if name == b"ProviderVersion" {
                    return Some(tidy(std::str::from_utf8(value).ok()?, 64));
                }
                at = after;
            }
            10 | 13 => at = at.checked_add(4 + be::<4>(map, at)? as usize)?,
            _ => return None,
        }
    }
    None
}
