//! DRDA, the protocol of Db2 and Derby: exchange of server attributes, the first message of every client and no log-in.
//!
//! Source: The Open Group, DRDA volume 3 (DDM): DSS, EXCSAT, EXCSATRD. Names are in EBCDIC. Whether the database
//! wants a password is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

/// Derby answers any other bytes with a complaint in the same form and hangs up; the rule's `after` leads from it to here.
pub(crate) const CODEC: Codec = Codec { name: "drda-excsat", request: Some(request), unasked: false, read };

const EXCSAT: u16 = 0x1041;
const EXCSATRD: u64 = 0x1443;
const EXTNAM: u16 = 0x115e;
const MGRLVLLS: u16 = 0x1404;
const SRVCLSNM: u16 = 0x1147;
const SRVNAM: u16 = 0x116d;
const SRVRLSLV: u16 = 0x115a;

/// "portreeve" in EBCDIC.
const US: &[u8] = &[0x97, 0x96, 0x99, 0xa3, 0x99, 0x85, 0x85, 0xa5, 0x85];

/// A DDM object: length with itself, code point, content.
fn object(code: u16, content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16 + 4).to_be_bytes()[..], &code.to_be_bytes(), content].concat()
}

fn request() -> Vec<u8> {
    // Managers and levels: agent 7, SQL application 7, relational database 7, security 7, communications 5.
    let levels: Vec<u8> =
        [0x1403u16, 7, 0x2407, 7, 0x240f, 7, 0x1440, 7, 0x1474, 5].iter().flat_map(|n| n.to_be_bytes()).collect();
    let class = object(SRVCLSNM, US);
    let attributes = [object(EXTNAM, US), object(MGRLVLLS, &levels), class, object(SRVNAM, US), object(SRVRLSLV, US)].concat();
    let body = object(EXCSAT, &attributes);
    // Length, magic, request without a chain, correlation id: servers that count by themselves begin at one.
    [&(body.len() as u16 + 6).to_be_bytes()[..], &[0xd0, 0x01, 0, 1], &body].concat()
}

/// What EBCDIC (code page 500) writes so, as far as names use it.
fn ascii(bytes: &[u8]) -> String {
    let one = |&b: &u8| match b {
        0x81..=0x89 => b'a' + (b - 0x81),
        0x91..=0x99 => b'j' + (b - 0x91),
        0xa2..=0xa9 => b's' + (b - 0xa2),
        0xc1..=0xc9 => b'A' + (b - 0xc1),
        0xd1..=0xd9 => b'J' + (b - 0xd1),
        0xe2..=0xe9 => b'S' + (b - 0xe2),
        0xf0..=0xf9 => b'0' + (b - 0xf0),
        0x40 => b' ',
        0x4b => b'.',
        0x4d => b'(',
        0x5d => b')',
        0x60 => b'-',
        0x61 => b'/',
        0x6b => b',',
        0x6d => b'_',
        0x6f => b'?',
        0x7a => b':',
        // Some servers, asked by a client that says it can, write ASCII.
        b'0'..=b'9' | b'+' => b,
        _ => b' ',
    };
    tidy(&bytes.iter().map(|b| char::from(one(b))).collect::<String>(), 64)
}

fn read(bytes: &[u8]) -> Reading {
    let Some(length) = be::<2>(bytes, 0) else {
        return if bytes.is_empty() { Reading::Foreign } else { Reading::Partial };
    };
    if !(10..=8192).contains(&length) || bytes.get(2).is_some_and(|&b| b != 0xd0) {
        return Reading::Foreign;
    }
    // A reply, alone or first of a chain; and its correlation id.
    if bytes.get(3).is_some_and(|&f| f & 0x0f != 2) || be::<2>(bytes, 4).is_some_and(|id| id != 1) {
        return Reading::Foreign;
    }
    let (Some(inner), Some(code)) = (be::<2>(bytes, 6), be::<2>(bytes, 8)) else { return Reading::Partial };
    if inner != length - 6 || code != EXCSATRD {
        return Reading::Foreign;
    }
    let Some(mut rest) = bytes.get(10..length as usize) else { return Reading::Partial };
    let (mut class, mut release, mut fields) = (None, None, 0);
    while !rest.is_empty() {
        let (Some(size), Some(code)) = (be::<2>(rest, 0), be::<2>(rest, 2)) else { return Reading::Foreign };
        let Some(content) = usize::try_from(size).ok().and_then(|n| rest.get(4..n)) else { return Reading::Foreign };
        match u16::try_from(code).unwrap_or(0) {
            SRVCLSNM => class = Some(ascii(content)),
            SRVRLSLV => release = Some(ascii(content)),
            _ => {}
        }
        fields += 1;
        rest = &rest[size as usize..];
    }
    if fields == 0 {
        return Reading::Foreign;
    }
    let (product, version) = name_version(class.as_deref().unwrap_or_default(), release.as_deref().unwrap_or_default());
    let shown = format!("EXCSATRD class={} release={}", class.unwrap_or_default(), release.unwrap_or_default());
    Reading::Is(Found {
        service: "drda".into(),
        product: product.map(Into::into),
        version,
        shown: Some(shown),
        ..Found::default()
    })
}

/// Who wrote the server, from its class, and its version, from its release: Db2 writes three letters for the platform and
/// five digits (SQL11058 is 11.5.8), Derby what it says of itself.
fn name_version(class: &str, release: &str) -> (Option<&'static str>, Option<String>) {
    if class.contains("Apache Derby") {
        let stated = release.split_once('/').and_then(|(_, rest)| rest.split_whitespace().next());
        return (Some("Apache Derby"), stated.filter(|v| v.starts_with(|c: char| c.is_ascii_digit())).map(Into::into));
    }
    let db2 =
        class.starts_with("QDB2") || ["SQL", "DSN", "QSQ", "ARI"].iter().any(|p| release.starts_with(p)) && release.len() == 8;
    if db2 {
        let digits = release.get(3..8).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let number = |part: Option<&str>| part.and_then(|p| p.parse::<u8>().ok());
        let version =
            digits.and_then(|d| Some(format!("{}.{}.{}", number(d.get(..2))?, number(d.get(2..4))?, number(d.get(4..))?)));
        return (Some("IBM Db2"), version);
    }
    (class.starts_with("IDS").then_some("IBM Informix"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ebcdic(text: &str) -> Vec<u8> {
        text.chars()
            .map(|c| {
                (0..=255u8)
                    .find(|&b| b > 0x3f && ascii(&[b'0', b, b'0']).chars().nth(1) == Some(c) || c == ' ' && b == 0x40)
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn the_request_states_its_own_lengths() {
        let bytes = request();
        assert_eq!(be::<2>(&bytes, 0), Some(bytes.len() as u64));
        assert_eq!(be::<2>(&bytes, 6), Some(bytes.len() as u64 - 6));
        assert_eq!(ascii(US), "portreeve");
        assert_eq!(read(&bytes), Reading::Foreign, "our own request, echoed");
    }

    #[test]
    fn releases_are_the_makers_own() {
        for (class, release, product, version) in [
            ("QDB2/LINUXX8664", "SQL11058", Some("IBM Db2"), Some("11.5.8")),
            ("QDB2/NT64", "SQL09077", Some("IBM Db2"), Some("9.7.7")),
            ("QDB2", "DSN12015", Some("IBM Db2"), Some("12.1.5")),
            ("QAS", "QSQ07040", Some("IBM Db2"), Some("7.4.0")),
            ("Apache Derby", "CSS10140/10.14.2.0 - (???)", Some("Apache Derby"), Some("10.14.2.0")),
            ("IDS/UNIX64", "IFX", Some("IBM Informix"), None),
            ("", "", None, None),
        ] {
            assert_eq!(name_version(class, release), (product, version.map(String::from)), "{class} {release}");
        }
    }

    #[test]
    fn an_answer_is_whole_by_both_its_lengths() {
        let attributes = [object(SRVCLSNM, &ebcdic("QDB2/LINUXX8664")), object(SRVRLSLV, &ebcdic("SQL11058"))].concat();
        let body = object(EXCSATRD as u16, &attributes);
        let whole = [&(body.len() as u16 + 6).to_be_bytes()[..], &[0xd0, 0x42, 0, 1], &body].concat();
        let Reading::Is(found) = read(&whole) else { panic!("not recognised") };
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("IBM Db2"), Some("11.5.8")));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
        let mut damaged = whole;
        damaged[7] ^= 1;
        assert_eq!(read(&damaged), Reading::Foreign);
    }
}
