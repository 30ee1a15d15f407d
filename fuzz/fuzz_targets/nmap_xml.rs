//! PR-11 for nmap's XML: any bytes, as that format and as whatever they look like. The corpus also runs in `cargo test -p scan`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Ts;
use scan::external::{Format, read};

fuzz_target!(|bytes: &[u8]| {
    _ = read(bytes, Some(Format::NmapXml), Ts(1_800_000_000_000));
    _ = read(bytes, None, Ts(1_800_000_000_000));
});
