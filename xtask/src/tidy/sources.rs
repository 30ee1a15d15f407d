//! Source files: what they open with, how long they are, and what may not stand in them.
//!
//! Comments and strings are told from code by a small lexer, no more exact than these rules need. Style is rustfmt's.

use super::walls::PURE;
use super::{Tree, Violation};

/// Lines of a source file. Beyond it a reader loses the thread; STYLE.md asks for about 600.
const LONGEST: usize = 900;
/// Lines above an `unsafe` in which its SAFETY reason must stand.
const REASON_ABOVE: usize = 10;

/// Every `.rs` file opens with `//!` and a sentence.
pub fn every_module_says_what_it_is_for(tree: &Tree) -> Vec<Violation> {
    tree.with_ending(&[".rs"])
        .filter_map(|(path, text)| {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let what = match first.strip_prefix("//!") {
                None => "does not open with `//!`, say what the file is for",
                Some(said) if said.split_whitespace().count() < 3 => {
                    "opens with `//!` and says nothing, say what the file is for"
                }
                Some(_) => return None,
            };
            Some(Violation::new(path, what))
        })
        .collect()
}

/// `unsafe` stands only in scan's link module, each time below its SAFETY reason.
pub fn unsafe_stays_in_the_link(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&[".rs"]) {
        let in_link = path.starts_with("crates/scan/src/link");
        let lines: Vec<&str> = text.lines().collect();
        for (i, code) in code_only(text).lines().enumerate() {
            if !words(code).any(|word| word == "unsafe") {
                continue;
            }
            if !in_link {
                found.push(Violation::new(path, format!("line {} is `unsafe`, which only crates/scan/src/link may be", i + 1)));
            } else if !lines[i.saturating_sub(REASON_ABOVE)..=i].iter().any(|line| line.contains("SAFETY")) {
                found.push(Violation::new(
                    path,
                    format!("line {} is `unsafe` without a reason, write `// SAFETY: …` above it", i + 1),
                ));
            }
        }
    }
    found
}

/// What a pure crate may not call, beside what it may not link: the standard library has clocks and sockets of its own.
const IMPURE: &[(&str, &str)] = &[
    ("SystemTime::now", "take the time as an argument"),
    ("Instant::now", "take the time as an argument"),
    ("Timestamp::now", "take the time as an argument"),
    ("Zoned::now", "take the time as an argument"),
    ("Uuid::now_v7", "take the id as an argument"),
    ("Uuid::new_v4", "take the id as an argument"),
    ("TcpStream", "acting is another crate's"),
    ("TcpListener", "acting is another crate's"),
    ("UdpSocket", "acting is another crate's"),
    ("std::fs", "take the text as an argument"),
    ("std::process", "acting is another crate's"),
    ("std::env", "take the setting as an argument"),
    ("std::thread", "acting is another crate's"),
    ("RandomState", "its order differs from run to run, use a BTreeMap"),
];

/// Pure crates decide from their arguments alone; their tests may do as they like.
pub fn pure_crates_read_no_clock_and_open_nothing(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&[".rs"]) {
        let pure = PURE.iter().any(|name| path.strip_prefix("crates/").is_some_and(|p| p.starts_with(&format!("{name}/src/"))));
        if !pure {
            continue;
        }
        let code = code_only(text);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        for (name, hint) in IMPURE {
            if let Some(i) = code.lines().position(|line| line.contains(name)) {
                found.push(Violation::new(path, format!("line {} has `{name}` in a crate that only decides, {hint}", i + 1)));
            }
        }
    }
    found
}

/// No source file is over [`LONGEST`] lines, unless it says in its first lines that it is generated.
pub fn no_file_is_too_long(tree: &Tree) -> Vec<Violation> {
    tree.with_ending(&[".rs", ".ts", ".vue", ".css", ".py"])
        .filter(|(_, text)| !text.lines().take(5).any(|line| line.to_lowercase().contains("generated")))
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            (lines > LONGEST).then(|| Violation::new(path, format!("has {lines} lines, split it: {LONGEST} is the most")))
        })
        .collect()
}

/// Paths that exist on one machine only. Written in pieces so that this file does not find itself.
const OF_A_MACHINE: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/bash", "_jobs"), concat!("/ho", "me/")];

/// Nothing committed names a path of somebody's machine.
pub fn no_path_of_a_machine(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in &tree.files {
        for (i, line) in text.lines().enumerate() {
            let names = |place: &&&str| {
                line.match_indices(**place).any(|(at, _)| {
                    // part of a longer path (a URL, a folder that happens to bear the name) is no path of a machine
                    !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-.}".contains(c))
                })
            };
            if let Some(place) = OF_A_MACHINE.iter().find(names) {
                found.push(Violation::new(
                    path,
                    format!(
                        "line {} names `{place}`, a machine's path, write it relative or take it from the environment",
                        i + 1
                    ),
                ));
            }
        }
    }
    found
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The text with comments, strings and characters blanked out, line for line.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let blank = |out: &mut String, c: char| out.push(if c == '\n' { '\n' } else { ' ' });
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    while i < bytes.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < bytes.len() && at(i) != '\n' {
                    blank(&mut out, at(i));
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                while i < bytes.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => depth += 1,
                        ('*', '/') => depth -= 1,
                        _ => {
                            blank(&mut out, at(i));
                            i += 1;
                            continue;
                        }
                    }
                    out.push_str("  ");
                    i += 2;
                    if depth == 0 {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if i == 0 || !(at(i - 1).is_alphanumeric() && at(i - 1) != 'b' || at(i - 1) == '_') => {
                let hashes = bytes[i + 1..].iter().take_while(|c| **c == '#').count();
                if at(i + 1 + hashes) != '"' {
                    out.push(at(i)); // a raw identifier
                    i += 1;
                    continue;
                }
                let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let mut end = i + 2 + hashes;
                while end < bytes.len() && !bytes[end..].iter().take(close.len()).copied().eq(close.chars()) {
                    end += 1;
                }
                let end = (end + close.len()).min(bytes.len());
                bytes[i..end].iter().for_each(|c| blank(&mut out, *c));
                i = end;
            }
            ('"', _) => {
                let mut end = i + 1;
                while end < bytes.len() && at(end) != '"' {
                    end += if at(end) == '\\' { 2 } else { 1 };
                }
                let end = (end + 1).min(bytes.len());
                bytes[i..end].iter().for_each(|c| blank(&mut out, *c));
                i = end;
            }
            // a character, not a lifetime: 'x' or '\…'
            ('\'', '\\') => {
                let end = (i + 3..bytes.len()).find(|&e| at(e) == '\'').map_or(bytes.len(), |e| e + 1);
                bytes[i..end].iter().for_each(|c| blank(&mut out, *c));
                i = end;
            }
            ('\'', _) if at(i + 2) == '\'' => {
                out.push_str("   ");
                i += 3;
            }
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: fn(&Tree) -> Vec<Violation>, path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn code_is_told_from_comments_and_strings() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("x(\"unsafe \\\" y\") z", "x(             ) z"),
            ("r#\"un\"safe\"# b r\"c\" d", "             b      d"),
            ("'\"' b '\\'' c '\\n' &'a str", "    b      c      &'a str"),
            ("br\"x\" r#fn", "b     r#fn"),
        ] {
            assert_eq!(code_only(text), code, "{text}");
        }
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let check = unsafe_stays_in_the_link;
        for (path, text, count) in [
            ("crates/store/src/x.rs", "fn f() { unsafe { g() } }", 1),
            ("crates/store/src/x.rs", "// unsafe\nlet s = \"unsafe\"; #![forbid(unsafe_code)]", 0),
            ("crates/scan/src/link.rs", "// SAFETY: fd is open\nunsafe { g() }", 0),
            ("crates/scan/src/link/ring.rs", "unsafe { g() }", 1),
            ("crates/scan/src/pace.rs", "// SAFETY: no\nunsafe { g() }", 1),
        ] {
            assert_eq!(found(check, path, text).len(), count, "{path}: {text}");
        }
    }

    #[test]
    fn a_module_opens_with_a_sentence() {
        let check = every_module_says_what_it_is_for;
        for (text, fine) in [
            ("//! Parses TCP headers.\n", true),
            ("\n//! Parses TCP headers.\n", true),
            ("//! scan\n", false),
            ("//!\n//! Later.\n", false),
            ("// Parses TCP headers.\n", false),
            ("use x;\n//! Parses TCP headers.\n", false),
            ("", false),
        ] {
            assert_eq!(found(check, "crates/x/src/lib.rs", text).is_empty(), fine, "{text:?}");
        }
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_but_not_in_its_tests() {
        let check = pure_crates_read_no_clock_and_open_nothing;
        for (path, text, count) in [
            ("crates/plan/src/lib.rs", "let now = Instant::now();", 1),
            ("crates/plan/src/lib.rs", "// Instant::now\n#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }", 0),
            ("crates/plan/tests/it/main.rs", "Instant::now();", 0),
            ("crates/node/src/lib.rs", "Instant::now();", 0),
            ("crates/model/src/x.rs", "use std::fs;\nuse std::net::TcpStream;", 2),
        ] {
            assert_eq!(found(check, path, text).len(), count, "{path}: {text}");
        }
    }

    #[test]
    fn long_files_are_found_unless_they_are_generated() {
        let long = "x\n".repeat(LONGEST + 1);
        assert_eq!(found(no_file_is_too_long, "web/src/a.ts", &long).len(), 1);
        assert!(found(no_file_is_too_long, "web/src/a.ts", &format!("// generated by x\n{long}")).is_empty());
        assert!(found(no_file_is_too_long, "web/src/a.json", &long).is_empty());
        assert!(found(no_file_is_too_long, "crates/a/src/b.rs", &"x\n".repeat(LONGEST)).is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_told_from_parts_of_other_paths() {
        let at = |place: &str, rest: &str| format!("{place}{rest}");
        for (text, count) in [
            (at(OF_A_MACHINE[0], "main"), 1),
            (at("see `", &at(OF_A_MACHINE[1], "x`")), 1),
            (at("https://example.net", &at(OF_A_MACHINE[0], "x")), 0),
            (at("docs", &at(OF_A_MACHINE[0], "x")), 0),
            ("nothing".to_owned(), 0),
        ] {
            assert_eq!(found(no_path_of_a_machine, "a.md", &text).len(), count, "{text}");
        }
    }
}
