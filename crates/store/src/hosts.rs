//! Hosts as seen from each vantage, up or down: both are kept, so that a host never gets lost between them (D0).

use crate::search::Search;
use crate::sql::*;
use crate::{Page, Paging, Result, Store};
use model::port_state::Host;
use model::{Liveness, Vantage};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Which hosts.
#[derive(Clone, Debug, Default)]
pub struct HostFilter {
    /// Up or down.
    pub liveness: Option<Liveness>,
    /// Address, start of one, CIDR or range.
    pub search: Option<String>,
    /// Seen from here.
    pub vantage: Option<Vantage>,
}

const HOST: &str = "ip, vantage, liveness, reason, since, last_online_at, last_observed_at, pseudo_open_ports";

fn values(h: &Host) -> Vec<Value> {
    vec![
        h.ip.value(),
        h.vantage.value(),
        h.liveness.value(),
        h.reason.value(),
        h.since.value(),
        value(&h.last_online_at),
        h.last_observed_at.value(),
        value(&h.pseudo_open_ports),
    ]
}

fn from(row: &QueryResult) -> Result<Host> {
    Ok(Host {
        ip: get(row, "ip")?,
        vantage: get(row, "vantage")?,
        liveness: get(row, "liveness")?,
        reason: get(row, "reason")?,
        since: get(row, "since")?,
        last_online_at: opt(row, "last_online_at")?,
        last_observed_at: get(row, "last_observed_at")?,
        pseudo_open_ports: opt(row, "pseudo_open_ports")?,
    })
}

pub(crate) async fn upsert_hosts<C: ConnectionTrait>(db: &C, hosts: &[Host]) -> Result<()> {
    // The last of each key, in the order of the key: PostgreSQL takes no row twice in one statement, and two transactions
    // that take rows in one order never wait for each other in a circle.
    let rows: BTreeMap<_, _> = hosts.iter().map(|h| ((h.ip, &h.vantage), h)).collect();
    let tail = "ON CONFLICT (ip, vantage) DO UPDATE SET liveness = excluded.liveness, reason = excluded.reason, since = excluded.since, \
                last_online_at = excluded.last_online_at, last_observed_at = excluded.last_observed_at, \
                pseudo_open_ports = excluded.pseudo_open_ports";
    insert(db, &format!("INSERT INTO hosts ({HOST})"), rows.into_values().map(values).collect(), tail).await.map(drop)
}

impl Store {
    /// By address.
    pub async fn hosts(&self, filter: &HostFilter, paging: Paging) -> Result<Page<Host>> {
        let mut sql = Sql::new(" FROM hosts WHERE 1 = 1");
        sql.and("liveness =", &filter.liveness).and("vantage =", &filter.vantage);
        if let Some(search) = filter.search.as_deref().and_then(Search::parse) {
            search.and(&mut sql, None);
        }
        self.page(&sql, HOST, "ip, vantage", paging, from).await
    }

    /// Addresses of hosts in that state, in order, each once.
    pub async fn hosts_with(&self, liveness: Liveness, vantage: Option<&Vantage>) -> Result<Vec<IpAddr>> {
        let mut sql = Sql::new("SELECT DISTINCT ip FROM hosts WHERE liveness = ");
        sql.bind(liveness.value()).and("vantage =", &vantage.cloned()).push(" ORDER BY ip");
        sql.all(self.read()).await?.iter().map(|row| get(row, "ip")).collect()
    }

    /// The hosts of those addresses that have been seen from there.
    pub async fn hosts_by(&self, ips: &[IpAddr], vantage: &Vantage) -> Result<HashMap<IpAddr, Host>> {
        let mut hosts = HashMap::new();
        for some in ips.chunks(IN_LIST) {
            let mut sql = Sql::new(format!("SELECT {HOST} FROM hosts WHERE vantage = "));
            sql.bind(vantage.value()).and_in("ip", some);
            for row in sql.all(self.read()).await? {
                let host = from(&row)?;
                hosts.insert(host.ip, host);
            }
        }
        Ok(hosts)
    }
}
