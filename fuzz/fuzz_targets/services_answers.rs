//! PR-11 for what servers answer: any bytes, through every rule, every codec, HTTP, panels and the certificate reader.
//! The corpus also runs in `cargo test -p services`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| services::parsers::all(bytes));
