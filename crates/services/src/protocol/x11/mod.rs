//! X11: the connection set-up, which the server grants, refuses, or asks proof for; each proves it.
//!
//! Source: X Window System Protocol, section 8 "Connection Setup". No request follows a granted one, so no window is opened
//! and none is looked at. That it was granted is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "x11-setup", request: Some(setup), unasked: false, read };

/// Little-endian, version 11.0, no authorisation.
fn setup() -> Vec<u8> {
    b"l\0\x0b\0\0\0\0\0\0\0\0\0".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    let Some(&kind) = bytes.first() else { return Reading::Foreign };
    if kind > 2 {
        return Reading::Foreign;
    }
    // Version 11 of the protocol, and how many words follow these eight bytes.
    match le::<2>(bytes, 2) {
        None => return Reading::Partial,
        Some(11) => {}
        // "Further authentication" has nothing there but its length.
        Some(_) if kind == 2 => {}
        Some(_) => return Reading::Foreign,
    }
    let Some(words) = le::<2>(bytes, 6) else { return Reading::Partial };
    let Some(body) = bytes.get(8..8 + 4 * words as usize) else { return Reading::Partial };
    if bytes.len() != 8 + body.len() || body.is_empty() {
        return Reading::Foreign;
    }
    match kind {
        1 => granted(body),
        0 => refused(body, usize::from(bytes[1])),
        _ => Some(refusal("authentication wanted")).filter(|_| body.iter().any(u8::is_ascii_graphic)),
    }
    .map_or(Reading::Foreign, Reading::Is)
}

fn refusal(why: &str) -> Found {
    Found { service: "x11".into(), shown: Some(format!("set-up refused: {why}")), ..Found::default() }
}

fn refused(body: &[u8], length: usize) -> Option<Found> {
    // The reason is padded to whole words, and text.
    let reason = std::str::from_utf8(body.get(..length)?).ok().filter(|r| !r.is_empty())?;
    (length.div_ceil(4) * 4 == body.len()).then(|| refusal(&tidy(reason, 120)))
}

fn granted(body: &[u8]) -> Option<Found> {
    let release = le::<4>(body, 0)?;
    let (vendor_length, screens, formats) = (le::<2>(body, 16)? as usize, *body.get(20)?, usize::from(*body.get(21)?));
    let vendor = std::str::from_utf8(body.get(32..32 + vendor_length)?).ok()?;
    // At least one screen of forty bytes behind the vendor and the pixel formats.
    let least = 32 + vendor_length.div_ceil(4) * 4 + 8 * formats + 40 * usize::from(screens);
    if screens == 0 || vendor_length == 0 || body.len() < least {
        return None;
    }
    let xorg = vendor == "The X.Org Foundation";
    Some(Found {
        service: "x11".into(),
        product: Some(if xorg { "X.Org X server".into() } else { tidy(vendor, 64) }),
        version: if xorg { xorg_version(release) } else { None },
        shown: Some(format!("set-up granted, vendor {}, release {release}", tidy(vendor, 64))),
        ..Found::default()
    })
}

/// The release is one number: 11804000 is 1.18.4. The server dropped the leading 1 when it came to 21.
fn xorg_version(release: u64) -> Option<String> {
    let [major, minor, patch, snap] = [release / 10_000_000, release / 100_000 % 100, release / 1_000 % 100, release % 1_000];
    match (major, minor) {
        (1, 21..) => Some(format!("{minor}.{patch}.{snap}")),
        (1, _) if snap > 0 => Some(format!("1.{minor}.{patch}.{snap}")),
        (1, _) => Some(format!("1.{minor}.{patch}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_number_is_a_version() {
        for (release, version) in
            [(12_101_007, Some("21.1.7")), (12_011_000, Some("1.20.11")), (11_804_000, Some("1.18.4")), (60_900_000, None)]
        {
            assert_eq!(xorg_version(release).as_deref(), version, "{release}");
        }
    }
}
