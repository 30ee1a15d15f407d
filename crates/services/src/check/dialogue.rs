//! How a check talks and decides, apart from any socket: everything heard so far goes in, what to do next comes out.
//!
//! A dialogue remembers nothing. The same answers give the same turn, so a case in the catalogue is a list of answers, and a
//! fuzzer can put anything in the place of any of them. Sending and waiting are left to `ask`.

use crate::bytes::printable;
use model::Endpoint;
use model::exposure::Severity;
use model::finding::Verdict;
use std::collections::BTreeMap;

/// What a question may be made of besides its own words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vars<'a> {
    /// Who is asked.
    pub(crate) endpoint: Endpoint,
    /// Differs from talk to talk: for names that nobody has, and numbers used once.
    pub(crate) seed: u64,
    /// Of an attempt to sign in.
    pub(crate) account: &'a str,
    /// Of an attempt to sign in; never shown.
    pub(crate) password: &'a str,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The last answer is not all there.
    More,
    /// Wait for what the server says by itself.
    Listen,
    /// Say this and wait for the answer.
    Say(Vec<u8>),
    /// Decided.
    End(Box<Decision>),
}

/// How a talk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Option<String>,
    /// Name of the request whose answer decided.
    pub(crate) request: String,
    /// What of that answer may be kept, already printable.
    pub(crate) shown: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// When the evidence makes it worse than the catalogue says.
    pub(crate) severity: Option<Severity>,
    /// What the protocol wants said before we leave.
    pub(crate) farewell: Vec<u8>,
}

impl Decision {
    pub(crate) fn new(verdict: Verdict, request: &str) -> Self {
        Decision {
            verdict,
            reason: None,
            request: request.to_owned(),
            shown: String::new(),
            fields: BTreeMap::new(),
            severity: None,
            farewell: Vec::new(),
        }
    }

    pub(crate) fn inconclusive(request: &str, why: impl Into<String>) -> Self {
        Decision::new(Verdict::Inconclusive, request).because(why)
    }

    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.reason = Some(why.into());
        self
    }

    pub(crate) fn shows(mut self, bytes: &[u8]) -> Self {
        self.shown = printable(bytes);
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.insert(name.to_owned(), value.to_string());
        self
    }

    pub(crate) fn leaving(mut self, farewell: &[u8]) -> Self {
        self.farewell = farewell.to_vec();
        self
    }

    pub(crate) fn end(self) -> Turn {
        Turn::End(Box::new(self))
    }
}

/// One check's way of talking.
pub(crate) trait Dialogue: Sync {
    /// The next turn, after these answers. The last of them may still be growing unless `ended`; with nothing heard yet the
    /// first thing to say. Total: any bytes at all give a turn, and after [`MAX_STEPS`] answers it is an end.
    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn;

    /// Whether it tries the account and password of its [`Vars`]: talking is then an attempt to sign in.
    fn signs_in(&self) -> bool {
        false
    }

    /// Whether each question may go on a connection of its own (HTTP).
    fn separate(&self) -> bool {
        false
    }
}

/// No talk takes more questions.
pub(crate) const MAX_STEPS: usize = 16;

/// Goes through a talk with the answers given, each of them whole, and nothing more after them. How many were used.
pub(crate) fn replay(dialogue: &dyn Dialogue, vars: &Vars<'_>, answers: &[&[u8]]) -> (Decision, usize) {
    let mut heard: Vec<&[u8]> = Vec::new();
    for used in 0..=MAX_STEPS {
        match dialogue.turn(vars, &heard, true) {
            Turn::End(decision) => return (*decision, used),
            Turn::More => return (Decision::inconclusive("", "the answer is not all there"), used),
            Turn::Listen | Turn::Say(_) => heard.push(answers.get(used).copied().unwrap_or_default()),
        }
    }
    (Decision::inconclusive("", "the talk does not end"), MAX_STEPS)
}
