//! Android's debug bridge: CNXN, which a device answers with its own, or with a token that we do not sign.
//!
//! Source: Android's description of the ADB protocol. No stream is opened, no shell is asked for, no key is offered, so the
//! device shows nobody a question.

use super::{Codec, Found, Reading};
use crate::bytes::{le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "adb-connect", request: Some(connect), unasked: false, read };

const CNXN: u32 = u32::from_le_bytes(*b"CNXN");
const AUTH: u32 = u32::from_le_bytes(*b"AUTH");
const STLS: u32 = u32::from_le_bytes(*b"STLS");

fn connect() -> Vec<u8> {
    let banner = b"host::portreeve\0";
    let sum: u32 = banner.iter().map(|&b| u32::from(b)).sum();
    let mut bytes = Vec::new();
    // Version 1.0 of the protocol, at most 4,096 bytes of payload, length, sum, and the command's complement.
    for field in [CNXN, 0x0100_0000, 4096, banner.len() as u32, sum, !CNXN] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(banner);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    let commands = [b"CNXN", b"AUTH", b"STLS"];
    if bytes.is_empty() || !commands.iter().any(|c| c.starts_with(&bytes[..bytes.len().min(4)])) {
        return Reading::Foreign;
    }
    let field = |n: usize| le::<4>(bytes, 4 * n).map(|v| v as u32);
    let (Some(command), Some(first), Some(length), Some(magic)) = (field(0), field(1), field(3), field(5)) else {
        return Reading::Partial;
    };
    if magic != !command || length > 4096 {
        return Reading::Foreign;
    }
    let Some(payload) = bytes.get(24..24 + length as usize) else { return Reading::Partial };
    let mut found = Found { service: "adb".into(), product: Some("Android Debug Bridge".into()), ..Found::default() };
    let shown = match command {
        CNXN if payload.contains(&b':') => {
            let text = String::from_utf8_lossy(payload);
            let kind = tidy(text.split(':').next().unwrap_or_default(), 16);
            let model = text.split(';').find_map(|p| p.rsplit_once("ro.product.model=")).map(|(_, m)| tidy(m, 64));
            format!("CNXN {kind}, model {}", model.as_deref().unwrap_or("-"))
        }
        // A token of twenty bytes to be signed, or the wish for TLS.
        AUTH if first == 1 && length == 20 => "AUTH: a signature is wanted".to_owned(),
        STLS if length == 0 => "STLS: TLS is wanted".to_owned(),
        _ => return Reading::Foreign,
    };
    found.shown = Some(shown);
    Reading::Is(found)
}
