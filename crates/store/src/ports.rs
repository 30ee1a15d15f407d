//! Endpoint states and coverage.
use crate::{Order, Page, Paging, Result, Store};
use model::address::IpRange;
use model::observation::SeenFrom;
use model::port_state::{Phase, PortState};
use model::{Endpoint, State, Ts, Vantage};
use std::collections::HashMap;
use std::net::IpAddr;

/// By what a list of endpoints is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSort {
    Ip,
    Port,
    OpenedAt,
    LastObservedAt,
}

/// Which endpoints.
#[derive(Clone, Debug, Default)]
pub struct PortFilter {
    pub phases: Vec<Phase>,
    pub state: Option<State>,
    /// Address, start of one, CIDR, range, endpoint, port number, or words of the service or its front page.
    pub search: Option<String>,
    /// Exact service name.
    pub service: Option<String>,
    pub ip: Option<IpAddr>,
    pub endpoint: Option<Endpoint>,
    pub vantage: Option<Vantage>,
    pub pseudo_open: Option<bool>,
    /// By address and port when none.
    pub sort: Option<Order<PortSort>>,
}

impl Store {
    pub async fn port_states(&self, keys: &[SeenFrom]) -> Result<HashMap<SeenFrom, PortState>> {
        unimplemented!()
    }
    pub async fn port_state(&self, key: &SeenFrom) -> Result<Option<PortState>> {
        unimplemented!()
    }
    /// Everything open or pending.
    pub async fn port_states_open(&self, vantage: Option<&Vantage>) -> Result<Vec<PortState>> {
        unimplemented!()
    }
    /// Open or pending endpoints within the ranges, from any vantage.
    pub async fn open_endpoints_in(&self, ranges: &[IpRange]) -> Result<Vec<SeenFrom>> {
        unimplemented!()
    }
    pub async fn ports(&self, filter: &PortFilter, paging: Paging) -> Result<Page<PortState>> {
        unimplemented!()
    }
    /// Open endpoints per address, pseudo-open ones not counted.
    pub async fn open_counts(&self, ips: &[IpAddr]) -> Result<HashMap<IpAddr, u64>> {
        unimplemented!()
    }
    /// Start of the latest finished coverage that holds each endpoint; endpoints never covered are absent.
    pub async fn last_covered(&self, vantage: &Vantage, endpoints: &[Endpoint]) -> Result<HashMap<Endpoint, Ts>> {
        unimplemented!()
    }
}
