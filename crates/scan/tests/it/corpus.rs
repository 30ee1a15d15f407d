//! What the kernel hands over, ring blocks and netlink datagrams: the corpus of the fuzz target, and bytes at random.
//!
//! Frames are `packet`'s to read, and have corpora there.

use proptest::prelude::*;
use std::path::Path;

#[test]
fn every_sample_of_the_kernels_corpus_is_survived_whole_and_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/scan_kernel");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        (0..=bytes.len()).for_each(|end| scan::parsers::kernel(&bytes[..end]));
        count += 1;
    }
    assert!(count >= 8, "{count} samples");
}

proptest! {
    #[test]
    fn any_bytes_of_the_kernel_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        scan::parsers::kernel(&bytes);
    }
}
