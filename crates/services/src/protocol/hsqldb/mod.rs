//! HSQLDB's server: a database asked for that cannot be there.
//!
//! Source: HSQLDB 2, its HSQL protocol as its own driver speaks it. The user named exists nowhere, since the database does not.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "hsqldb-connect", request: Some(request), unasked: false, read };

/// What every driver since 2.0 says first: -2030144.
const NETWORK_VERSION: [u8; 4] = [0xff, 0xe1, 0x04, 0xc0];
const CONNECT: u8 = 31;
const ERROR: u8 = 2;

fn request() -> Vec<u8> {
    let text = |t: &str| [&(t.len() as u32).to_be_bytes()[..], t.as_bytes()].concat();
    // Database, user, password, time zone and its offset.
    let body = [text("portreeve"), text("portreeve"), text(""), text("UTC"), vec![0; 4]].concat();
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&NETWORK_VERSION[..], &[CONNECT], &length, &body, &[0]].concat()
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.first() != Some(&ERROR) {
        return Reading::Foreign;
    }
    let Some(length) = be::<4>(bytes, 1) else { return Reading::Partial };
    if !(20..=4_096).contains(&length) {
        return Reading::Foreign;
    }
    let Some(body) = bytes.get(5..1 + length as usize) else { return Reading::Partial };
    let text = |at: usize| {
        let length = be::<4>(body, at)? as usize;
        Some((std::str::from_utf8(body.get(at + 4..(at + 4).checked_add(length)?)?).ok()?, at + 4 + length))
    };
    // A message, a state of five characters, a code; then the octet that says that no more results follow.
    let fields = || {
        let (message, at) = text(0)?;
        let (state, at) = text(at)?;
        (state.len() == 5 && at + 4 == body.len()).then_some((message, state))
    };
    let Some((message, state)) = fields() else { return Reading::Foreign };
    if bytes.len() > 2 + length as usize || bytes.get(1 + length as usize).is_some_and(|&b| b != 0) {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "hsqldb".into(),
        product: Some("HSQLDB".into()),
        shown: Some(format!("{state}: {}", tidy(message, 120))),
        ..Found::default()
    })
}
