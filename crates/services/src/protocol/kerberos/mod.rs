//! Kerberos over TCP: a ticket asked for in a realm that does not exist, which every KDC refuses with an error of its own.
//! Some refuse any four bytes so, whatever was meant.
//!
//! Source: RFC 4120 sections 5.4.1, 5.9.1 and 7.2.2. No account is named, so none is tried or locked.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "kerberos-as-req", request: Some(request), unasked: true, read };

const REALM: &[u8] = b"PORTREEVE.INVALID";

/// A DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match body.len() {
        n @ 0..=127 => out.push(n as u8),
        n => out.extend([0x81, n as u8]),
    }
    out.extend(body);
    out
}

fn principal(kind: u8, names: &[&[u8]]) -> Vec<u8> {
    let strings: Vec<Vec<u8>> = names.iter().map(|n| der(0x1b, &[n])).collect();
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    der(0x30, &[&der(0xa0, &[&der(2, &[&[kind]])]), &der(0xa1, &[&der(0x30, &strings)])])
}

fn request() -> Vec<u8> {
    let body = der(
        0x30,
        &[
            &der(0xa0, &[&der(3, &[&[0, 0, 0, 0, 0]])]),
            &der(0xa1, &[&principal(1, &[b"portreeve"])]),
            &der(0xa2, &[&der(0x1b, &[REALM])]),
            &der(0xa3, &[&principal(2, &[b"krbtgt", REALM])]),
            &der(0xa5, &[&der(0x18, &[b"20370913024805Z"])]),
            // Our number, and AES-256, AES-128 and RC4.
            &der(0xa7, &[&der(2, &[&[0x70, 0x72, 0x74, 0x01]])]),
            &der(0xa8, &[&der(0x30, &[&der(2, &[&[18]]), &der(2, &[&[17]]), &der(2, &[&[23]])])]),
        ],
    );
    let message =
        der(0x6a, &[&der(0x30, &[&der(0xa1, &[&der(2, &[&[5]])]), &der(0xa2, &[&der(2, &[&[10]])]), &der(0xa4, &[&body])])]);
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

/// The first element: tag, content, rest.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, &short) = (bytes.first()?, bytes.get(1)?);
    let (length, at) = match short {
        n @ 0..=0x7f => (usize::from(n), 2),
        0x81 => (be::<1>(bytes, 2)? as usize, 3),
        0x82 => (be::<2>(bytes, 2)? as usize, 4),
        _ => return None,
    };
    Some((tag, bytes.get(at..at + length)?, &bytes[at + length..]))
}

fn read(bytes: &[u8]) -> Reading {
    let Some(length) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    if !(20..=8_192).contains(&length) || bytes.get(4).is_some_and(|&b| b != 0x7e) {
        return Reading::Foreign;
    }
    let Some(message) = bytes.get(4..4 + length as usize) else { return Reading::Partial };
    if bytes.len() != 4 + message.len() {
        return Reading::Foreign;
    }
    error(message).map_or(Reading::Foreign, Reading::Is)
}

/// KRB-ERROR: version 5, type 30, a code, and the realm of the server.
fn error(message: &[u8]) -> Option<Found> {
    let (0x7e, sequence, []) = element(message)? else { return None };
    let (0x30, mut rest, []) = element(sequence)? else { return None };
    let (mut version, mut kind, mut code, mut realm) = (None, None, None, None);
    while !rest.is_empty() {
        let (tag, content, after) = element(rest)?;
        let (_, value, _) = element(content)?;
        let number = || value.iter().take(4).fold(0u32, |n, &b| n << 8 | u32::from(b));
        match tag {
            0xa0 => version = Some(number()),
            0xa1 => kind = Some(number()),
            0xa6 => code = Some(number()),
            0xa9 => realm = Some(tidy(&String::from_utf8_lossy(value), 80)),
            _ => {}
        }
        rest = after;
    }
    let code = code.filter(|_| version == Some(5) && kind == Some(30))?;
    Some(Found { service: "kerberos".into(), shown: Some(format!("KRB-ERROR {code}, realm {}", realm?)), ..Found::default() })
}
