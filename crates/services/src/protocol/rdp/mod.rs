//! Remote Desktop: an X.224 connection request, and the confirmation that answers it. No session is begun.
//!
//! Source: MS-RDPBCGR 2.2.1.1 and 2.2.1.2, ITU-T X.224. Which security the server demands beyond this is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, le};

pub(crate) const CODEC: Codec = Codec { name: "rdp-x224", request: Some(request), unasked: false, read };

fn request() -> Vec<u8> {
    // TPKT (version 3, 19 bytes), connection request without references, negotiation request for TLS and CredSSP.
    vec![3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0]
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() || bytes[0] != 3 || bytes.get(1).is_some_and(|&b| b != 0) {
        return Reading::Foreign;
    }
    let Some(length) = be::<2>(bytes, 2) else {
        return Reading::Partial;
    };
    if !matches!(length, 11 | 19) || bytes.len() > length as usize {
        return Reading::Foreign;
    }
    if bytes.len() < length as usize {
        return Reading::Partial;
    }
    // Length indicator, connection confirm with credit 0, our reference (0) echoed as the destination, class 0.
    let head = u64::from(bytes[4]) == length - 5 && bytes[5] == 0xd0 && bytes[6..8] == [0, 0] && bytes[10] == 0;
    if !head {
        return Reading::Foreign;
    }
    let security = match bytes.get(11) {
        None => "no negotiation".to_owned(),
        // Negotiation response (2) with the protocol chosen, or failure (3) with its reason; both say they are 8 long.
        Some(2) if le::<2>(bytes, 13) == Some(8) => match le::<4>(bytes, 15) {
            Some(0) => "standard RDP security".into(),
            Some(1) => "TLS".into(),
            Some(2) => "CredSSP".into(),
            Some(8) => "CredSSP with early authorisation".into(),
            _ => return Reading::Foreign,
        },
        Some(3) if le::<2>(bytes, 13) == Some(8) => match le::<4>(bytes, 15) {
            Some(reason @ 1..=6) => format!("negotiation failure {reason}"),
            _ => return Reading::Foreign,
        },
        _ => return Reading::Foreign,
    };
    Reading::Is(Found { service: "rdp".into(), shown: Some(format!("X.224 connection confirm, {security}")), ..Found::default() })
}
