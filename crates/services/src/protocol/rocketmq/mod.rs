//! RocketMQ's remoting protocol: a request with a code that nobody has, which broker and name server refuse by its number.
//!
//! Source: Apache RocketMQ, "RemotingCommand" and its JSON header. No topic, group or configuration is named: 5.1.0 and older
//! take configurations from anybody (CVE-2023-33246), so nothing is asked that has an effect.

use super::{Codec, Found, Reading};
use crate::bytes::{be, tidy};

pub(crate) const CODEC: Codec = Codec { name: "rocketmq-request", request: Some(request), unasked: false, read };

/// No request of any version has this code (they end at 5,000).
const NO_CODE: u64 = 31_337;
/// Our `opaque`, which the answer must carry.
const OPAQUE: u64 = 0x7072_7401;
/// The answer's code for it.
const NOT_SUPPORTED: u64 = 3;

fn request() -> Vec<u8> {
    let header = format!(
        "{{\"code\":{NO_CODE},\"flag\":0,\"language\":\"JAVA\",\"opaque\":{OPAQUE},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":0}}"
    );
    let length = header.len() as u32;
    [&(length + 4).to_be_bytes()[..], &length.to_be_bytes(), header.as_bytes()].concat()
}

fn read(bytes: &[u8]) -> Reading {
    let (Some(length), Some(header)) = (be::<4>(bytes, 0), be::<4>(bytes, 4)) else {
        return if bytes.first() == Some(&0) { Reading::Partial } else { Reading::Foreign };
    };
    // The header's length has its form in the top byte: 0 is JSON, as we asked.
    if !(20..=65_536).contains(&length) || header + 4 > length || header < 16 {
        return Reading::Foreign;
    }
    if bytes.len() < 4 + length as usize {
        return Reading::Partial;
    }
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&bytes[8..8 + header as usize]) else {
        return Reading::Foreign;
    };
    let field = |name: &str| json[name].as_u64();
    if bytes.len() != 4 + length as usize || field("opaque") != Some(OPAQUE) || field("code") != Some(NOT_SUPPORTED) {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "rocketmq".into(),
        product: Some("Apache RocketMQ".into()),
        shown: Some(format!("remoting answer in {}: code {NOT_SUPPORTED}", tidy(json["language"].as_str().unwrap_or("-"), 16))),
        ..Found::default()
    })
}
