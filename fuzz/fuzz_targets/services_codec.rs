//! PR-11 for what servers answer in binary protocols: the first byte says which codec reads the rest.
//! The corpus also runs in `cargo test -p services`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| services::parsers::codec(bytes));
