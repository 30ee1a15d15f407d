//! Checks over UDP: one datagram that reads, and what its answer proves. All of it data (`[check.datagram]`).
//!
//! An answer counts only from the endpoint asked, and with the two bytes of ours that the question carries. How many bytes
//! came for how many is part of the evidence.

use super::dialogue::{Decision, Vars};
use crate::bytes::{tidy, unescape};
use crate::catalog::compile;
use model::finding::Verdict;
use model::service::Amplification;
use regex::bytes::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatagramSpec {
    /// `{id}` stands for two bytes that differ from question to question.
    send: String,
    /// What the question is called where evidence names it; what is sent, where that is text.
    name: Option<String>,
    /// Where the answer carries them; anywhere if absent.
    id_at: Option<usize>,
    proved: String,
    not_proved: Option<String>,
    refuses: Option<String>,
    /// The answer has to have more than so many bytes for each byte asked.
    ratio_above: Option<f64>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    secret: bool,
}

/// A question in one datagram, compiled.
pub(crate) struct Datagram {
    name: String,
    send: Vec<u8>,
    id: Back,
    proved: Regex,
    verdicts: Vec<(Regex, Verdict)>,
    ratio_above: Option<f64>,
    fields: Vec<(String, Regex)>,
    secret: bool,
}

/// Where an answer carries the id.
enum Back {
    /// The protocol has none.
    None,
    At(usize),
    Anywhere,
}

const ID: &[u8] = b"{id}";

impl Datagram {
    pub(crate) fn compile(spec: &DatagramSpec) -> Result<Datagram, String> {
        let mut verdicts = Vec::new();
        for (pattern, verdict) in [(&spec.refuses, Verdict::RefusesUs), (&spec.not_proved, Verdict::NotProved)] {
            if let Some(pattern) = pattern {
                verdicts.push((compile(pattern)?, verdict));
            }
        }
        let send = unescape(&spec.send)?;
        let has_id = send.windows(ID.len()).any(|w| w == ID);
        if spec.id_at.is_some() && !has_id {
            return Err("`id_at` says where an id comes back, and `send` has no `{id}`".into());
        }
        Ok(Datagram {
            name: super::line::question_name(spec.name.as_deref(), &send)?,
            send,
            id: match (has_id, spec.id_at) {
                (false, _) => Back::None,
                (true, Some(at)) => Back::At(at),
                (true, None) => Back::Anywhere,
            },
            proved: compile(&spec.proved)?,
            verdicts,
            ratio_above: spec.ratio_above,
            fields: spec.fields.iter().map(|(n, p)| Ok((n.clone(), compile(p)?))).collect::<Result<_, String>>()?,
            secret: spec.secret,
        })
    }

    fn id(vars: &Vars<'_>) -> [u8; 2] {
        // No zero bytes, so that nothing takes the id for the end of something.
        (vars.seed as u16 | 0x0101).to_be_bytes()
    }

    pub(crate) fn question(&self, vars: &Vars<'_>) -> Vec<u8> {
        match self.send.windows(ID.len()).position(|w| w == ID) {
            Some(at) => [&self.send[..at], &Self::id(vars), &self.send[at + ID.len()..]].concat(),
            None => self.send.clone(),
        }
    }

    /// Whether a datagram answers our question at all.
    pub(crate) fn answers(&self, vars: &Vars<'_>, datagram: &[u8]) -> bool {
        let id = Self::id(vars);
        match self.id {
            Back::None => true,
            Back::At(at) => datagram.get(at..).is_some_and(|rest| rest.starts_with(&id)),
            Back::Anywhere => datagram.windows(id.len()).any(|w| w == id),
        }
    }

    /// What the answer proves: its first datagram, and the bytes of all of them.
    pub(crate) fn judge(&self, vars: &Vars<'_>, first: &[u8], bytes: Amplification) -> Decision {
        let decided = |verdict| {
            let decision = Decision::new(verdict, &self.name);
            let decision = if self.secret { decision } else { decision.shows(first) };
            decision.field("bytes_asked", bytes.asked).field("bytes_answered", bytes.answered)
        };
        if first.is_empty() {
            return Decision::inconclusive(&self.name, "no answer");
        }
        if first == self.question(vars) {
            return decided(Verdict::OtherService).because("repeats what it is told");
        }
        if !self.answers(vars, first) {
            return decided(Verdict::OtherService).because("the answer does not carry our id");
        }
        if let Some((_, verdict)) = self.verdicts.iter().find(|(p, _)| p.is_match(first)) {
            return decided(*verdict);
        }
        if !self.proved.is_match(first) {
            return decided(Verdict::Inconclusive).because("the answer proves neither");
        }
        if self.ratio_above.is_some_and(|most| bytes.ratio() <= most) {
            return decided(Verdict::NotProved).because(format!("answers {:.1} bytes for each byte asked", bytes.ratio()));
        }
        let mut decision = decided(Verdict::Proved);
        for (name, pattern) in &self.fields {
            if let Some(text) = pattern.captures(first).and_then(|c| c.get(1)) {
                decision = decision.field(name, tidy(&String::from_utf8_lossy(text.as_bytes()), 96));
            }
        }
        decision
    }
}
