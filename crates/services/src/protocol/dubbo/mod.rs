//! Dubbo: the heartbeat that consumers and providers exchange.
//!
//! Source: Apache Dubbo, "Dubbo protocol". A heartbeat carries a null and is answered with one; nothing is deserialised and no
//! method is called.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "dubbo-heartbeat", request: Some(heartbeat), unasked: false, read };

/// Our request's id, which the answer must carry.
const ID: u64 = 0x7072_7401_7072_7401;
/// A two-way event in Hessian 2.
const REQUEST: u8 = 0x80 | 0x40 | 0x20 | 2;
const OK: u8 = 20;

fn heartbeat() -> Vec<u8> {
    let mut bytes = vec![0xda, 0xbb, REQUEST, 0];
    bytes.extend(ID.to_be_bytes());
    bytes.extend([0, 0, 0, 1, b'N']);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() || !b"\xda\xbb".starts_with(&bytes[..bytes.len().min(2)]) {
        return Reading::Foreign;
    }
    let (Some(head), Some(id), Some(length)) = (be::<4>(bytes, 0), be::<8>(bytes, 4), be::<4>(bytes, 12)) else {
        return Reading::Partial;
    };
    let [_, _, flags, status] = (head as u32).to_be_bytes();
    // An answer, to an event, in a serialisation that is known, to our id.
    let answers = flags & 0x80 == 0 && flags & 0x20 != 0 && flags & 0x1f != 0;
    if !answers || id != ID || length > 4096 {
        return Reading::Foreign;
    }
    if bytes.len() < 16 + length as usize {
        return Reading::Partial;
    }
    let shown = if status == OK { "heartbeat answered".to_owned() } else { format!("heartbeat answered with status {status}") };
    Reading::Is(Found { service: "dubbo".into(), product: Some("Apache Dubbo".into()), shown: Some(shown), ..Found::default() })
}
