//! One entry below a naming context, read without a name: what an LDAP server shows to anybody.
//!
//! Source: RFC 4511. Every server shows its rootDSE and may accept an anonymous bind, so neither is a finding. The entry is
//! asked for without attributes and without values, one at most, and its name is not kept.

use crate::bytes::tidy;
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::finding::Verdict;

/// Anonymous bind, rootDSE, one level below each naming context.
pub(super) struct OneLevel;

const NAME: &str = "ldap-search one-level";

/// An anonymous bind, version 3, as message 1.
const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";

/// Unbind.
const UNBIND: &[u8] = b"\x30\x05\x02\x01\x7f\x42\x00";

/// Naming contexts looked into; directories have one or two, and Active Directory its three of configuration first.
const CONTEXTS: usize = 5;

/// Tag, content, and where the next element begins.
fn element(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let tag = *bytes.get(at)?;
    let first = *bytes.get(at + 1)?;
    let (length, head) = match first {
        0..=0x7f => (usize::from(first), 2),
        0x81..=0x84 => {
            let count = usize::from(first & 0x0f);
            let digits = bytes.get(at + 2..at + 2 + count)?;
            (digits.iter().fold(0usize, |n, &b| n << 8 | usize::from(b)), 2 + count)
        }
        _ => return None,
    };
    let end = at.checked_add(head)?.checked_add(length)?;
    Some((tag, bytes.get(at + head..end)?, end))
}

/// An operation of the server with its message's number.
struct Operation<'a> {
    id: u64,
    tag: u8,
    content: &'a [u8],
}

/// The whole messages of an answer.
fn operations(bytes: &[u8]) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some((0x30, message, next)) = element(bytes, at) {
        let Some((0x02, id, after)) = element(message, 0).filter(|(_, id, _)| (1..=4).contains(&id.len())) else { break };
        let Some((tag, content, _)) = element(message, after) else { break };
        all.push(Operation { id: id.iter().fold(0, |n, &b| n << 8 | u64::from(b)), tag, content });
        at = next;
    }
    all
}

/// The result code of a response.
fn result(content: &[u8]) -> Option<u64> {
    let (0x0a, code, _) = element(content, 0)? else { return None };
    (code.len() == 1).then(|| u64::from(code[0]))
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let n = content.len();
    let head = if n < 0x80 { vec![tag, n as u8] } else { vec![tag, 0x82, (n >> 8) as u8, n as u8] };
    [head.as_slice(), content].concat()
}

/// A search for anything: scope 0 the object itself, 1 one level below it.
fn search(id: u8, base: &[u8], scope: u8, size: u8, types_only: bool, attributes: &[&str]) -> Vec<u8> {
    let mut body = wrapped(0x04, base);
    body.extend_from_slice(&[0x0a, 1, scope, 0x0a, 1, 0, 0x02, 1, size, 0x02, 1, 5, 0x01, 1, if types_only { 0xff } else { 0 }]);
    body.extend(wrapped(0x87, b"objectClass"));
    body.extend(wrapped(0x30, &attributes.iter().flat_map(|a| wrapped(0x04, a.as_bytes())).collect::<Vec<u8>>()));
    wrapped(0x30, &[&[0x02, 1, id][..], &wrapped(0x63, &body)].concat())
}

/// The naming contexts of a rootDSE, the server's default first; those of configuration and schema are for everybody.
fn contexts(entry: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut read = || -> Option<()> {
        let (0x04, _, at) = element(entry, 0)? else { return None };
        let (0x30, attributes, _) = element(entry, at)? else { return None };
        let mut at = 0;
        while let Some((0x30, attribute, next)) = element(attributes, at) {
            let (0x04, name, after) = element(attribute, 0)? else { return None };
            let (0x31, values, _) = element(attribute, after)? else { return None };
            let default = name.eq_ignore_ascii_case(b"defaultNamingContext");
            let mut value_at = 0;
            while let Some((0x04, value, next)) = element(values, value_at) {
                let lower = value.to_ascii_lowercase();
                let own =
                    lower.starts_with(b"cn=schema") || lower.starts_with(b"cn=configuration") || lower.starts_with(b"cn=config");
                if !value.is_empty() && value.len() <= 512 && !own && !found.iter().any(|(_, v)| v == value) {
                    found.push((default, value.to_vec()));
                }
                value_at = next;
            }
            at = next;
        }
        Some(())
    };
    read();
    found.sort_by_key(|(default, _)| !default);
    found.into_iter().map(|(_, v)| v).take(CONTEXTS).collect()
}

/// The last operation that ends the answer to message `id`.
fn done<'a, 'b>(all: &'b [Operation<'a>], id: u64, tag: u8) -> Option<&'b Operation<'a>> {
    all.iter().find(|o| o.id == id && o.tag == tag)
}

impl Dialogue for OneLevel {
    fn turn(&self, _: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some((&answer, before)) = heard.split_last() else { return Turn::Say(BIND.to_vec()) };
        let all = operations(answer);
        let id = heard.len() as u64;
        let tag = if before.is_empty() { 0x61 } else { 0x65 };
        // A notice of disconnection has message number 0.
        let last = done(&all, id, tag).or_else(|| done(&all, 0, 0x78));
        let Some(last) = last else {
            return match (ended, answer.is_empty()) {
                (false, _) => Turn::More,
                (true, true) => Decision::inconclusive(NAME, "no answer").end(),
                (true, false) => Decision::new(Verdict::OtherService, NAME).because("no whole answer of LDAP's").end(),
            };
        };
        let Some(code) = result(last.content).filter(|_| last.id == id) else {
            return Decision::inconclusive(NAME, "the server ended the talk").end();
        };
        let leave = |decision: Decision| decision.leaving(UNBIND).end();
        if before.is_empty() {
            // RFC 4511 appendix A: 8 stronger authentication, 13 confidentiality, 48 inappropriate, 49 credentials, 50 rights,
            // 53 unwilling.
            return match code {
                0 => Turn::Say(search(2, b"", 0, 0, false, &["namingContexts", "defaultNamingContext"])),
                8 | 13 | 48 | 49 | 50 | 53 => {
                    Decision::new(Verdict::NotProved, NAME).because(format!("no bind without a name (result {code})")).end()
                }
                _ => Decision::inconclusive(NAME, format!("bind: result {code}")).end(),
            };
        }
        let root = if before.len() == 1 { answer } else { before[1] };
        let root = operations(root);
        let contexts = root.iter().find(|o| o.id == 2 && o.tag == 0x64).map(|o| contexts(o.content)).unwrap_or_default();
        // One level below each context; then, for directories that have nothing below, the context's own entry.
        let levels: Vec<(&Vec<u8>, u8)> = [1, 0].into_iter().flat_map(|scope| contexts.iter().map(move |c| (c, scope))).collect();
        let ask = |n: usize| levels.get(n).map(|(base, scope)| Turn::Say(search(3 + n as u8, base, *scope, 1, true, &["1.1"])));
        if before.len() == 1 {
            return ask(0)
                .unwrap_or_else(|| leave(Decision::new(Verdict::NotProved, NAME).because("shows no naming context to anybody")));
        }
        let n = before.len() - 2;
        let entries = all.iter().filter(|o| o.id == id && o.tag == 0x64).count();
        if entries > 0 {
            let (base, scope) = levels.get(n).map(|(b, s)| (tidy(&String::from_utf8_lossy(b), 96), *s)).unwrap_or_default();
            let what = if scope == 1 { "below it" } else { "its own" };
            return leave(Decision::new(Verdict::Proved, NAME).field("naming_context", base).field("entry", what));
        }
        ask(n + 1).unwrap_or_else(|| {
            leave(Decision::new(Verdict::NotProved, NAME).because(format!("shows no entry to anybody (result {code})")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_the_one_that_was_meant() {
        // The same search as ldapsearch -x -s one -A -z 1 -l 5 -b dc=a '(objectClass=*)' 1.1 puts on the wire.
        let bytes = search(3, b"dc=a", 1, 1, true, &["1.1"]);
        assert_eq!(bytes[..5], [0x30, 0x2e, 2, 1, 3]);
        assert_eq!(element(&bytes, 0).map(|(_, _, end)| end), Some(bytes.len()));
        assert!(bytes.ends_with(b"\x87\x0bobjectClass\x30\x05\x04\x031.1"));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for bytes in [&b"\x30\x84\xff\xff\xff\xff"[..], b"\x30\x80", b"\x30\x85\0\0\0\0\0", b"\x30\x05\x02\x01", b"\x30"] {
            assert!(operations(bytes).is_empty(), "{bytes:?}");
        }
    }
}
