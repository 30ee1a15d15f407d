//! The console's languages: every locale file has the same keys.
//!
//! The files are TypeScript object literals; of those only keys and nesting are read. Whether a text is well translated is
//! left to people.

use super::{Tree, Violation};
use std::collections::BTreeSet;

const FOLDER: &str = "web/src/locales/";

/// Every key of one language exists in every other.
pub fn languages_have_the_same_keys(tree: &Tree) -> Vec<Violation> {
    let locales: Vec<(&str, Result<BTreeSet<String>, String>)> = tree
        .with_ending(&[".ts", ".json"])
        .filter(|(path, _)| path.strip_prefix(FOLDER).is_some_and(|name| !name.contains('/') && is_locale(name)))
        .map(|(path, text)| (path, keys(text)))
        .collect();
    let mut found = Vec::new();
    let all: BTreeSet<&String> = locales.iter().filter_map(|(_, keys)| keys.as_ref().ok()).flatten().collect();
    for (path, keys) in &locales {
        match keys {
            Err(e) => found.push(Violation::new(*path, format!("cannot be read: {e}"))),
            Ok(keys) => {
                for key in all.iter().filter(|key| !keys.contains(**key)) {
                    found.push(Violation::new(*path, format!("has no `{key}`, which another language has")));
                }
            }
        }
    }
    found
}

/// `en.ts`, `zh-CN.ts`: a language tag and an ending, unlike `index.ts`.
fn is_locale(name: &str) -> bool {
    let tag = name.split('.').next().unwrap_or_default();
    let language = tag.split('-').next().unwrap_or_default();
    (2..=3).contains(&language.len()) && language.chars().all(|c| c.is_ascii_lowercase())
}

/// The dotted paths of the leaves of the first object literal in the text.
fn keys(text: &str) -> Result<BTreeSet<String>, String> {
    let mut keys = BTreeSet::new();
    let mut path: Vec<String> = Vec::new();
    let mut depth = 0;
    let mut key: Option<String> = None;
    let mut brackets = 0;
    let mut last: Option<String> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        match c {
            '/' if rest.starts_with("//") => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '/' if rest.starts_with("/*") => {
                let end = rest.find("*/").ok_or("a comment does not end")? + at + 2;
                while chars.next_if(|(i, _)| *i < end).is_some() {}
            }
            '\'' | '"' | '`' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some((_, '\\')) => word.extend(chars.next().map(|(_, c)| c)),
                        Some((_, end)) if end == c => break,
                        Some((_, other)) => word.push(other),
                        None => return Err("a string does not end".into()),
                    }
                }
                last = Some(word);
            }
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets -= 1,
            _ if brackets > 0 => {}
            '{' => {
                depth += 1;
                if depth > 1 {
                    path.push(key.take().ok_or("an object stands where no key was read")?);
                }
            }
            '}' | ',' => {
                if let Some(key) = key.take() {
                    keys.insert(path.iter().chain([&key]).map(String::as_str).collect::<Vec<_>>().join("."));
                }
                if c == '}' {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(keys);
                    }
                    path.pop();
                }
                last = None;
            }
            ':' if depth > 0 && key.is_none() => key = Some(last.take().ok_or("a colon stands where no key was read")?),
            _ if c.is_alphanumeric() || c == '_' || c == '$' => {
                let mut word = String::from(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| c.is_alphanumeric() || *c == '_' || *c == '$') {
                    word.push(c);
                }
                last = Some(word);
            }
            _ => {}
        }
    }
    Err("the object does not end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_object_literals() {
        for (text, expected) in [
            ("export default { a: 'x', b: \"y\" }", "a b"),
            ("export default {\n  a: { b: 'x', 'c-d': `y`, },\n  e: 'z', // f: 'no'\n} as const", "a.b a.c-d e"),
            ("const m: M = { a: 'it\\'s {n} of: {m}', b: 'x' + 'y' }", "a b"),
            ("{ \"a\": { \"b\": \"c: d\" } }", "a.b"),
            ("export default { a: ['x', 'y'], b: (n: number) => `z`, /* c: 'no' */ d: {} }", "a b"),
        ] {
            let found = keys(text).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), expected, "{text}");
        }
        assert!(keys("export default { a: 'x'").is_err());
    }

    #[test]
    fn a_key_that_one_language_lacks_is_named() {
        let tree = Tree::of(&[
            ("web/src/locales/en.ts", "export default { a: { b: 'x' }, c: 'y' }"),
            ("web/src/locales/zh-CN.ts", "export default { a: { b: '甲' }, d: '丁' }"),
            ("web/src/locales/index.ts", "export const languages = ['en']"),
        ]);
        let found: Vec<String> = languages_have_the_same_keys(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "web/src/locales/en.ts: has no `d`, which another language has",
                "web/src/locales/zh-CN.ts: has no `c`, which another language has"
            ]
        );
    }
}
