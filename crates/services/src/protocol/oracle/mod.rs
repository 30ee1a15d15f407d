//! Oracle's listener: a CONNECT that names no database and asks for the version. Old listeners answer with it, newer ones
//! refuse and state their version number in the refusal.
//!
//! Source: the layout of TNS packets as Wireshark's dissector and Oracle's net services messages (TNS-01189, TNS-12504)
//! document it. No service is named, so no log-in is begun. Whether an old listener hands out its status is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "oracle-connect", request: Some(request), unasked: false, read };

/// Where the connect data begin.
const DATA: usize = 58;

const ACCEPT: u8 = 2;
const REFUSE: u8 = 4;
const REDIRECT: u8 = 5;
const PAYLOAD: u8 = 6;
const RESEND: u8 = 11;

fn request() -> Vec<u8> {
    let data = b"(CONNECT_DATA=(COMMAND=version))";
    let mut bytes = Vec::new();
    let length = DATA + data.len();
    // Length, no checksum, CONNECT, reserved, no checksum of the head.
    for field in [length as u16, 0, 0x0100, 0] {
        bytes.extend(field.to_be_bytes());
    }
    // Version 310 (8i), compatible with 300; options; sizes of session and transport data; characteristics; no
    // turn-around; one in our byte order; where the data are.
    for field in [310u16, 300, 0, 2048, 32_767, 0x7f08, 0, 1, data.len() as u16, DATA as u16] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.resize(DATA, 0);
    bytes.extend(data);
    bytes
}

/// One packet: its type, and what is behind its head; and the rest. `Err(true)` when more is needed.
fn packet(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), bool> {
    let Some(length) = be::<2>(bytes, 0) else { return Err(true) };
    let head = [be::<2>(bytes, 2), be::<1>(bytes, 5), be::<2>(bytes, 6)];
    if !(8..=8192).contains(&length) || head.into_iter().flatten().any(|field| field != 0) {
        return Err(false);
    }
    let &kind = bytes.get(4).ok_or(true)?;
    if !matches!(kind, ACCEPT | REFUSE | REDIRECT | PAYLOAD | RESEND) {
        return Err(false);
    }
    let body = bytes.get(8..length as usize).ok_or(true)?;
    Ok((kind, body, &bytes[length as usize..]))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() {
        return Reading::Foreign;
    }
    let (kind, body, rest) = match packet(bytes) {
        Ok(parts) => parts,
        Err(true) => return Reading::Partial,
        Err(false) => return Reading::Foreign,
    };
    let found = |version: Option<String>, shown: String| {
        Reading::Is(Found {
            service: "oracle-tns".into(),
            product: Some("Oracle TNS Listener".into()),
            version,
            shown: Some(shown),
            ..Found::default()
        })
    };
    match kind {
        REFUSE => {
            let Some(text) = be::<2>(body, 2).and_then(|n| body.get(4..).filter(|t| t.len() as u64 == n)) else {
                return Reading::Foreign;
            };
            let text = String::from_utf8_lossy(text);
            if !rest.is_empty() || !text.contains("(DESCRIPTION=") || !text.contains("(ERR=") {
                return Reading::Foreign;
            }
            let number = between(&text, "(VSNNUM=", ")").and_then(|n| n.parse().ok());
            let error = between(&text, "(ERR=", ")").unwrap_or_default();
            found(number.and_then(version), tidy(&format!("refused, error {error}, VSNNUM={}", number.unwrap_or(0)), 100))
        }
        REDIRECT => {
            let text = be::<2>(body, 0).and_then(|n| body.get(2..).filter(|t| t.len() as u64 == n));
            match text {
                Some(text) if rest.is_empty() && text.windows(9).any(|w| w == b"(ADDRESS=") => found(None, "redirects".into()),
                _ => Reading::Foreign,
            }
        }
        // Asked again, the listener answers: sent behind, the answer is read behind.
        RESEND if body.is_empty() && rest.is_empty() => match found(None, "wants the request again".into()) {
            Reading::Is(found) => Reading::Is(Found { next: Some(request()), ..found }),
            other => other,
        },
        RESEND if body.is_empty() && rest.get(4) != Some(&RESEND) => read(rest),
        // Accepted: what follows is the answer to the command.
        ACCEPT if body.len() >= 16 => match packet(rest) {
            Err(true) => Reading::Partial,
            Ok((PAYLOAD, answer, _)) => {
                let text = String::from_utf8_lossy(answer);
                match between(&text, "TNSLSNR for ", "\n").and_then(|line| Some(line.split_once(": Version ")?.1.to_owned())) {
                    Some(stated) => {
                        let number: String = stated.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                        found(Some(number).filter(|n| n.contains('.')), tidy(&format!("TNSLSNR Version {stated}"), 100))
                    }
                    None => Reading::Foreign,
                }
            }
            _ => Reading::Foreign,
        },
        _ => Reading::Foreign,
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after).map_or(rest, |(part, _)| part))
}

/// The five parts of a version number: eight, four, eight, four and eight bits; from release 18 on eight, eight, four,
/// eight and four.
fn version(number: u32) -> Option<String> {
    let major = number >> 24;
    let rest = if major >= 18 {
        [number >> 16 & 0xff, number >> 12 & 0xf, number >> 4 & 0xff, number & 0xf]
    } else {
        [number >> 20 & 0xf, number >> 12 & 0xff, number >> 8 & 0xf, number & 0xff]
    };
    (major > 0).then(|| format!("{major}.{}.{}.{}.{}", rest[0], rest[1], rest[2], rest[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet_of(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() + 8) as u16;
        [&length.to_be_bytes()[..], &[0, 0, kind, 0, 0, 0], body].concat()
    }

    #[test]
    fn the_request_states_its_own_lengths() {
        let bytes = request();
        assert_eq!(be::<2>(&bytes, 0), Some(bytes.len() as u64));
        assert_eq!((be::<2>(&bytes, 24), be::<2>(&bytes, 26)), (Some((bytes.len() - DATA) as u64), Some(DATA as u64)));
        assert_eq!(read(&bytes), Reading::Foreign, "a CONNECT is no answer");
    }

    #[test]
    fn version_numbers_come_apart_as_their_release_wrote_them() {
        for (number, expected) in [
            (186_647_552, "11.2.0.4.0"),
            (186_646_784, "11.2.0.1.0"),
            (202_375_680, "12.1.0.2.0"),
            (203_424_000, "12.2.0.1.0"),
            (169_870_080, "10.2.0.3.0"),
            (153_093_632, "9.2.0.6.0"),
            (318_767_104, "19.0.0.0.0"),
            (302_186_496, "18.3.0.0.0"),
            (352_321_536, "21.0.0.0.0"),
        ] {
            assert_eq!(version(number).as_deref(), Some(expected), "{number}");
        }
        assert_eq!(version(0), None);
    }

    #[test]
    fn a_listener_that_wants_the_request_again_gets_it_once() {
        let again = packet_of(RESEND, &[]);
        let Reading::Is(found) = read(&again) else { panic!("not recognised") };
        assert_eq!(found.next, Some(request()));
        let text = b"(DESCRIPTION=(TMP=)(VSNNUM=186647552)(ERR=1189))";
        let refusal = packet_of(REFUSE, &[&[0x22, 0][..], &(text.len() as u16).to_be_bytes(), text].concat());
        let Reading::Is(found) = read(&[again.clone(), refusal].concat()) else { panic!("not recognised") };
        assert_eq!((found.version.as_deref(), found.next), (Some("11.2.0.4.0"), None));
        assert_eq!(read(&[again.clone(), again].concat()), Reading::Foreign);
    }

    #[test]
    fn an_old_listener_tells_in_words() {
        let accepted = packet_of(ACCEPT, &[0x01, 0x36, 0, 0, 8, 0, 0x7f, 0xff, 1, 0, 0, 0, 0, 24, 0, 0]);
        let said = packet_of(PAYLOAD, b"\0\0TNSLSNR for 32-bit Windows: Version 9.2.0.1.0 - Production\n\tTNS for 32-bit Windows: Version 9.2.0.1.0 - Production\n");
        let whole = [accepted, said].concat();
        let Reading::Is(found) = read(&whole) else { panic!("not recognised") };
        assert_eq!(found.version.as_deref(), Some("9.2.0.1.0"));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
    }
}
