//! HTTP/2 by prior knowledge: the client's preface, answered by a SETTINGS frame as the protocol demands (RFC 9113,
//! section 3.4). Many gRPC servers send theirs unasked.
//!
//! What speaks through it is left to the crate's `http2`.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(super) const CODEC: Codec = Codec { name: "http2-preface", request: Some(request), unasked: true, read };

/// The preface and an empty SETTINGS frame.
fn request() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()
}

/// An empty SETTINGS frame with the flag of an acknowledgement.
const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];

/// The most settings that are believed: six are defined, extensions add few.
const SETTINGS: u64 = 32;

fn read(bytes: &[u8]) -> Reading {
    let (Some(length), Some(kind)) = (be::<3>(bytes, 0), be::<2>(bytes, 3)) else {
        return if bytes.is_empty() || bytes.iter().take(1).all(|b| *b == 0) { Reading::Partial } else { Reading::Foreign };
    };
    // The acknowledgement of ours, where theirs came before we asked.
    if bytes.starts_with(&ACKNOWLEDGED) {
        return Reading::Is(Found { service: crate::http2::NAME.into(), ..Found::default() });
    }
    // Type SETTINGS, no flag (an acknowledgement would come second), stream 0, six bytes for each setting.
    if kind != 0x0400 || length % 6 != 0 || length / 6 > SETTINGS {
        return Reading::Foreign;
    }
    let Some(stream) = be::<4>(bytes, 5) else { return Reading::Partial };
    if stream != 0 {
        return Reading::Foreign;
    }
    let end = 9 + length as usize;
    if bytes.len() < end {
        return Reading::Partial;
    }
    let settings: Vec<(u64, u64)> =
        (9..end).step_by(6).filter_map(|at| Some((be::<2>(bytes, at)?, be::<4>(bytes, at + 2)?))).collect();
    // RFC 9113 section 6.5.2: push is 0 or 1, a window has 31 bits, a frame 2^14 to 2^24 - 1 bytes.
    let lawful = |&(id, value): &(u64, u64)| match id {
        0 => false,
        2 => value <= 1,
        4 => value < 1 << 31,
        5 => (1 << 14..1 << 24).contains(&value),
        _ => true,
    };
    // An empty SETTINGS frame is nine bytes of which one is not zero: it takes the next frame to believe it.
    let followed = bytes.len() >= end + 9 && matches!(bytes[end + 3], 4 | 6 | 7 | 8);
    match settings.iter().all(lawful) && (!settings.is_empty() || followed) {
        true => Reading::Is(Found { service: crate::http2::NAME.into(), ..Found::default() }),
        false if settings.is_empty() && bytes.len() < end + 9 => Reading::Partial,
        false => Reading::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lawful_settings_frame_is_http_2() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let ack = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        let empty = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let mut odd_stream = settings;
        odd_stream[8] = 1;
        let mut small_frame = settings;
        small_frame[10] = 5;
        for (bytes, expected) in [
            (settings.to_vec(), true),
            ([&empty[..], &ack].concat(), true),
            (empty.to_vec(), false),
            (ack.to_vec(), true),
            (odd_stream.to_vec(), false),
            (small_frame.to_vec(), false),
            (settings[..12].to_vec(), false),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false),
            (vec![0; 64], false),
        ] {
            assert_eq!(matches!(read(&bytes), Reading::Is(_)), expected, "{bytes:?}");
        }
    }
}
