//! Exposures.
use crate::{Order, Page, Paging, Result, Store};
use model::alert::Alert;
use model::audit::AuditEntry;
use model::event::Event;
use model::exposure::{Disposition, DispositionKind, Exposure, RiskKind, Severity};
use model::observation::SeenFrom;
use model::port_state::Phase;
use model::{AssetId, ExposureId, Liveness, Ts, Vantage};
use std::collections::HashMap;
use std::net::IpAddr;

/// By what a list of exposures is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposureSort {
    Severity,
    OpenedAt,
    Ip,
    Port,
    UpdatedAt,
}

/// Which exposures.
#[derive(Clone, Debug)]
pub struct ExposureFilter {
    pub phase: Option<Phase>,
    pub risks: Vec<RiskKind>,
    pub severities: Vec<Severity>,
    /// As they hold at `now`.
    pub dispositions: Vec<DispositionKind>,
    /// Address, start of one, CIDR, range, endpoint, port number, or words of the service or the owner.
    pub search: Option<String>,
    pub owner: Option<String>,
    pub asset: Option<AssetId>,
    pub ip: Option<IpAddr>,
    /// High-risk ports and services only.
    pub high_risk_only: bool,
    /// Severity, then opening, largest first, when none.
    pub sort: Option<Order<ExposureSort>>,
    pub now: Ts,
}

impl ExposureFilter {
    /// Every exposure.
    pub fn all(now: Ts) -> Self {
        ExposureFilter {
            phase: None,
            risks: vec![],
            severities: vec![],
            dispositions: vec![],
            search: None,
            owner: None,
            asset: None,
            ip: None,
            high_risk_only: false,
            sort: None,
            now,
        }
    }
}

/// The exposures of one address as seen from one vantage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressGroup {
    pub ip: IpAddr,
    pub vantage: Vantage,
    pub liveness: Option<Liveness>,
    pub asset: Option<AssetId>,
    pub owner: Option<String>,
    /// Of those that match.
    pub open_count: u64,
    /// Of those that match, open ones first.
    pub worst_severity: Severity,
    pub worst_risk: RiskKind,
    pub unreviewed: u64,
    /// At most 50, most severe first.
    pub exposures: Vec<Exposure>,
}

impl Store {
    pub async fn exposures(&self, filter: &ExposureFilter, paging: Paging) -> Result<Page<Exposure>> {
        unimplemented!()
    }
    pub async fn exposures_by_address(&self, filter: &ExposureFilter, paging: Paging) -> Result<Page<AddressGroup>> {
        unimplemented!()
    }
    pub async fn exposure(&self, id: ExposureId) -> Result<Option<Exposure>> {
        unimplemented!()
    }
    pub async fn exposures_by(&self, keys: &[SeenFrom]) -> Result<HashMap<SeenFrom, Exposure>> {
        unimplemented!()
    }
    pub async fn exposures_by_ids(&self, ids: &[ExposureId]) -> Result<HashMap<ExposureId, Exposure>> {
        unimplemented!()
    }
    pub async fn exposures_all_open(&self) -> Result<Vec<Exposure>> {
        unimplemented!()
    }
    pub async fn set_disposition(
        &self,
        id: ExposureId,
        disposition: &Disposition,
        event: &Event,
        audit: &AuditEntry,
    ) -> Result<()> {
        unimplemented!()
    }
    /// Several at once, all or none.
    pub async fn set_dispositions(
        &self,
        ids: &[ExposureId],
        disposition: &Disposition,
        events: &[Event],
        audit: &AuditEntry,
    ) -> Result<()> {
        unimplemented!()
    }
    /// Risk, severity, asset, owner and zone after a reassessment; phase and disposition are left alone.
    pub async fn update_exposure_risk(&self, exposures: &[Exposure], events: &[Event], alerts: &[Alert]) -> Result<()> {
        unimplemented!()
    }
}
