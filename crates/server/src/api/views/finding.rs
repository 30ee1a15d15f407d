//! Findings, checks, approvals and notes as the API shows and takes them.
//!
//! What a check is about comes from the catalogue by its id; a check that the catalogue does not have any more is shown without.

use super::system::TextView;
use super::words::{CheckCeiling, DegreeOfProof, FindingKind, FindingPhase, Instant, Severity, SideEffect};
use model::Ts;
use model::check::{CheckInfo, Checks};
use model::finding::{Approval, EndpointNote, Finding, FindingPhase as Holds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// A check of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckView {
    /// Id.
    #[schema(example = "redis-unauthenticated")]
    pub id: String,
    /// What it proves, as a headline.
    pub title: TextView,
    /// What kind of thing that is.
    pub kind: FindingKind,
    /// How bad, unless the evidence says more.
    pub severity: Severity,
    /// What its strongest question does to a target.
    pub side_effect: SideEffect,
    /// Names of the services it is for.
    pub services: Vec<String>,
    /// Products it is for; empty for every product of those services.
    pub products: Vec<String>,
    /// What to do about it.
    pub advice: TextView,
    /// What to use instead.
    pub alternative: Option<TextView>,
    /// Where question and decisive answer are documented.
    pub source: String,
    /// How far it has been proved.
    pub proved: DegreeOfProof,
}

impl From<&CheckInfo> for CheckView {
    fn from(c: &CheckInfo) -> Self {
        CheckView {
            id: c.id.clone(),
            title: (&c.title).into(),
            kind: c.kind.into(),
            severity: c.severity.into(),
            side_effect: c.side_effect.into(),
            services: c.services.clone(),
            products: c.products.clone(),
            advice: (&c.advice).into(),
            alternative: c.alternative.as_ref().map(Into::into),
            source: c.source.clone(),
            proved: c.proved.into(),
        }
    }
}

/// What proves a finding. Secrets are counted, never kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct EvidenceView {
    /// Name of the request whose answer decided.
    #[schema(example = "redis-info")]
    pub request: String,
    /// First bytes of that answer; empty where it would hold secrets.
    pub response: String,
    /// SHA-256 of the first 4 KiB of the answer; empty when there was none.
    pub sha256: String,
    /// What was read from it.
    pub fields: BTreeMap<String, String>,
}

/// Something that a check proved of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingView {
    /// Id.
    pub id: Uuid,
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
    /// Id of the check.
    pub check: String,
    /// What kind of thing was proved.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it holds.
    pub phase: FindingPhase,
    /// What was proved, as a headline; null when the catalogue does not have the check any more.
    pub title: Option<TextView>,
    /// What to do about it.
    pub advice: Option<TextView>,
    /// What to use instead.
    pub alternative: Option<TextView>,
    /// The latest proof.
    pub evidence: EvidenceView,
    /// First proved.
    pub first_seen_at: Instant,
    /// Last proved.
    pub last_seen_at: Instant,
    /// When it was found gone.
    pub gone_at: Option<Instant>,
    /// Why it is gone: how the check ended, or that the endpoint closed.
    pub gone_reason: Option<String>,
    /// The last time the check ran, whatever it said.
    pub checked_at: Instant,
    /// Exposure of the endpoint.
    pub exposure: Option<Uuid>,
    /// What answers, in one line.
    pub service: Option<String>,
    /// Asset that covers it.
    pub asset: Option<Uuid>,
    /// Its name.
    pub asset_name: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
}

impl FindingView {
    /// The view; exposure, service and asset are looked up by the caller.
    pub fn new(f: Finding) -> Self {
        let check = Checks::in_use().get(&f.check);
        FindingView {
            id: f.id.0,
            ip: f.endpoint.ip.to_string(),
            port: f.endpoint.port,
            proto: f.endpoint.proto.to_string(),
            endpoint: f.endpoint.to_string(),
            vantage: f.vantage.0,
            kind: f.kind.into(),
            severity: f.severity.into(),
            phase: f.phase.into(),
            title: check.map(|c| (&c.title).into()),
            advice: check.map(|c| (&c.advice).into()),
            alternative: check.and_then(|c| c.alternative.as_ref()).map(Into::into),
            check: f.check,
            evidence: EvidenceView {
                request: f.evidence.request,
                response: f.evidence.response,
                sha256: f.evidence.sha256,
                fields: f.evidence.fields,
            },
            first_seen_at: f.first_seen_at.into(),
            last_seen_at: f.last_seen_at.into(),
            gone_at: f.gone_at.map(Into::into),
            gone_reason: f.gone_reason,
            checked_at: f.checked_at.into(),
            exposure: None,
            service: None,
            asset: None,
            asset_name: None,
            owner: None,
        }
    }
}

/// What holds first, then the worst, then by check.
pub fn in_order(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.phase != Holds::Present, std::cmp::Reverse(f.severity));
        key(a).cmp(&key(b)).then_with(|| a.check.cmp(&b.check))
    });
}

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Asked for; a second person has to grant it before it holds.
    Requested,
    /// Holds now.
    Active,
    /// Granted, and begins later.
    Ahead,
    /// Granted and in its time, but the asset does not allow intrusive checks, or is gone.
    Powerless,
    /// Its time is over.
    Ended,
    /// Taken back before it was granted.
    Declined,
    /// Taken back.
    Revoked,
}

impl ApprovalState {
    /// At `now`; `effective`: the asset lets intrusive questions pass.
    fn of(a: &Approval, effective: bool, now: Ts) -> Self {
        match () {
            () if a.revoked_at.is_some() && a.granted_at.is_none() => ApprovalState::Declined,
            () if a.revoked_at.is_some() => ApprovalState::Revoked,
            () if a.until <= now => ApprovalState::Ended,
            () if !a.granted_since(now) => ApprovalState::Requested,
            () if a.not_before > now => ApprovalState::Ahead,
            () if !effective => ApprovalState::Powerless,
            () => ApprovalState::Active,
        }
    }
}

/// An agreement that default pairs may be tried on a range, for a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovalView {
    /// Id.
    pub id: Uuid,
    /// The addresses.
    pub range: String,
    /// The asset that they are in now; null when there is none any more.
    pub asset_name: Option<String>,
    /// Its ceiling; only under `intrusive` does the approval have an effect.
    pub check_ceiling: Option<CheckCeiling>,
    /// Who answers for the range and agreed.
    pub owner: String,
    /// Why, or under which number.
    pub reason: String,
    /// Start.
    pub not_before: Instant,
    /// End, not included.
    pub until: Instant,
    /// Attempts for one account and address in 24 hours.
    pub max_attempts: u8,
    /// How it stands.
    pub state: ApprovalState,
    /// Who asked for it.
    pub created_by: String,
    /// The person behind that, a token's maker where it was a token: may not be who grants it.
    pub asked_by: String,
    /// When it was asked for.
    pub created_at: Instant,
    /// When a second person granted it; null while it waits.
    pub granted_at: Option<Instant>,
    /// Who that was.
    pub granted_by: Option<String>,
    /// When it was declined or taken back.
    pub revoked_at: Option<Instant>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Whether it holds and has an effect now.
    pub active_now: bool,
}

impl ApprovalView {
    /// The view at `now`, against the assets as they are.
    pub fn new(a: Approval, assets: &[model::asset::Asset], now: Ts) -> Self {
        let asset = plan::checks::holder(a.range, assets);
        let effective = plan::checks::approvable(a.range, assets).is_some();
        ApprovalView {
            id: a.id.0,
            range: a.range.to_string(),
            asset_name: asset.map(|x| x.name.clone()),
            check_ceiling: asset.map(|x| x.check_ceiling.into()),
            active_now: effective && a.in_force(now),
            state: ApprovalState::of(&a, effective, now),
            owner: a.owner,
            reason: a.reason,
            not_before: a.not_before.into(),
            until: a.until.into(),
            max_attempts: a.max_attempts,
            created_by: a.created_by,
            asked_by: a.asked_by,
            created_at: a.created_at.into(),
            granted_at: a.granted_at.map(Into::into),
            granted_by: a.granted_by,
            revoked_at: a.revoked_at.map(Into::into),
            revoked_by: a.revoked_by,
        }
    }
}

/// An approval to ask for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalInput {
    /// The addresses, inside one asset whose ceiling is `intrusive`.
    pub range: String,
    /// Who answers for the range and agreed.
    pub owner: String,
    /// Why, or under which number.
    pub reason: String,
    /// Start; now when absent.
    pub not_before: Option<Instant>,
    /// End, not included; at most 30 days after the start.
    pub until: Instant,
    /// Attempts for one account and address in 24 hours: 1 or 2; 1 when absent.
    pub max_attempts: Option<u8>,
}

/// What a person says about an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointNoteView {
    /// What it is, in that person's words.
    pub text: String,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Instant,
}

impl From<EndpointNote> for EndpointNoteView {
    fn from(n: EndpointNote) -> Self {
        EndpointNoteView { text: n.text, by: n.by, at: n.at.into() }
    }
}

/// What to say about an endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointNoteInput {
    /// What it is, at most 500 characters.
    pub text: String,
}
