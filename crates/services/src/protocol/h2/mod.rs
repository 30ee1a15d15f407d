//! H2's TCP server: a driver's version that never was, refused in an error that states the build.
//!
//! Source: H2 1.4 and 2.1, `TcpServerThread` and `Transfer`. No database is named, so none is created. The server answers any
//! eight bytes so, which is why the answer is recognised whatever was asked.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "h2-version", request: Some(request), unasked: true, read };

/// DRIVER_VERSION_ERROR_2.
const VERSION_ERROR: u64 = 90_047;

/// Protocols from 1 to 1; 6 is the oldest that any server has spoken.
fn request() -> Vec<u8> {
    [1u32.to_be_bytes(), 1u32.to_be_bytes()].concat()
}

/// A text: its length in characters of two bytes, or -1 for none.
fn text(bytes: &[u8], at: usize) -> Result<(String, usize), bool> {
    let length = be::<4>(bytes, at).ok_or(true)? as u32 as i32;
    if length == -1 {
        return Ok((String::new(), at + 4));
    }
    let length = usize::try_from(length).ok().filter(|n| *n <= 16_384).ok_or(false)?;
    let units = bytes.get(at + 4..at + 4 + 2 * length).ok_or(true)?;
    let units: Vec<u16> = units.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
    Ok((String::from_utf16(&units).map_err(|_| false)?, at + 4 + 2 * length))
}

/// Status 0 (an error), SQL state, message, statement, code, stack trace.
fn error(bytes: &[u8]) -> Result<Found, bool> {
    let head = b"\0\0\0\0\0\0\0\x05\x009\x000\x000\x004\x007";
    if bytes.len() < head.len() {
        return Err(!bytes.is_empty() && head.starts_with(bytes));
    }
    if !bytes.starts_with(head) {
        return Err(false);
    }
    let (message, at) = text(bytes, head.len())?;
    let (_, at) = text(bytes, at)?;
    if be::<4>(bytes, at).ok_or(true)? != VERSION_ERROR {
        return Err(false);
    }
    let (trace, at) = text(bytes, at + 4)?;
    if at != bytes.len() || !message.contains("ersion") && !trace.contains("org.h2.") {
        return Err(false);
    }
    // `[90047-214]`: the build. Below 201 it belongs to 1.4, from 201 to 2.
    let build = trace.split("[90047-").nth(1).and_then(|rest| rest.split(']').next()?.parse::<u16>().ok());
    let version = build.and_then(|build| match build {
        171..=200 => Some(format!("1.4.{build}")),
        201..=202 => Some(format!("2.0.{build}")),
        210..=214 => Some(format!("2.1.{build}")),
        220..=224 => Some(format!("2.2.{build}")),
        _ => None,
    });
    let build = build.map_or_else(|| "-".to_owned(), |b| b.to_string());
    Ok(Found {
        service: "h2".into(),
        product: Some("H2 Database".into()),
        version,
        shown: Some(format!("{}, build {build}", tidy(&message, 100))),
        ..Found::default()
    })
}

fn read(bytes: &[u8]) -> Reading {
    match error(bytes) {
        Ok(found) => Reading::Is(found),
        Err(true) => Reading::Partial,
        Err(false) => Reading::Foreign,
    }
}
