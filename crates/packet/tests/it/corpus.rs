//! The corpora of the fuzz targets, run as plain tests, so that every sample that once surprised us stays harmless.

use crate::bytes::samples;
use crate::hostile::PARSERS;
use std::path::PathBuf;

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name)
}

#[test]
fn every_sample_of_every_corpus_is_survived() {
    for (name, parse) in PARSERS {
        let folder = corpus(name);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            parse(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{name}: {count} samples");
    }
}

#[test]
fn the_corpus_has_a_sample_of_each_kind_of_frame() {
    for (name, frame) in samples() {
        assert_eq!(std::fs::read(corpus("packet").join(name)).ok().as_ref(), Some(&frame), "{name}: see write_the_corpus");
    }
}

/// `cargo test -p packet write_the_corpus -- --ignored` after a new kind of frame is read.
#[test]
#[ignore = "writes fuzz/corpus/packet"]
fn write_the_corpus() {
    std::fs::create_dir_all(corpus("packet")).unwrap();
    for (name, frame) in samples() {
        std::fs::write(corpus("packet").join(name), frame).unwrap();
    }
}
