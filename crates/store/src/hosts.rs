//! Hosts.
use crate::{Page, Paging, Result, Store};
use model::port_state::Host;
use model::{Liveness, Vantage};
use std::collections::HashMap;
use std::net::IpAddr;

/// Which hosts.
#[derive(Clone, Debug, Default)]
pub struct HostFilter {
    pub liveness: Option<Liveness>,
    /// Address, start of one, CIDR or range.
    pub search: Option<String>,
    pub vantage: Option<Vantage>,
}

impl Store {
    /// By address.
    pub async fn hosts(&self, filter: &HostFilter, paging: Paging) -> Result<Page<Host>> {
        unimplemented!()
    }
    pub async fn hosts_with(&self, liveness: Liveness, vantage: Option<&Vantage>) -> Result<Vec<IpAddr>> {
        unimplemented!()
    }
    pub async fn hosts_by(&self, ips: &[IpAddr], vantage: &Vantage) -> Result<HashMap<IpAddr, Host>> {
        unimplemented!()
    }
}
