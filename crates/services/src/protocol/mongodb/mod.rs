//! MongoDB: `isMaster` in the oldest form that every version answers, then `buildInfo`, which needs no log-in.
//!
//! Source: MongoDB wire protocol (OP_QUERY, OP_REPLY, OP_MSG) and bsonspec.org. Whether databases can be listed is left to
//! the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{c_string, le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "mongodb-hello", request: Some(hello), unasked: false, read };

/// Request ids; an answer must name the one it answers.
const HELLO: u32 = 0x0174_7270;
const BUILD: u32 = 0x0274_7270;

const OP_REPLY: u64 = 1;
const OP_QUERY: u32 = 2004;
const OP_MSG: u32 = 2013;

/// `maxWireVersion` from which OP_MSG is understood (MongoDB 3.6).
const MSG_SINCE: i64 = 6;

fn message(id: u32, opcode: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(body.len() + 16).unwrap_or(0);
    let mut bytes = Vec::new();
    for field in [length, id, 0, opcode] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// `{<command>: 1}`, with `$db: "admin"` where the form of the message wants it.
fn command(name: &str, db: bool) -> Vec<u8> {
    let mut fields = [&[0x10], name.as_bytes(), &[0, 1, 0, 0, 0]].concat();
    if db {
        fields.extend(b"\x02$db\0\x06\0\0\0admin\0");
    }
    let mut document = u32::try_from(fields.len() + 5).unwrap_or(0).to_le_bytes().to_vec();
    document.extend(fields);
    document.push(0);
    document
}

fn query(id: u32, name: &str) -> Vec<u8> {
    // Flags, collection, skip 0, return one.
    message(id, OP_QUERY, &[&[0; 4], b"admin.$cmd\0", &[0; 4], &[0xff; 4], &command(name, false)])
}

fn hello() -> Vec<u8> {
    query(HELLO, "isMaster")
}

fn build_info(wire: i64) -> Vec<u8> {
    match wire {
        MSG_SINCE.. => message(BUILD, OP_MSG, &[&[0; 4], &[0], &command("buildInfo", true)]),
        _ => query(BUILD, "buildInfo"),
    }
}

/// A value of a document, as far as we need values.
enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
    Other,
}

/// The top-level fields of a document, or `None` when it is not well-formed.
fn fields(document: &[u8]) -> Option<Vec<(&[u8], Value<'_>)>> {
    if le::<4>(document, 0)? != document.len() as u64 || document.last() != Some(&0) {
        return None;
    }
    let mut list = Vec::new();
    let mut at = 4;
    while *document.get(at)? != 0 {
        let kind = document[at];
        let (name, after) = c_string(document, at + 1)?;
        let (value, length) = match kind {
            0x01 => (Value::Number(f64::from_le_bytes(document.get(after..after + 8)?.try_into().ok()?) as i64), 8),
            0x02 => {
                let length = usize::try_from(le::<4>(document, after)?).ok()?;
                (Value::Text(document.get(after + 4..(after + 4).checked_add(length.checked_sub(1)?)?)?), 4 + length)
            }
            0x03 | 0x04 => (Value::Other, usize::try_from(le::<4>(document, after)?).ok().filter(|&n| n >= 5)?),
            0x05 => (Value::Other, usize::try_from(le::<4>(document, after)?).ok()? + 5),
            0x07 => (Value::Other, 12),
            0x08 => (Value::Number(i64::from(*document.get(after)?)), 1),
            0x09 | 0x11 => (Value::Other, 8),
            0x0a => (Value::Other, 0),
            0x10 => (Value::Number(i64::from(le::<4>(document, after)? as u32 as i32)), 4),
            0x12 => (Value::Number(le::<8>(document, after)? as i64), 8),
            0x13 => (Value::Other, 16),
            _ => return None,
        };
        list.push((name, value));
        at = after.checked_add(length)?;
    }
    (at + 1 == document.len()).then_some(list)
}

/// The document that answers request `id`, and the bytes after it. `Err(true)` when more is needed.
fn reply(bytes: &[u8], id: u32) -> Result<(&[u8], &[u8]), bool> {
    let (Some(length), Some(to), Some(opcode)) = (le::<4>(bytes, 0), le::<4>(bytes, 8), le::<4>(bytes, 12)) else {
        // The id of the question tells after twelve bytes; before, a length of sensible size.
        return Err(le::<4>(bytes, 0).is_none_or(|n| (36..65_536).contains(&n)));
    };
    let offset = match opcode {
        OP_REPLY => 36,
        n if n == u64::from(OP_MSG) => 21,
        _ => return Err(false),
    };
    if to != u64::from(id) || !(36..65_536).contains(&length) {
        return Err(false);
    }
    let whole = bytes.get(..length as usize).ok_or(true)?;
    Ok((whole.get(offset..).ok_or(false)?, &bytes[length as usize..]))
}

fn read(bytes: &[u8]) -> Reading {
    let unless_partial = |partial: bool| {
        if partial && !bytes.is_empty() { Reading::Partial } else { Reading::Foreign }
    };
    let (hello, rest) = match reply(bytes, HELLO) {
        Ok(parts) => parts,
        Err(partial) => return unless_partial(partial),
    };
    let Some(hello) = fields(hello) else { return Reading::Foreign };
    let number = |list: &[(&[u8], Value<'_>)], name: &[u8]| {
        list.iter().find_map(|(n, v)| match v {
            Value::Number(n_) if *n == name => Some(*n_),
            _ => None,
        })
    };
    if number(&hello, b"ok") != Some(1) || !hello.iter().any(|(n, _)| matches!(*n, b"ismaster" | b"isWritablePrimary")) {
        return Reading::Foreign;
    }
    let wire = number(&hello, b"maxWireVersion").unwrap_or(0);
    let mut found = Found { service: "mongodb".into(), product: Some("MongoDB".into()), ..Found::default() };
    found.shown = Some(format!("isMaster ok=1 maxWireVersion={wire}"));
    if rest.is_empty() {
        found.next = Some(build_info(wire));
        return Reading::Is(found);
    }
    let build = match reply(rest, BUILD) {
        Ok((build, _)) => build,
        Err(true) => return Reading::Partial,
        // What answers the first question is a MongoDB, whatever it says to the second.
        Err(false) => return Reading::Is(found),
    };
    let Some(build) = fields(build) else {
        return Reading::Is(found);
    };
    let text = |name: &[u8]| {
        build.iter().find_map(|(n, v)| match v {
            Value::Text(t) if *n == name => Some(tidy(&String::from_utf8_lossy(t), 64)),
            _ => None,
        })
    };
    if let Some(ferret) = text(b"ferretdbVersion") {
        found.product = Some("FerretDB".into());
        found.version = Some(ferret.trim_start_matches('v').to_owned());
    } else {
        found.version = text(b"version").filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    }
    if let Some(version) = &found.version {
        found.shown = Some(format!("isMaster ok=1 maxWireVersion={wire}, buildInfo version={version}"));
    }
    Reading::Is(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(fields: &[u8]) -> Vec<u8> {
        [&(fields.len() as u32 + 5).to_le_bytes()[..], fields, &[0]].concat()
    }

    fn answer(id: u32, opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = message(9, opcode, &[body]);
        bytes[8..12].copy_from_slice(&id.to_le_bytes());
        bytes
    }

    #[test]
    fn hello_then_build_info_gives_the_version() {
        let ok = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f";
        let hello = document(&[&b"\x08ismaster\0\x01\x10maxWireVersion\0\x15\0\0\0"[..], ok].concat());
        let first = answer(HELLO, OP_REPLY as u32, &[&[8, 0, 0, 0][..], &[0; 12], &[1, 0, 0, 0], &hello].concat());
        let Reading::Is(found) = read(&first) else { panic!("not recognised") };
        assert_eq!(found.version, None);
        assert_eq!(found.next, Some(build_info(21)));
        let build = document(&[&b"\x02version\0\x07\0\0\x007.0.14\0"[..], ok].concat());
        let second = answer(BUILD, OP_MSG, &[&[0; 5][..], &build].concat());
        let both = [first.clone(), second].concat();
        let Reading::Is(found) = read(&both) else { panic!("not recognised") };
        assert_eq!((found.version.as_deref(), found.next), (Some("7.0.14"), None));
        for end in 1..both.len() {
            let reading = read(&both[..end]);
            assert!(
                reading == Reading::Partial || (end == first.len() && matches!(reading, Reading::Is(_))),
                "{end}: {reading:?}"
            );
        }
        assert_eq!(read(&answer(HELLO + 1, OP_REPLY as u32, &first[16..])), Reading::Foreign, "another question's answer");
    }

    #[test]
    fn a_document_reads_back_field_by_field() {
        let bytes = command("buildInfo", true);
        let names: Vec<&[u8]> = fields(&bytes).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, [&b"buildInfo"[..], b"$db"]);
    }
}
