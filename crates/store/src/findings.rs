//! What checks have proved, one row for each endpoint, vantage and check. Whether a run proves or refutes is `assess`'s.

use crate::ports::{by_keys, endpoint_from};
use crate::search::Search;
use crate::sql::*;
use crate::{Order, Page, Paging, Result, Store};
use model::exposure::Severity;
use model::finding::{Finding, FindingKind, FindingPhase};
use model::observation::SeenFrom;
use model::{AssetId, Endpoint, FindingId, Ts};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, HashMap};

/// By what a list of findings is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingSort {
    /// Severity, then latest proof.
    Severity,
    /// First proof.
    FirstSeenAt,
    /// Latest proof.
    LastSeenAt,
    /// Address, then port.
    Ip,
    /// Check, then address.
    Check,
}

/// Which findings.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    /// Present or gone; both when none.
    pub phase: Option<FindingPhase>,
    /// Of these kinds; any when empty.
    pub kinds: Vec<FindingKind>,
    /// Of these severities; any when empty.
    pub severities: Vec<Severity>,
    /// Of these checks; any when empty.
    pub checks: Vec<String>,
    /// What answers there, as for endpoints.
    pub service: ServiceFilter,
    /// Address, start of one, CIDR, range, endpoint, port number, or words of the check or the evidence.
    pub search: Option<String>,
    /// Of an exposure of this asset.
    pub asset: Option<AssetId>,
    /// Of this door.
    pub endpoint: Option<Endpoint>,
    /// First proved then or later.
    pub first_seen_since: Option<Ts>,
    /// Severity, then latest proof, largest first, when none.
    pub sort: Option<Order<FindingSort>>,
}

/// What answers at an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFilter {
    /// Exact service name.
    pub name: Option<String>,
    /// Exact product, without case.
    pub product: Option<String>,
    /// Version: this one, or one that begins with it and a dot, dash or other sign that is no digit.
    pub version: Option<String>,
}

impl ServiceFilter {
    /// Appends the conditions on the columns of `port_states` or `exposures`, called `table`.
    pub(crate) fn and(&self, sql: &mut Sql, table: &str) {
        let product = self.product.as_ref().map(|p| p.to_lowercase());
        sql.and(&format!("{table}.service_name ="), &self.name).and(&format!("{table}.service_product ="), &product);
        if let Some(version) = &self.version {
            // 7.0 finds 7.0.15 and 7.0-rc1 and not 7.01.
            let begins = format!("{}%", escaped(version));
            let longer = format!("SUBSTR({table}.service_version, {}, 1)", version.chars().count() + 1);
            sql.push(&format!(" AND ({table}.service_version = ")).bind(text(version));
            sql.push(&format!(" OR ({table}.service_version LIKE ")).bind(text(&begins)).push(" ESCAPE '\\'");
            sql.push(&format!(" AND {longer} NOT IN ('0','1','2','3','4','5','6','7','8','9')))"));
        }
    }
    fn is_empty(&self) -> bool {
        *self == ServiceFilter::default()
    }
}

/// Whether something is proved of an endpoint or exposure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proved {
    /// Anything.
    Any,
    /// Nothing.
    Nothing,
    /// Something of one of these kinds or by one of these checks.
    Of {
        /// Kinds.
        kinds: Vec<FindingKind>,
        /// Checks.
        checks: Vec<String>,
    },
}

impl Proved {
    /// Appends the condition on the rows of `table`.
    pub(crate) fn and(&self, sql: &mut Sql, table: &str) {
        sql.push(if *self == Proved::Nothing { " AND NOT EXISTS(" } else { " AND EXISTS(" });
        sql.push("SELECT 1 FROM findings f WHERE f.phase = 'present'").push(&same_key("f", table));
        if let Proved::Of { kinds, checks } = self {
            sql.push(" AND (1 = 0");
            if !kinds.is_empty() {
                sql.push(" OR f.kind IN ").tuple(kinds.iter().map(Field::value));
            }
            if !checks.is_empty() {
                sql.push(" OR f.check_id IN ").tuple(checks.iter().map(Field::value));
            }
            sql.push(")");
        }
        sql.push(")");
    }
}

/// ` AND` that two tables speak of the same endpoint as seen from the same vantage.
pub(crate) fn same_key(a: &str, b: &str) -> String {
    format!(" AND {a}.ip = {b}.ip AND {a}.port = {b}.port AND {a}.proto = {b}.proto AND {a}.vantage = {b}.vantage")
}

const FINDING: &str = "id, ip, port, proto, vantage, check_id, kind, severity, phase, evidence, first_seen_at, last_seen_at, gone_at, \
                       gone_reason, checked_at";
/// Written beside those, for order and searches.
const DERIVED: &str = "severity_rank, words";

fn values(f: &Finding) -> Vec<Value> {
    vec![
        f.id.value(),
        f.endpoint.ip.value(),
        f.endpoint.port.value(),
        f.endpoint.proto.value(),
        f.vantage.value(),
        text(&f.check),
        f.kind.value(),
        f.severity.value(),
        f.phase.value(),
        json(&f.evidence),
        f.first_seen_at.value(),
        f.last_seen_at.value(),
        value(&f.gone_at),
        value(&f.gone_reason),
        f.checked_at.value(),
        (f.severity as u8).value(),
        text(&words(f)),
    ]
}

/// What a search for words looks through.
fn words(f: &Finding) -> String {
    let fields = f.evidence.fields.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]);
    [f.check.as_str(), f.evidence.request.as_str()].into_iter().chain(fields).collect::<Vec<_>>().join(" ").to_lowercase()
}

fn from(row: &QueryResult) -> Result<Finding> {
    Ok(Finding {
        id: get(row, "id")?,
        endpoint: endpoint_from(row)?,
        vantage: get(row, "vantage")?,
        check: get(row, "check_id")?,
        kind: get(row, "kind")?,
        severity: get(row, "severity")?,
        phase: get(row, "phase")?,
        evidence: get_json(row, "evidence")?,
        first_seen_at: get(row, "first_seen_at")?,
        last_seen_at: get(row, "last_seen_at")?,
        gone_at: opt(row, "gone_at")?,
        gone_reason: opt(row, "gone_reason")?,
        checked_at: get(row, "checked_at")?,
    })
}

pub(crate) async fn upsert_findings<C: ConnectionTrait>(db: &C, findings: &[Finding]) -> Result<()> {
    // The last of each key, in the order of the key; see `hosts`.
    let rows: BTreeMap<_, _> = findings.iter().map(|f| ((f.endpoint, &f.vantage, &f.check), f)).collect();
    // A finding keeps its id and its first proof for ever.
    let kept = ["id", "ip", "port", "proto", "vantage", "check_id", "first_seen_at"];
    let set: Vec<String> = format!("{FINDING}, {DERIVED}")
        .split(", ")
        .filter(|c| !kept.contains(c))
        .map(|c| format!("{c} = excluded.{c}"))
        .collect();
    let tail = format!("ON CONFLICT (ip, port, proto, vantage, check_id) DO UPDATE SET {}", set.join(", "));
    insert(db, &format!("INSERT INTO findings ({FINDING}, {DERIVED})"), rows.into_values().map(values).collect(), &tail)
        .await
        .map(drop)
}

impl Store {
    /// The list of findings.
    pub async fn findings(&self, filter: &FindingFilter, paging: Paging) -> Result<Page<Finding>> {
        let f = filter;
        let mut sql = Sql::new(" FROM findings WHERE 1 = 1");
        sql.and("phase =", &f.phase).and_in("kind", &f.kinds).and_in("severity", &f.severities).and_in("check_id", &f.checks);
        sql.and("first_seen_at >=", &f.first_seen_since);
        if let Some(e) = f.endpoint {
            sql.and("ip =", &Some(e.ip)).and("port =", &Some(e.port)).and("proto =", &Some(e.proto));
        }
        if !f.service.is_empty() {
            sql.push(" AND EXISTS(SELECT 1 FROM port_states p WHERE 1 = 1").push(&same_key("p", "findings"));
            f.service.and(&mut sql, "p");
            sql.push(")");
        }
        if f.asset.is_some() {
            sql.push(" AND EXISTS(SELECT 1 FROM exposures e WHERE 1 = 1").push(&same_key("e", "findings"));
            sql.and("e.asset =", &f.asset).push(")");
        }
        if let Some(search) = f.search.as_deref().and_then(Search::parse) {
            search.and(&mut sql, Some("words"));
        }
        let sort = f.sort.unwrap_or(Order { by: FindingSort::Severity, descending: true });
        let way = if sort.descending { "DESC" } else { "ASC" };
        let order = match sort.by {
            FindingSort::Severity => format!("severity_rank {way}, last_seen_at DESC, ip, port, proto, vantage, check_id"),
            FindingSort::FirstSeenAt => format!("first_seen_at {way}, ip, port, proto, vantage, check_id"),
            FindingSort::LastSeenAt => format!("last_seen_at {way}, ip, port, proto, vantage, check_id"),
            FindingSort::Ip => format!("ip {way}, port {way}, proto, vantage, check_id"),
            FindingSort::Check => format!("check_id {way}, ip, port, proto, vantage"),
        };
        self.page(&sql, FINDING, &order, paging, from).await
    }

    /// One finding.
    pub async fn finding(&self, id: FindingId) -> Result<Option<Finding>> {
        let row = one(self.read(), &format!("SELECT {FINDING} FROM findings WHERE id = $1"), vec![id.value()]).await?;
        row.as_ref().map(from).transpose()
    }

    /// What was ever proved of those endpoints, by check. An endpoint of which nothing was is absent.
    pub async fn findings_by(&self, keys: &[SeenFrom]) -> Result<HashMap<SeenFrom, Vec<Finding>>> {
        let mut found: HashMap<SeenFrom, Vec<Finding>> = HashMap::new();
        for row in by_keys(self.read(), FINDING, "findings", keys).await? {
            let finding = from(&row)?;
            let key = SeenFrom { endpoint: finding.endpoint, vantage: finding.vantage.clone() };
            found.entry(key).or_default().push(finding);
        }
        for findings in found.values_mut() {
            findings.sort_by(|a, b| a.check.cmp(&b.check));
        }
        Ok(found)
    }
}
