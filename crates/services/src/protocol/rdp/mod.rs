//! Remote Desktop: an X.224 connection request, and the confirmation that answers it. No session is begun.
//!
//! Source: MS-RDPBCGR 2.2.1.1 and 2.2.1.2, ITU-T X.224. Which security the server demands beyond this is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, le};
use model::service::Confidence;

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
    let (mut product, mut confidence) = (None, None);
    let security = match (bytes.get(11), bytes.get(12), le::<2>(bytes, 13), le::<4>(bytes, 15)) {
        (None, ..) => "security=none-negotiated".to_owned(),
        // Negotiation response (2) with its flags and the protocol chosen; both kinds say that they are 8 long.
        (Some(2), Some(&flags), Some(8), Some(chosen)) => {
            let name = match chosen {
                0 => "standard",
                1 => "TLS",
                2 => "CredSSP",
                4 => "RDSTLS",
                8 => "CredSSP-early-authorisation",
                16 => "RDS-AAD",
                _ => return Reading::Foreign,
            };
            // xrdp has no CredSSP and always says that it takes extended client data and nothing else. Windows that is
            // offered CredSSP takes it, or is too old to set any flag.
            if (flags, chosen) == (1, 1) {
                (product, confidence) = (Some("xrdp".to_owned()), Some(Confidence::SingleToken));
            }
            format!("security={name} flags={flags:#04x}")
        }
        // Or a failure (3) with its reason.
        (Some(3), _, Some(8), Some(reason @ 1..=6)) => {
            let why = match reason {
                1 => "TLS required",
                2 => "TLS not allowed",
                3 => "no certificate",
                4 => "inconsistent flags",
                5 => "CredSSP required",
                _ => "TLS with a user's certificate required",
            };
            format!("negotiation failure: {why}")
        }
        _ => return Reading::Foreign,
    };
    let shown = Some(format!("X.224 connection confirm, {security}"));
    Reading::Is(Found { service: "rdp".into(), product, confidence, shown, ..Found::default() })
}
