//! Cassandra and ScyllaDB: OPTIONS, the request that is answered before any start-up or log-in.
//!
//! Source: CQL binary protocol version 4, sections 2, 4.1.3 and 4.2.4. What comes back states the language's version, not the
//! server's, so none is reported. Reading `system.local`, which would say it, is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "cassandra-options", request: Some(options), unasked: false, read };

/// Our stream, which the answer must carry.
const STREAM: u16 = 0x7072;
const OPTIONS: u8 = 5;
const SUPPORTED: u8 = 6;
const ERROR: u8 = 0;

fn options() -> Vec<u8> {
    let mut bytes = vec![4, 0];
    bytes.extend(STREAM.to_be_bytes());
    bytes.extend([OPTIONS, 0, 0, 0, 0]);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    match bytes.first() {
        Some(version) if (0x81..=0x86).contains(version) => {}
        _ => return Reading::Foreign,
    }
    // Versions 1 and 2 had a stream of one byte; their servers answer our 4 with an error in their own form.
    let old = bytes[0] <= 0x82;
    let (head, stream) = if old { (8, be::<1>(bytes, 2)) } else { (9, be::<2>(bytes, 2)) };
    let (Some(stream), Some(&opcode), Some(length)) = (stream, bytes.get(head - 5), be::<4>(bytes, head - 4)) else {
        return Reading::Partial;
    };
    let known = if old { stream == 0 || stream == 0x70 } else { stream == u64::from(STREAM) || (stream == 0 && opcode == ERROR) };
    if !known || length > 65_536 || !matches!(opcode, SUPPORTED | ERROR) {
        return Reading::Foreign;
    }
    let Some(body) = bytes.get(head..head + length as usize) else { return Reading::Partial };
    if bytes.len() != head + body.len() {
        return Reading::Foreign;
    }
    if opcode == SUPPORTED { supported(body) } else { error(body) }.map_or(Reading::Foreign, Reading::Is)
}

fn string(body: &[u8], at: usize) -> Option<(&str, usize)> {
    let length = be::<2>(body, at)? as usize;
    Some((std::str::from_utf8(body.get(at + 2..at + 2 + length)?).ok()?, at + 2 + length))
}

/// A map of names to lists that fills the body, with `CQL_VERSION` in it.
fn supported(body: &[u8]) -> Option<Found> {
    let (mut at, mut cql, mut scylla) = (2, None, false);
    for _ in 0..be::<2>(body, 0)? {
        let (name, after) = string(body, at)?;
        scylla |= name.starts_with("SCYLLA_");
        let count = be::<2>(body, after)?;
        at = after + 2;
        for n in 0..count {
            let (value, after) = string(body, at)?;
            if name == "CQL_VERSION" && n == 0 {
                cql = Some(tidy(value, 32));
            }
            at = after;
        }
    }
    let cql = cql.filter(|_| at == body.len())?;
    Some(Found {
        service: "cassandra".into(),
        // Others that speak CQL name themselves by nothing; only Scylla adds options of its own.
        product: Some(if scylla { "ScyllaDB" } else { "Apache Cassandra" }.into()),
        shown: Some(format!("SUPPORTED CQL_VERSION={cql}")),
        ..Found::default()
    })
}

/// The complaint about our protocol version: a code and a sentence.
fn error(body: &[u8]) -> Option<Found> {
    let (text, at) = string(body, 4)?;
    let ours = be::<4>(body, 0) == Some(0x0a) && text.contains("protocol version") && at == body.len();
    ours.then(|| Found { service: "cassandra".into(), shown: Some(tidy(text, 200)), ..Found::default() })
}
