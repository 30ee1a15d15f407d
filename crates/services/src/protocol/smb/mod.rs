//! SMB: an SMB2 NEGOTIATE, which chooses a dialect, and the first of three steps of NTLM, whose answer names the host and the
//! build of its system. The second step is never taken: nobody signs in, and no log shows a failure.
//!
//! Source: MS-SMB2 2.2.1.2 (header), 2.2.3 to 2.2.6 (NEGOTIATE, SESSION_SETUP); MS-NLMP 2.2.1 (NEGOTIATE, CHALLENGE); RFC 4178
//! (SPNEGO). Whether SMB1 is still spoken, and what a null session may list, is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "smb2-negotiate", request: Some(request), unasked: false, read };

/// 2.0.2 to 3.0.2. 3.1.1 would need negotiate contexts and tell no more.
const DIALECTS: [u16; 4] = [0x0202, 0x0210, 0x0300, 0x0302];

const HEADER: usize = 64;
const NEGOTIATE: u16 = 0;
const SESSION_SETUP: u16 = 1;
const MORE_PROCESSING: u64 = 0xc000_0016;

/// NegoEx (1.3.6.1.4.1.311.2.2.30), which only Windows offers.
const NEGOEX: &[u8] = &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1e];

/// Builds that Windows has had, by major and minor version (MS-NLMP 2.2.2.10 names where they stand).
const WINDOWS: [(u64, u64, std::ops::RangeInclusive<u64>); 6] = [
    (5, 1, 2600..=2600),
    (5, 2, 3790..=3790),
    (6, 0, 6000..=6003),
    (6, 1, 7600..=7601),
    (6, 2, 9200..=9200),
    (6, 3, 9600..=9600),
];

fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap_or(0).to_be_bytes()[..], message].concat()
}

/// A header: size, one credit, command, message id; no tree, no session, no signature.
fn header(command: u16, id: u64) -> Vec<u8> {
    let mut bytes = b"\xfeSMB".to_vec();
    bytes.extend(64u16.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(command.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.resize(24, 0);
    bytes.extend(id.to_le_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

fn request() -> Vec<u8> {
    let mut message = header(NEGOTIATE, 0);
    message.extend(36u16.to_le_bytes());
    message.extend((DIALECTS.len() as u16).to_le_bytes());
    // Signing enabled, reserved, no capabilities, no client id, no start time.
    message.extend(1u16.to_le_bytes());
    message.resize(HEADER + 36, 0);
    for dialect in DIALECTS {
        message.extend(dialect.to_le_bytes());
    }
    framed(&message)
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    // All of ours are shorter than 128 bytes; the test holds it.
    [&[tag, u8::try_from(content.len()).unwrap_or(0x7f)], content].concat()
}

/// Session setup with an NTLM NEGOTIATE message inside SPNEGO.
fn second() -> Vec<u8> {
    let mut ntlm = b"NTLMSSP\0\x01\0\0\0".to_vec();
    // Unicode, target wanted, NTLM, signing where there is a session, extended security, version, 128 and 56 bits; no
    // domain, no workstation, no version of ours.
    ntlm.extend(0xa208_8207u32.to_le_bytes());
    ntlm.resize(32, 0);
    ntlm.extend([0, 0, 0, 0, 0, 0, 0, 15]);
    let mechanism = der(0x06, &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a]);
    let token = der(0x30, &[der(0xa0, &der(0x30, &mechanism)), der(0xa2, &der(0x04, &ntlm))].concat());
    let blob = der(0x60, &[&[0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02][..], &der(0xa0, &token)].concat());
    let mut message = header(SESSION_SETUP, 1);
    message.extend(25u16.to_le_bytes());
    // No flags, signing enabled, no capabilities, no channel.
    message.extend([0, 1]);
    message.extend([0; 8]);
    message.extend((HEADER as u16 + 24).to_le_bytes());
    message.extend((blob.len() as u16).to_le_bytes());
    message.extend([0; 8]);
    message.extend(blob);
    framed(&message)
}

/// One message of the server to a command and id of ours, and the bytes after it. `Err(true)` when more is needed.
fn message(bytes: &[u8], command: u16, id: u64) -> Result<(&[u8], &[u8]), bool> {
    // A session message (type 0) with its length; an answer with its security blob stays far below 16 KiB.
    let Some(length) = be::<4>(bytes, 0) else { return Err(bytes.first().is_none_or(|&b| b == 0)) };
    if !(HEADER as u64..16_384).contains(&length) {
        return Err(false);
    }
    let magic = b"\xfeSMB\x40\0";
    let seen = &bytes[4..];
    if !seen.starts_with(&magic[..seen.len().min(magic.len())]) {
        return Err(false);
    }
    let message = seen.get(..length as usize).ok_or(true)?;
    let from_server = le::<4>(message, 16).is_some_and(|flags| flags & 1 == 1);
    if le::<2>(message, 12) != Some(u64::from(command)) || !from_server || le::<8>(message, 24) != Some(id) {
        return Err(false);
    }
    Ok((message, &seen[length as usize..]))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() {
        return Reading::Foreign;
    }
    let (first, rest) = match message(bytes, NEGOTIATE, 0) {
        Ok(parts) => parts,
        Err(true) => return Reading::Partial,
        Err(false) => return Reading::Foreign,
    };
    let status = le::<4>(first, 8).unwrap_or(0);
    let mut found = Found { service: "smb".into(), ..Found::default() };
    let mut shown = match (le::<2>(first, HEADER), le::<2>(first, HEADER + 4)) {
        (Some(65), Some(dialect)) if status == 0 && DIALECTS.iter().any(|&d| u64::from(d) == dialect) => {
            let signing = if le::<2>(first, HEADER + 2).is_some_and(|mode| mode & 2 == 2) { "required" } else { "not required" };
            if rest.is_empty() {
                found.next = Some(second());
            }
            format!("SMB2 dialect={}.{}.{} signing={signing}", dialect >> 8, dialect >> 4 & 15, dialect & 15)
        }
        // An error in the same frame, for instance "not supported": still SMB2.
        (Some(9), _) if status != 0 => format!("SMB2 error {status:#010x}"),
        _ => return Reading::Foreign,
    };
    if !rest.is_empty() {
        match message(rest, SESSION_SETUP, 1) {
            Err(true) => return Reading::Partial,
            // What answers the first question is SMB, whatever it says to the second.
            Err(false) => {}
            Ok((setup, _)) if le::<4>(setup, 8) == Some(MORE_PROCESSING) => {
                if let Some(said) = challenge(setup) {
                    (found.product, found.version) = said.product(first);
                    shown.push_str(&said.shown());
                }
            }
            Ok(_) => {}
        }
    }
    found.shown = Some(shown);
    Reading::Is(found)
}

/// What an NTLM challenge says of the host.
struct Challenge {
    system: Option<(u64, u64, u64)>,
    names: Vec<(&'static str, String)>,
}

fn challenge(message: &[u8]) -> Option<Challenge> {
    let at = message.windows(12).position(|w| w == b"NTLMSSP\0\x02\0\0\0")?;
    let ntlm = &message[at..];
    let flags = le::<4>(ntlm, 20)?;
    let system = match (flags & 0x0200_0000, ntlm.get(48..56)) {
        (0x0200_0000, Some(v)) if v[7] == 15 => Some((u64::from(v[0]), u64::from(v[1]), le::<2>(v, 2)?)),
        _ => None,
    };
    let (length, offset) = (le::<2>(ntlm, 40)? as usize, le::<4>(ntlm, 44)? as usize);
    let mut pairs = ntlm.get(offset..offset.checked_add(length)?)?;
    let mut names = Vec::new();
    while let (Some(id), Some(size)) = (le::<2>(pairs, 0), le::<2>(pairs, 2)) {
        let Some(value) = pairs.get(4..4 + size as usize) else { break };
        let units: Vec<u16> = value.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        let name = match id {
            0 => break,
            1 => Some("host"),
            2 => Some("domain"),
            3 => Some("dns-host"),
            4 => Some("dns-domain"),
            _ => None,
        };
        if let Some(name) = name {
            names.push((name, tidy(&String::from_utf16_lossy(&units), 64)));
        }
        pairs = &pairs[4 + size as usize..];
    }
    Some(Challenge { system, names })
}

impl Challenge {
    /// Whose it is, where the bytes prove it: a build that Windows has had together with NegoEx is Windows; Samba says that
    /// it is 6.1 with build 0, which Windows never was, and writes its name where others have a random identifier.
    fn product(&self, negotiate: &[u8]) -> (Option<String>, Option<String>) {
        let negoex = negotiate.windows(NEGOEX.len()).any(|w| w == NEGOEX);
        match self.system {
            Some((6, 1, 0)) if !negoex && named(negotiate.get(HEADER + 8..HEADER + 24).unwrap_or_default()) => {
                (Some("Samba".into()), None)
            }
            Some((major, minor, build)) if negoex => {
                let known = WINDOWS.iter().any(|(a, b, builds)| (*a, *b) == (major, minor) && builds.contains(&build));
                let ten = major == 10 && minor == 0 && build >= 10_240;
                if known || ten {
                    (Some("Microsoft Windows".into()), Some(format!("{major}.{minor}.{build}")))
                } else {
                    (None, None)
                }
            }
            _ => (None, None),
        }
    }

    fn shown(&self) -> String {
        let system = self.system.map(|(major, minor, build)| format!(" system={major}.{minor}.{build}")).unwrap_or_default();
        self.names.iter().fold(system, |text, (name, value)| format!("{text} {name}={value}"))
    }
}

/// Whether a server's identifier is a name in ASCII, padded with zeros.
fn named(identifier: &[u8]) -> bool {
    let end = identifier.iter().position(|&b| b == 0).unwrap_or(identifier.len());
    end > 0
        && identifier[..end].iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && identifier[end..].iter().all(|&b| b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_state_their_own_lengths() {
        let bytes = request();
        assert_eq!(bytes.len(), 4 + HEADER + 36 + 2 * DIALECTS.len());
        let setup = second();
        for bytes in [&bytes, &setup] {
            assert_eq!(be::<4>(bytes, 0), Some(bytes.len() as u64 - 4));
        }
        let blob = &setup[4 + HEADER + 24..];
        assert_eq!(
            (blob[0], usize::from(blob[1]), le::<2>(&setup, 4 + HEADER + 14)),
            (0x60, blob.len() - 2, Some(blob.len() as u64))
        );
        assert!(blob.len() < 128, "lengths of one byte each");
        assert_eq!(read(&bytes), Reading::Foreign, "our own request, echoed, is no server's");
    }

    #[test]
    fn only_a_build_with_negoex_is_windows_and_only_samba_is_build_zero() {
        let said = |system| Challenge { system: Some(system), names: Vec::new() };
        let windows = [&[0; 8][..], NEGOEX].concat();
        let name = [&[0; HEADER + 8][..], b"filer", &[0; 11]].concat();
        for (system, negotiate, expected) in [
            ((10, 0, 17_763), &windows[..], (Some("Microsoft Windows"), Some("10.0.17763"))),
            ((6, 1, 7601), &windows, (Some("Microsoft Windows"), Some("6.1.7601"))),
            ((6, 1, 7601), b"", (None, None)),
            ((6, 1, 0), &name, (Some("Samba"), None)),
            ((6, 1, 0), b"", (None, None)),
            ((6, 1, 0), &windows, (None, None)),
            ((10, 0, 1), &windows, (None, None)),
        ] {
            let (product, version) = said(system).product(negotiate);
            assert_eq!((product.as_deref(), version.as_deref()), expected, "{system:?}");
        }
    }
}
