//! NATS: the `INFO` line with its JSON that the server sends unasked.
//!
//! Source: NATS client protocol. Of the JSON only harmless fields are kept; the rest (client ip, cluster, nonce) is dropped.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "nats-info", request: None, unasked: true, read };

fn read(bytes: &[u8]) -> Reading {
    let head = b"INFO {";
    if bytes.len() < head.len() {
        return if !bytes.is_empty() && head.starts_with(bytes) { Reading::Partial } else { Reading::Foreign };
    }
    if !bytes.starts_with(head) {
        return Reading::Foreign;
    }
    let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") else {
        return Reading::Partial;
    };
    let Ok(info) = serde_json::from_slice::<serde_json::Value>(&bytes[5..end]) else {
        return Reading::Foreign;
    };
    // Two fields that every server has sent since the protocol exists.
    let (Some(version), Some(max_payload)) = (info["version"].as_str(), info["max_payload"].as_u64()) else {
        return Reading::Foreign;
    };
    let version = tidy(version, 64);
    let needs = |field: &str| info[field].as_bool().unwrap_or(false);
    Reading::Is(Found {
        service: "nats".into(),
        product: Some("NATS".into()),
        shown: Some(format!(
            "INFO version={version} max_payload={max_payload} auth_required={} tls_required={}",
            needs("auth_required"),
            needs("tls_required")
        )),
        version: Some(version).filter(|v| v.starts_with(|c: char| c.is_ascii_digit())),
        ..Found::default()
    })
}
