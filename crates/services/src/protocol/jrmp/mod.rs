//! Java's remote method invocation: the head of a connection, which the server acknowledges with our own address.
//!
//! Source: Java RMI specification, chapter 10 (wire protocol). No object is called; what a registry lists and whether
//! management beans stand behind it is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::be;
use std::net::IpAddr;

pub(crate) const CODEC: Codec = Codec { name: "jrmp-ack", request: Some(request), unasked: false, read };

fn request() -> Vec<u8> {
    // "JRMI", version 2, StreamProtocol.
    b"JRMI\0\x02\x4b".to_vec()
}

fn read(bytes: &[u8]) -> Reading {
    // ProtocolAck; length, text of our address as the server sees it; our port.
    if bytes.first() != Some(&0x4e) {
        return Reading::Foreign;
    }
    let Some(length) = be::<2>(bytes, 1) else { return Reading::Partial };
    // From `::1` to an IPv6 address with the name of an interface.
    if !(3..=64).contains(&length) {
        return Reading::Foreign;
    }
    let length = length as usize;
    let end = 3 + length + 4;
    let text = &bytes[3..bytes.len().min(3 + length)];
    if bytes.len() < end {
        let address = text.iter().all(|b| b.is_ascii_hexdigit() || b".:%".contains(b) || b.is_ascii_alphanumeric());
        return if address { Reading::Partial } else { Reading::Foreign };
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    let address = text.split('%').next().unwrap_or_default().parse::<IpAddr>().is_ok();
    let port = be::<4>(bytes, 3 + length).unwrap_or(0);
    if !address || !(1..=65_535).contains(&port) || bytes.len() != end {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "rmi".into(),
        product: Some("Java RMI".into()),
        shown: Some("ProtocolAck with our address".into()),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_acknowledgement_is_an_address_and_a_port_and_nothing_more() {
        let whole = b"N\0\x09127.0.0.1\0\0\x95\xdc";
        assert!(matches!(read(whole), Reading::Is(_)));
        for end in 1..whole.len() {
            assert_eq!(read(&whole[..end]), Reading::Partial, "{end}");
        }
        for wrong in [
            &b"N\0\x09127.0.0.1\0\0\x95\xdcx"[..],
            b"N\0\x09127.0.0.x\0\0\x95\xdc",
            b"N\0\x09127.0.0.1\0\x01\x95\xdc",
            b"N\0\x09127.0.0.1\0\0\0\0",
        ] {
            assert_eq!(read(wrong), Reading::Foreign);
        }
        assert!(matches!(read(b"N\0\x14fe80:0:0:0:0:0:0:1%1\0\0\x95\xdc"), Reading::Is(_)), "as Java writes IPv6");
    }
}
