//! The state of endpoints as seen from each vantage. How observations fold into it is `assess`'s.

use crate::findings::{Proved, ServiceFilter};
use crate::search::Search;
use crate::sql::*;
use crate::{Order, Page, Paging, Result, Store};
use model::address::{self, IpRange};
use model::observation::SeenFrom;
use model::port_state::{Phase, PortState};
use model::service::Identity;
use model::{Endpoint, State, Vantage};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// By what a list of endpoints is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSort {
    /// Address, then port.
    Ip,
    /// Port, then address.
    Port,
    /// Confirmation of the current or last opening.
    OpenedAt,
    /// Latest observation.
    LastObservedAt,
}

/// Which endpoints.
#[derive(Clone, Debug, Default)]
pub struct PortFilter {
    /// In one of these phases; any when empty.
    pub phases: Vec<Phase>,
    /// Whose latest observation said this.
    pub state: Option<State>,
    /// Address, start of one, CIDR, range, endpoint, port number, or words of the service or its front page.
    pub search: Option<String>,
    /// What answers.
    pub service: ServiceFilter,
    /// Whose last identification ended in one of these ways; any when empty.
    pub identities: Vec<Identity>,
    /// Of which something is proved, or nothing.
    pub proved: Option<Proved>,
    /// Only those that a person has said something of, or only the others.
    pub noted: Option<bool>,
    /// Exact product of the front page, without case.
    pub panel_product: Option<String>,
    /// Hash of the front page's icon.
    pub favicon: Option<i32>,
    /// Made with this, with or without a version: `jetty` finds `Jetty 10.0.18`. Without case.
    pub technology: Option<String>,
    /// Only those whose front page is a product's that the catalogue knows, or only the others.
    pub panel_known: Option<bool>,
    /// Of this host.
    pub ip: Option<IpAddr>,
    /// This door.
    pub endpoint: Option<Endpoint>,
    /// Seen from here.
    pub vantage: Option<Vantage>,
    /// Only those on hosts that answer everywhere, or none of those.
    pub pseudo_open: Option<bool>,
    /// Only those with a front page, or only those without.
    pub panel: Option<bool>,
    /// By address and port when none.
    pub sort: Option<Order<PortSort>>,
}

const PORT: &str = "ip, port, proto, vantage, phase, first_open_at, opened_at, closed_at, last_open_at, last_not_open_at, last_observed_at, \
                    last_state, last_reason, streak, streak_since, openings, pseudo_open, identity, service, banner, evidence, \
                    identified_at, panel, panel_at, confidence, answer_sha256, tried, thorough_at";
/// Written beside those, for filters and searches alone.
const DERIVED: &str = "service_name, service_product, service_version, panel_product, panel_favicon, panel_technologies, words";

fn values(p: &PortState) -> Vec<Value> {
    let e = &p.endpoint;
    vec![
        e.ip.value(),
        e.port.value(),
        e.proto.value(),
        p.vantage.value(),
        p.phase.value(),
        p.first_open_at.value(),
        value(&p.opened_at),
        value(&p.closed_at),
        p.last_open_at.value(),
        value(&p.last_not_open_at),
        p.last_observed_at.value(),
        p.last_state.value(),
        p.last_reason.value(),
        p.streak.value(),
        p.streak_since.value(),
        p.openings.value(),
        p.pseudo_open.value(),
        value(&p.identity),
        json_opt(&p.service),
        value(&p.banner),
        value(&p.evidence),
        value(&p.identified_at),
        json_opt(&p.panel),
        value(&p.panel_at),
        value(&p.confidence),
        value(&p.sha256),
        text(&serde_json::to_string(&p.tried).unwrap_or_default()),
        value(&p.thorough_at),
        value(&p.service.as_ref().map(|s| s.name.clone())),
        value(&p.service.as_ref().and_then(|s| s.product.as_ref()).map(|p| p.to_lowercase())),
        value(&p.service.as_ref().and_then(|s| s.version.clone())),
        value(&p.panel.as_ref().and_then(|p| p.product.as_ref()).map(|p| p.to_lowercase())),
        value(&p.panel.as_ref().and_then(|p| p.favicon).map(i64::from)),
        value(&p.panel.as_ref().map(|p| listed(&p.technologies))),
        text(&words(p)),
    ]
}

/// What a front page is made with, as a JSON array in lower case; nothing where it shows nothing.
fn listed(technologies: &[String]) -> String {
    if technologies.is_empty() { String::new() } else { serde_json::json!(technologies).to_string().to_lowercase() }
}

/// What a search for words looks through.
fn words(p: &PortState) -> String {
    let mut words = Vec::new();
    if let Some(s) = &p.service {
        words.extend([Some(s.name.as_str()), s.product.as_deref(), s.version.as_deref()]);
        if let Some(tls) = &s.tls {
            words.push(Some(tls.subject.as_str()));
            words.extend(tls.names.iter().map(|name| Some(name.as_str())));
        }
    }
    if let Some(panel) = &p.panel {
        words.extend([panel.title.as_deref(), panel.server.as_deref(), panel.product.as_deref()]);
        words.extend(panel.technologies.iter().map(|technology| Some(technology.as_str())));
    }
    words.into_iter().flatten().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn from(row: &QueryResult) -> Result<PortState> {
    Ok(PortState {
        endpoint: endpoint_from(row)?,
        vantage: get(row, "vantage")?,
        phase: get(row, "phase")?,
        first_open_at: get(row, "first_open_at")?,
        opened_at: opt(row, "opened_at")?,
        closed_at: opt(row, "closed_at")?,
        last_open_at: get(row, "last_open_at")?,
        last_not_open_at: opt(row, "last_not_open_at")?,
        last_observed_at: get(row, "last_observed_at")?,
        last_state: get(row, "last_state")?,
        last_reason: get(row, "last_reason")?,
        streak: get(row, "streak")?,
        streak_since: get(row, "streak_since")?,
        openings: get(row, "openings")?,
        pseudo_open: get(row, "pseudo_open")?,
        identity: opt(row, "identity")?,
        service: opt_json(row, "service")?,
        banner: opt(row, "banner")?,
        evidence: opt(row, "evidence")?,
        identified_at: opt(row, "identified_at")?,
        panel: opt_json(row, "panel")?,
        panel_at: opt(row, "panel_at")?,
        confidence: opt(row, "confidence")?,
        sha256: opt(row, "answer_sha256")?,
        tried: opt_json(row, "tried")?.unwrap_or_default(),
        thorough_at: opt(row, "thorough_at")?,
    })
}

pub(crate) fn endpoint_from(row: &QueryResult) -> Result<Endpoint> {
    Ok(Endpoint { ip: get(row, "ip")?, port: get(row, "port")?, proto: get(row, "proto")? })
}

/// `SELECT … FROM table` of the rows with those keys, some hundreds at a time.
pub(crate) async fn by_keys<C: ConnectionTrait>(
    db: &C,
    columns: &str,
    table: &str,
    keys: &[SeenFrom],
) -> Result<Vec<QueryResult>> {
    let mut rows = Vec::new();
    for some in keys.chunks(IN_LIST) {
        let mut sql = Sql::new("WITH wanted (w_ip, w_port, w_proto, w_vantage) AS (VALUES ");
        for (i, key) in some.iter().enumerate() {
            let e = &key.endpoint;
            sql.push(if i > 0 { "," } else { "" }).tuple([e.ip.value(), e.port.value(), e.proto.value(), key.vantage.value()]);
        }
        sql.push(&format!(
            ") SELECT {columns} FROM wanted JOIN {table} ON ip = w_ip AND port = w_port AND proto = w_proto AND vantage = w_vantage"
        ));
        rows.extend(sql.all(db).await?);
    }
    Ok(rows)
}

pub(crate) async fn upsert_port_states<C: ConnectionTrait>(db: &C, states: &[PortState]) -> Result<()> {
    // The last of each key, in the order of the key; see `hosts`.
    let rows: BTreeMap<_, _> = states.iter().map(|p| ((p.endpoint, &p.vantage), p)).collect();
    let set: Vec<String> = format!("{PORT}, {DERIVED}").split(", ").skip(4).map(|c| format!("{c} = excluded.{c}")).collect();
    let tail = format!("ON CONFLICT (ip, port, proto, vantage) DO UPDATE SET {}", set.join(", "));
    insert(db, &format!("INSERT INTO port_states ({PORT}, {DERIVED})"), rows.into_values().map(values).collect(), &tail)
        .await
        .map(drop)
}

impl Store {
    /// Those of the endpoints that have ever been seen open.
    pub async fn port_states(&self, keys: &[SeenFrom]) -> Result<HashMap<SeenFrom, PortState>> {
        let rows = by_keys(self.read(), PORT, "port_states", keys).await?;
        let keyed = |row| {
            let state = from(row)?;
            Ok((SeenFrom { endpoint: state.endpoint, vantage: state.vantage.clone() }, state))
        };
        rows.iter().map(keyed).collect()
    }

    /// One endpoint.
    pub async fn port_state(&self, key: &SeenFrom) -> Result<Option<PortState>> {
        Ok(self.port_states(std::slice::from_ref(key)).await?.remove(key))
    }

    /// Everything open or pending, by address and port.
    pub async fn port_states_open(&self, vantage: Option<&Vantage>) -> Result<Vec<PortState>> {
        let mut sql = Sql::new(format!("SELECT {PORT} FROM port_states WHERE phase IN ('open', 'pending')"));
        sql.and("vantage =", &vantage.cloned()).push(" ORDER BY ip, port, proto, vantage");
        sql.all(self.read()).await?.iter().map(from).collect()
    }

    /// Open and pending endpoints within the ranges, from any vantage, in order.
    pub async fn open_endpoints_in(&self, ranges: &[IpRange]) -> Result<Vec<SeenFrom>> {
        let mut open = Vec::new();
        for some in address::merge(ranges).chunks(IN_LIST) {
            let mut sql =
                Sql::new("SELECT ip, port, proto, vantage FROM port_states WHERE phase IN ('open', 'pending') AND (1 = 0");
            for range in some {
                sql.push(" OR (ip >= ").bind(range.first().value()).push(" AND ip <= ").bind(range.last().value()).push(")");
            }
            sql.push(") ORDER BY ip, port, proto, vantage");
            for row in sql.all(self.read()).await? {
                open.push(SeenFrom { endpoint: endpoint_from(&row)?, vantage: get(&row, "vantage")? });
            }
        }
        Ok(open)
    }

    /// The list of endpoints.
    pub async fn ports(&self, filter: &PortFilter, paging: Paging) -> Result<Page<PortState>> {
        let f = filter;
        let mut sql = Sql::new(" FROM port_states WHERE 1 = 1");
        sql.and_in("phase", &f.phases).and("last_state =", &f.state).and_in("identity", &f.identities);
        f.service.and(&mut sql, "port_states");
        sql.and("panel_product =", &f.panel_product.as_ref().map(|p| p.to_lowercase()));
        sql.and("panel_favicon =", &f.favicon.map(i64::from));
        if let Some(technology) = &f.technology {
            let word = serde_json::json!(technology.to_lowercase()).to_string();
            let begun = escaped(word.trim_end_matches('"'));
            sql.push(" AND (panel_technologies LIKE ").bind(text(&format!("%{begun}\"%"))).push(" ESCAPE '\\'");
            sql.push(" OR panel_technologies LIKE ").bind(text(&format!("%{begun} %"))).push(" ESCAPE '\\')");
        }
        match f.panel_known {
            Some(true) => drop(sql.push(" AND panel_product IS NOT NULL")),
            Some(false) => drop(sql.push(" AND panel_product IS NULL")),
            None => {}
        }
        if let Some(proved) = &f.proved {
            proved.and(&mut sql, "port_states");
        }
        if let Some(noted) = f.noted {
            sql.push(if noted { " AND EXISTS(" } else { " AND NOT EXISTS(" });
            sql.push("SELECT 1 FROM endpoint_notes n WHERE n.ip = port_states.ip AND n.port = port_states.port AND n.proto = port_states.proto)");
        }
        sql.and("ip =", &f.ip).and("vantage =", &f.vantage).and("pseudo_open =", &f.pseudo_open);
        match f.panel {
            Some(true) => drop(sql.push(" AND panel IS NOT NULL")),
            Some(false) => drop(sql.push(" AND panel IS NULL")),
            None => {}
        }
        if let Some(e) = f.endpoint {
            sql.and("ip =", &Some(e.ip)).and("port =", &Some(e.port)).and("proto =", &Some(e.proto));
        }
        if let Some(search) = f.search.as_deref().and_then(Search::parse) {
            search.and(&mut sql, Some("words"));
        }
        let sort = f.sort.unwrap_or(Order { by: PortSort::Ip, descending: false });
        let way = if sort.descending { "DESC" } else { "ASC" };
        // What was never confirmed comes last either way, on both databases.
        let order = match sort.by {
            PortSort::Ip => format!("ip {way}, port {way}, proto, vantage"),
            PortSort::Port => format!("port {way}, ip {way}, proto, vantage"),
            PortSort::OpenedAt => format!("opened_at {way} NULLS LAST, ip, port, proto, vantage"),
            PortSort::LastObservedAt => format!("last_observed_at {way}, ip, port, proto, vantage"),
        };
        self.page(&sql, PORT, &order, paging, from).await
    }

    /// Open endpoints per address, those of pseudo-open hosts not counted. An address without is absent.
    pub async fn open_counts(&self, ips: &[IpAddr]) -> Result<HashMap<IpAddr, u64>> {
        let mut counts = HashMap::new();
        for some in ips.chunks(IN_LIST) {
            let mut sql = Sql::new("SELECT ip, COUNT(*) AS n FROM port_states WHERE phase = 'open' AND NOT pseudo_open");
            sql.and_in("ip", some).push(" GROUP BY ip");
            for row in sql.all(self.read()).await? {
                counts.insert(get(&row, "ip")?, get(&row, "n")?);
            }
        }
        Ok(counts)
    }
}
