//! Serf's RPC, which Consul's agents spoke too: a command before the handshake, refused with our sequence number.
//!
//! Source: Serf documentation, "RPC protocol". `stats` without a handshake is answered with an error and does nothing.

use super::{Codec, Found, Reading};

pub(crate) const CODEC: Codec = Codec { name: "serf-rpc", request: Some(stats), unasked: false, read };

/// Our sequence number, two bytes long in MessagePack.
const SEQ: [u8; 3] = [0xcd, 0x70, 0x72];

fn stats() -> Vec<u8> {
    // {"Command": "stats", "Seq": 0x7072}
    [&b"\x82\xa7Command\xa5stats\xa3Seq"[..], &SEQ].concat()
}

/// The two fields of a response's head, in either order.
fn read(bytes: &[u8]) -> Reading {
    let seq = [b"\xa3Seq".as_slice(), &SEQ].concat();
    let error = b"\xa5Error";
    let refusals: [&[u8]; 2] = [b"\xb2Handshake required", b"\xb7Authentication required"];
    for refusal in refusals {
        let answer = [error.as_slice(), refusal].concat();
        for parts in [[&answer, &seq], [&seq, &answer]] {
            let whole = [&b"\x82"[..], parts[0], parts[1]].concat();
            // Older encoders wrote texts longer than 15 bytes in the raw form of the first MessagePack, which is the same byte.
            if bytes == whole {
                let text = String::from_utf8_lossy(&refusal[1..]).into_owned();
                return Reading::Is(Found {
                    service: "serf-rpc".into(),
                    product: Some("HashiCorp Serf".into()),
                    shown: Some(text),
                    ..Found::default()
                });
            }
            if !bytes.is_empty() && whole.starts_with(bytes) {
                return Reading::Partial;
            }
        }
    }
    Reading::Foreign
}
