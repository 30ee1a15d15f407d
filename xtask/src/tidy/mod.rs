//! `cargo xtask tidy`: the rules that neither the compiler nor clippy holds us to.
//!
//! Each check is a function of the tree's files and gives back what it found, one line each: `path: what, hint`. One more
//! check is one more function in `CHECKS`. Formatting and lints are left to `make lint`.

mod catalog;
mod dependencies;
mod docs;
mod locales;
mod manifests;
mod sources;
mod walls;

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    path: String,
    what: String,
}

impl Violation {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Violation { path: path.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// The repository's text files by their path from the root, with `/` between folders.
pub struct Tree {
    files: BTreeMap<String, String>,
}

/// Folders that hold what is made or fetched, or what a person keeps while trying things.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "dist", "data"];
/// No file of ours is larger; a larger one is made or binary.
const LARGEST: u64 = 4 * 1024 * 1024;

impl Tree {
    /// Reads every text file below the root: those that git knows or would add, or all where there is no git.
    fn read(root: &Path) -> anyhow::Result<Tree> {
        let mut paths = Vec::new();
        match git_files(root) {
            Some(listed) => paths = listed,
            None => walk(root, "", &mut paths)?,
        }
        let mut files = BTreeMap::new();
        for path in paths {
            let full = root.join(&path);
            // a file that git lists may just have been deleted
            let Ok(meta) = full.metadata() else { continue };
            if !meta.is_file() || meta.len() > LARGEST || path.split('/').any(|part| SKIPPED.contains(&part)) {
                continue;
            }
            // what is not UTF-8 is not text; its path still counts as existing
            files.insert(path, fs::read_to_string(&full).unwrap_or_default());
        }
        Ok(Tree { files })
    }

    /// The files whose path ends so, with their text.
    fn with_ending<'a>(&'a self, endings: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| endings.iter().any(|ending| path.ends_with(ending)))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }
}

fn git_files(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let out = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    out.status.success().then(|| listed.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect())
}

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(below)).with_context(|| format!("cannot read the folder {below}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, paths)?;
            }
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

type Check = fn(&Tree) -> Vec<Violation>;

const CHECKS: &[Check] = &[
    manifests::every_crate_takes_the_workspace_lints,
    manifests::lock_files_name_public_registries,
    sources::every_module_says_what_it_is_for,
    sources::unsafe_stays_in_the_link,
    sources::pure_crates_read_no_clock_and_open_nothing,
    sources::no_file_is_too_long,
    sources::no_path_of_a_machine,
    docs::named_files_exist,
    docs::the_glossary_is_well_formed,
    catalog::every_entry_has_cases,
    locales::languages_have_the_same_keys,
];

pub fn run(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(word) = args.first() {
        bail!("tidy takes no arguments, `{word}` was given");
    }
    let mut found = check(root)?;
    found.extend(walls::check(&metadata(root, &["--no-deps", "--offline"])?)?);
    found.extend(dependencies::check(&metadata(root, &["--locked", "--filter-platform", PLATFORM])?)?);
    found.sort();
    for violation in &found {
        println!("{violation}");
    }
    match found.len() {
        0 => Ok(ExitCode::SUCCESS),
        n => {
            eprintln!("tidy: {n} found");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let tree = Tree::read(root)?;
    Ok(CHECKS.iter().flat_map(|check| check(&tree)).collect())
}

/// What we ship for; crates for other systems are in the lock file and in no build of ours.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What cargo says of the workspace and, unless told otherwise, of what it links.
fn metadata(root: &Path, more: &[&str]) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .args(more)
        .current_dir(root)
        .output()
        .context("cargo cannot be started")?;
    if !out.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the files below a new folder.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const CLEAN: &[(&str, &str)] = &[
        ("crates/model/Cargo.toml", "[package]\nname = \"model\"\n[lints]\nworkspace = true\n"),
        ("crates/model/src/lib.rs", "//! The vocabulary of everything else.\n"),
        ("catalog/ports/x.toml", "[[service]]\nid = \"x\"\ncases = [{ port = 1 }]\n"),
        ("web/src/locales/en.ts", "export default { a: 'b' }\n"),
        ("web/src/locales/zh-CN.ts", "export default { a: '乙' }\n"),
        ("docs/glossary.md", "| word | meaning | zh-CN | source |\n|---|---|---|---|\n| asset | a range | 资产 | |\n"),
        ("README.md", "See `crates/model/src/lib.rs`.\n"),
    ];

    #[test]
    fn a_clean_tree_gives_nothing() {
        let root = folder(CLEAN);
        assert_eq!(check(root.path()).unwrap(), []);
    }

    #[test]
    fn each_rule_finds_its_breach_in_a_tree_on_disk() {
        let cases: &[(&str, &str, &str)] = &[
            ("crates/plan/Cargo.toml", "[package]\nname = \"plan\"\n", "lints.workspace"),
            ("crates/model/src/bare.rs", "pub fn f() {}\n", "//!"),
            ("crates/model/src/raw.rs", "//! Reads a pointer quickly.\nfn f(p: *const u8) -> u8 { unsafe { *p } }\n", "unsafe"),
            ("catalog/ports/y.toml", "[[service]]\nid = \"y\"\n", "`y` has no cases"),
            ("web/src/locales/zh-CN.ts", "export default { c: '丙' }\n", "`a`"),
            ("docs/glossary.md", "| word | meaning | zh-CN | source |\n|---|---|---|---|\n| asset | | 资产 | |\n", "meaning"),
            ("docs/x.md", "See `crates/model/src/gone.rs`.\n", "gone.rs"),
            ("scripts/x", concat!("cd /wo", "rk/main\n"), "machine"),
        ];
        for (path, text, named) in cases {
            let mut files: Vec<(&str, &str)> = CLEAN.iter().filter(|(p, _)| p != path).copied().collect();
            files.push((path, text));
            let found = check(folder(&files).path()).unwrap();
            assert!(found.iter().any(|v| v.path == *path && v.what.contains(named)), "{path}: {found:?}");
            assert!(found.iter().all(|v| v.path.starts_with("web/src/locales") || v.path == *path), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_is_made_or_ignored_is_not_looked_at() {
        let mut files = CLEAN.to_vec();
        files.push(("target/debug/x.rs", "fn f() {}"));
        files.push(("web/node_modules/x/index.md", "`crates/gone.rs`"));
        assert_eq!(check(folder(&files).path()).unwrap(), []);
    }
}
