//! Hadoop's IPC: the head of a connection in a version that nobody speaks, and the refusal that names the version spoken.
//!
//! Source: Hadoop's `org.apache.hadoop.ipc.Server`, `setupBadVersionResponse`: since version 9 (Hadoop 2) a protocol buffer
//! (`RpcHeader.proto`), before that Writables. The number is the protocol's and not Hadoop's, so no version is reported;
//! which daemon it is, its web interface tells.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

/// Unasked, because four letters of anything but HTTP are refused in the same way.
pub(crate) const CODEC: Codec = Codec { name: "hadoop-ipc", request: Some(request), unasked: true, read };

fn request() -> Vec<u8> {
    // "hrpc", version 99, service class 0, no authentication.
    b"hrpc\x63\0\0".to_vec()
}

/// A refusal is some hundred bytes.
const MOST: u64 = 4096;

fn read(bytes: &[u8]) -> Reading {
    let Some(first) = be::<4>(bytes, 0) else {
        let begun = !bytes.is_empty() && (bytes.iter().all(|&b| b == 0) || bytes.iter().all(|&b| b == 0xff));
        return if begun { Reading::Partial } else { Reading::Foreign };
    };
    let said = if first == 0xffff_ffff { writables(bytes) } else { buffer(bytes, first) };
    match said {
        Err(true) => Reading::Partial,
        Err(false) => Reading::Foreign,
        Ok((class, message)) if class.starts_with("org.apache.hadoop.") || class.starts_with("org.apache.hadoop.ipc.") => {
            Reading::Is(Found {
                service: "hadoop".into(),
                product: Some("Apache Hadoop".into()),
                shown: Some(tidy(&format!("{class}: {message}"), 200)),
                ..Found::default()
            })
        }
        Ok(_) => Reading::Foreign,
    }
}

/// A number in base 128, and what follows.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// `RpcResponseHeaderProto` behind its two lengths: exception and message. `Err(true)` when more is needed.
fn buffer(bytes: &[u8], length: u64) -> Result<(String, String), bool> {
    if !(16..=MOST).contains(&length) {
        return Err(false);
    }
    let body = &bytes[4..];
    // The header's own length comes first and says nearly the same.
    match body {
        [] => return Err(true),
        [0x08, ..] | [0, ..] => return Err(false),
        _ => {}
    }
    if body.len() as u64 > length {
        return Err(false);
    }
    if (body.len() as u64) < length {
        // Behind the header's length, field 1 (the call) comes first.
        let call = varint(body).is_none_or(|(n, rest)| n < length && rest.first().is_none_or(|&b| b == 0x08));
        return Err(call);
    }
    let (header, mut rest) = varint(body).ok_or(false)?;
    if header != rest.len() as u64 {
        return Err(false);
    }
    let (mut call, mut status, mut version, mut class, mut message) = (None, None, None, None, None);
    while !rest.is_empty() {
        let (key, after) = varint(rest).ok_or(false)?;
        let (value, after) = varint(after).ok_or(false)?;
        rest = after;
        match key & 7 {
            0 => match key >> 3 {
                1 => call = Some(value),
                2 => status = Some(value),
                3 => version = Some(value),
                _ => {}
            },
            2 => {
                let text = rest.get(..usize::try_from(value).map_err(|_| false)?).ok_or(false)?;
                rest = &rest[text.len()..];
                match key >> 3 {
                    4 => class = Some(String::from_utf8_lossy(text).into_owned()),
                    5 => message = Some(String::from_utf8_lossy(text).into_owned()),
                    _ => {}
                }
            }
            _ => return Err(false),
        }
    }
    match (call, status, version, class) {
        // 1 is an error of the call, 2 the end of the connection.
        (Some(_), Some(1 | 2), Some(_), Some(class)) => Ok((class, message.unwrap_or_default())),
        _ => Err(false),
    }
}

/// Call -1, status -1, and two strings with a length of four bytes each: Hadoop before 2.
fn writables(bytes: &[u8]) -> Result<(String, String), bool> {
    match be::<4>(bytes, 4) {
        None => return Err(true),
        Some(0xffff_ffff) => {}
        Some(_) => return Err(false),
    }
    let string = |at: usize| -> Result<(String, usize), bool> {
        let length = be::<4>(bytes, at).ok_or(true)?;
        if !(1..=MOST).contains(&length) {
            return Err(false);
        }
        let end = at + 4 + length as usize;
        Ok((String::from_utf8_lossy(bytes.get(at + 4..end).ok_or(true)?).into_owned(), end))
    };
    let (class, after) = string(8)?;
    let (message, end) = string(after)?;
    if end == bytes.len() { Ok((class, message)) } else { Err(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: &[u8] = b"\0\0\0|{\x08\xff\xff\xff\xff\x0f\x10\x02\x18\x09\")org.apache.hadoop.ipc.RPC$VersionMismatch*>Server IPC version 9 cannot communicate with client version 990\x0e:\0@\x01";

    #[test]
    fn the_refusal_of_hadoop_two_and_three_is_read_by_its_lengths() {
        let Reading::Is(found) = read(REFUSAL) else { panic!("not recognised") };
        assert!(found.shown.unwrap().contains("Server IPC version 9"), "the version of the protocol is evidence");
        assert_eq!(found.version, None, "and nobody's version");
        for end in 1..REFUSAL.len() {
            assert_eq!(read(&REFUSAL[..end]), Reading::Partial, "{end}");
        }
        for at in [3, 4, 5, 15, 16] {
            let mut damaged = REFUSAL.to_vec();
            damaged[at] ^= 1;
            assert!(!matches!(read(&damaged), Reading::Is(_)), "byte {at}");
        }
    }

    #[test]
    fn the_refusal_of_hadoop_one_is_read_too() {
        let (class, message) =
            ("org.apache.hadoop.ipc.RPC$VersionMismatch", "Server IPC version 4 cannot communicate with client version 99");
        let mut bytes = vec![0xff; 8];
        for text in [class, message] {
            bytes.extend((text.len() as u32).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        assert!(matches!(read(&bytes), Reading::Is(_)));
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]), Reading::Partial, "{end}");
        }
    }
}
