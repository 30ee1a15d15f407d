//! Spark's RPC port: a request for one chunk of a stream that nobody has registered. The failure carries our numbers back
//! and the trace of the class that looked.
//!
//! Source: Spark's `common/network-common`, `ChunkFetchRequest` and `ChunkFetchFailure`; masters, workers, drivers and
//! executors speak it. Nothing is opened by it, not even where a secret is wanted. The version is left to the web interface
//! and the submission gateway, which state it.

use super::{Codec, Found, Reading};
use crate::bytes::be;

pub(crate) const CODEC: Codec = Codec { name: "spark-chunk", request: Some(request), unasked: false, read };

/// Stream and chunk that we ask for; the failure must name both.
const STREAM: u64 = 0x7072_7472_6565_7665;
const CHUNK: u32 = 0x7072_7401;

const FETCH: u8 = 0;
const FAILURE: u8 = 2;

/// Length, type, stream, chunk, length of the message.
const HEAD: usize = 8 + 1 + 8 + 4 + 4;

fn request() -> Vec<u8> {
    [&21u64.to_be_bytes()[..], &[FETCH], &STREAM.to_be_bytes(), &CHUNK.to_be_bytes()].concat()
}

fn read(bytes: &[u8]) -> Reading {
    let begins =
        [&[0, 0, 0, 0, 0][..], bytes.get(5..8).unwrap_or_default(), &[FAILURE], &STREAM.to_be_bytes(), &CHUNK.to_be_bytes()];
    let begins = begins.concat();
    if bytes.len() < HEAD {
        // A frame stays under sixteen megabytes: its length has five zeros in front.
        let zeros = bytes.iter().take(5).all(|&b| b == 0);
        let known = bytes.len().min(begins.len());
        let fits = zeros && (bytes.len() <= 8 || bytes[..known] == begins[..known]);
        return if fits && !bytes.is_empty() { Reading::Partial } else { Reading::Foreign };
    }
    let (Some(length), Some(text)) = (be::<8>(bytes, 0), be::<4>(bytes, HEAD - 4)) else { return Reading::Foreign };
    // A stack trace of a few dozen lines is three to six kilobytes.
    if !bytes.starts_with(&begins) || length != HEAD as u64 + text || text > 65_536 {
        return Reading::Foreign;
    }
    let Some(message) = bytes.get(HEAD..length as usize) else { return Reading::Partial };
    if bytes.len() as u64 != length || !message.windows(17).any(|w| w == b"org.apache.spark.") {
        return Reading::Foreign;
    }
    Reading::Is(Found {
        service: "spark".into(),
        product: Some("Apache Spark".into()),
        shown: Some("ChunkFetchFailure for our stream, thrown in org.apache.spark".into()),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stream: u64, message: &str) -> Vec<u8> {
        let length = (HEAD + message.len()) as u64;
        let text = message.len() as u32;
        [
            &length.to_be_bytes()[..],
            &[FAILURE],
            &stream.to_be_bytes(),
            &CHUNK.to_be_bytes(),
            &text.to_be_bytes(),
            message.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn a_failure_counts_whole_with_our_numbers_and_its_maker() {
        let trace = "java.lang.UnsupportedOperationException\n\tat org.apache.spark.rpc.netty.NettyStreamManager.getChunk(NettyStreamManager.scala:51)\n";
        let right = failure(STREAM, trace);
        assert!(matches!(read(&right), Reading::Is(_)));
        for end in 1..right.len() {
            assert_eq!(read(&right[..end]), Reading::Partial, "{end}");
        }
        assert_eq!(read(&failure(STREAM + 1, trace)), Reading::Foreign, "another stream's");
        assert_eq!(read(&failure(STREAM, "java.lang.UnsupportedOperationException")), Reading::Foreign, "anybody's");
        assert_eq!(read(&[&right[..], &[0]].concat()), Reading::Foreign, "a byte too many");
        assert_eq!(read(&request()), Reading::Foreign, "our own request, echoed");
    }
}
