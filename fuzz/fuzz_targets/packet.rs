//! PR-11 for whole frames in every framing: decoding, meaning, sums, VLAN tags. What must hold is written in the tests of `packet`,
//! which also run the corpus.
#![no_main]

#[path = "../../crates/packet/tests/it/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::frame(bytes));
