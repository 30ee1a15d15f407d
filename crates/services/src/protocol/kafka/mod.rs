//! Kafka: ApiVersions version 0, the request that every broker answers before anything else.
//!
//! Source: Kafka protocol guide, ApiVersions (key 18). No topic is named, so none can be created. The answer bounds the
//! version but does not state it, so none is reported.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "kafka-api-versions", request: Some(request), unasked: false, read };

/// Our correlation id, which the answer must carry.
const ID: u32 = 0x7072_7401;

fn request() -> Vec<u8> {
    let client = b"portreeve";
    let mut body = vec![0, 18, 0, 0];
    body.extend(ID.to_be_bytes());
    body.extend((client.len() as u16).to_be_bytes());
    body.extend(client);
    let mut bytes = u32::try_from(body.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn read(bytes: &[u8]) -> Reading {
    let Some(length) = be::<4>(bytes, 0) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    // Id, error, count, and six bytes for each of at most a few hundred requests.
    if !(10..=6_010).contains(&length) {
        return Reading::Foreign;
    }
    match be::<4>(bytes, 4) {
        None => return Reading::Partial,
        Some(id) if id != u64::from(ID) => return Reading::Foreign,
        Some(_) => {}
    }
    let total = length as usize + 4;
    if bytes.len() < total {
        return Reading::Partial;
    }
    let (error, count) = (be::<2>(bytes, 8), be::<4>(bytes, 10).unwrap_or(0));
    // The length must be what the count makes it, before anything is counted by it: it may say four thousand million.
    if bytes.len() != total || error != Some(0) || length != 10 + 6 * count {
        return Reading::Foreign;
    }
    // And ApiVersions itself must be in the list.
    if !(0..count as usize).any(|i| be::<2>(bytes, 14 + 6 * i) == Some(18)) {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "kafka".into(),
        product: Some("Apache Kafka".into()),
        shown: Some(format!("ApiVersions, {count} requests understood")),
        ..Found::default()
    })
}
