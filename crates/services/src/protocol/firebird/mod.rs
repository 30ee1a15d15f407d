//! Firebird and InterBase: the connection's first packet, answered by which protocol the server chooses.
//!
//! Source: Firebird's `remote/protocol.h` and its description of the wire protocol. No database is attached and no account
//! named; the answer states the protocol's version, not the server's.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "firebird-connect", request: Some(connect), unasked: false, read };

const OP_CONNECT: u32 = 1;
const OP_ACCEPT: u64 = 3;
const OP_CONT_AUTH: u64 = 92;
const OP_ACCEPT_DATA: u64 = 94;
const OP_COND_ACCEPT: u64 = 98;
/// Firebird's own protocols, from 11 on, have this bit; 10 is InterBase's and Firebird 1's.
const FIREBIRD: u32 = 0x8000;
const OFFERED: [u32; 4] = [10, FIREBIRD | 11, FIREBIRD | 12, FIREBIRD | 13];
/// From protocol 13 on a user is named before anything is attached: one that nobody is, by the default plugin's name.
const USER: &[u8; 16] = b"\x09\x09portreeve\x08\x03Srp";
const PLUGINS: [&str; 5] = ["Srp", "Srp256", "Srp512", "Legacy_Auth", "Win_Sspi"];

fn connect() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Attach, connect version 3, a generic machine, no file, so many protocols, and the user.
    for field in [OP_CONNECT, 19, 3, 1, 0, OFFERED.len() as u32, USER.len() as u32] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(USER);
    for (weight, protocol) in (1u32..).zip(OFFERED) {
        // Generic machine, from batch-send to lazy-send types, and the weight.
        for field in [protocol, 1, 2, 5, 2 * weight] {
            bytes.extend(field.to_be_bytes());
        }
    }
    bytes
}

/// A counted text, padded to whole words; what is behind it. `Err(true)` when more is needed.
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), bool> {
    let length = be::<4>(bytes, 0).ok_or(true)? as usize;
    if length > 4_096 {
        return Err(false);
    }
    let end = 4 + length.div_ceil(4) * 4;
    Ok((bytes.get(4..4 + length).ok_or(true)?, bytes.get(end..).ok_or(true)?))
}

fn is(product: bool, shown: String) -> Found {
    Found { service: "firebird".into(), product: product.then(|| "Firebird".into()), shown: Some(shown), ..Found::default() }
}

/// "Go on with that plugin": its data, its name, all names, keys.
fn go_on(rest: &[u8]) -> Result<Found, bool> {
    let (_, rest) = counted(rest)?;
    let (plugin, rest) = counted(rest)?;
    let (_, rest) = counted(rest)?;
    let (_, rest) = counted(rest)?;
    let plugin = std::str::from_utf8(plugin).ok().filter(|p| PLUGINS.contains(p) && rest.is_empty()).ok_or(false)?;
    Ok(is(true, format!("authentication goes on with {plugin}")))
}

/// A protocol of those offered, the machine we named, a type; and for the newer forms what go_on has.
fn accepted(operation: u64, rest: &[u8]) -> Result<Found, bool> {
    let field = |at: usize| be::<4>(rest, at).ok_or(true);
    // Newer servers write the bit as a sign.
    let (protocol, machine, kind) = (field(0)? as u32 & 0xffff, field(4)?, field(8)? & 0xff);
    if !OFFERED.contains(&protocol) || machine != 1 || !(2..=5).contains(&kind) {
        return Err(false);
    }
    let rest = &rest[12..];
    if operation == OP_ACCEPT {
        let number = protocol & !FIREBIRD;
        return if rest.is_empty() {
            Ok(is(protocol & FIREBIRD != 0, format!("accepted protocol {number}")))
        } else {
            Err(false)
        };
    }
    let (_, rest) = counted(rest)?;
    let (plugin, rest) = counted(rest)?;
    let plugin = std::str::from_utf8(plugin).ok().filter(|p| p.is_empty() || PLUGINS.contains(p)).ok_or(false)?;
    // Whether we are in already, and keys.
    let (_, rest) = counted(rest.get(4..).ok_or(true)?)?;
    if rest.is_empty() { Ok(is(true, format!("accepted protocol {}, {plugin}", protocol & !FIREBIRD))) } else { Err(false) }
}

fn read(bytes: &[u8]) -> Reading {
    let Some(operation) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    // A rejection is four bytes, which prove nothing.
    let found = match operation {
        OP_CONT_AUTH => go_on(&bytes[4..]),
        OP_ACCEPT | OP_ACCEPT_DATA | OP_COND_ACCEPT => accepted(operation, &bytes[4..]),
        _ => Err(false),
    };
    match found {
        Ok(found) => Reading::Is(found),
        Err(true) => Reading::Partial,
        Err(false) => Reading::Foreign,
    }
}
