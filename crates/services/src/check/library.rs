//! The checks of `catalog/checks/` with both their halves: what people read (`model::check`) and how they ask and decide.
//!
//! A file is taken whole or not at all. Holding checks to their cases is here too; running them is left to the parent.

use super::codec;
use super::datagram::{Datagram, DatagramSpec};
use super::dialogue::{self, Decision, Dialogue, Vars};
use super::http::{Http, HttpSpec};
use super::identified::Identified;
use super::line::{Line, LineSpec};
use super::login::{self, Login, LoginSpec};
use crate::bytes::unescape;
use model::check::{CheckFileError, CheckInfo, Checks};
use model::exposure::Severity;
use model::finding::Verdict;
use model::service::{Amplification, Service};
use model::{Endpoint, Ts};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

#[derive(Deserialize)]
struct File {
    check: Vec<Entry>,
}

/// The half of an entry that `model::check` passes over, which has refused unknown fields already.
#[derive(Deserialize)]
struct Entry {
    id: String,
    http: Option<HttpSpec>,
    line: Option<LineSpec>,
    datagram: Option<DatagramSpec>,
    codec: Option<String>,
    identified: Option<Identified>,
    login: Option<LoginSpec>,
    cases: Vec<Case>,
}

/// Answers, and what the check has to make of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The answers to its questions in order; after the last one there is silence.
    #[serde(default)]
    answers: Vec<String>,
    /// Of a check that sends nothing: the service as identified, in the API's JSON.
    found: Option<String>,
    /// Of a check of one datagram: how many bytes came in all, when there were more datagrams than the first.
    answered: Option<u32>,
    verdict: Verdict,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    severity: Option<Severity>,
}

/// How a check asks.
pub(crate) enum Way {
    Talk(Box<dyn Dialogue + Send>),
    Codec(&'static dyn Dialogue),
    Datagram(Box<Datagram>),
    Identified(Identified),
    Login(Box<Login>),
}

impl Way {
    /// An attempt to sign in is counted under the account that the entry names, so none may be made under another.
    fn names_whom_it_signs_in_as(&self, info: &CheckInfo) -> Result<(), String> {
        let talk: &dyn Dialogue = match self {
            Way::Talk(talk) => talk.as_ref(),
            Way::Codec(codec) => *codec,
            Way::Datagram(_) | Way::Identified(_) | Way::Login(_) => return Ok(()),
        };
        match (talk.signs_in(), &info.signs_in_as) {
            (true, None) => {
                Err("signs in, and does not say as whom\nhint: `signs_in_as` and the account, or `login` with its pairs".into())
            }
            (false, Some(account)) => Err(format!(
                "says that it signs in as `{account}`, and does not\nhint: `{{account}}` in what is sent, or take out `signs_in_as`"
            )),
            _ => Ok(()),
        }
    }
}

/// A check, whole.
pub(crate) struct Check {
    pub(crate) info: CheckInfo,
    pub(crate) way: Way,
    cases: Vec<Case>,
    file: String,
}

/// All checks, in the order in which they run.
#[derive(Default)]
pub struct Library {
    pub(crate) checks: Vec<Check>,
    infos: Checks,
}

/// A case that a check does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: check `{check}`, case {case}: {message}")]
pub struct CaseFailure {
    /// File.
    pub file: String,
    /// Check.
    pub check: String,
    /// Which of its cases, from 1.
    pub case: usize,
    /// What was expected and what came.
    pub message: String,
}

/// What holding checks to their cases brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseReport {
    /// Checks held to their cases.
    pub checks: usize,
    /// Cases run.
    pub cases: usize,
    /// Those that failed.
    pub failures: Vec<CaseFailure>,
}

/// Where the cases pretend to be, and with what seed: an answer that carries an id carries this one's.
const CASE_SEED: u64 = 0x0102_0304_0506_0708;

static IN_USE: OnceLock<Library> = OnceLock::new();

impl Library {
    /// The checks that ship with portreeve.
    pub fn builtin() -> Library {
        let mut library = Library::default();
        for (file, text) in Checks::builtin_files() {
            library.add(file, text).expect("the built-in checks are held to their cases by the tests");
        }
        library
    }

    /// The checks that [`crate::check::run`] uses: the built-in ones, unless [`Library::install`] came first.
    pub(crate) fn in_use() -> &'static Library {
        IN_USE.get_or_init(Library::builtin)
    }

    /// Makes this the library of the process. Only the first call before the first check counts; whether it was this one.
    pub fn install(self) -> bool {
        IN_USE.set(self).is_ok()
    }

    /// Adds the checks of one file, all of them or, where it is broken, none.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), CheckFileError> {
        let before = self.infos.clone();
        self.infos.add(file, text)?;
        match self.compile(file, text) {
            Ok(checks) => {
                self.checks.extend(checks);
                Ok(())
            }
            Err(message) => {
                self.infos = before;
                Err(CheckFileError { file: file.to_owned(), message })
            }
        }
    }

    fn compile(&self, file: &str, text: &str) -> Result<Vec<Check>, String> {
        let parsed: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut checks = Vec::with_capacity(parsed.check.len());
        for entry in parsed.check {
            let id = entry.id.clone();
            let wrong = |why: String| format!("check `{id}`: {why}");
            let info = self.infos.get(&id).cloned().ok_or_else(|| wrong("has no first half".into()))?;
            for verdict_is in [true, false] {
                if !entry.cases.iter().any(|c| (c.verdict == Verdict::Proved) == verdict_is) {
                    return Err(wrong("has no case that proves and one that does not".into()));
                }
            }
            let way = Self::way(&entry).map_err(wrong)?;
            way.names_whom_it_signs_in_as(&info).map_err(wrong)?;
            checks.push(Check { info, way, cases: entry.cases, file: file.to_owned() });
        }
        Ok(checks)
    }

    fn way(entry: &Entry) -> Result<Way, String> {
        Ok(match entry {
            Entry { http: Some(spec), .. } => Way::Talk(Box::new(Http::compile(spec, false)?)),
            Entry { line: Some(spec), .. } => Way::Talk(Box::new(Line::compile(spec)?)),
            Entry { datagram: Some(spec), .. } => Way::Datagram(Box::new(Datagram::compile(spec)?)),
            Entry { codec: Some(name), .. } => Way::Codec(codec::named(name)?),
            Entry { identified: Some(spec), .. } => Way::Identified(spec.clone()),
            Entry { login: Some(spec), .. } => Way::Login(Box::new(Login::compile(spec)?)),
            _ => return Err("asks in no way".into()),
        })
    }

    /// What people read of the checks.
    pub fn infos(&self) -> &Checks {
        &self.infos
    }

    /// Holds every check to its cases.
    pub fn test(&self) -> CaseReport {
        let mut report = CaseReport { checks: self.checks.len(), ..CaseReport::default() };
        for check in &self.checks {
            for (i, case) in check.cases.iter().enumerate() {
                report.cases += 1;
                if let Err(message) = check.hold(case) {
                    let (file, id) = (check.file.clone(), check.info.id.clone());
                    report.failures.push(CaseFailure { file, check: id, case: i + 1, message });
                }
            }
        }
        report
    }

    /// Puts the bytes in the place of the first answer of every check, and of every later answer of one check, which the bytes
    /// choose: nothing may panic or go on for ever. All of all would take a fuzzer's time for sameness.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        let sum = bytes.iter().fold(bytes.len(), |sum, &b| sum.wrapping_mul(31).wrapping_add(usize::from(b)));
        for (i, check) in self.checks.iter().enumerate() {
            check.feed(bytes, i == sum % self.checks.len());
        }
    }
}

/// A stranger's address out of the documentation's range.
fn case_endpoint() -> Endpoint {
    Endpoint::tcp(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4711)
}

impl Check {
    fn vars(&self) -> Vars<'_> {
        let (account, password) = match &self.way {
            Way::Login(login) => (login.pairs[0].account.as_str(), login.pairs[0].password.as_str()),
            _ => (self.info.signs_in_as.as_deref().unwrap_or_default(), ""),
        };
        Vars { endpoint: case_endpoint(), seed: CASE_SEED, account, password }
    }

    /// How the check ends with the case's answers, and how many of them it wanted.
    fn decide(&self, case: &Case) -> Result<(Decision, usize, usize), String> {
        let answers = case.answers.iter().map(|a| unescape(a)).collect::<Result<Vec<_>, _>>()?;
        let heard: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        let vars = self.vars();
        let (decision, used) = match &self.way {
            Way::Talk(talk) => dialogue::replay(talk.as_ref(), &vars, &heard),
            Way::Codec(codec) => dialogue::replay(*codec, &vars, &heard),
            Way::Login(login) => login::replay(login, &vars, &heard),
            Way::Datagram(datagram) => {
                let first = heard.first().copied().unwrap_or_default();
                let asked = u32::try_from(datagram.question(&vars).len()).unwrap_or(u32::MAX);
                let answered = case.answered.unwrap_or(u32::try_from(first.len()).unwrap_or(u32::MAX));
                (datagram.judge(&vars, first, Amplification { asked, answered }), heard.len().min(1))
            }
            Way::Identified(identified) => {
                let found = case.found.as_deref().ok_or("has no `found`")?;
                let service: Service = serde_json::from_str(found).map_err(|e| format!("`found`: {e}"))?;
                // The instant of the cases: 2026-01-01.
                (identified.judge(&service, Ts(1_767_225_600_000)), 0)
            }
        };
        Ok((decision, used, heard.len()))
    }

    fn hold(&self, case: &Case) -> Result<(), String> {
        let (decision, used, answers) = self.decide(case)?;
        if decision.verdict != case.verdict {
            let why = decision.reason.unwrap_or_default();
            return Err(format!("expected {}, got {}: {why}", case.verdict, decision.verdict));
        }
        if used < answers {
            return Err(format!("decided after {used} of {answers} answers"));
        }
        for (name, expected) in &case.fields {
            let got = decision.fields.get(name);
            if got != Some(expected) {
                return Err(format!("field `{name}`: expected `{expected}`, got {got:?}"));
            }
        }
        if case.severity.is_some() && decision.severity != case.severity {
            return Err(format!("expected severity {:?}, got {:?}", case.severity, decision.severity));
        }
        Ok(())
    }

    /// In the place of the first answer, and if `deep` of each answer after those of every case that proves.
    fn feed(&self, bytes: &[u8], deep: bool) {
        let vars = self.vars();
        let talk: &dyn Dialogue = match &self.way {
            Way::Talk(talk) => talk.as_ref(),
            Way::Codec(codec) => *codec,
            Way::Login(login) => login.dialogue(),
            Way::Datagram(datagram) => {
                datagram.judge(&vars, bytes, Amplification { asked: 1, answered: 1 });
                return;
            }
            Way::Identified(_) => return,
        };
        let feed = |before: &[&[u8]]| {
            let heard: Vec<&[u8]> = before.iter().copied().chain([bytes]).collect();
            talk.turn(&vars, &heard, false);
            dialogue::replay(talk, &vars, &heard);
        };
        feed(&[]);
        for case in self.cases.iter().filter(|c| deep && c.verdict == Verdict::Proved) {
            let Ok(answers) = case.answers.iter().map(|a| unescape(a)).collect::<Result<Vec<_>, _>>() else { continue };
            let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
            for cut in 1..=answers.len() {
                feed(&answers[..cut]);
                // The case's own answer with the bytes behind its first half: a plausible head.
                let last = answers[cut - 1];
                let mixed = [&last[..last.len() / 2], bytes].concat();
                let heard: Vec<&[u8]> = answers[..cut - 1].iter().copied().chain([mixed.as_slice()]).collect();
                talk.turn(&vars, &heard, false);
                dialogue::replay(talk, &vars, &heard);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_check_holds_its_cases() {
        let report = Library::builtin().test();
        let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), report.cases, failures.join("\n"));
        assert!(report.checks > 0 && report.cases > report.checks * 2);
    }

    #[test]
    fn a_proof_names_the_request_that_was_sent_and_not_the_check() {
        for check in &Library::builtin().checks {
            for case in check.cases.iter().filter(|c| c.verdict == Verdict::Proved) {
                let (decision, ..) = check.decide(case).unwrap();
                let named = |b: u8| (b' '..=b'~').contains(&b);
                let request = &decision.request;
                assert!(!request.is_empty() && request.bytes().all(named), "{}: {request:?}", check.info.id);
                assert_ne!(*request, check.info.id);
                assert!(!request.contains(['{', '}']) || !matches!(check.way, Way::Login(_)), "{}: {request}", check.info.id);
            }
        }
    }

    #[test]
    fn a_broken_entry_is_refused_with_its_file_and_the_others_stay() {
        let good = Checks::builtin_files().iter().find(|(f, _)| *f == "checks/memcached.toml").unwrap().1;
        for (from, to, word) in [
            ("proved = '^STAT", "proved = '(^STAT", "unclosed"),
            ("say = [", "sayy = [", "sayy"),
            ("send = 'stats", "send = '\\x00stats", "has no name"),
            ("say = [{ ", "say = [{ name = '', ", "`name` is not 1 to"),
            ("send = 'stats", "send = 'stats {account}", "does not say as whom"),
            ("send = 'stats", "send = 'stats {password}", "does not say as whom"),
            ("side_effect = \"benign\"", "side_effect = \"session\"\nsigns_in_as = \"root\"", "and does not"),
            ("verdict = \"proved\"", "verdict = \"inconclusive\"", "no case that proves"),
        ] {
            let mut library = Library::default();
            library.add("checks/redis.toml", Checks::builtin_files()[0].1).unwrap();
            let err = library.add("checks/mine.toml", &good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(err.contains("checks/mine.toml") && err.contains(word), "{err}");
            assert_eq!(library.checks.len(), library.infos().all().len());
            library.add("checks/memcached.toml", good).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_a_check(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            static LIBRARY: OnceLock<Library> = OnceLock::new();
            for check in &LIBRARY.get_or_init(Library::builtin).checks {
                check.feed(&bytes, true);
            }
        }
    }
}
