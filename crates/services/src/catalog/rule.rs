//! A rule compiled: where it looks, what has to match there, and what a match proves.
//!
//! What the matches of several rules mean together is decided here too ([`settle`]); which rules there are is left to `load`.

use super::spec::{Case, RuleSpec};
use crate::bytes::tidy;
use crate::http::Response;
use crate::protocol::Found;
use model::service::Confidence;
use regex::bytes::{Captures, Regex, RegexBuilder};
use std::collections::BTreeSet;

/// Where a rule looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    Banner,
    Probe(String),
    Codec(&'static str),
    Http(String),
}

/// A compiled rule.
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) on: On,
    pub(super) origin: super::Origin,
    pattern: Option<Regex>,
    headers: Vec<(String, Regex)>,
    title: Option<Regex>,
    body: Option<Regex>,
    status: Option<u16>,
    product: Option<String>,
    refuses: bool,
    wants_certificate: bool,
    confidence: Confidence,
    pub(super) fallback: bool,
    pub(super) cases: Vec<Case>,
}

/// What the rules make of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unknown,
    Is(Found),
    /// Rules of different services match the same bytes: whatever this is, it is none of them (R7).
    Contradiction(String),
}

pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    // Bytes, not characters: `.` is any byte but a line feed, `\xff` is that byte. The limit keeps one careless
    // repetition in a rule from costing every node a hundred megabytes.
    RegexBuilder::new(pattern).unicode(false).size_limit(1 << 20).build().map_err(|e| e.to_string())
}

/// The text of a named group of any of the captures, fit for a report.
pub(super) fn captured(captures: &[Captures<'_>], name: &str) -> Option<String> {
    let text = captures.iter().find_map(|c| c.name(name))?.as_bytes();
    Some(tidy(&String::from_utf8_lossy(text), 96)).filter(|t| !t.is_empty())
}

/// Every header pattern has to match one header of that name; their captures.
pub(super) fn headers_match<'r>(patterns: &[(String, Regex)], response: &'r Response) -> Option<Vec<Captures<'r>>> {
    let one = |(name, pattern): &(String, Regex)| {
        response.headers.iter().filter(|(n, _)| n == name).find_map(|(_, v)| pattern.captures(v.as_bytes()))
    };
    patterns.iter().map(one).collect()
}

/// Header names in lower case, as [`Response`] has them, with their patterns.
pub(super) fn compile_headers<'a>(
    headers: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<(String, Regex)>, String> {
    headers.into_iter().map(|(name, pattern)| Ok((name.to_ascii_lowercase(), compile(pattern)?))).collect()
}

impl Rule {
    pub(super) fn compile(spec: RuleSpec, service: &str, on: On, origin: super::Origin) -> Result<Rule, String> {
        let optional = |p: &Option<String>| p.as_deref().map(compile).transpose();
        let conditions = spec.headers.len()
            + [spec.title.is_some(), spec.body.is_some(), spec.status.is_some()].iter().filter(|c| **c).count();
        match &on {
            On::Http(_) if spec.pattern.is_some() || conditions == 0 => {
                return Err("an http rule has headers, title, body or status".into());
            }
            On::Codec(_) if spec.pattern.is_some() || conditions > 0 => return Err("a codec's rule has cases only".into()),
            On::Banner | On::Probe(_) | On::Http(_) if spec.after.is_some() => {
                return Err("`after` belongs to a probe or a codec".into());
            }
            On::Banner | On::Probe(_) if spec.pattern.is_none() || conditions > 0 => {
                return Err("a text rule has a pattern".into());
            }
            _ => {}
        }
        let usual = match (&on, spec.fallback) {
            (On::Codec(_), _) => Confidence::Structural,
            (_, true) => Confidence::SingleToken,
            (_, false) => Confidence::SelfNamed,
        };
        Ok(Rule {
            service: service.to_owned(),
            on,
            origin,
            pattern: optional(&spec.pattern)?,
            headers: compile_headers(&spec.headers)?,
            title: optional(&spec.title)?,
            body: optional(&spec.body)?,
            status: spec.status,
            product: spec.product,
            refuses: spec.refuses,
            wants_certificate: spec.wants_certificate,
            confidence: spec.confidence.unwrap_or(usual),
            fallback: spec.fallback,
            cases: spec.cases,
            id: spec.id,
        })
    }

    /// What a match proves: the product and version captured, else the product stated.
    fn found(&self, captures: &[Captures<'_>]) -> Found {
        Found {
            service: self.service.clone(),
            product: self.product.clone().or_else(|| captured(captures, "product")),
            version: captured(captures, "version"),
            refuses: self.refuses,
            wants_certificate: self.wants_certificate,
            confidence: Some(self.confidence),
            ..Found::default()
        }
    }

    pub(super) fn text(&self, bytes: &[u8]) -> Option<Found> {
        let captures = self.pattern.as_ref()?.captures(bytes)?;
        Some(self.found(&[captures]))
    }

    pub(super) fn http(&self, response: &Response) -> Option<Found> {
        if self.status.is_some_and(|s| s != response.status) {
            return None;
        }
        let mut captures = headers_match(&self.headers, response)?;
        let title = response.title();
        if let Some(pattern) = &self.title {
            captures.push(pattern.captures(title.as_deref()?.as_bytes())?);
        }
        if let Some(pattern) = &self.body {
            captures.push(pattern.captures(&response.body)?);
        }
        Some(self.found(&captures))
    }
}

/// One verdict from all matches: a fallback counts only alone, HTTP itself gives way to what speaks through it, two
/// services contradict each other, and of one service the first match that names a product tells.
pub(super) fn settle(matches: Vec<(bool, Found)>) -> Verdict {
    let firm: Vec<Found> = matches.iter().filter(|(fallback, _)| !fallback).map(|(_, f)| f.clone()).collect();
    let mut candidates = if firm.is_empty() { matches.into_iter().map(|(_, f)| f).take(1).collect() } else { firm };
    if candidates.iter().any(|f| f.service != "http") {
        candidates.retain(|f| f.service != "http");
    }
    let services: BTreeSet<&str> = candidates.iter().map(|f| f.service.as_str()).collect();
    if services.len() > 1 {
        return Verdict::Contradiction(services.into_iter().collect::<Vec<_>>().join(" and "));
    }
    // Whoever names the product, a codec may know what else to ask, and what of the answer to show.
    let next = candidates.iter().find_map(|f| f.next.clone());
    let shown = candidates.iter().find_map(|f| f.shown.clone());
    let best = candidates.iter().position(|f| f.product.is_some()).unwrap_or(0);
    let best = candidates.into_iter().nth(best);
    best.map_or(Verdict::Unknown, |f| Verdict::Is(Found { next: f.next.or(next), shown: f.shown.or(shown), ..f }))
}
