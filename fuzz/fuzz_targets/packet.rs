//! PR-11 for the packet parsers: any bytes, every framing. The corpus also runs in `cargo test -p packet`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::{Framing, Quoted, Reply, checksums, decode};

fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::Ethernet, Framing::Bare] {
        let _ = decode(bytes, framing);
        let _ = Reply::parse(bytes, framing);
        let _ = checksums(bytes, framing);
    }
    let _ = Quoted::parse(bytes);
});
