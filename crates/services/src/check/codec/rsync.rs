//! A module of an rsync daemon that opens without a password. Nothing is transferred: the module is named, the server says
//! whether it wants to know who we are, and we leave.
//!
//! Source: rsync's clientserver.c, the greeting and the module's line. Each module is asked for on a connection of its own,
//! because the daemon ends every talk.

use crate::bytes::tidy;
use crate::check::dialogue::{Decision, Dialogue, Turn, Vars};
use model::finding::Verdict;

/// The list of modules, then the first of them.
pub(super) struct Module;

const NAME: &str = "rsync-module";

/// Modules asked for: one that is open proves it, and daemons have few.
const MODULES: usize = 3;

/// Our greeting, of a protocol without digests to choose from.
const GREETING: &str = "@RSYNCD: 31.0\n";

/// The names in a list: what stands before the tab.
fn modules(list: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(list);
    let names = text.lines().filter_map(|line| line.split_once('\t')).map(|(name, _)| name.trim_end().to_owned());
    let plain = |name: &String| !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| (b'!'..=b'~').contains(&b));
    names.filter(plain).collect()
}

fn greets(answer: &[u8]) -> bool {
    answer.starts_with(b"@RSYNCD: ") && answer.get(9).is_some_and(u8::is_ascii_digit)
}

impl Dialogue for Module {
    fn separate(&self) -> bool {
        true
    }

    fn turn(&self, _: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some((&answer, before)) = heard.split_last() else { return Turn::Listen };
        let silent = |answer: &[u8]| answer.is_empty() && ended;
        // Every second answer is a greeting, the others are to what we said after it.
        if before.len() % 2 == 0 {
            if silent(answer) {
                return Decision::inconclusive(NAME, "no answer").end();
            }
            if !answer.ends_with(b"\n") && !ended {
                return Turn::More;
            }
            if !greets(answer) {
                return Decision::new(Verdict::OtherService, NAME).because("no greeting of rsync's").end();
            }
            let Some(list) = heard.get(1) else { return Turn::Say(format!("{GREETING}#list\n").into_bytes()) };
            let Some(module) = modules(list).into_iter().nth((before.len() - 2) / 2) else {
                return Decision::inconclusive(NAME, "no module is left").end();
            };
            return Turn::Say(format!("{GREETING}{module}\n").into_bytes());
        }
        let lines = || answer.split(|b| *b == b'\n').filter(|l| l.starts_with(b"@"));
        if let Some(list) = heard.get(1).filter(|_| before.len() == 1) {
            if !list.windows(14).any(|w| w == b"@RSYNCD: EXIT\n") && !ended {
                return Turn::More;
            }
            if lines().any(|l| l.starts_with(b"@ERROR")) {
                return Decision::new(Verdict::RefusesUs, NAME).because("lists nothing to us").end();
            }
            return match modules(list).is_empty() {
                true if lines().any(|l| l == b"@RSYNCD: EXIT") => {
                    Decision::new(Verdict::NotProved, NAME).because("shows no module to anybody").end()
                }
                true => Decision::inconclusive(NAME, "no list of modules").end(),
                false => Turn::Listen,
            };
        }
        if !ended && lines().all(|l| !l.starts_with(b"@RSYNCD: ") && !l.starts_with(b"@ERROR")) {
            return Turn::More;
        }
        let all = heard.get(1).map(|list| modules(list)).unwrap_or_default();
        let n = (before.len() - 3) / 2;
        let name = all.get(n).cloned().unwrap_or_default();
        if lines().any(|l| l == b"@RSYNCD: OK") {
            return Decision::new(Verdict::Proved, NAME)
                .shows(answer)
                .field("modules", all.len())
                .field("open", tidy(&name, 64))
                .end();
        }
        if n + 1 < all.len().min(MODULES) {
            return Turn::Listen;
        }
        let verdict = match () {
            () if lines().any(|l| l.starts_with(b"@RSYNCD: AUTHREQD")) => Verdict::NotProved,
            () if lines().any(|l| l.starts_with(b"@ERROR: access denied")) => Verdict::RefusesUs,
            () => Verdict::Inconclusive,
        };
        Decision::new(verdict, NAME).because("no module that was asked for opens without a password").end()
    }
}
