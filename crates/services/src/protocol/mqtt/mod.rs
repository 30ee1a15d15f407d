//! MQTT: a clean session without a client id, then a subscription to the two topics under which brokers state their version.
//!
//! Source: MQTT 3.1.1 sections 3.1, 3.2 and 3.8. Nothing is published, no account is named, and of what a broker retains only
//! those two topics are asked for, never `#`. Whether it ought to let anybody in is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "mqtt-connect", request: Some(connect), unasked: false, read };

/// Our packet id, which the acknowledgment of the subscription must carry.
const ID: u16 = 0x7072;
/// Mosquitto's topic, and EMQX's, whose middle level is the node's name.
const TOPICS: [&str; 2] = ["$SYS/broker/version", "$SYS/brokers/+/version"];
/// What an acknowledgment may refuse with (table 3.1): protocol, id, unavailable, user or password, not authorised.
const REFUSED: std::ops::RangeInclusive<u8> = 1..=5;

fn connect() -> Vec<u8> {
    // Protocol name and level 4, clean session, keep-alive of a minute, an empty client id.
    b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0".to_vec()
}

fn subscribe() -> Vec<u8> {
    let mut body = ID.to_be_bytes().to_vec();
    for topic in TOPICS {
        body.extend((topic.len() as u16).to_be_bytes());
        body.extend(topic.as_bytes());
        body.push(0);
    }
    [&[0x82, body.len() as u8][..], &body].concat()
}

/// The first packet's type and flags, its body, and what follows. `Err(true)` when more is needed.
fn packet(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), bool> {
    let &head = bytes.first().ok_or(true)?;
    let (mut length, mut at) = (0usize, 1);
    loop {
        let &byte = bytes.get(at).ok_or(true)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        match byte & 0x80 {
            0 => break,
            // Four bytes of length at most.
            _ if at > 4 => return Err(false),
            _ => {}
        }
    }
    // A version string is short; more is not what was asked for.
    if length > 4096 {
        return Err(false);
    }
    let body = bytes.get(at..at + length).ok_or(true)?;
    Ok((head, body, &bytes[at + length..]))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() || !b"\x20\x02".starts_with(&bytes[..bytes.len().min(2)]) {
        return Reading::Foreign;
    }
    let (Some(&flags), Some(&code)) = (bytes.get(2), bytes.get(3)) else {
        return Reading::Partial;
    };
    // A clean session is never present, and a refused one is followed by nothing.
    if flags != 0 || code > *REFUSED.end() || (REFUSED.contains(&code) && bytes.len() > 4) {
        return Reading::Foreign;
    }
    let mut found = Found { service: "mqtt".into(), shown: Some(format!("CONNACK code {code}")), ..Found::default() };
    if code != 0 {
        return Reading::Is(found);
    }
    found.farewell = Some(b"\xe0\0".to_vec());
    let mut rest = &bytes[4..];
    if rest.is_empty() {
        found.next = Some(subscribe());
        return Reading::Is(found);
    }
    let mut acknowledged = false;
    while !rest.is_empty() {
        match packet(rest) {
            Ok((0x90, body, after)) if be::<2>(body, 0) == Some(u64::from(ID)) && body.len() == 2 + TOPICS.len() => {
                acknowledged = true;
                rest = after;
            }
            Ok((head, body, after)) if head & 0xf0 == 0x30 => {
                if let Some((product, version)) = stated(body) {
                    found.product = Some(product.into());
                    found.shown = Some(format!("CONNACK code 0, {product} {version}"));
                    found.version = Some(version);
                    return Reading::Is(found);
                }
                rest = after;
            }
            Err(true) => return Reading::Partial,
            Ok(_) | Err(false) => return Reading::Foreign,
        }
    }
    // What is retained comes behind the acknowledgment, or not at all.
    if acknowledged { Reading::Partial } else { Reading::Is(found) }
}

/// Product and version in a message retained under one of the topics.
fn stated(body: &[u8]) -> Option<(&'static str, String)> {
    let length = usize::try_from(be::<2>(body, 0)?).ok()?;
    let topic = body.get(2..2 + length)?;
    let text = tidy(std::str::from_utf8(body.get(2 + length..)?).ok()?, 96);
    let number = |v: &str| v.starts_with(|c: char| c.is_ascii_digit()).then(|| v.to_owned());
    if topic == TOPICS[0].as_bytes() {
        return Some(("Eclipse Mosquitto", number(text.strip_prefix("mosquitto version ")?)?));
    }
    let emqx = topic.strip_prefix(b"$SYS/brokers/")?.ends_with(b"/version");
    emqx.then(|| number(&text)).flatten().map(|version| ("EMQX", version))
}
