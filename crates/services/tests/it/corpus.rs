//! The fuzz target's corpus as a plain test: every sample that once surprised a parser, whole and cut at every byte.

use std::path::Path;

#[test]
fn no_sample_of_the_corpus_panics_a_parser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/services_answers");
    let mut samples = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=bytes.len() {
            services::parsers::all(&bytes[..end]);
        }
        samples += 1;
    }
    assert!(samples >= 10, "{samples} samples in {}", folder.display());
}
