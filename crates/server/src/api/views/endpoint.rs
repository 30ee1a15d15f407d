//! Endpoints and hosts as the API shows them: folded state with its evidence.
//!
//! Which exposure belongs to an endpoint is looked up by the caller.

use super::event::EventView;
use super::exposure::{AssetNames, ExposureView, ServiceView};
use super::finding::{EndpointNoteView, FindingView};
use super::words::{Confidence, Identity, Instant, Liveness, Millis, Phase, Reason, Severity, State};
use model::ExposureId;
use model::finding::{EndpointNote, Finding};
use model::port_state::{Host, PortState};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a web server shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct PanelView {
    /// `http` or `https`.
    pub scheme: String,
    /// Status of the final response.
    pub status: u16,
    /// Title of the page.
    pub title: Option<String>,
    /// Server header.
    pub server: Option<String>,
    /// Product of a recognised admin panel.
    pub product: Option<String>,
    /// Version of that product, where an answer states it.
    pub version: Option<String>,
    /// Where the panel lies, when that is not the front page.
    #[schema(example = "/druid/index.html")]
    pub path: Option<String>,
    /// What gave the product away: two things at least.
    pub evidence: Vec<String>,
    /// Hash of the site's icon, as search engines for exposed services write it.
    pub favicon: Option<i32>,
    /// Frameworks, languages and generators that the page shows.
    pub technologies: Vec<String>,
    /// Where the first response redirected to.
    pub location: Option<String>,
}

/// An endpoint as seen from one vantage.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointView {
    /// Address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub proto: String,
    /// All three in one word.
    #[schema(example = "10.0.0.7:6379/tcp")]
    pub endpoint: String,
    /// Seen from.
    pub vantage: String,
    /// Where it stands.
    pub phase: Phase,
    /// What the latest observation said.
    pub state: State,
    /// And why.
    pub reason: Reason,
    /// First observation of the current opening.
    pub first_open_at: Instant,
    /// When the opening was confirmed.
    pub opened_at: Option<Instant>,
    /// When it was last found closed.
    pub closed_at: Option<Instant>,
    /// Latest observation that it was open.
    pub last_open_at: Instant,
    /// Latest observation before this opening that it was not.
    pub last_not_open_at: Option<Instant>,
    /// Latest observation.
    pub last_observed_at: Instant,
    /// How often it has opened.
    pub openings: u32,
    /// On a host that answers on every port.
    pub pseudo_open: bool,
    /// How the last identification ended.
    pub identity: Option<Identity>,
    /// What answers.
    pub service: Option<ServiceView>,
    /// First bytes of the deciding answer.
    pub banner: Option<String>,
    /// Name of the deciding request.
    pub evidence: Option<String>,
    /// How much the deciding answer proves.
    pub confidence: Option<Confidence>,
    /// SHA-256 of the first 4 KiB of the deciding answer, lower-case hex.
    pub sha256: Option<String>,
    /// Everything that was asked, in order, whether or not it was answered.
    pub tried: Vec<String>,
    /// When everything there is was last asked.
    pub thorough_at: Option<Instant>,
    /// When it was last identified.
    pub identified_at: Option<Instant>,
    /// Its front page.
    pub panel: Option<PanelView>,
    /// When that was last fetched.
    pub panel_at: Option<Instant>,
    /// Upper bound of the time from opening to detection.
    pub detection_bound_ms: Option<Millis>,
    /// Its exposure.
    pub exposure: Option<Uuid>,
    /// What a person says it is.
    pub note: Option<EndpointNoteView>,
    /// Severity of the worst that holds of what checks proved of it.
    pub worst_finding: Option<Severity>,
}

impl EndpointView {
    /// The view, with the exposure, the note and the findings that belong to it.
    pub fn new(p: PortState, exposure: Option<ExposureId>, note: Option<EndpointNote>, findings: &[Finding]) -> Self {
        let worst_finding = assess::findings::present(findings).first().map(|f| f.severity.into());
        let bound = p.detection_bound();
        EndpointView {
            ip: p.endpoint.ip.to_string(),
            port: p.endpoint.port,
            proto: p.endpoint.proto.to_string(),
            endpoint: p.endpoint.to_string(),
            vantage: p.vantage.0,
            phase: p.phase.into(),
            state: p.last_state.into(),
            reason: p.last_reason.into(),
            first_open_at: p.first_open_at.into(),
            opened_at: p.opened_at.map(Into::into),
            closed_at: p.closed_at.map(Into::into),
            last_open_at: p.last_open_at.into(),
            last_not_open_at: p.last_not_open_at.map(Into::into),
            last_observed_at: p.last_observed_at.into(),
            openings: p.openings,
            pseudo_open: p.pseudo_open,
            identity: p.identity.map(Into::into),
            service: p.service.map(Into::into),
            banner: p.banner,
            evidence: p.evidence,
            confidence: p.confidence.map(Into::into),
            sha256: p.sha256,
            tried: p.tried,
            thorough_at: p.thorough_at.map(Into::into),
            identified_at: p.identified_at.map(Into::into),
            panel: p.panel.map(|panel| PanelView {
                scheme: panel.scheme,
                status: panel.status,
                title: panel.title,
                server: panel.server,
                product: panel.product,
                version: panel.version,
                path: panel.path,
                evidence: panel.evidence,
                favicon: panel.favicon,
                technologies: panel.technologies,
                location: panel.location,
            }),
            panel_at: p.panel_at.map(Into::into),
            detection_bound_ms: bound.map(Into::into),
            exposure: exposure.map(|e| e.0),
            note: note.map(Into::into),
            worst_finding,
        }
    }
}

/// An endpoint with everything around it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointDetail {
    /// Its state, per vantage.
    pub endpoints: Vec<EndpointView>,
    /// Its exposures, per vantage.
    pub exposures: Vec<ExposureView>,
    /// What checks proved of it, what holds first, then the worst.
    pub findings: Vec<FindingView>,
    /// Its history, newest first, at most 500.
    pub events: Vec<EventView>,
    /// Its host, per vantage.
    pub host: Vec<HostView>,
}

/// A host as seen from one vantage.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostView {
    /// Address.
    pub ip: String,
    /// Seen from.
    pub vantage: String,
    /// Up or down.
    pub liveness: Liveness,
    /// Evidence.
    pub reason: Reason,
    /// Since when.
    pub since: Instant,
    /// Last time it answered.
    pub last_online_at: Option<Instant>,
    /// Last time it was asked.
    pub last_observed_at: Instant,
    /// Ports that accepted, on a host that answers on every port.
    pub pseudo_open_ports: Option<u32>,
    /// Asset that covers it.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
    /// Endpoints that are open now.
    pub open_endpoints: u64,
}

impl HostView {
    /// The view, with the most specific of the assets that cover the address.
    pub fn new(h: Host, assets: &[model::asset::Asset], open_endpoints: u64) -> Self {
        let asset = assess::asset_for(h.ip, assets);
        HostView {
            ip: h.ip.to_string(),
            vantage: h.vantage.0,
            liveness: h.liveness.into(),
            reason: h.reason.into(),
            since: h.since.into(),
            last_online_at: h.last_online_at.map(Into::into),
            last_observed_at: h.last_observed_at.into(),
            pseudo_open_ports: h.pseudo_open_ports,
            asset: asset.map(|a| a.id.0),
            asset_name: asset.map(|a| a.name.clone()),
            owner: asset.and_then(|a| a.owner.clone()),
            open_endpoints,
        }
    }
}

/// Names of assets by id.
pub fn names(assets: &[model::asset::Asset]) -> AssetNames {
    assets.iter().map(|a| (a.id, a.name.clone())).collect()
}

/// How many hosts answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostCountsView {
    /// Up.
    pub online: u64,
    /// Down.
    pub offline: u64,
}

/// A page of hosts with the counts of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostPageView {
    /// The hosts of the slice.
    pub items: Vec<HostView>,
    /// How many match in all.
    pub total: u64,
    /// All hosts by liveness, whatever the filter.
    pub counts: HostCountsView,
}
