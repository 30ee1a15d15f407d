//! The corpus of the fuzz target, run as a plain test, so that every sample that once surprised us stays harmless.

use crate::bytes::{read_every_way, samples};
use std::path::PathBuf;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/packet")
}

#[test]
fn every_sample_of_the_corpus_is_survived() {
    let mut count = 0;
    for entry in std::fs::read_dir(corpus()).expect("fuzz/corpus/packet exists") {
        read_every_way(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 12, "the corpus has a sample of each kind of frame, found {count}");
}

/// `cargo test -p packet write_the_corpus -- --ignored` after a new kind of frame is read.
#[test]
#[ignore = "writes fuzz/corpus/packet"]
fn write_the_corpus() {
    std::fs::create_dir_all(corpus()).unwrap();
    for (name, frame) in samples() {
        std::fs::write(corpus().join(name), frame).unwrap();
    }
}
