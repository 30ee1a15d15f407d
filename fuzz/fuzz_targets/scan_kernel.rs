//! PR-11 for what the kernel hands over: blocks of the receive ring, datagrams of netlink. The corpus also runs in
//! `cargo test -p scan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scan::parsers::kernel(bytes));
