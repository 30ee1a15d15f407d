//! The catalogue: every rule carries the cases that hold it. Whether a rule passes its cases is left to the tests of the
//! crate that reads it.

use super::{Tree, Violation};
use toml::{Table, Value};

/// Lists that recognise nothing and so can have no cases: what is sent, and what is left alone.
const WITHOUT_CASES: &[&str] = &["probe", "excluded"];

/// Every entry of every list in `catalog/` has `cases`, and at least one.
pub fn every_entry_has_cases(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&[".toml"]).filter(|(path, _)| path.starts_with("catalog/")) {
        let file: Table = match text.parse() {
            Ok(file) => file,
            Err(e) => {
                found.push(Violation::new(path, format!("cannot be read: {}", e.message())));
                continue;
            }
        };
        let lists = file.iter().filter(|(name, _)| !WITHOUT_CASES.contains(&name.as_str()));
        for (list, entries) in lists.filter_map(|(name, value)| Some((name, value.as_array()?))) {
            for (i, entry) in entries.iter().enumerate().filter_map(|(i, e)| Some((i, e.as_table()?))) {
                let cases = entry.get("cases").or_else(|| entry.get("case")).and_then(Value::as_array);
                if cases.is_none_or(Vec::is_empty) {
                    let name = ["id", "name"].iter().find_map(|key| entry.get(*key)?.as_str());
                    let name = name.map_or_else(|| format!("{list} {}", i + 1), |n| format!("`{n}`"));
                    found.push(Violation::new(path, format!("{name} has no cases, add what it must and must not recognise")));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_cases_is_named() {
        for (text, named) in [
            ("source = 'x'\nports = '1-3'", None),
            ("numbers = [1, 2]", None),
            ("[[rule]]\nid = 'a'\ncases = [{ x = 1 }]", None),
            ("[[rule]]\nid = 'a'\n[[rule.cases]]\nx = 1", None),
            ("[[probe]]\nsend = 'x'", None),
            ("[[rule]]\nid = 'a'\ncases = []", Some("`a`")),
            ("[[rule]]\nname = 'b'", Some("`b`")),
            ("[[rule]]\nx = 1\ncases = [{}]\n[[rule]]\nx = 2", Some("rule 2")),
            ("[[rule", Some("cannot be read")),
        ] {
            let found = every_entry_has_cases(&Tree::of(&[("catalog/services/x.toml", text)]));
            assert_eq!(found.len(), usize::from(named.is_some()), "{text}: {found:?}");
            assert!(named.is_none_or(|n| found[0].what.contains(n)), "{text}: {found:?}");
        }
    }
}
