//! SMB: an SMB2 NEGOTIATE, which chooses a dialect and begins no session.
//!
//! Source: MS-SMB2 2.2.1.2 (header), 2.2.3 and 2.2.4 (NEGOTIATE). Whether SMB1 is still spoken, and what a null session may
//! list, is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, le};

pub(crate) const CODEC: Codec = Codec { name: "smb2-negotiate", request: Some(request), unasked: false, read };

/// 2.0.2 to 3.0.2. 3.1.1 would need negotiate contexts and tell no more.
const DIALECTS: [u16; 4] = [0x0202, 0x0210, 0x0300, 0x0302];

const HEADER: usize = 64;

fn request() -> Vec<u8> {
    let mut message = b"\xfeSMB".to_vec();
    message.extend(64u16.to_le_bytes());
    // Credit charge, status, command NEGOTIATE, one credit, flags, next command, message id, reserved, tree, session, no
    // signature: all zero but the credit.
    message.extend([0; 8]);
    message.extend(1u16.to_le_bytes());
    message.resize(HEADER, 0);
    message.extend(36u16.to_le_bytes());
    message.extend((DIALECTS.len() as u16).to_le_bytes());
    // Signing enabled, reserved, no capabilities, no client id, no start time.
    message.extend(1u16.to_le_bytes());
    message.resize(HEADER + 36, 0);
    for dialect in DIALECTS {
        message.extend(dialect.to_le_bytes());
    }
    let mut bytes = u32::try_from(message.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(message);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    // A session message (type 0) with its length; a NEGOTIATE response with its security blob stays far below 16 KiB.
    let Some(length) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    if !(HEADER as u64..16_384).contains(&length) {
        return Reading::Foreign;
    }
    let magic = b"\xfeSMB\x40\0";
    let seen = &bytes[4..];
    if seen.len() < magic.len() {
        return if magic.starts_with(seen) { Reading::Partial } else { Reading::Foreign };
    }
    if !seen.starts_with(magic) {
        return Reading::Foreign;
    }
    let Some(message) = seen.get(..length as usize) else { return Reading::Partial };
    let command = le::<2>(message, 12);
    let from_server = le::<4>(message, 16).is_some_and(|flags| flags & 1 == 1);
    if command != Some(0) || !from_server || le::<8>(message, 24) != Some(0) {
        return Reading::Foreign;
    }
    let status = le::<4>(message, 8).unwrap_or(0);
    let shown = match (le::<2>(message, HEADER), le::<2>(message, HEADER + 4)) {
        (Some(65), Some(dialect)) if status == 0 && DIALECTS.iter().any(|&d| u64::from(d) == dialect) => {
            let signing =
                if le::<2>(message, HEADER + 2).is_some_and(|mode| mode & 2 == 2) { "required" } else { "not required" };
            format!("SMB2 dialect {}.{}.{}, signing {signing}", dialect >> 8, dialect >> 4 & 15, dialect & 15)
        }
        // An error in the same frame, for instance "not supported": still SMB2.
        (Some(9), _) if status != 0 => format!("SMB2 error {status:#010x}"),
        _ => return Reading::Foreign,
    };
    Reading::Is(Found { service: "smb".into(), shown: Some(shown), ..Found::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_states_its_own_lengths() {
        let bytes = request();
        assert_eq!(be::<4>(&bytes, 0), Some(bytes.len() as u64 - 4));
        assert_eq!(bytes.len(), 4 + HEADER + 36 + 2 * DIALECTS.len());
        assert_eq!(read(&bytes), Reading::Foreign, "our own request, echoed, is no server's");
    }
}
