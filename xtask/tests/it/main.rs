//! What of xtask needs a machine: the measured link of `cargo xtask bench`, small, in real namespaces.
//!
//! The measurement itself is left to people: it takes long and needs the machine for itself.

use std::process::Command;

/// One host of each kind, asked by real connections: a world that answered otherwise than its ground truth would make every
/// recall a lie.
#[test]
fn a_small_world_behind_the_link_answers_as_its_truth_says() {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["bench", "selfcheck"]).output().expect("xtask starts");
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{errors}");
    // four open and two shut ports by name, one shut on the host with nothing open, three on the one with everything, one dead
    assert_eq!(said.trim(), "10 endpoints answer as they should, 10 SYNs were counted", "{errors}");
}
