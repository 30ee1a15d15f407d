//! Kafka: ApiVersions version 0, the request that every broker answers before anything else; where it knows version 3, that
//! too, because its answer lists the features of the cluster.
//!
//! Source: Kafka protocol guide, ApiVersions (key 18); the release in which each request and each `metadata.version` came, from
//! the release notes. No topic is named, so none can be created. Others speak the protocol as well (Redpanda, librdkafka's
//! mock): only what brokers of Apache Kafka say among themselves names the product. The answer bounds the version and
//! does not state it, so the bound is evidence and no version is reported.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "kafka-api-versions", request: Some(request), unasked: false, read };

/// Our correlation ids, which the answers must carry.
const ID: u32 = 0x7072_7401;
const SECOND: u32 = 0x7072_7402;

const CLIENT: &[u8] = b"portreeve";
const API_VERSIONS: u64 = 18;

/// LeaderAndIsr, StopReplica, UpdateMetadata, ControlledShutdown: what brokers under ZooKeeper send each other.
const INTERNAL: [u64; 4] = [4, 5, 6, 7];

/// Features that only Kafka's own controller has (KIP-584 and the proposals that add one).
const FEATURES: [&[u8]; 4] = [b"metadata.version", b"kraft.version", b"transaction.version", b"group.version"];

/// A request, and the release that brought it: who understands it is no older.
const REQUESTS: [(u64, &str); 14] = [
    (18, "0.10.0"),
    (19, "0.10.1"),
    (21, "0.11.0"),
    (36, "1.0"),
    (42, "1.1"),
    (43, "2.2"),
    (44, "2.3"),
    (45, "2.4"),
    (48, "2.6"),
    (50, "2.7"),
    (60, "2.8"),
    (65, "3.0"),
    (71, "3.7"),
    (75, "3.8"),
];

/// Highest `metadata.version` supported, from each of these on, and the release that brought it.
const METADATA: [(u64, &str); 11] = [
    (1, "3.0"),
    (2, "3.1"),
    (3, "3.2"),
    (7, "3.3"),
    (8, "3.4"),
    (11, "3.5"),
    (14, "3.6"),
    (19, "3.7"),
    (20, "3.8"),
    (21, "3.9"),
    (25, "4.0"),
];

fn message(version: u16, id: u32, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, API_VERSIONS as u8];
    body.extend(version.to_be_bytes());
    body.extend(id.to_be_bytes());
    body.extend((CLIENT.len() as u16).to_be_bytes());
    body.extend(CLIENT);
    body.extend(rest);
    [&u32::try_from(body.len()).unwrap_or(0).to_be_bytes()[..], &body].concat()
}

fn request() -> Vec<u8> {
    message(0, ID, &[])
}

/// The same in version 3: no tags in the head, name and version of the client as compact strings, no tags.
fn second() -> Vec<u8> {
    let name = [&[CLIENT.len() as u8 + 1][..], CLIENT].concat();
    let version = [&[env!("CARGO_PKG_VERSION").len() as u8 + 1][..], env!("CARGO_PKG_VERSION").as_bytes()].concat();
    message(3, SECOND, &[&[0][..], &name, &version, &[0]].concat())
}

/// One answer with that id, and the bytes after it. `Err(true)` when more is needed.
fn answer(bytes: &[u8], id: u32) -> Result<(&[u8], &[u8]), bool> {
    let Some(length) = be::<4>(bytes, 0) else {
        return Err(bytes.first().is_none_or(|&b| b == 0));
    };
    // Id, error, and a dozen bytes for each of at most a few hundred requests.
    if !(10..=8_192).contains(&length) {
        return Err(false);
    }
    match be::<4>(bytes, 4) {
        None => return Err(true),
        Some(seen) if seen != u64::from(id) => return Err(false),
        Some(_) => {}
    }
    let body = bytes.get(8..length as usize + 4).ok_or(true)?;
    Ok((body, &bytes[length as usize + 4..]))
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.is_empty() {
        return Reading::Foreign;
    }
    let (body, rest) = match answer(bytes, ID) {
        Ok(parts) => parts,
        Err(true) => return Reading::Partial,
        Err(false) => return Reading::Foreign,
    };
    let (error, count) = (be::<2>(body, 0), be::<4>(body, 2).unwrap_or(0));
    // The length must be what the count makes it, before anything is counted by it: it may say four thousand million.
    if body.len() as u64 != 6 + 6 * count {
        return Reading::Foreign;
    }
    // And ApiVersions itself must be in the list.
    let listed: Vec<(u64, u64)> =
        (0..count as usize).filter_map(|i| Some((be::<2>(body, 6 + 6 * i)?, be::<2>(body, 10 + 6 * i)?))).collect();
    let own = listed.iter().find(|(key, _)| *key == API_VERSIONS);
    let (Some((_, highest)), Some(0)) = (own, error) else { return Reading::Foreign };
    let has = |key: &u64| listed.iter().any(|(k, _)| k == key);
    let mut product = INTERNAL.iter().all(has).then(|| "Apache Kafka".to_owned());
    let mut since = REQUESTS.iter().rev().find(|(key, _)| has(key)).map_or("0.10.0", |(_, release)| *release);
    let mut next = None;
    if rest.is_empty() {
        next = (*highest >= 3).then(second);
    } else {
        match answer(rest, SECOND) {
            Err(true) => return Reading::Partial,
            // What answers the first question so is a broker, whatever it says to the second.
            Err(false) => {}
            Ok((body, _)) => {
                let features = features(body).unwrap_or_default();
                let known = |name: &[u8]| features.iter().find(|(n, _)| *n == name).map(|(_, highest)| *highest);
                if FEATURES.iter().any(|name| known(name).is_some()) {
                    product = Some("Apache Kafka".to_owned());
                }
                if let Some(level) = known(FEATURES[0])
                    && let Some((_, release)) = METADATA.iter().rev().find(|(from, _)| level >= *from)
                {
                    since = later(since, release);
                }
            }
        }
    }
    let bound = if product.is_some() { format!(", version>={since}") } else { String::new() };
    Reading::Is(Found {
        service: "kafka".into(),
        product,
        shown: Some(format!("ApiVersions, {count} requests understood{bound}")),
        next,
        ..Found::default()
    })
}

/// The later of two releases.
fn later<'a>(a: &'a str, b: &'a str) -> &'a str {
    let numbers = |v: &str| v.split('.').map(|n| n.parse().unwrap_or(0)).collect::<Vec<u32>>();
    if numbers(b) > numbers(a) { b } else { a }
}

/// A number in base 128, and what follows.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0usize;
    for (at, &byte) in bytes.iter().enumerate().take(4) {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// A tagged field: number and content.
type Tag<'a> = (usize, &'a [u8]);

/// Tagged fields, and what follows.
fn tags(bytes: &[u8]) -> Option<(Vec<Tag<'_>>, &[u8])> {
    let (count, mut rest) = varint(bytes)?;
    let mut list = Vec::new();
    for _ in 0..count.min(64) {
        let (tag, after) = varint(rest)?;
        let (size, after) = varint(after)?;
        list.push((tag, after.get(..size)?));
        rest = &after[size..];
    }
    Some((list, rest))
}

/// The features supported, with the highest level of each, from an answer in version 3.
fn features(body: &[u8]) -> Option<Vec<(&[u8], u64)>> {
    let (count, mut rest) = varint(body.get(2..)?)?;
    for _ in 1..count {
        rest = tags(rest.get(6..)?)?.1;
    }
    // How long we are told to wait, and then the tags of the answer; the first lists the features.
    let (list, _) = tags(rest.get(4..)?)?;
    let (_, supported) = list.into_iter().find(|(tag, _)| *tag == 0)?;
    let (count, mut rest) = varint(supported)?;
    let mut found = Vec::new();
    for _ in 1..count.min(64) {
        let (length, after) = varint(rest)?;
        let name = after.get(..length.checked_sub(1)?)?;
        let highest = be::<2>(after, name.len() + 2)?;
        rest = tags(after.get(name.len() + 4..)?)?.1;
        found.push((name, highest));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(keys: &[(u16, u16)]) -> Vec<u8> {
        let mut body = ID.to_be_bytes().to_vec();
        body.extend([0, 0]);
        body.extend((keys.len() as u32).to_be_bytes());
        keys.iter().for_each(|(key, highest)| body.extend([key.to_be_bytes(), [0, 0], highest.to_be_bytes()].concat()));
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn features_of_the_controller_name_apache_kafka_and_bound_its_version() {
        let one = first(&[(0, 11), (18, 4), (60, 1), (71, 0)]);
        let Reading::Is(found) = read(&one) else { panic!("not recognised") };
        assert_eq!((found.product, found.next), (None, Some(second())));
        let feature = [&[17][..], b"metadata.version", &[0, 1, 0, 20, 0]].concat();
        let tag = [&[2][..], &feature].concat();
        let body =
            [&SECOND.to_be_bytes()[..], &[0, 0], &[2], &[0, 18, 0, 0, 0, 4, 0], &[0; 4], &[1, 0, tag.len() as u8], &tag].concat();
        let two = [&one[..], &(body.len() as u32).to_be_bytes(), &body].concat();
        let Reading::Is(found) = read(&two) else { panic!("not recognised") };
        assert_eq!(found.product.as_deref(), Some("Apache Kafka"));
        assert_eq!(found.version, None, "a bound is no version");
        assert!(found.shown.unwrap().ends_with("version>=3.8"));
        for end in 1..two.len() {
            let reading = read(&two[..end]);
            assert!(reading == Reading::Partial || end == one.len() && matches!(reading, Reading::Is(_)), "{end}: {reading:?}");
        }
    }

    #[test]
    fn brokers_under_zookeeper_show_what_they_say_among_themselves() {
        let keys: Vec<(u16, u16)> = (0..=42).map(|k| (k, 2)).collect();
        let Reading::Is(found) = read(&first(&keys)) else { panic!("not recognised") };
        assert_eq!(found.product.as_deref(), Some("Apache Kafka"));
        assert!(found.shown.unwrap().ends_with("version>=1.1"));
    }

    #[test]
    fn the_requests_state_their_own_lengths() {
        for bytes in [request(), second()] {
            assert_eq!(be::<4>(&bytes, 0), Some(bytes.len() as u64 - 4));
        }
        assert_eq!(later("2.8", "3.0"), "3.0");
        assert_eq!(later("0.10.1", "0.9"), "0.10.1");
    }
}
