//! One endpoint's part of a report, from sightings to what is to be written down: state, exposure, events, alerts, and
//! another look where one is wanted.
//!
//! The server gathers what is known into a [`Dossier`], hands it the sightings in order and then settles it; storing the
//! outcome in one transaction is left to it.

use crate::alerts;
use crate::exposure::{self, Change};
use crate::findings::{self, Turn};
use crate::owner::asset_for;
use crate::ports::{self, FollowUp, Transition};
use crate::segments::Watch;
use model::alert::{Alert, AlertPolicy};
use model::asset::Asset;
use model::catalog::Catalog;
use model::check::Checks;
use model::event::{Event, EventKind};
use model::exposure::Exposure;
use model::finding::{CheckRun, Finding, Verdict};
use model::observation::{HostObservation, Liveness, Observation, Reason};
use model::port_state::{Host, Phase, PortState};
use model::service::{Identification, PanelObservation};
use model::settings::Hysteresis;
use model::{AlertId, Endpoint, EventId, ExposureId, FindingId, Ts, Vantage};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// What every judgement of one report shares.
pub struct Judge<'a> {
    /// From where it was seen.
    pub vantage: &'a Vantage,
    /// The asset list.
    pub assets: &'a [Asset],
    /// The catalogue.
    pub catalog: &'a Catalog,
    /// When to alert.
    pub policy: &'a AlertPolicy,
    /// How many observations move a state.
    pub hysteresis: &'a Hysteresis,
    /// When this is written down.
    pub now: Ts,
}

/// Everything about one endpoint: what was known, and what the sightings made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dossier {
    /// The door.
    pub endpoint: Endpoint,
    /// Its state.
    pub port: Option<PortState>,
    /// Its exposure.
    pub exposure: Option<Exposure>,
    /// Its host answers on every port.
    pub host_pseudo: bool,
    /// When its ground was last covered before.
    pub last_covered: Option<Ts>,
    /// Somebody was told, or is about to be, of the current opening.
    pub told: bool,
    /// What checks have proved of it, by check, gone ones too.
    pub findings: BTreeMap<String, Finding>,
    /// Findings to write down.
    pub findings_changed: Vec<Finding>,
    /// Findings that were proved by this report, for the first time or again.
    pub proved: Vec<String>,
    /// Events to write down.
    pub events: Vec<Event>,
    /// The alert to raise, suppressed or not.
    pub alert: Option<Alert>,
    /// What changed about the exposure.
    pub change: Option<Change>,
    /// Another look that is wanted.
    pub follow_up: Option<FollowUp>,
    /// Whether the state has to be written.
    pub port_changed: bool,
    /// What answers has just been found out, or has changed.
    pub identified: bool,
    /// Its segment, by whose canaries silence is judged; `None` where nobody has a doubt.
    pub watch: Option<Arc<Watch>>,
}

impl Dossier {
    /// What is known of an endpoint before the sightings of a report.
    pub fn new(endpoint: Endpoint, port: Option<PortState>, exposure: Option<Exposure>) -> Self {
        Dossier {
            endpoint,
            port,
            exposure,
            host_pseudo: false,
            last_covered: None,
            told: false,
            findings: BTreeMap::new(),
            findings_changed: vec![],
            proved: vec![],
            events: vec![],
            alert: None,
            change: None,
            follow_up: None,
            port_changed: false,
            identified: false,
            watch: None,
        }
    }
}

impl Judge<'_> {
    /// Takes in one observation.
    pub fn observe(&self, d: &mut Dossier, obs: &Observation, mint: &mut dyn FnMut() -> Uuid) {
        let before = d.port.clone();
        let last_open = before.as_ref().map(|p| p.last_open_at);
        let folded = ports::fold_watched(d.port.take(), obs, self.vantage, d.last_covered, self.hysteresis, d.watch.as_deref());
        d.port_changed |= folded.state != before;
        d.port = folded.state;
        if d.port != before {
            d.follow_up = folded.want;
        }
        for transition in folded.transitions {
            let not_open = d.port.as_ref().and_then(|p| p.last_not_open_at);
            let first_open = d.port.as_ref().map_or(obs.observed_at, |p| p.first_open_at);
            let (kind, after, at) = match transition {
                Transition::Pending => (EventKind::EndpointPending, not_open, obs.observed_at),
                Transition::Opened => (EventKind::EndpointOpened, not_open, first_open),
                Transition::Reopened => (EventKind::EndpointReopened, not_open, first_open),
                Transition::Closed { after, by, .. } => (EventKind::EndpointClosed, Some(after), by),
                Transition::Vanished { .. } => (EventKind::EndpointVanished, last_open, obs.observed_at),
            };
            let detail = json!({ "state": obs.state, "openings": d.port.as_ref().map_or(0, |p| p.openings) });
            d.events.push(self.event(kind, d, after, at, obs.observed_at, Some(obs.reason), detail, mint));
            if let Transition::Closed { by, .. } = transition {
                let held: Vec<Finding> = findings::present(d.findings.values()).into_iter().cloned().collect();
                for finding in held {
                    self.found(d, findings::gone(&finding, findings::CLOSED, by), Turn::Gone, by, mint);
                }
            }
        }
    }

    /// Takes in how a check ended. Of an endpoint that was never seen open nothing is believed.
    pub fn check(&self, d: &mut Dossier, run: &CheckRun, mint: &mut dyn FnMut() -> Uuid) {
        if d.port.is_none() {
            return;
        }
        let folded = findings::fold(d.findings.get(&run.check), run, self.vantage, FindingId(mint()));
        if let Some((finding, turn)) = folded {
            self.found(d, finding, turn, run.observed_at, mint);
        }
    }

    /// Notes what became of a finding, with the event that it asks for.
    fn found(&self, d: &mut Dossier, finding: Finding, turn: Turn, at: Ts, mint: &mut dyn FnMut() -> Uuid) {
        let before = d.findings.get(&finding.check);
        let kind = match turn {
            Turn::Proved => Some((EventKind::FindingProved, before.map(|f| f.checked_at))),
            Turn::Gone => Some((EventKind::FindingGone, before.map(|f| f.last_seen_at))),
            Turn::Same => None,
        };
        if let Some((kind, after)) = kind {
            let detail = json!({
                "check": finding.check, "kind": finding.kind, "severity": finding.severity, "reason": finding.gone_reason,
            });
            d.events.push(self.event(kind, d, after, at, at, None, detail, mint));
        }
        d.proved.retain(|check| *check != finding.check);
        if turn == Turn::Proved {
            d.proved.push(finding.check.clone());
        }
        d.findings_changed.retain(|f| f.check != finding.check);
        d.findings_changed.push(finding.clone());
        d.findings.insert(finding.check.clone(), finding);
    }

    /// Takes in what answered.
    pub fn identify(&self, d: &mut Dossier, seen: &Identification, mint: &mut dyn FnMut() -> Uuid) {
        let Some(port) = &mut d.port else { return };
        let from = port.service.as_ref().map(exposure::one_line);
        let before = port.clone();
        let changed = ports::identify(port, seen);
        d.port_changed |= *port != before;
        d.identified |= changed;
        if changed {
            let to = port.service.as_ref().map(exposure::one_line);
            let detail = json!({ "from": from, "to": to, "identity": seen.identity, "evidence": seen.evidence });
            let after = before.identified_at;
            d.events.push(self.event(
                EventKind::ServiceChanged,
                d,
                after,
                seen.observed_at,
                seen.observed_at,
                None,
                detail,
                mint,
            ));
        }
    }

    /// Takes in a front page.
    pub fn panel(&self, d: &mut Dossier, seen: &PanelObservation, mint: &mut dyn FnMut() -> Uuid) {
        let Some(port) = &mut d.port else { return };
        let before = port.clone();
        let changed = ports::fetch(port, seen);
        d.port_changed |= *port != before;
        if changed {
            let title =
                |p: &Option<model::service::Panel>| p.as_ref().and_then(|p| p.product.clone().or_else(|| p.title.clone()));
            let detail = json!({ "from": title(&before.panel), "to": title(&seen.panel), "status": seen.panel.as_ref().map(|p| p.status) });
            d.events.push(self.event(
                EventKind::PanelChanged,
                d,
                before.panel_at,
                seen.observed_at,
                seen.observed_at,
                None,
                detail,
                mint,
            ));
        }
    }

    /// Draws the conclusion once all sightings are in, so that a door and what answers behind it make one alert, not two.
    pub fn settle(&self, d: &mut Dossier, mint: &mut dyn FnMut() -> Uuid) {
        self.displace(d, mint);
        let Some(port) = &mut d.port else { return };
        let pseudo = ports::is_pseudo(d.host_pseudo, port.identity);
        d.port_changed |= port.pseudo_open != pseudo;
        port.pseudo_open = pseudo;
        let asset = asset_for(d.endpoint.ip, self.assets);
        let findings: Vec<Finding> = d.findings.values().cloned().collect();
        let change = exposure::fold(d.exposure.as_ref(), port, self.catalog, asset, &findings, ExposureId(mint()), self.now);
        if let Some(change) = change {
            if let Some(was) = change.risk_was() {
                let detail = json!({
                    "from": { "kind": was.kind, "severity": was.severity, "entry": was.entry },
                    "to": { "kind": change.after.risk.kind, "severity": change.after.risk.severity, "entry": change.after.risk.entry },
                });
                let at = d.port.as_ref().map_or(self.now, |p| p.last_observed_at);
                d.events.push(self.event(EventKind::RiskChanged, d, None, at, at, None, detail, mint));
            }
            d.alert = alerts::raise(&change, d.told, self.policy, asset, AlertId(mint()), self.now);
            if let Some(alert) = &mut d.alert {
                alert.findings = alerts::notes(&findings);
            }
            d.exposure = Some(change.after.clone());
            d.change = Some(change);
        }
        // What was proved together with the opening, or with what answers, is said with it; of a door that people know, it is
        // news of its own, and so it is where they have decided about the door without knowing it.
        let said = d.alert.as_ref().is_some_and(|a| a.suppressed_by.as_deref() != Some("disposition"))
            && d.change.as_ref().is_some_and(|c| c.opened() || c.risk_was().is_some_and(|was| was.kind != c.after.risk.kind));
        if let Some(exposure) = d.exposure.as_ref().filter(|e| e.phase == Phase::Open && !said) {
            let news: Vec<Finding> = d.proved.iter().filter_map(|check| d.findings.get(check)).cloned().collect();
            let news = alerts::finding(exposure, &news, self.policy, asset, AlertId(mint()), self.now);
            d.alert = news.or(d.alert.take());
        }
        let id = d.exposure.as_ref().map(|e| e.id);
        for event in &mut d.events {
            event.exposure = id;
        }
    }

    /// Ends the findings of checks that are not for what answers now. Looked at once all sightings are in, so that a check which
    /// ran on what was just identified has the last word.
    fn displace(&self, d: &mut Dossier, mint: &mut dyn FnMut() -> Uuid) {
        let Some(port) = &d.port else { return };
        let over = |f: &&Finding| findings::displaced(f, port, Checks::in_use());
        let other: Vec<(Finding, Ts)> =
            findings::present(d.findings.values()).into_iter().filter_map(|f| Some((f.clone(), over(&f)?))).collect();
        for (finding, at) in other {
            let gone = findings::gone(&finding, Verdict::OtherService.as_str(), at);
            self.found(d, Finding { checked_at: at, ..gone }, Turn::Gone, at, mint);
        }
    }

    /// The event of a host whose liveness changed.
    pub fn host_event(
        &self,
        host: &Host,
        last_observed_at: Option<Ts>,
        obs: &HostObservation,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Event {
        let kind = if host.liveness == Liveness::Online { EventKind::HostOnline } else { EventKind::HostOffline };
        self.about_host(kind, host.ip, last_observed_at, obs.observed_at, Some(obs.reason), json!({}), mint)
    }

    /// The event of a host that began to answer on every port.
    pub fn pseudo_event(&self, ip: IpAddr, open_ports: u32, observed_at: Ts, mint: &mut dyn FnMut() -> Uuid) -> Event {
        self.about_host(EventKind::HostPseudoOpen, ip, None, observed_at, None, json!({ "open_ports": open_ports }), mint)
    }

    #[allow(clippy::too_many_arguments)]
    fn about_host(
        &self,
        kind: EventKind,
        ip: IpAddr,
        happened_after: Option<Ts>,
        observed_at: Ts,
        reason: Option<Reason>,
        detail: serde_json::Value,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Event {
        Event {
            id: EventId(mint()),
            kind,
            ip,
            endpoint: None,
            vantage: self.vantage.clone(),
            exposure: None,
            happened_after,
            happened_at: observed_at,
            observed_at,
            recorded_at: self.now,
            reason,
            detail,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn event(
        &self,
        kind: EventKind,
        d: &Dossier,
        happened_after: Option<Ts>,
        happened_at: Ts,
        observed_at: Ts,
        reason: Option<Reason>,
        detail: serde_json::Value,
        mint: &mut dyn FnMut() -> Uuid,
    ) -> Event {
        let endpoint = Some(d.endpoint);
        Event { endpoint, happened_at, ..self.about_host(kind, d.endpoint.ip, happened_after, observed_at, reason, detail, mint) }
    }
}
