//! Checks of protocols whose answers a regular expression can judge: what to say, step by step, and what the answers prove.
//! All of it data (`[check.line]`).
//!
//! A pattern judges bytes, so fixed binary structures are within its reach; lengths that must be added up, salts and nested
//! encodings are left to `codec`.

use super::dialogue::{Decision, Dialogue, Turn, Vars};
use crate::bytes::{tidy, unescape};
use crate::catalog::compile;
use model::finding::Verdict;
use regex::bytes::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineSpec {
    say: Vec<StepSpec>,
    not_proved: Option<String>,
    refuses: Option<String>,
    locked: Option<String>,
    other: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    counts: BTreeMap<String, String>,
    #[serde(default)]
    farewell: String,
    /// What it means when a question is not answered at all; inconclusive where this says nothing else.
    silence: Option<Verdict>,
    /// The answers hold what must not be kept.
    #[serde(default)]
    secret: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepSpec {
    /// What the question is called where evidence names it; what is sent, where that is text.
    name: Option<String>,
    /// What to send; nothing where the server speaks.
    send: Option<String>,
    whole: Option<String>,
    go_on: Option<String>,
    proved: Option<String>,
}

/// A talk in lines, compiled.
pub(crate) struct Line {
    steps: Vec<Step>,
    verdicts: Vec<(Regex, Verdict)>,
    fields: Vec<(String, Regex)>,
    counts: Vec<(String, Regex)>,
    farewell: Vec<u8>,
    silence: Verdict,
    secret: bool,
}

struct Step {
    name: String,
    send: Option<Vec<u8>>,
    whole: Option<Regex>,
    go_on: Option<Regex>,
    proved: Option<Regex>,
}

impl Line {
    pub(crate) fn compile(spec: &LineSpec) -> Result<Line, String> {
        let optional = |p: &Option<String>| p.as_deref().map(compile).transpose();
        let all = |map: &BTreeMap<String, String>| {
            map.iter().map(|(n, p)| Ok((n.clone(), compile(p)?))).collect::<Result<Vec<_>, String>>()
        };
        let mut steps = Vec::new();
        for step in &spec.say {
            let send = step.send.as_deref().map(unescape).transpose()?;
            steps.push(Step {
                // Where nothing is sent, what the server says by itself.
                name: question_name(step.name.as_deref(), send.as_deref().unwrap_or(b"greeting"))?,
                send,
                whole: optional(&step.whole)?,
                go_on: optional(&step.go_on)?,
                proved: optional(&step.proved)?,
            });
        }
        let last = steps.len().checked_sub(1).ok_or("`say` has no step")?;
        if steps.len() > super::dialogue::MAX_STEPS {
            return Err(format!("`say` has more than {} steps", super::dialogue::MAX_STEPS));
        }
        if steps[last].proved.is_none() || steps[..last].iter().any(|s| s.go_on.is_none()) {
            return Err("the last step has `proved`, and every other `go_on`".into());
        }
        let mut verdicts = Vec::new();
        for (pattern, verdict) in [
            (&spec.refuses, Verdict::RefusesUs),
            (&spec.locked, Verdict::Locked),
            (&spec.not_proved, Verdict::NotProved),
            (&spec.other, Verdict::OtherService),
        ] {
            verdicts.extend(optional(pattern)?.map(|p| (p, verdict)));
        }
        Ok(Line {
            steps,
            verdicts,
            fields: all(&spec.fields)?,
            counts: all(&spec.counts)?,
            farewell: unescape(&spec.farewell)?,
            // Silence proves nothing, whatever a file says.
            silence: spec.silence.filter(|v| *v != Verdict::Proved).unwrap_or(Verdict::Inconclusive),
            secret: spec.secret,
        })
    }

    fn say(&self, step: usize, vars: &Vars<'_>) -> Turn {
        match self.steps.get(step) {
            Some(Step { send: Some(send), .. }) => Turn::Say(fill(send, vars)),
            Some(_) => Turn::Listen,
            None => over(),
        }
    }

    /// Whether this answer needs nothing more: its own mark of completeness, or any verdict at all.
    fn is_whole(&self, step: &Step, answer: &[u8]) -> bool {
        match &step.whole {
            Some(whole) => whole.is_match(answer),
            None => {
                [&step.proved, &step.go_on].into_iter().flatten().any(|p| p.is_match(answer))
                    || self.verdicts.iter().any(|(p, _)| p.is_match(answer))
            }
        }
    }

    fn read(&self, decision: Decision, heard: &[&[u8]]) -> Decision {
        let transcript = heard.concat();
        let mut decision = decision;
        for (name, pattern) in &self.fields {
            let captured = pattern.captures(&transcript).and_then(|c| c.get(1));
            if let Some(text) = captured {
                decision = decision.field(name, tidy(&String::from_utf8_lossy(text.as_bytes()), 96));
            }
        }
        for (name, pattern) in &self.counts {
            decision = decision.field(name, pattern.find_iter(&transcript).count());
        }
        decision
    }
}

/// After the last step.
fn over() -> Turn {
    Decision::inconclusive("", "the talk is over").end()
}

/// The longest name of a question, in bytes.
const NAME: usize = 96;

/// What a question is called in evidence: its own name, or its text. Placeholders stay unfilled, so no password gets into it.
pub(super) fn question_name(named: Option<&str>, send: &[u8]) -> Result<String, String> {
    if let Some(name) = named {
        let sound = (1..=NAME).contains(&name.len()) && name.bytes().all(|b| (b' '..=b'~').contains(&b));
        return if sound { Ok(name.to_owned()) } else { Err(format!("`name` is not 1 to {NAME} printable ASCII characters")) };
    }
    let text = std::str::from_utf8(send).ok().filter(|t| t.bytes().all(|b| (b' '..=b'~').contains(&b) || b"\r\n\t".contains(&b)));
    let words = text.map(|t| t.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|t| (1..=NAME).contains(&t.len()));
    words.ok_or_else(|| {
        format!("a question that is no text of 1 to {NAME} characters has no name\nhint: `name`, as evidence is to call what was asked")
    })
}

/// Puts the account and password of an attempt where the question has room for them.
fn fill(send: &[u8], vars: &Vars<'_>) -> Vec<u8> {
    let values: [(&[u8], Vec<u8>); 4] = [
        (b"{account}", vars.account.as_bytes().to_vec()),
        (b"{password}", vars.password.as_bytes().to_vec()),
        (b"{account_len}", vars.account.len().to_string().into_bytes()),
        (b"{password_len}", vars.password.len().to_string().into_bytes()),
    ];
    let mut out = Vec::with_capacity(send.len());
    let mut at = 0;
    'next: while at < send.len() {
        for (token, value) in &values {
            if send[at..].starts_with(token) {
                out.extend_from_slice(value);
                at += token.len();
                continue 'next;
            }
        }
        out.push(send[at]);
        at += 1;
    }
    out
}

impl Dialogue for Line {
    fn signs_in(&self) -> bool {
        let mentions = |send: &[u8], token: &[u8]| send.windows(token.len()).any(|w| w == token);
        let mut sent = self.steps.iter().filter_map(|s| s.send.as_deref());
        sent.any(|send| mentions(send, b"{account") || mentions(send, b"{password"))
    }

    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        let Some((answer, before)) = heard.split_last() else { return self.say(0, vars) };
        let Some(step) = self.steps.get(before.len()) else {
            return over();
        };
        if !ended && !self.is_whole(step, answer) {
            return Turn::More;
        }
        // From the first step that was understood on, the server has something of ours to clear away.
        let understood = |s: &Step, a: &[u8]| [&s.go_on, &s.proved].into_iter().flatten().any(|p| p.is_match(a));
        let known = !before.is_empty() || understood(step, answer);
        let decided = |verdict: Verdict| {
            let decision = Decision::new(verdict, &step.name);
            let decision = if self.secret { decision } else { decision.shows(answer) };
            if known { decision.leaving(&self.farewell) } else { decision }
        };
        if answer.is_empty() {
            return decided(self.silence).because("no answer").end();
        }
        if step.send.as_ref().is_some_and(|send| fill(send, vars) == *answer) && step.go_on.is_none() {
            return decided(Verdict::OtherService).because("repeats what it is told").end();
        }
        if let Some((_, verdict)) = self.verdicts.iter().find(|(p, _)| p.is_match(answer)) {
            return decided(*verdict).end();
        }
        if step.proved.as_ref().is_some_and(|p| p.is_match(answer)) {
            return self.read(decided(Verdict::Proved), heard).end();
        }
        if step.go_on.as_ref().is_some_and(|p| p.is_match(answer)) {
            return self.say(heard.len(), vars);
        }
        decided(Verdict::Inconclusive).because("the answer proves neither").end()
    }
}
