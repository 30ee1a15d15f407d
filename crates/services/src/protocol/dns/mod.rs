//! DNS: the question for a server's version, over TCP here and over UDP in `udp`, and the one way of reading the answer.
//!
//! Source: RFC 1035 section 4, RFC 4892 section 2.1, RFC 7766 section 8. No recursion is asked for; whether it would be given is
//! left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "dns-version", request: Some(request), unasked: false, read };

/// Our question's id, which the answer must carry.
const ID: u16 = 0x7072;
const NAME: &[u8] = b"\x07version\x04bind\0";
const TXT: u64 = 16;
const CHAOS: u64 = 3;

fn request() -> Vec<u8> {
    let mut question = ID.to_be_bytes().to_vec();
    question.extend(b"\0\0\0\x01\0\0\0\0\0\0");
    question.extend(NAME);
    question.extend(b"\0\x10\0\x03");
    [&(question.len() as u16).to_be_bytes()[..], &question].concat()
}

fn read(bytes: &[u8]) -> Reading {
    let Some(length) = be::<2>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    // A head at least; a version is no page.
    if !(12..=2_048).contains(&length) {
        return Reading::Foreign;
    }
    if be::<2>(bytes, 2).is_some_and(|id| id != u64::from(ID)) {
        return Reading::Foreign;
    }
    let Some(message) = bytes.get(2..2 + length as usize) else { return Reading::Partial };
    if bytes.len() != 2 + message.len() {
        return Reading::Foreign;
    }
    answer(message).map_or(Reading::Foreign, Reading::Is)
}

/// Where the name at `at` ends; pointers are not followed, because only the end is wanted.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            n if n & 0xc0 == 0xc0 => return Some(at + 2),
            n if n < 64 => at += 1 + usize::from(n),
            _ => return None,
        }
    }
}

/// What a message that answers the question proves. Whether its id is right is the caller's business.
pub(crate) fn answer(message: &[u8]) -> Option<Found> {
    let (flags, questions, answers) = (be::<2>(message, 2)?, be::<2>(message, 4)?, be::<2>(message, 6)?);
    let code = flags & 15;
    // A response to a query, of a code that RFC 1035 or 2136 knows; the bit between is zero.
    if flags & 0x8000 == 0 || flags & 0x7800 != 0 || flags & 0x40 != 0 || code > 10 {
        return None;
    }
    let mut found =
        Found { service: "dns".into(), shown: Some(format!("version.bind: code {code}, {answers} answers")), ..Found::default() };
    if questions == 0 {
        // A bare head with an error: servers that drop the question.
        return (message.len() == 12 && code != 0 && answers == 0).then_some(found);
    }
    let end = after_name(message, 12)?;
    let asked = message.get(12..end)?;
    if questions != 1 || !asked.eq_ignore_ascii_case(NAME) || be::<2>(message, end)? != TXT || be::<2>(message, end + 2)? != CHAOS
    {
        return None;
    }
    let mut at = end + 4;
    for _ in 0..answers.min(8) {
        let after = after_name(message, at)?;
        let (kind, class, length) =
            (be::<2>(message, after)?, be::<2>(message, after + 2)?, be::<2>(message, after + 8)? as usize);
        let data = message.get(after + 10..after + 10 + length)?;
        at = after + 10 + length;
        if kind == TXT && class == CHAOS {
            let text = tidy(&String::from_utf8_lossy(data.get(1..1 + usize::from(*data.first()?))?), 96);
            (found.product, found.version) = named(&text);
            found.shown = Some(format!("version.bind: {text}"));
            break;
        }
    }
    Some(found)
}

/// Product and version of what a server says of itself. BIND alone says nothing but its number.
fn named(text: &str) -> (Option<String>, Option<String>) {
    let heads: [(&str, &str); 9] = [
        ("dnsmasq-", "dnsmasq"),
        ("unbound ", "Unbound"),
        ("Knot DNS ", "Knot DNS"),
        ("Knot Resolver ", "Knot Resolver"),
        ("NSD ", "NSD"),
        ("PowerDNS Authoritative Server ", "PowerDNS Authoritative Server"),
        ("PowerDNS Recursor ", "PowerDNS Recursor"),
        ("CoreDNS-", "CoreDNS"),
        ("Microsoft DNS ", "Microsoft DNS"),
    ];
    let number = |rest: &str| {
        let word = rest.split([' ', '(']).next().unwrap_or_default();
        Some(word.to_owned()).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    };
    if let Some((head, product)) = heads.iter().find(|(head, _)| text.starts_with(head)) {
        return (Some((*product).into()), number(&text[head.len()..]));
    }
    let bind = |v: &str| {
        // 9 and two further numbers, then whatever the distribution adds.
        let mut parts = v.split('.');
        let nine = parts.next() == Some("9") && parts.next().is_some_and(|p| p.parse::<u16>().is_ok());
        nine && parts.next().is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()))
    };
    match text {
        t if bind(t) => (Some("BIND".into()), number(t)),
        t if t.starts_with("BIND ") && bind(&t[5..]) => (Some("BIND".into()), number(&t[5..])),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_only_by_its_own_words() {
        for (text, product, version) in [
            ("9.18.33-1~deb12u2-Debian", Some("BIND"), Some("9.18.33-1~deb12u2-Debian")),
            ("dnsmasq-2.90", Some("dnsmasq"), Some("2.90")),
            ("unbound 1.17.1", Some("Unbound"), Some("1.17.1")),
            ("NSD 4.6.1", Some("NSD"), Some("4.6.1")),
            ("Knot DNS 3.2.6", Some("Knot DNS"), Some("3.2.6")),
            (
                "PowerDNS Authoritative Server 4.7.3 (built Jan 1 2023 by root@localhost)",
                Some("PowerDNS Authoritative Server"),
                Some("4.7.3"),
            ),
            ("Microsoft DNS 10.0.17763 (4563A1D)", Some("Microsoft DNS"), Some("10.0.17763")),
            ("unbound", None, None),
            ("none of your business", None, None),
            ("9", None, None),
            ("9.9 out of ten", None, None),
        ] {
            assert_eq!(named(text), (product.map(String::from), version.map(String::from)), "{text}");
        }
    }
}
