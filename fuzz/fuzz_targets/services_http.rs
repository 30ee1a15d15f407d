//! PR-11 for HTTP as a server may garble it.
//! The corpus also runs in `cargo test -p services`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| services::parsers::http(bytes));
