//! PR-11 for the builders: what is built reads back the same. What must hold is written in the tests of `packet`, which also run the corpus.
#![no_main]

#[path = "../../crates/packet/tests/it/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::round_trip(bytes));
