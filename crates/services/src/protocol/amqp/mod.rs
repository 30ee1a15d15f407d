//! AMQP: the broker's side of the greeting, where it states product and version before anybody logs in.
//!
//! Source: AMQP 0-9-1 sections 2.3.5 and 4.2, AMQP 1.0 parts 2.2 and 2.7.1. For 0-9-1 our header is all we say; for 1.0, where
//! the header alone brings nothing, an `open` without SASL follows it and a `close` ends it. Logging in is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const START: Codec = Codec { name: "amqp-start", request: Some(start), unasked: false, read: read_start };
pub(crate) const OPEN: Codec = Codec { name: "amqp-open", request: Some(open), unasked: false, read: read_open };

fn start() -> Vec<u8> {
    b"AMQP\0\0\x09\x01".to_vec()
}

/// `open` with our name as the container's, the one field that must be there; performative 0x10 in a list of one.
fn open() -> Vec<u8> {
    let body = b"\0\x53\x10\xc0\x0c\x01\xa1\x09portreeve";
    let mut bytes = b"AMQP\0\x01\0\0".to_vec();
    bytes.extend((body.len() as u32 + 8).to_be_bytes());
    bytes.extend([2, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

/// `close` without an error.
const CLOSE: &[u8] = b"\0\0\0\x0c\x02\0\0\0\0\x53\x18\x45";

/// A header of eight bytes: what a broker answers before it hangs up on a version that it does not speak.
fn header(bytes: &[u8]) -> Reading {
    let Some(numbers) = bytes.strip_prefix(b"AMQP") else {
        return if !bytes.is_empty() && b"AMQP".starts_with(bytes) { Reading::Partial } else { Reading::Foreign };
    };
    let (version, rest) = match numbers {
        [] | [_] | [_, _] | [_, _, _] => return Reading::Partial,
        [0 | 2 | 3, 1, 0, 0, rest @ ..] => ("1.0", rest),
        [0, 0, 9, 1, rest @ ..] => ("0-9-1", rest),
        [1, 1, 0, 10, rest @ ..] => ("0-10", rest),
        [1, 1, 8 | 9, 0 | 1, rest @ ..] | [1, 1, 0, 9, rest @ ..] => ("0-9", rest),
        _ => return Reading::Foreign,
    };
    if !rest.is_empty() {
        return Reading::Foreign;
    }
    Reading::Is(Found { service: "amqp".into(), shown: Some(format!("AMQP header, protocol {version}")), ..Found::default() })
}

fn read_start(bytes: &[u8]) -> Reading {
    if bytes.first() == Some(&b'A') {
        return header(bytes);
    }
    // A method frame on channel 0, at most as long as any client accepts before tuning (4,096), and rather more for politeness.
    let (Some(head), Some(length)) = (be::<3>(bytes, 0), be::<4>(bytes, 3)) else {
        return if b"\x01\0\0".starts_with(&bytes[..bytes.len().min(3)]) && !bytes.is_empty() {
            Reading::Partial
        } else {
            Reading::Foreign
        };
    };
    if head != 0x01_0000 || !(14..=65_536).contains(&length) {
        return Reading::Foreign;
    }
    let Some(payload) = bytes.get(7..7 + length as usize) else { return Reading::Partial };
    let Some(end) = bytes.get(7 + length as usize) else { return Reading::Partial };
    // connection.start, version 0.9, and the octet that ends a frame.
    if *end != 0xce || bytes.len() != 8 + length as usize || !payload.starts_with(b"\0\x0a\0\x0a\0\x09") {
        return Reading::Foreign;
    }
    started(payload).map_or(Reading::Foreign, Reading::Is)
}

fn started(payload: &[u8]) -> Option<Found> {
    let long = |at: usize| {
        let length = usize::try_from(be::<4>(payload, at)?).ok()?;
        Some((payload.get(at + 4..at.checked_add(4)?.checked_add(length)?)?, at + 4 + length))
    };
    let (table, at) = long(6)?;
    let (mechanisms, at) = long(at)?;
    let (_, at) = long(at)?;
    // The three long fields fill the frame to its last byte.
    if at != payload.len() || !mechanisms.is_ascii() {
        return None;
    }
    let product = text_field(table, b"product");
    let version = text_field(table, b"version");
    let shown = format!(
        "connection.start product={} version={} mechanisms={}",
        product.as_deref().unwrap_or("-"),
        version.as_deref().unwrap_or("-"),
        tidy(&String::from_utf8_lossy(mechanisms), 80)
    );
    Some(Found {
        service: "amqp".into(),
        version: version.filter(|v| product.is_some() && v.starts_with(|c: char| c.is_ascii_digit())),
        product,
        shown: Some(shown),
        ..Found::default()
    })
}

/// A long string of a field table, by its name; nested tables are walked over.
fn text_field(table: &[u8], wanted: &[u8]) -> Option<String> {
    let mut at = 0;
    while at < table.len() {
        let name_length = usize::from(*table.get(at)?);
        let name = table.get(at + 1..at + 1 + name_length)?;
        at += 1 + name_length;
        let kind = *table.get(at)?;
        at += 1;
        let length = match kind {
            b't' | b'b' | b'B' => 1,
            b'U' | b'u' | b's' => 2,
            b'I' | b'i' | b'f' => 4,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'D' => 5,
            b'V' => 0,
            b'S' | b'x' | b'F' | b'A' => usize::try_from(be::<4>(table, at)?).ok()?.checked_add(4)?,
            _ => return None,
        };
        let value = table.get(at..at.checked_add(length)?)?;
        at += length;
        if name == wanted && kind == b'S' {
            return Some(tidy(std::str::from_utf8(&value[4..]).ok()?, 64)).filter(|t| !t.is_empty());
        }
    }
    None
}

fn read_open(bytes: &[u8]) -> Reading {
    if bytes.len() <= 8 {
        return match header(bytes) {
            // Its `open` is still to come, unless it wants SASL first and hangs up.
            Reading::Is(_) if bytes[4] == 0 => Reading::Partial,
            other => other,
        };
    }
    if !bytes.starts_with(b"AMQP\0\x01\0\0") {
        return Reading::Foreign;
    }
    let Some(length) = be::<4>(bytes, 8).map(|n| n as usize) else { return Reading::Partial };
    if !(16..=65_536).contains(&length) {
        return Reading::Foreign;
    }
    let Some(frame) = bytes.get(8..8 + length) else { return Reading::Partial };
    // Data begins behind two words, the frame is AMQP's on channel 0, the performative `open`.
    let opened = [b"\0\x53\x10".as_slice(), b"\0\x80\0\0\0\0\0\0\0\x10"].iter().any(|d| frame[8..].starts_with(d));
    if frame[4..8] != [2, 0, 0, 0] || !opened {
        return Reading::Foreign;
    }
    let product = symbol(frame, b"product");
    let version = symbol(frame, b"version").filter(|v| product.is_some() && v.starts_with(|c: char| c.is_ascii_digit()));
    Reading::Is(Found {
        service: "amqp".into(),
        shown: Some(format!(
            "AMQP 1.0 open product={} version={}",
            product.as_deref().unwrap_or("-"),
            version.as_deref().unwrap_or("-")
        )),
        product,
        version,
        farewell: Some(CLOSE.to_vec()),
        ..Found::default()
    })
}

/// The string or symbol behind a symbol of that name in the properties of `open`.
fn symbol(frame: &[u8], name: &[u8]) -> Option<String> {
    let key = [&[0xa3, name.len() as u8][..], name].concat();
    let at = frame.windows(key.len()).position(|w| w == key)? + key.len();
    let value = match frame.get(at)? {
        0xa1 | 0xa3 => frame.get(at + 2..at + 2 + usize::from(*frame.get(at + 1)?))?,
        0xb1 | 0xb3 => frame.get(at + 5..(at + 5).checked_add(be::<4>(frame, at + 1)? as usize)?)?,
        _ => return None,
    };
    Some(tidy(std::str::from_utf8(value).ok()?, 64)).filter(|t| !t.is_empty())
}
