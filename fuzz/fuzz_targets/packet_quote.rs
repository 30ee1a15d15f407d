//! PR-11 for the start of a packet that an ICMP error quotes. What must hold is written in the tests of `packet`, which also run the corpus.
#![no_main]

#[path = "../../crates/packet/tests/it/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::quote(bytes));
