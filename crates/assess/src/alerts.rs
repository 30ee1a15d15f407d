//! Whether a change has to be told to a person: at most one alert per exposure, opening, kind and risk kind.
//!
//! Grouping, throttling and sending are left to `notify` and the server.

use crate::exposure::{Change, one_line};
use model::alert::{Alert, AlertKind, AlertPolicy, AlertState, FindingNote};
use model::asset::Asset;
use model::exposure::{DispositionKind, Exposure, Risk, RiskReason, Severity};
use model::finding::Finding;
use model::port_state::Phase;
use model::segment::SegmentNote;
use model::{AlertId, Ts};

/// Whether a risk is worth an alert. A port of a host that answers on every port never is: the host is, once.
pub fn alertable(risk: &Risk, policy: &AlertPolicy) -> bool {
    risk.severity >= policy.min_severity && !risk.reasons.contains(&RiskReason::PseudoOpen)
}

/// The alert that the change asks for, suppressed or not.
///
/// An opening, or a risk that became alertable or changed its kind during one, asks for an `opened` alert. A closing asks
/// for a `closed` one if somebody was told of the opening (`told`), so that nobody reads of the end of what they never
/// heard of.
pub fn raise(change: &Change, told: bool, policy: &AlertPolicy, asset: Option<&Asset>, id: AlertId, now: Ts) -> Option<Alert> {
    let exposure = &change.after;
    let kind = match exposure.phase {
        Phase::Open => {
            let before = change.before.as_ref().filter(|_| !change.opened());
            let already = before.is_some_and(|e| alertable(&e.risk, policy) && e.risk.kind == exposure.risk.kind);
            (alertable(&exposure.risk, policy) && !already).then_some(AlertKind::Opened)?
        }
        _ => (change.closed() && told).then_some(AlertKind::Closed)?,
    };
    Some(alert(kind, exposure, exposure.risk.severity, asset, id, now))
}

/// What an alert says of findings: those that hold, the worst first.
pub fn notes(findings: &[Finding]) -> Vec<FindingNote> {
    let note =
        |f: &Finding| FindingNote { check: f.check.clone(), kind: f.kind, severity: f.severity, proved_at: f.last_seen_at };
    crate::findings::present(findings).into_iter().map(note).collect()
}

/// The alert that something has been proved of an exposure that people know to be open; `None` when none of it is bad enough.
///
/// A registration does not suppress it: whoever allowed the service to be reachable did not allow it to let anybody in. Who
/// accepted the risk, or called it none, has decided.
pub fn finding(
    exposure: &Exposure,
    proved: &[Finding],
    policy: &AlertPolicy,
    asset: Option<&Asset>,
    id: AlertId,
    now: Ts,
) -> Option<Alert> {
    let findings: Vec<FindingNote> = notes(proved).into_iter().filter(|n| n.severity >= policy.min_severity).collect();
    let worst = findings.first()?;
    let (severity, observed_at) = (worst.severity, worst.proved_at);
    let mut alert = Alert { observed_at, ..alert(AlertKind::FindingProved, exposure, severity, asset, id, now) };
    if alert.suppressed_by.as_deref() == Some("disposition") && exposure.disposition.effective(now) == DispositionKind::Registered
    {
        let observing = asset.and_then(|a| a.observe_until).is_some_and(|until| now < until);
        alert.suppressed_by = observing.then(|| "observe-mode".to_owned());
        alert.state = if observing { AlertState::Suppressed } else { AlertState::Pending };
    }
    alert.findings = findings;
    Some(alert)
}

/// The one alert of a host that answers on every port, carried by one of its exposures.
pub fn pseudo_open(exposure: &Exposure, asset: Option<&Asset>, id: AlertId, now: Ts) -> Alert {
    // High whatever its doors look like: until somebody looks, real services may hide behind it.
    alert(AlertKind::PseudoOpen, exposure, Severity::High, asset, id, now)
}

/// The alert that a segment became unknown or known again, carried by one of its open exposures.
///
/// High, because until it is over nothing that is said of the segment can be relied on; and never suppressed: a decision about
/// the exposure that carries it, or a range that is still being learned, has nothing to do with whether we can see.
pub fn segment(
    kind: AlertKind,
    note: SegmentNote,
    episode: u32,
    carrier: &Exposure,
    asset: Option<&Asset>,
    id: AlertId,
    now: Ts,
) -> Alert {
    let since = note.since;
    Alert {
        state: AlertState::Pending,
        suppressed_by: None,
        opening: episode,
        entry: None,
        service: None,
        observed_at: if kind == AlertKind::SegmentKnown { now } else { since },
        segment: Some(note),
        ..alert(kind, carrier, Severity::High, asset, id, now)
    }
}

fn alert(kind: AlertKind, exposure: &Exposure, severity: Severity, asset: Option<&Asset>, id: AlertId, now: Ts) -> Alert {
    let suppressed_by = suppression(exposure, asset, now);
    Alert {
        id,
        kind,
        state: if suppressed_by.is_some() { AlertState::Suppressed } else { AlertState::Pending },
        suppressed_by: suppressed_by.map(str::to_owned),
        exposure: exposure.id,
        opening: exposure.opening,
        endpoint: exposure.endpoint,
        risk: exposure.risk.kind,
        severity,
        entry: exposure.risk.entry.clone(),
        service: exposure.service.as_ref().map(one_line).filter(|s| !s.is_empty()),
        asset: exposure.asset,
        asset_name: asset.map(|a| a.name.clone()),
        owner: exposure.owner.clone(),
        reason: exposure.close_reason.filter(|_| kind == AlertKind::Closed),
        observed_at: if kind == AlertKind::Closed { exposure.closed_at.unwrap_or(now) } else { exposure.opened_at },
        created_at: now,
        segment: None,
        findings: Vec::new(),
    }
}

/// Why nobody is told: a person has decided, or the range is still being learned.
fn suppression(exposure: &Exposure, asset: Option<&Asset>, now: Ts) -> Option<&'static str> {
    if exposure.disposition.effective(now) != DispositionKind::Unreviewed {
        return Some("disposition");
    }
    asset.and_then(|a| a.observe_until).filter(|&until| now < until).map(|_| "observe-mode")
}
