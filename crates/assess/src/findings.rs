//! From how a check ended to whether something is proved: a finding holds until the same check refutes it, another service
//! answers there, or the door closes.
//!
//! Silence and errors change nothing but when it was last looked at. What findings mean for the risk is `exposure`'s.

use model::check::Checks;
use model::finding::{CheckRun, Finding, FindingPhase, Verdict};
use model::port_state::PortState;
use model::service::Identity;
use model::{FindingId, Ts, Vantage};

/// Why a finding is gone when its endpoint closed.
pub const CLOSED: &str = "endpoint-closed";

/// What a run did to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Proved for the first time, or again after it had been gone.
    Proved,
    /// Refuted.
    Gone,
    /// Nothing that has to be said.
    Same,
}

/// Folds one run into what is known. `None` when it leaves nothing to write down: nothing was proved and nothing had been, or
/// the run is not newer than the last one, so that a repeated or reordered report changes nothing (PR-6).
pub fn fold(prev: Option<&Finding>, run: &CheckRun, vantage: &Vantage, id: FindingId) -> Option<(Finding, Turn)> {
    if prev.is_some_and(|f| run.observed_at <= f.checked_at) {
        return None;
    }
    let at = run.observed_at;
    match (run.verdict, &run.evidence, prev) {
        (Verdict::Proved, Some(evidence), _) => {
            let finding = Finding {
                id: prev.map_or(id, |f| f.id),
                endpoint: run.endpoint,
                vantage: vantage.clone(),
                check: run.check.clone(),
                kind: run.kind,
                severity: run.severity,
                phase: FindingPhase::Present,
                evidence: evidence.clone(),
                first_seen_at: prev.map_or(at, |f| f.first_seen_at),
                last_seen_at: at,
                gone_at: None,
                gone_reason: None,
                checked_at: at,
            };
            let turn = if prev.is_some_and(|f| f.phase == FindingPhase::Present) { Turn::Same } else { Turn::Proved };
            Some((finding, turn))
        }
        (Verdict::NotProved | Verdict::OtherService, _, Some(f)) if f.phase == FindingPhase::Present => {
            let reason = match &run.reason {
                Some(why) => format!("{}: {why}", run.verdict),
                None => run.verdict.to_string(),
            };
            Some((Finding { checked_at: at, ..gone(f, &reason, at) }, Turn::Gone))
        }
        // Neither proof nor refutation, a proof without evidence among them.
        (_, _, Some(f)) => Some((Finding { checked_at: at, ..f.clone() }, Turn::Same)),
        (_, _, None) => None,
    }
}

/// The finding, gone since then. It was not looked at by its check, so `checked_at` stays.
pub fn gone(finding: &Finding, reason: &str, at: Ts) -> Finding {
    Finding { phase: FindingPhase::Gone, gone_at: Some(at), gone_reason: Some(reason.to_owned()), ..finding.clone() }
}

/// Since when what answers is something that the finding's check is not for, so that it will never be run there again. `None`
/// while it may still be.
///
/// Only what was seen after the check last ran counts, and only bytes that prove a service. Of a check for certain products of
/// a web server the front page has to agree: a proxy that names itself may have the product behind it, and an error page of
/// the proxy (5xx) says nothing about that.
pub fn displaced(finding: &Finding, port: &PortState, checks: &Checks) -> Option<Ts> {
    // A check that is not in the catalogue any more says nothing about what it was for.
    let check = checks.get(&finding.check)?;
    let service = port.service.as_ref().filter(|s| s.source.is_none())?;
    let at = port.identified_at.filter(|at| *at > finding.checked_at)?;
    let proved = port.identity == Some(Identity::Identified);
    if !check.is_for_service(&service.name) {
        return proved.then_some(at);
    }
    if check.is_for(&service.name, service.product.as_deref()) || check.products.is_empty() {
        return None;
    }
    if service.name != "http" {
        return (proved && service.product.is_some()).then_some(at);
    }
    let told = proved || port.identity == Some(Identity::ProtocolOnly);
    let seen = port.panel_at.filter(|at| told && *at > finding.checked_at)?;
    let page = port.panel.as_ref().filter(|page| page.status < 500)?;
    (!check.is_for(&service.name, page.product.as_deref())).then_some(at.max(seen))
}

/// Those that hold, the worst first, of equals by check.
pub fn present<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<&'a Finding> {
    let mut present: Vec<&Finding> = findings.into_iter().filter(|f| f.phase == FindingPhase::Present).collect();
    present.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.check.cmp(&b.check)));
    present
}
