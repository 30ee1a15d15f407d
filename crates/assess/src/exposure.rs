//! From a port's state to an exposure: what kind of risk it is, how urgent, on what grounds, and whose.
//!
//! The disposition is never touched here: only people move it.

use model::asset::Asset;
use model::catalog::{Catalog, Category, HighRisk};
use model::exposure::{Disposition, Exposure, Risk, RiskKind, RiskReason, Severity};
use model::finding::Finding;
use model::port_state::{Phase, PortState};
use model::{Endpoint, ExposureId, Proto, Service, Ts};

/// From this business weight on (of 10) the severity goes up by one.
pub const HEAVY: u8 = 7;

/// The risk of an open endpoint.
///
/// | ground | kind | weight below 7 | 7 and more |
/// |---|---|---|---|
/// | port number listed, "should not face the internet" | high-risk port | high | critical |
/// | port number listed otherwise | high-risk port | high | high |
/// | identity listed, "should not face the internet" | high-risk service | high | critical |
/// | identity listed otherwise | high-risk service | high | high |
/// | neither | exposed port | low | medium |
/// | host answers on every port and no bytes prove a service | exposed port | low | low |
///
/// Where both number and identity are listed the kind is the number's and both grounds are given. What checks proved is a ground
/// each, and the severity is never below that of the worst of it: a database that lets anybody in is as urgent on an unlisted
/// port as on its own.
pub fn risk(state: &PortState, catalog: &Catalog, asset: Option<&Asset>, findings: &[Finding]) -> Risk {
    let mut reasons = vec![RiskReason::Reachable { vantage: state.vantage.clone() }];
    let weight = asset.map_or(0, |a| a.weight);
    let heavy = weight >= HEAVY;
    if state.pseudo_open {
        reasons.push(RiskReason::PseudoOpen);
        return Risk { kind: RiskKind::ExposedPort, severity: Severity::Low, entry: None, reasons };
    }
    let by_port = listed_port(catalog, state.endpoint);
    let by_identity = state.service.as_ref().and_then(|s| catalog.by_identity(&s.name, s.product.as_deref()));
    if let Some(entry) = by_port {
        reasons.push(RiskReason::PortListed { entry: entry.id.clone(), port: state.endpoint.port });
    }
    if let (Some(entry), Some(service)) = (by_identity, &state.service) {
        reasons.push(RiskReason::IdentityListed { entry: entry.id.clone(), service: one_line(service) });
    }
    let forbidden = |entry: Option<&HighRisk>| entry.is_some_and(|e| e.categories.contains(&Category::ShouldNotBeExposed));
    let (kind, entry, base, raised) = match by_port.or(by_identity) {
        Some(entry) => {
            let kind = if by_port.is_some() { RiskKind::HighRiskPort } else { RiskKind::HighRiskService };
            (kind, Some(entry.id.clone()), Severity::High, heavy && (forbidden(by_port) || forbidden(by_identity)))
        }
        None => (RiskKind::ExposedPort, None, Severity::Low, heavy),
    };
    if raised {
        reasons.push(RiskReason::BusinessWeight { weight });
    }
    let severity = match (base, raised) {
        (Severity::High, true) => Severity::Critical,
        (Severity::Low, true) => Severity::Medium,
        (base, _) => base,
    };
    let proved = crate::findings::present(findings);
    let severity = proved.iter().map(|f| f.severity).fold(severity, Severity::max);
    reasons.extend(proved.into_iter().map(|f| RiskReason::FindingProved {
        check: f.check.clone(),
        kind: f.kind,
        severity: f.severity,
    }));
    Risk { kind, severity, entry, reasons }
}

/// The entry that lists the endpoint's port number for its protocol.
fn listed_port(catalog: &Catalog, endpoint: Endpoint) -> Option<&HighRisk> {
    match endpoint.proto {
        Proto::Tcp => catalog.by_port(endpoint.port),
        Proto::Udp => catalog.by_udp_port(endpoint.port),
    }
}

/// A service in one line: `MariaDB 10.11.19`, `redis`, `http over TLS`.
pub fn one_line(service: &Service) -> String {
    let name = if service.name == "tls" { "" } else { service.name.as_str() };
    let product = service.product.as_deref().filter(|p| !p.is_empty()).unwrap_or(name);
    let mut line = match &service.version {
        Some(version) if !product.is_empty() => format!("{product} {version}"),
        _ => product.to_owned(),
    };
    if service.tls.is_some() {
        line.push_str(if line.is_empty() { "TLS" } else { " over TLS" });
    }
    line
}

/// What folding did to an exposure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The exposure before; `None` when it is new.
    pub before: Option<Exposure>,
    /// The exposure now.
    pub after: Exposure,
}

impl Change {
    /// A new opening began.
    pub fn opened(&self) -> bool {
        let was = self.before.as_ref().map(|e| (e.phase, e.opening));
        self.after.phase == Phase::Open && was != Some((Phase::Open, self.after.opening))
    }
    /// The opening ended.
    pub fn closed(&self) -> bool {
        self.after.phase == Phase::Closed && self.before.as_ref().is_some_and(|e| e.phase == Phase::Open)
    }
    /// The risk of a continuing opening changed in kind or severity: from this.
    pub fn risk_was(&self) -> Option<&Risk> {
        let before = self.before.as_ref().filter(|_| self.after.phase == Phase::Open && !self.opened())?;
        let same = before.risk.kind == self.after.risk.kind && before.risk.severity == self.after.risk.severity;
        (!same).then_some(&before.risk)
    }
}

/// What the state of a port makes of its exposure; `None` when it changes nothing about it.
///
/// An exposure begins when an opening is confirmed and is kept for ever. `id` is used only when it is new.
#[allow(clippy::too_many_arguments)]
pub fn fold(
    prev: Option<&Exposure>,
    state: &PortState,
    catalog: &Catalog,
    asset: Option<&Asset>,
    findings: &[Finding],
    id: ExposureId,
    now: Ts,
) -> Option<Change> {
    let after = match (state.phase, prev) {
        (Phase::Open, _) => {
            let opened_at = state.opened_at.unwrap_or(state.last_open_at);
            Exposure {
                id: prev.map_or(id, |e| e.id),
                endpoint: state.endpoint,
                vantage: state.vantage.clone(),
                phase: Phase::Open,
                risk: risk(state, catalog, asset, findings),
                service: state.service.clone(),
                asset: asset.map(|a| a.id),
                owner: asset.and_then(|a| a.owner.clone()),
                zone: asset.map(|a| a.zone),
                disposition: prev.map_or_else(Disposition::unreviewed, |e| e.disposition.clone()),
                opening: state.openings,
                first_opened_at: prev.map_or(opened_at, |e| e.first_opened_at),
                opened_at,
                closed_at: None,
                close_reason: None,
                detection_bound: state.detection_bound(),
                updated_at: now,
            }
        }
        (Phase::Closed, Some(e)) if e.phase == Phase::Open => Exposure {
            phase: Phase::Closed,
            closed_at: state.closed_at.or(Some(state.last_observed_at)),
            close_reason: Some(state.last_reason),
            updated_at: now,
            ..e.clone()
        },
        _ => return None,
    };
    let unchanged = prev.is_some_and(|e| Exposure { updated_at: e.updated_at, ..after.clone() } == *e);
    (!unchanged).then(|| Change { before: prev.cloned(), after })
}
