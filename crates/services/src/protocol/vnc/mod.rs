//! VNC: the twelve bytes that a server says unasked, then, for our own twelve, the kinds of sign-in that it offers. Nothing
//! is chosen among them, so nobody is shown a screen and nobody else is disconnected.
//!
//! Source: RFC 6143 sections 7.1.1 to 7.1.3; the registry of security types in the RFB community's rfbproto. That a server
//! offers `None` is a finding, and left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "rfb-greeting", request: None, unasked: true, read };

/// What we say: the version that all newer ones fall back to.
const OURS: &[u8] = b"RFB 003.008\n";

/// Before this minor version of 3 the server chooses, in four bytes.
const LISTS_SINCE: u32 = 7;

const NAMES: [(u8, &str); 17] = [
    (1, "None"),
    (2, "VNC"),
    (5, "RA2"),
    (6, "RA2ne"),
    (13, "RA256"),
    (16, "Tight"),
    (17, "Ultra"),
    (18, "TLS"),
    (19, "VeNCrypt"),
    (20, "SASL"),
    (21, "MD5"),
    (22, "xvp"),
    (30, "Apple"),
    (33, "Apple-Kerberos"),
    (35, "Apple-SRP"),
    (113, "MS-Logon-II"),
    (129, "Unix"),
];

fn read(bytes: &[u8]) -> Reading {
    let pattern = b"RFB 000.000\n";
    let fits = |(&b, &p): (&u8, &u8)| if p == b'0' { b.is_ascii_digit() } else { b == p };
    if bytes.is_empty() || !bytes.iter().zip(pattern).all(fits) {
        return Reading::Foreign;
    }
    let Some(rest) = bytes.get(pattern.len()..) else { return Reading::Partial };
    let number =
        |at: std::ops::Range<usize>| std::str::from_utf8(&bytes[at]).ok().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let (major, minor) = (number(4..7), number(8..11));
    if !(3..=5).contains(&major) {
        return Reading::Foreign;
    }
    let product = match (major, minor) {
        (3, 889) => Some("Apple Remote Desktop"),
        // Only RealVNC has protocols of these numbers.
        (4 | 5, _) => Some("RealVNC"),
        _ => None,
    };
    let mut found = Found { service: "vnc".into(), product: product.map(Into::into), ..Found::default() };
    let greeting = format!("RFB {major:03}.{minor:03}");
    if rest.is_empty() {
        // Older ones want no more than they have.
        found.next = Some(if (major, minor) < (3, 8) { bytes.to_vec() } else { OURS.to_vec() });
        found.shown = Some(greeting);
        return Reading::Is(found);
    }
    // Servers refuse in the oldest form when they refuse before they have heard us.
    let listed = if (major, minor) >= (3, LISTS_SINCE) { list(rest) } else { chosen(rest) };
    match listed {
        Err(true) => Reading::Partial,
        Err(false) => Reading::Foreign,
        Ok(Security::Refused(reason)) => {
            found.refuses = true;
            found.shown = Some(format!("{greeting}, refused: {reason}"));
            Reading::Is(found)
        }
        Ok(Security::Types(types)) => {
            let names: Vec<String> = types
                .iter()
                .map(|t| NAMES.iter().find(|(n, _)| n == t).map_or(t.to_string(), |(_, name)| (*name).to_owned()))
                .collect();
            found.shown = Some(format!("{greeting}, security={}", names.join(",")));
            Reading::Is(found)
        }
    }
}

enum Security {
    Types(Vec<u8>),
    Refused(String),
}

/// A count and so many types; or none, and the reason. `Err(true)` when more is needed.
fn list(bytes: &[u8]) -> Result<Security, bool> {
    let &count = bytes.first().ok_or(true)?;
    if count == 0 {
        return reason(&bytes[1..]);
    }
    let types = bytes.get(1..1 + usize::from(count)).ok_or(true)?;
    if types.contains(&0) || bytes.len() > 1 + types.len() {
        return Err(false);
    }
    Ok(Security::Types(types.to_vec()))
}

/// One type in four bytes, the challenge of VNC's own behind it; or zero, and the reason.
fn chosen(bytes: &[u8]) -> Result<Security, bool> {
    match be::<4>(bytes, 0).ok_or(true)? {
        0 => reason(&bytes[4..]),
        kind @ 1..=2 => Ok(Security::Types(vec![kind as u8])),
        _ => Err(false),
    }
}

/// A length and a text.
fn reason(bytes: &[u8]) -> Result<Security, bool> {
    let length = be::<4>(bytes, 0).ok_or(true)?;
    if !(1..=1024).contains(&length) {
        return Err(false);
    }
    let text = bytes.get(4..4 + length as usize).ok_or(true)?;
    Ok(Security::Refused(tidy(&String::from_utf8_lossy(text), 120)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Option<String> {
        match read(bytes) {
            Reading::Is(found) => found.shown,
            _ => None,
        }
    }

    #[test]
    fn kinds_of_sign_in_are_read_as_the_version_writes_them() {
        for (bytes, expected) in [
            (&b"RFB 003.008\n"[..], Some("RFB 003.008")),
            (b"RFB 003.008\n\x01\x01", Some("RFB 003.008, security=None")),
            (b"RFB 003.008\n\x02\x13\x02", Some("RFB 003.008, security=VeNCrypt,VNC")),
            (b"RFB 003.889\n\x03\x1e\x21\x23", Some("RFB 003.889, security=Apple,Apple-Kerberos,Apple-SRP")),
            (b"RFB 003.003\n\0\0\0\x02abcdefghijklmnop", Some("RFB 003.003, security=VNC")),
            (
                b"RFB 003.003\n\0\0\0\0\0\0\0\x1aToo many security failures",
                Some("RFB 003.003, refused: Too many security failures"),
            ),
            (b"RFB 003.008\n\0\0\0\0\x04busy", Some("RFB 003.008, refused: busy")),
            (b"RFB 003.008\n\x01\x01x", None),
            (b"RFB 009.000\n", None),
            (b"RFB 003.8\n", None),
        ] {
            assert_eq!(shown(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_is_partial_until_all_types_are_there() {
        let whole = b"RFB 003.008\n\x02\x13\x02";
        for end in 1..whole.len() {
            let reading = read(&whole[..end]);
            assert!(reading == Reading::Partial || end == 12 && matches!(reading, Reading::Is(_)), "{end}: {reading:?}");
        }
    }
}
