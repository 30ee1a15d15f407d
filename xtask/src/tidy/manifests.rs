//! Manifests and lock files: every crate takes the workspace's lints, and what is locked comes from the public registries.
//!
//! Under what licences the locked versions stand is left to `dependencies`.

use super::{Tree, Violation};

/// `[lints] workspace = true`, without which a crate escapes `unsafe_code = "deny"`.
pub fn every_crate_takes_the_workspace_lints(tree: &Tree) -> Vec<Violation> {
    let crates =
        tree.with_ending(&["/Cargo.toml"]).filter(|(path, _)| path.starts_with("crates/") || *path == "xtask/Cargo.toml");
    let mut found = Vec::new();
    for (path, text) in crates {
        match text.parse::<toml::Table>() {
            Err(e) => found.push(Violation::new(path, format!("cannot be read: {}", e.message()))),
            Ok(manifest) => {
                let takes = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
                if takes != Some(true) {
                    found.push(Violation::new(path, "has no lints.workspace = true, add `[lints]` with `workspace = true`"));
                }
            }
        }
    }
    found
}

/// A mirror's host in a lock file breaks the build for everybody else.
pub fn lock_files_name_public_registries(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let locks = [
        ("Cargo.lock", "source = \"", "registry+https://github.com/rust-lang/crates.io-index\""),
        ("package-lock.json", "\"resolved\": \"", "https://registry.npmjs.org/"),
    ];
    for (name, key, public) in locks {
        for (path, text) in tree.with_ending(&[name]) {
            let other = text.lines().find_map(|line| line.split_once(key).map(|(_, v)| v).filter(|v| !v.starts_with(public)));
            if let Some(other) = other {
                let other = other.trim_end_matches(['"', ',']);
                found.push(Violation::new(path, format!("locks `{other}`, which is not the public registry")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_taken_in_either_spelling() {
        for (text, fine) in [
            ("[lints]\nworkspace = true\n", true),
            ("lints.workspace = true\n[package]\nname = 'x'\n", true),
            ("[lints]\nworkspace = false\n", false),
            ("[lints.rust]\nunsafe_code = 'allow'\n", false),
            ("[package]\nname = 'x'\n", false),
            ("[package\n", false),
        ] {
            let found = every_crate_takes_the_workspace_lints(&Tree::of(&[("crates/x/Cargo.toml", text)]));
            assert_eq!(found.is_empty(), fine, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_mirror_in_a_lock_file_is_found() {
        let fine = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let mirror = "source = \"registry+https://mirror.example/index\"\n";
        let npm = "\"resolved\": \"https://registry.npmjs.org/vue/-/vue-3.tgz\",\n";
        let npm_mirror = "\"resolved\": \"http://10.0.0.1/vue-3.tgz\",\n";
        for (path, text, expected) in [
            ("Cargo.lock", fine.to_owned(), 0),
            ("Cargo.lock", format!("{fine}{mirror}"), 1),
            ("web/package-lock.json", npm.to_owned(), 0),
            ("web/package-lock.json", format!("{npm}{npm_mirror}"), 1),
        ] {
            let found = lock_files_name_public_registries(&Tree::of(&[(path, &text)]));
            assert_eq!(found.len(), expected, "{path}: {found:?}");
        }
    }
}
