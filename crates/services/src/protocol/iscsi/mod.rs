//! iSCSI: the first step of a log-in to a discovery session, which is not completed.
//!
//! Source: RFC 7143 sections 11.12 and 11.13. The security stage is begun without an account; asking for targets would come
//! after it, and is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "iscsi-login", request: Some(login), unasked: false, read };

/// Our task's tag, which the answer must carry.
const TAG: u32 = 0x7072_7401;
const LOGIN_RESPONSE: u8 = 0x23;
/// How long a PDU's head is.
const HEAD: usize = 48;

fn login() -> Vec<u8> {
    let text = b"InitiatorName=iqn.2001-04.example.portreeve\0SessionType=Discovery\0AuthMethod=None\0";
    // Immediate log-in; go on from security negotiation (0) to operational negotiation (1); versions 0 to 0.
    let mut bytes = vec![0x43, 0x81, 0, 0, 0];
    bytes.extend(&(text.len() as u32).to_be_bytes()[1..]);
    // An initiator's session id of the random kind, no session yet, the tag.
    bytes.extend([0x80, 0x70, 0x72, 0x74, 0, 0, 0, 0]);
    bytes.extend(TAG.to_be_bytes());
    bytes.resize(HEAD, 0);
    bytes.extend(text);
    bytes.resize(HEAD + text.len().div_ceil(4) * 4, 0);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    match bytes.first() {
        Some(&LOGIN_RESPONSE) => {}
        _ => return Reading::Foreign,
    }
    let Some(head) = bytes.get(..HEAD) else { return Reading::Partial };
    let length = be::<3>(head, 5).unwrap_or(0) as usize;
    let (class, detail) = (head[36], head[37]);
    if be::<4>(head, 16) != Some(u64::from(TAG)) || head[4] != 0 || length > 8_192 || class > 3 {
        return Reading::Foreign;
    }
    let Some(text) = bytes.get(HEAD..HEAD + length.div_ceil(4) * 4) else { return Reading::Partial };
    if bytes.len() != HEAD + text.len() {
        return Reading::Foreign;
    }
    let keys: Vec<String> = text
        .split(|&b| b == 0)
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('=').map(|(key, _)| tidy(key, 32)))
        .collect();
    Reading::Is(Found {
        service: "iscsi".into(),
        shown: Some(tidy(&format!("log-in response, status {class}.{detail}, keys {}", keys.join(" ")), 200)),
        ..Found::default()
    })
}
