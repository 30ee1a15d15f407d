//! Default pairs of name and password: in which order they are tried, and what the outcomes prove.
//!
//! A pair that signs in proves nothing unless a pair that nobody has is refused, before and after: servers that accept
//! everything are as common as default passwords. How often an account may be tried at all is left to `ledger`; that an
//! approval is in force, to the caller and to the ledger.

use super::dialogue::{Decision, Dialogue};
use super::http::{Http, HttpSpec};
use super::line::{Line, LineSpec};
use super::{codec, dialogue};
use model::check::MAX_ATTEMPTS;
use model::finding::{AttemptOutcome, CredentialAttempt, Verdict};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginSpec {
    /// Checks that must not have proved access without any pair.
    #[serde(default)]
    unless: Vec<String>,
    /// The product is known to lock accounts, so one attempt has to do.
    lockout: bool,
    pairs: Vec<Pair>,
    http: Option<HttpSpec>,
    line: Option<LineSpec>,
    codec: Option<String>,
}

/// A pair that a maker documents. The password is public knowledge; what is secret is that it works somewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) password: String,
    /// Where the maker documents it.
    source: String,
}

/// A way to sign in and the pairs to try, compiled.
pub(crate) struct Login {
    pub(crate) unless: Vec<String>,
    /// Attempts for one account, at most.
    pub(crate) most: u8,
    pub(crate) pairs: Vec<Pair>,
    way: Way,
}

enum Way {
    Http(Http),
    Line(Line),
    Codec(&'static dyn Dialogue),
}

impl Login {
    pub(crate) fn compile(spec: &LoginSpec) -> Result<Login, String> {
        let way = match (&spec.http, &spec.line, &spec.codec) {
            (Some(http), None, None) => Way::Http(Http::compile(http, true)?),
            (None, Some(line), None) => Way::Line(Line::compile(line)?),
            (None, None, Some(codec)) => Way::Codec(codec::named(codec)?),
            _ => return Err("signs in by exactly one of `http`, `line` and `codec`".into()),
        };
        if spec.pairs.is_empty() {
            return Err("`pairs` is empty".into());
        }
        for pair in &spec.pairs {
            if !pair.source.starts_with("https://") {
                return Err(format!(
                    "pair `{}` does not say where its maker documents it\nhint: an https:// address in `source`",
                    pair.id
                ));
            }
            if [CredentialAttempt::CONTROL, CredentialAttempt::EMPTY_PASSWORD].contains(&pair.id.as_str()) {
                return Err(format!("pair `{}` has an id that stands for attempts without a pair", pair.id));
            }
            let clean = |text: &str| text.len() <= 64 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
            if !clean(&pair.account) || !clean(&pair.password) {
                return Err(format!("pair `{}` has more than printable ASCII, or more than 64 characters", pair.id));
            }
        }
        Ok(Login {
            unless: spec.unless.clone(),
            most: if spec.lockout { 1 } else { MAX_ATTEMPTS },
            pairs: spec.pairs.clone(),
            way,
        })
    }

    pub(crate) fn dialogue(&self) -> &dyn Dialogue {
        match &self.way {
            Way::Http(http) => http,
            Way::Line(line) => line,
            Way::Codec(codec) => *codec,
        }
    }

    /// The pairs in today's order. Where an account may be tried only once a day, another of its pairs comes first tomorrow.
    pub(crate) fn in_order(&self, day: usize) -> impl Iterator<Item = &Pair> {
        let n = self.pairs.len();
        (0..n).map(move |i| &self.pairs[(i + day) % n])
    }
}

/// Which pair was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// One that nobody has.
    Control,
    /// The pair of that id.
    Pair(String),
}

/// What to do after these attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try the pair that nobody has.
    Control,
    /// Try the next pair, if there is one left.
    Pair,
    /// Decided.
    End(Verdict, &'static str),
}

/// What the attempts so far lead to.
pub(crate) fn next(attempts: &[(Tried, AttemptOutcome)]) -> Next {
    if attempts.iter().any(|(_, outcome)| *outcome == AttemptOutcome::Locked) {
        return Next::End(Verdict::Locked, "says that the account or our address is locked");
    }
    let accepted =
        attempts.iter().any(|(tried, outcome)| matches!(tried, Tried::Pair(_)) && *outcome == AttemptOutcome::Accepted);
    match attempts.last() {
        None => Next::Control,
        Some((_, AttemptOutcome::Unclear)) => Next::End(Verdict::Inconclusive, "an attempt neither succeeded nor failed"),
        Some((Tried::Control, AttemptOutcome::Accepted)) => Next::End(Verdict::OtherService, "accepts a pair that nobody has"),
        Some((Tried::Control, _)) if accepted => Next::End(Verdict::Proved, ""),
        Some((Tried::Control, _)) => Next::Pair,
        Some((Tried::Pair(_), AttemptOutcome::Accepted)) => Next::Control,
        Some((Tried::Pair(_), _)) => Next::Pair,
    }
}

/// What the end of one talk says of the attempt.
pub(crate) fn outcome(decision: &Decision) -> AttemptOutcome {
    match decision.verdict {
        Verdict::Proved => AttemptOutcome::Accepted,
        Verdict::NotProved => AttemptOutcome::Rejected,
        Verdict::Locked => AttemptOutcome::Locked,
        Verdict::RefusesUs | Verdict::OtherService | Verdict::Inconclusive => AttemptOutcome::Unclear,
    }
}

/// A pair that nobody has.
pub(crate) fn nobody(seed: u64) -> (String, String) {
    (format!("prt{:08x}", seed >> 32), format!("{seed:016x}"))
}

/// For cases: the talk with the first pair.
pub(crate) fn replay(login: &Login, vars: &dialogue::Vars<'_>, answers: &[&[u8]]) -> (Decision, usize) {
    dialogue::replay(login.dialogue(), vars, answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptOutcome::{Accepted, Locked, Rejected, Unclear};

    #[test]
    fn only_a_pair_between_two_refusals_is_proved() {
        let c = |o| (Tried::Control, o);
        let p = |o| (Tried::Pair("x".into()), o);
        for (attempts, expected) in [
            (vec![], Next::Control),
            (vec![c(Rejected)], Next::Pair),
            (vec![c(Rejected), p(Rejected)], Next::Pair),
            (vec![c(Rejected), p(Accepted)], Next::Control),
        ] {
            assert_eq!(next(&attempts), expected, "{attempts:?}");
        }
        for (attempts, verdict) in [
            (vec![c(Rejected), p(Accepted), c(Rejected)], Verdict::Proved),
            (vec![c(Rejected), p(Rejected), p(Accepted), c(Rejected)], Verdict::Proved),
            (vec![c(Accepted)], Verdict::OtherService),
            (vec![c(Rejected), p(Accepted), c(Accepted)], Verdict::OtherService),
            (vec![c(Rejected), p(Accepted), c(Unclear)], Verdict::Inconclusive),
            (vec![c(Unclear)], Verdict::Inconclusive),
            (vec![c(Locked)], Verdict::Locked),
            (vec![c(Rejected), p(Locked)], Verdict::Locked),
            (vec![c(Rejected), p(Accepted), c(Locked)], Verdict::Locked),
        ] {
            assert!(matches!(next(&attempts), Next::End(v, _) if v == verdict), "{attempts:?}: {:?}", next(&attempts));
        }
    }
}
