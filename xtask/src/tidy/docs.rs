//! Documents: the files that they name exist, their links lead somewhere, and the glossary is a table without gaps.
//!
//! Whether what they say is true is left to the tests of what they describe.

use super::{Tree, Violation};
use std::collections::BTreeSet;

/// Top-level folders whose mention in backticks is a promise that the path exists.
const OURS: &[&str] = &["crates", "catalog", "docs", "fuzz", "scripts", "web", "xtask", ".cargo", ".ci"];
/// Below those, what is made and not committed.
const MADE: &[&str] = &["web/dist", "web/node_modules"];

/// Every path of ours in backticks, every `name.rs` or `name.md`, and the target of every relative link exists.
pub fn named_files_exist(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&[".md"]) {
        let mut in_block = false;
        for (i, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
                continue;
            }
            if in_block {
                continue;
            }
            // what stands between backticks is every second piece
            for word in line.split('`').skip(1).step_by(2) {
                if !named_exists(tree, path, word) {
                    found.push(Violation::new(
                        path,
                        format!("line {} names `{word}`, which does not exist (an example is written with `<name>`)", i + 1),
                    ));
                }
            }
            for target in links(line) {
                if !link_exists(tree, path, target) {
                    found.push(Violation::new(path, format!("line {} links to {target}, which does not exist", i + 1)));
                }
            }
        }
    }
    found
}

/// Whether the words are no path of ours, or one that exists.
fn named_exists(tree: &Tree, document: &str, word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/@".contains(c);
    if word.is_empty() || !word.chars().all(plain) || word.starts_with('/') || word.contains("//") {
        return true;
    }
    let path = word.trim_start_matches("./").trim_end_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let is_path = path.contains('/') && OURS.contains(&first);
    let is_file = [".rs", ".md"].iter().any(|ending| path.ends_with(ending) && path.len() > ending.len());
    if !(is_path || is_file) || MADE.iter().any(|made| path.starts_with(made)) {
        return true;
    }
    exists(tree, path) || exists(tree, &beside(document, path)) || tree.files.keys().any(|p| p.ends_with(&format!("/{path}")))
}

/// A file of this path, or a folder that holds one.
fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{path}/");
    tree.files.contains_key(path) || tree.files.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
}

/// The path as seen from the folder of the document, `..` taken out.
fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The targets of `[text](target)` in the line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next())
}

fn link_exists(tree: &Tree, document: &str, target: &str) -> bool {
    let path = target.split('#').next().unwrap_or_default();
    path.is_empty() || path.contains(':') || path.starts_with('/') || exists(tree, &beside(document, path))
}

const GLOSSARY: &str = "docs/glossary.md";
const COLUMNS: [&str; 4] = ["word", "meaning", "zh-CN", "source"];

/// One table of word, meaning, zh-CN and source; every word once, with its meaning and its Chinese term.
pub fn the_glossary_is_well_formed(tree: &Tree) -> Vec<Violation> {
    let Some(text) = tree.text(GLOSSARY) else {
        return vec![Violation::new(GLOSSARY, "is missing, one word per meaning has to be written down somewhere")];
    };
    let mut found = Vec::new();
    let mut words = BTreeSet::new();
    let rows: Vec<(usize, Vec<String>)> =
        text.lines().enumerate().filter(|(_, line)| line.starts_with('|')).map(|(i, line)| (i + 1, cells(line))).collect();
    if rows.first().is_none_or(|(_, header)| header != &COLUMNS) {
        return vec![Violation::new(GLOSSARY, format!("has no table, its header is `| {} |`", COLUMNS.join(" | ")))];
    }
    for (line, row) in rows.iter().skip(2) {
        if row.len() != COLUMNS.len() {
            found.push(Violation::new(GLOSSARY, format!("line {line} has {} cells instead of {}", row.len(), COLUMNS.len())));
            continue;
        }
        // the source may be empty: most words are our own
        for (cell, column) in row.iter().zip(COLUMNS).take(3).filter(|(cell, _)| cell.is_empty()) {
            debug_assert!(cell.is_empty());
            found.push(Violation::new(GLOSSARY, format!("line {line} has no {column}")));
        }
        if !row[0].is_empty() && !words.insert(row[0].to_lowercase()) {
            found.push(Violation::new(GLOSSARY, format!("line {line} repeats `{}`, one word has one meaning", row[0])));
        }
    }
    found
}

/// The cells of a table's line; `\|` stands for a bar.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().replace("\\|", "\u{0}");
    let inner = line.strip_prefix('|').unwrap_or(&line);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_files_are_looked_for_where_a_reader_would() {
        let files =
            [("crates/scan/src/link/mod.rs", ""), ("docs/guides/running.md", ""), ("scripts/ensure", ""), ("STYLE.md", "")];
        for (text, fine) in [
            ("`crates/scan/src/link/mod.rs`", true),
            ("`crates/scan`, `crates/scan/`, `scripts/ensure`", true),
            ("`link/mod.rs` and `mod.rs`", true),
            ("`STYLE.md` and [style](../STYLE.md) and [here](#top) and [there](https://example.net/x.md)", true),
            ("`application/json`, `22/tcp`, `cargo xtask tidy`, `/etc/hosts`, `web/dist/index.html`, `.rs`", true),
            ("`docs/*.md` and `crates/<name>/src`", true),
            ("```\n`crates/gone.rs`\n```", true),
            ("`crates/gone`", false),
            ("`gone.rs`", false),
            ("`gone.md`", false),
            ("[gone](guides/gone.md)", false),
        ] {
            let mut all = files.to_vec();
            all.push(("docs/x.md", text));
            let found = named_files_exist(&Tree::of(&all));
            assert_eq!(found.is_empty(), fine, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_gap_in_the_glossary_is_found() {
        let table = |rows: &str| format!("# Glossary\n\n| word | meaning | zh-CN | source |\n|---|---|---|---|\n{rows}");
        for (text, named) in [
            (table("| asset | a range | 资产 | |\n| port state | open, open\\|filtered | 端口状态 | nmap |\n"), None),
            (table("| asset | | 资产 | |\n"), Some("meaning")),
            (table("| asset | a range | | |\n"), Some("zh-CN")),
            (table("| asset | a range | 资产 |\n"), Some("3 cells")),
            (table("| asset | a | 资产 | |\n| Asset | b | 资产 | |\n"), Some("repeats")),
            ("words".to_owned(), Some("no table")),
        ] {
            let found = the_glossary_is_well_formed(&Tree::of(&[(GLOSSARY, &text)]));
            assert_eq!(
                found.first().map(|v| named.is_some_and(|n| v.what.contains(n))),
                named.map(|_| true),
                "{text}: {found:?}"
            );
        }
        assert_eq!(the_glossary_is_well_formed(&Tree::of(&[])).len(), 1);
    }
}
