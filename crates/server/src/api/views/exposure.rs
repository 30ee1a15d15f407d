//! Exposures as the API shows them, and the decisions that people send.
//!
//! The asset's name is looked up by the caller, which knows the whole list; the store keeps the id.

use super::alert::AlertView;
use super::endpoint::EndpointView;
use super::event::EventView;
use super::finding::FindingView;
use super::segment::Doubts;
use super::words::{DispositionKind, FindingKind, Instant, Liveness, Millis, Phase, Reason, RiskKind, Severity, Zone};
use model::exposure::{Exposure, RiskReason};
use model::{AssetId, Ts};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

/// Names of assets by id.
pub type AssetNames = HashMap<AssetId, String>;

/// One ground for the risk stated.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum RiskReasonView {
    /// Reachable from an outer vantage.
    Reachable {
        /// Which.
        vantage: String,
    },
    /// The port number is listed.
    PortListed {
        /// Catalogue entry.
        entry: String,
        /// The number.
        port: u16,
    },
    /// The identity is listed.
    IdentityListed {
        /// Catalogue entry.
        entry: String,
        /// Identified service.
        service: String,
    },
    /// The business weight of the asset raised the severity.
    BusinessWeight {
        /// 0-10.
        weight: u8,
    },
    /// On a host that answers on every port.
    PseudoOpen,
    /// A check proved something of it.
    FindingProved {
        /// Id of the check.
        check: String,
        /// What kind of thing.
        kind: FindingKind,
        /// How bad that is by itself.
        severity: Severity,
    },
}

impl From<RiskReason> for RiskReasonView {
    fn from(reason: RiskReason) -> Self {
        match reason {
            RiskReason::Reachable { vantage } => RiskReasonView::Reachable { vantage: vantage.0 },
            RiskReason::PortListed { entry, port } => RiskReasonView::PortListed { entry, port },
            RiskReason::IdentityListed { entry, service } => RiskReasonView::IdentityListed { entry, service },
            RiskReason::BusinessWeight { weight } => RiskReasonView::BusinessWeight { weight },
            RiskReason::PseudoOpen => RiskReasonView::PseudoOpen,
            RiskReason::FindingProved { check, kind, severity } => {
                RiskReasonView::FindingProved { check, kind: kind.into(), severity: severity.into() }
            }
        }
    }
}

/// A risk with its grounds.
#[derive(Debug, Serialize, ToSchema)]
pub struct RiskView {
    /// Kind.
    pub kind: RiskKind,
    /// Severity.
    pub severity: Severity,
    /// Catalogue entry.
    pub entry: Option<String>,
    /// Grounds.
    pub reasons: Vec<RiskReasonView>,
}

/// The certificate and parameters of a TLS endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct TlsView {
    /// Negotiated version.
    pub version: String,
    /// Negotiated application protocol.
    pub alpn: Option<String>,
    /// Subject, RFC 4514.
    pub subject: String,
    /// Issuer, RFC 4514.
    pub issuer: String,
    /// Names of the certificate.
    pub names: Vec<String>,
    /// Start of validity.
    pub not_before: Instant,
    /// End of validity.
    pub not_after: Instant,
    /// Subject equals issuer.
    pub self_signed: bool,
    /// SHA-256 of the leaf, lower-case hex.
    pub sha256: String,
    /// SHA-256 of the leaf that it shows to a client that names a server, where that is another one.
    pub sha256_named: Option<String>,
    /// Type and size of the certificate's key.
    #[schema(example = "RSA 2048")]
    pub key: Option<String>,
    /// Every version it was seen to agree to; empty until each was asked for.
    pub versions: Vec<String>,
    /// Those of them that nobody should use any more.
    pub weak_versions: Vec<String>,
    /// Every application protocol it was seen to agree to; empty until each was asked for.
    pub alpns: Vec<String>,
}

/// What answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceView {
    /// Protocol name.
    pub name: String,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// TLS in front of it.
    pub tls: Option<TlsView>,
    /// Who says so, when it is not portreeve's own node that talked to it.
    pub source: Option<SourceView>,
    /// How much a UDP service answers for what it is asked.
    pub amplification: Option<AmplificationView>,
}

/// What a reflector would make of a question with a forged sender, in bytes of UDP payload.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct AmplificationView {
    /// Bytes that the identification asked with.
    pub asked: u32,
    /// Bytes that came back for them, all datagrams together.
    pub answered: u32,
    /// Bytes answered for each byte asked, to a hundredth.
    #[schema(example = 46.2)]
    pub ratio: f64,
    /// More than ten bytes answered for each byte asked: of use to a flood.
    pub reflector: bool,
}

/// Bytes answered for each byte asked from which on a service is worth it to whoever floods others by it.
const REFLECTOR: f64 = 10.0;

impl From<model::service::Amplification> for AmplificationView {
    fn from(amplification: model::service::Amplification) -> Self {
        let ratio = amplification.ratio();
        AmplificationView {
            asked: amplification.asked,
            answered: amplification.answered,
            ratio: (ratio * 100.0).round() / 100.0,
            reflector: ratio > REFLECTOR,
        }
    }
}

/// Another scanner that identified a service.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceView {
    /// How it came here and which scanner it was.
    #[schema(example = "import:nmap")]
    pub name: String,
    /// How sure that scanner said it was, 0 to 10.
    pub confidence: Option<u8>,
}

impl From<model::Service> for ServiceView {
    fn from(service: model::Service) -> Self {
        ServiceView {
            name: service.name,
            product: service.product,
            version: service.version,
            tls: service.tls.map(|t| TlsView {
                weak_versions: t.weak_versions().map(str::to_owned).collect(),
                version: t.version,
                alpn: t.alpn,
                subject: t.subject,
                issuer: t.issuer,
                names: t.names,
                not_before: t.not_before.into(),
                not_after: t.not_after.into(),
                self_signed: t.self_signed,
                sha256: t.sha256,
                sha256_named: t.sha256_named,
                key: t.key,
                versions: t.versions,
                alpns: t.alpns,
            }),
            source: service.source.map(|s| SourceView { name: s.name, confidence: s.confidence }),
            amplification: service.amplification.map(Into::into),
        }
    }
}

/// A decision, and what it amounts to now.
#[derive(Debug, Serialize, ToSchema)]
pub struct DispositionView {
    /// What was decided.
    pub kind: DispositionKind,
    /// What holds now: a decision past its date is none.
    pub effective: DispositionKind,
    /// Until when.
    pub until: Option<Instant>,
    /// Who.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// When.
    pub at: Option<Instant>,
}

/// An exposure.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExposureView {
    /// Id.
    pub id: Uuid,
    /// Address.
    #[schema(example = "10.0.0.7")]
    pub ip: String,
    /// Port.
    pub port: u16,
    /// `tcp` or `udp`.
    #[schema(example = "tcp")]
    pub proto: String,
    /// All three in one word.
    #[schema(example = "10.0.0.7:6379/tcp")]
    pub endpoint: String,
    /// Seen from.
    pub vantage: String,
    /// `open` or `closed`.
    pub phase: Phase,
    /// Risk.
    pub risk: RiskView,
    /// What answers.
    pub service: Option<ServiceView>,
    /// Asset that covers it.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Zone.
    pub zone: Option<Zone>,
    /// Decision.
    pub disposition: DispositionView,
    /// Number of the opening, from 1.
    pub opening: u32,
    /// First opening ever.
    pub first_opened_at: Instant,
    /// Current or last opening.
    pub opened_at: Instant,
    /// End of the last opening.
    pub closed_at: Option<Instant>,
    /// Evidence for the end.
    pub close_reason: Option<Reason>,
    /// Upper bound of the time from opening to detection; null when it had never been probed before.
    pub detection_bound_ms: Option<Millis>,
    /// Latest observation of the endpoint.
    pub last_observed_at: Option<Instant>,
    /// Last change.
    pub updated_at: Instant,
    /// Since when its segment is unknown, so that nobody can tell whether it is still open; null when it is observed.
    pub unknown_since: Option<Instant>,
}

impl ExposureView {
    /// The view at `now`; `observed` is the latest observation of its endpoint.
    pub fn new(e: Exposure, observed: Option<Ts>, names: &AssetNames, doubts: &Doubts, now: Ts) -> Self {
        let unknown_since = doubts.since(e.endpoint.ip, &e.vantage).filter(|_| e.phase == model::port_state::Phase::Open);
        ExposureView {
            id: e.id.0,
            ip: e.endpoint.ip.to_string(),
            port: e.endpoint.port,
            proto: e.endpoint.proto.to_string(),
            endpoint: e.endpoint.to_string(),
            vantage: e.vantage.0,
            phase: e.phase.into(),
            risk: RiskView {
                kind: e.risk.kind.into(),
                severity: e.risk.severity.into(),
                entry: e.risk.entry,
                reasons: e.risk.reasons.into_iter().map(Into::into).collect(),
            },
            service: e.service.map(Into::into),
            asset: e.asset.map(|a| a.0),
            asset_name: e.asset.and_then(|a| names.get(&a).cloned()),
            owner: e.owner,
            zone: e.zone.map(Into::into),
            disposition: DispositionView {
                kind: e.disposition.kind.into(),
                effective: e.disposition.effective(now).into(),
                until: e.disposition.until.map(Into::into),
                by: e.disposition.by,
                note: e.disposition.note,
                at: e.disposition.at.map(Into::into),
            },
            opening: e.opening,
            first_opened_at: e.first_opened_at.into(),
            opened_at: e.opened_at.into(),
            closed_at: e.closed_at.map(Into::into),
            close_reason: e.close_reason.map(Into::into),
            detection_bound_ms: e.detection_bound.map(Into::into),
            last_observed_at: observed.map(Into::into),
            updated_at: e.updated_at.into(),
            unknown_since: unknown_since.map(Into::into),
        }
    }
}

/// The exposures of one address.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddressGroupView {
    /// Address.
    #[schema(value_type = String, example = "10.0.0.7")]
    pub ip: IpAddr,
    /// Seen from.
    pub vantage: String,
    /// Whether the host answers.
    pub liveness: Option<Liveness>,
    /// Asset.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Open exposures among those that match.
    pub open_count: u64,
    /// Worst severity among them.
    pub worst_severity: Severity,
    /// Worst risk among them.
    pub worst_risk: RiskKind,
    /// Those that nobody has decided about.
    pub unreviewed: u64,
    /// At most 50 of them, most severe first.
    pub exposures: Vec<ExposureView>,
}

/// An exposure with everything around it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExposureDetail {
    /// The exposure.
    pub exposure: ExposureView,
    /// Its endpoint; null only if the state was never recorded.
    pub endpoint: Option<EndpointView>,
    /// What checks proved of it, what holds first, then the worst.
    pub findings: Vec<FindingView>,
    /// Its history, newest first, at most 500.
    pub events: Vec<EventView>,
    /// Its alerts, newest first, at most 500.
    pub alerts: Vec<AlertView>,
}

/// A decision to record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DispositionInput {
    /// Which.
    pub kind: DispositionKind,
    /// Until when; required for `registered` and `accepted`, at most three years ahead.
    pub until: Option<Instant>,
    /// Why; required for `accepted` and `false-positive`.
    pub note: Option<String>,
}

/// One decision about many exposures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDispositionInput {
    /// Which exposures, at most 500.
    pub ids: Vec<Uuid>,
    /// As for one.
    pub kind: DispositionKind,
    /// As for one.
    pub until: Option<Instant>,
    /// As for one.
    pub note: Option<String>,
}

/// How many were changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedView {
    /// Number of exposures.
    pub changed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::service::Amplification;

    #[test]
    fn more_than_ten_bytes_for_one_make_a_reflector() {
        for (asked, answered, ratio, reflector) in
            [(40, 400, 10.0, false), (40, 401, 10.03, true), (7, 0, 0.0, false), (3, 1, 0.33, false), (0, 12, 12.0, true)]
        {
            let view = AmplificationView::from(Amplification { asked, answered });
            assert_eq!(view, AmplificationView { asked, answered, ratio, reflector });
        }
    }
}
