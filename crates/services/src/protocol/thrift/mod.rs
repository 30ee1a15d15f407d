//! Thrift services: a call of a method that nobody has, framed and unframed, and a SASL mechanism that nobody has.
//!
//! Source: Apache Thrift, "Thrift Binary protocol encoding" and "Thrift Remote Procedure Call"; its SASL transport. The refusal
//! carries our method's name and our sequence number. Hive's HiveServer2 and metastore are among those that answer so.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const FRAMED: Codec = Codec { name: "thrift-framed", request: Some(framed), unasked: false, read: read_framed };
pub(crate) const PLAIN: Codec = Codec { name: "thrift-call", request: Some(call), unasked: false, read: read_plain };
pub(crate) const SASL: Codec = Codec { name: "thrift-sasl", request: Some(sasl), unasked: false, read: read_sasl };

const METHOD: &[u8] = b"portreeve";
/// Our call's number.
const ID: u32 = 0x7072_7401;
/// A strict message of version 1: a call, and the exception that answers it.
const CALL: u32 = 0x8001_0001;
const EXCEPTION: u64 = 0x8001_0003;

fn call() -> Vec<u8> {
    let mut bytes = CALL.to_be_bytes().to_vec();
    bytes.extend((METHOD.len() as u32).to_be_bytes());
    bytes.extend(METHOD);
    bytes.extend(ID.to_be_bytes());
    // A structure without fields.
    bytes.push(0);
    bytes
}

fn framed() -> Vec<u8> {
    let call = call();
    [&(call.len() as u32).to_be_bytes()[..], &call].concat()
}

fn read_framed(bytes: &[u8]) -> Reading {
    let Some(length) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    if !(22..=65_536).contains(&length) {
        return Reading::Foreign;
    }
    let rest = &bytes[4..];
    match exception(rest) {
        Ok((_, end)) if end != length as usize || rest.len() != end => Reading::Foreign,
        Ok((message, _)) => is(message, "framed"),
        Err(partial) => unless(partial),
    }
}

fn read_plain(bytes: &[u8]) -> Reading {
    match exception(bytes) {
        Ok((_, end)) if bytes.len() != end => Reading::Foreign,
        Ok((message, _)) => is(message, "unframed"),
        Err(partial) => unless(partial && !bytes.is_empty()),
    }
}

fn unless(partial: bool) -> Reading {
    if partial { Reading::Partial } else { Reading::Foreign }
}

fn is(message: String, how: &str) -> Reading {
    Reading::Is(Found {
        service: "thrift".into(),
        product: Some("Apache Thrift".into()),
        shown: Some(format!("{how} exception: {}", tidy(&message, 120))),
        ..Found::default()
    })
}

/// The message of the exception to our call, and where it ends. `Err(true)` when more is needed.
fn exception(bytes: &[u8]) -> Result<(String, usize), bool> {
    let head = [&(EXCEPTION as u32).to_be_bytes()[..], &(METHOD.len() as u32).to_be_bytes(), METHOD, &ID.to_be_bytes()].concat();
    if bytes.len() < head.len() {
        return Err(head.starts_with(bytes));
    }
    if !bytes.starts_with(&head) {
        return Err(false);
    }
    let (mut at, mut message) = (head.len(), String::new());
    // Fields: a type, a number, a value; a string and a 32-bit integer are all there is.
    loop {
        match *bytes.get(at).ok_or(true)? {
            0 => return Ok((message, at + 1)),
            11 => {
                let length = be::<4>(bytes, at + 3).ok_or(true)? as usize;
                if length > 65_536 {
                    return Err(false);
                }
                message = String::from_utf8_lossy(bytes.get(at + 7..at + 7 + length).ok_or(true)?).into_owned();
                at += 7 + length;
            }
            8 => {
                bytes.get(at + 3..at + 7).ok_or(true)?;
                at += 7;
            }
            _ => return Err(false),
        }
    }
}

/// START with the name of a mechanism.
fn sasl() -> Vec<u8> {
    [&[1][..], &(METHOD.len() as u32).to_be_bytes(), METHOD].concat()
}

fn read_sasl(bytes: &[u8]) -> Reading {
    // BAD or ERROR, a length, and a sentence.
    match bytes.first() {
        Some(3 | 4) => {}
        _ => return Reading::Foreign,
    }
    let Some(length) = be::<4>(bytes, 1) else { return Reading::Partial };
    if !(8..=1024).contains(&length) {
        return Reading::Foreign;
    }
    let Some(text) = bytes.get(5..5 + length as usize) else { return Reading::Partial };
    let text = String::from_utf8_lossy(text);
    if bytes.len() != 5 + length as usize || !text.to_ascii_lowercase().contains("mechanism") {
        return Reading::Foreign;
    }
    is(text.into_owned(), "SASL")
}
