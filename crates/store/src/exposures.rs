//! Exposures: what observations say of them, and apart from that what people decided. Neither write touches the other's columns.
//!
//! Which endpoint is an exposure, and how bad, is `assess`'s.

use crate::alerts::insert_alerts;
use crate::audit::{append, insert_events};
use crate::findings::{Proved, ServiceFilter};
use crate::ports::{by_keys, endpoint_from};
use crate::search::Search;
use crate::sql::*;
use crate::{Order, Page, Paging, Result, Store, StoreError};
use model::alert::Alert;
use model::audit::AuditEntry;
use model::event::Event;
use model::exposure::{Disposition, DispositionKind, Exposure, Risk, RiskKind, Severity};
use model::observation::SeenFrom;
use model::port_state::Phase;
use model::{AssetId, ExposureId, Liveness, Ts, Vantage};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// By what a list of exposures is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposureSort {
    /// Severity, then opening.
    Severity,
    /// Current or last opening.
    OpenedAt,
    /// Address, then port.
    Ip,
    /// Port, then address.
    Port,
    /// Last change.
    UpdatedAt,
}

/// Which exposures.
#[derive(Clone, Debug)]
pub struct ExposureFilter {
    /// Open or closed; both when none.
    pub phase: Option<Phase>,
    /// Of these risk kinds; any when empty.
    pub risks: Vec<RiskKind>,
    /// Of these severities; any when empty.
    pub severities: Vec<Severity>,
    /// With these decisions, as they hold at `now`; any when empty.
    pub dispositions: Vec<DispositionKind>,
    /// Address, start of one, CIDR, range, endpoint, port number, or words of the service or the owner.
    pub search: Option<String>,
    /// Exact owner.
    pub owner: Option<String>,
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// Of this host.
    pub ip: Option<IpAddr>,
    /// High-risk ports and services only.
    pub high_risk_only: bool,
    /// What answers.
    pub service: ServiceFilter,
    /// Of which something is proved, or nothing.
    pub proved: Option<Proved>,
    /// Severity, then opening, largest first, when none.
    pub sort: Option<Order<ExposureSort>>,
    /// Now.
    pub now: Ts,
}

impl ExposureFilter {
    /// Every exposure.
    pub fn all(now: Ts) -> Self {
        ExposureFilter {
            phase: None,
            risks: Vec::new(),
            severities: Vec::new(),
            dispositions: Vec::new(),
            search: None,
            owner: None,
            asset: None,
            ip: None,
            high_risk_only: false,
            service: ServiceFilter::default(),
            proved: None,
            sort: None,
            now,
        }
    }

    fn selection(&self) -> Sql {
        let mut sql = Sql::new(" FROM exposures WHERE 1 = 1");
        sql.and("phase =", &self.phase).and_in("risk", &self.risks).and_in("severity", &self.severities);
        sql.and("owner =", &self.owner).and("asset =", &self.asset).and("ip =", &self.ip);
        self.service.and(&mut sql, "exposures");
        if let Some(proved) = &self.proved {
            proved.and(&mut sql, "exposures");
        }
        if self.high_risk_only {
            sql.and_in("risk", &[RiskKind::HighRiskPort, RiskKind::HighRiskService]);
        }
        if !self.dispositions.is_empty() {
            sql.push(" AND ");
            effective(&mut sql, self.now);
            sql.push(" IN ").tuple(self.dispositions.iter().map(Field::value));
        }
        if let Some(search) = self.search.as_deref().and_then(Search::parse) {
            search.and(&mut sql, Some("words"));
        }
        sql
    }
}

/// The exposures of one address as seen from one vantage, as far as they match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressGroup {
    /// Address.
    pub ip: IpAddr,
    /// Seen from.
    pub vantage: Vantage,
    /// Whether the host answers.
    pub liveness: Option<Liveness>,
    /// Asset of its worst exposure.
    pub asset: Option<AssetId>,
    /// Owner of that.
    pub owner: Option<String>,
    /// Open ones.
    pub open_count: u64,
    /// Of the open ones; of the closed ones when none is open.
    pub worst_severity: Severity,
    /// The same.
    pub worst_risk: RiskKind,
    /// Open ones that nobody has decided about.
    pub unreviewed: u64,
    /// At most [`AddressGroup::SHOWN`], open ones first, worst first.
    pub exposures: Vec<Exposure>,
}

impl AddressGroup {
    /// Exposures that a group shows. A host that answers on every port has thousands.
    pub const SHOWN: u64 = 50;
}

const EXPOSURE: &str = "id, ip, port, proto, vantage, phase, risk, severity, entry, reasons, service, asset, owner, zone, disposition, \
                        disposition_until, disposition_by, disposition_note, disposition_at, opening, first_opened_at, opened_at, \
                        closed_at, close_reason, detection_bound, updated_at";
/// Written beside those, for order and searches.
const DERIVED: &str = "risk_rank, severity_rank, service_name, service_product, service_version, words";
/// What an observation moves.
const OBSERVED: &[&str] = &[
    "phase",
    "service",
    "service_name",
    "service_product",
    "service_version",
    "opening",
    "opened_at",
    "closed_at",
    "close_reason",
    "detection_bound",
];
/// What an assessment moves.
const ASSESSED: &[&str] =
    &["risk", "severity", "entry", "reasons", "asset", "owner", "zone", "updated_at", "risk_rank", "severity_rank", "words"];

fn values(e: &Exposure) -> Vec<Value> {
    let d = &e.disposition;
    vec![
        e.id.value(),
        e.endpoint.ip.value(),
        e.endpoint.port.value(),
        e.endpoint.proto.value(),
        e.vantage.value(),
        e.phase.value(),
        e.risk.kind.value(),
        e.risk.severity.value(),
        value(&e.risk.entry),
        json(&e.risk.reasons),
        json_opt(&e.service),
        value(&e.asset),
        value(&e.owner),
        value(&e.zone),
        d.kind.value(),
        value(&d.until),
        value(&d.by),
        value(&d.note),
        value(&d.at),
        e.opening.value(),
        e.first_opened_at.value(),
        e.opened_at.value(),
        value(&e.closed_at),
        value(&e.close_reason),
        value(&e.detection_bound),
        e.updated_at.value(),
        (e.risk.kind as u8).value(),
        (e.risk.severity as u8).value(),
        value(&e.service.as_ref().map(|s| s.name.clone())),
        value(&e.service.as_ref().and_then(|s| s.product.as_ref()).map(|p| p.to_lowercase())),
        value(&e.service.as_ref().and_then(|s| s.version.clone())),
        text(&words(e)),
    ]
}

/// What a search for words looks through.
fn words(e: &Exposure) -> String {
    let service = e.service.as_ref();
    let parts = [
        service.map(|s| s.name.as_str()),
        service.and_then(|s| s.product.as_deref()),
        service.and_then(|s| s.version.as_deref()),
        e.risk.entry.as_deref(),
        e.owner.as_deref(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn from(row: &QueryResult) -> Result<Exposure> {
    Ok(Exposure {
        id: get(row, "id")?,
        endpoint: endpoint_from(row)?,
        vantage: get(row, "vantage")?,
        phase: get(row, "phase")?,
        risk: Risk {
            kind: get(row, "risk")?,
            severity: get(row, "severity")?,
            entry: opt(row, "entry")?,
            reasons: get_json(row, "reasons")?,
        },
        service: opt_json(row, "service")?,
        asset: opt(row, "asset")?,
        owner: opt(row, "owner")?,
        zone: opt(row, "zone")?,
        disposition: Disposition {
            kind: get(row, "disposition")?,
            until: opt(row, "disposition_until")?,
            by: opt(row, "disposition_by")?,
            note: opt(row, "disposition_note")?,
            at: opt(row, "disposition_at")?,
        },
        opening: get(row, "opening")?,
        first_opened_at: get(row, "first_opened_at")?,
        opened_at: get(row, "opened_at")?,
        closed_at: opt(row, "closed_at")?,
        close_reason: opt(row, "close_reason")?,
        detection_bound: opt(row, "detection_bound")?,
        updated_at: get(row, "updated_at")?,
    })
}

/// Appends what the decision amounts to at `now`, as [`Disposition::effective`] says it.
pub(crate) fn effective(sql: &mut Sql, now: Ts) {
    sql.push("CASE WHEN disposition_until IS NOT NULL AND disposition_until <= ").bind(now.value());
    sql.push(" THEN 'unreviewed' ELSE disposition END");
}

/// Which columns of an exposure that exists already are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upsert {
    /// Those that observations and assessment move.
    Observed,
    /// Those that assessment alone moves.
    Assessed,
}

pub(crate) async fn upsert_exposures<C: ConnectionTrait>(db: &C, exposures: &[Exposure], what: Upsert) -> Result<()> {
    // The last of each key, in the order of the key; see `hosts`.
    let rows: BTreeMap<_, _> = exposures.iter().map(|e| ((e.endpoint, &e.vantage), e)).collect();
    let observed = if what == Upsert::Observed { OBSERVED } else { &[] };
    // Neither the disposition nor the first opening is ever among them.
    let set: Vec<String> = observed.iter().chain(ASSESSED).map(|c| format!("{c} = excluded.{c}")).collect();
    let tail = format!("ON CONFLICT (ip, port, proto, vantage) DO UPDATE SET {}", set.join(", "));
    insert(db, &format!("INSERT INTO exposures ({EXPOSURE}, {DERIVED})"), rows.into_values().map(values).collect(), &tail)
        .await
        .map(drop)
}

impl Store {
    /// The list of exposures.
    pub async fn exposures(&self, filter: &ExposureFilter, paging: Paging) -> Result<Page<Exposure>> {
        let sort = filter.sort.unwrap_or(Order { by: ExposureSort::Severity, descending: true });
        let way = if sort.descending { "DESC" } else { "ASC" };
        let order = match sort.by {
            ExposureSort::Severity => format!("severity_rank {way}, opened_at DESC, ip, port, proto, vantage"),
            ExposureSort::OpenedAt => format!("opened_at {way}, ip, port, proto, vantage"),
            ExposureSort::Ip => format!("ip {way}, port {way}, proto, vantage"),
            ExposureSort::Port => format!("port {way}, ip {way}, proto, vantage"),
            ExposureSort::UpdatedAt => format!("updated_at {way}, ip, port, proto, vantage"),
        };
        self.page(&filter.selection(), EXPOSURE, &order, paging, from).await
    }

    /// One row per address and vantage, worst first; by address when the filter sorts by it.
    pub async fn exposures_by_address(&self, filter: &ExposureFilter, paging: Paging) -> Result<Page<AddressGroup>> {
        let mut total = filter.selection().after("SELECT COUNT(*) AS total FROM (SELECT DISTINCT ip, vantage");
        let total: u64 = match total.push(") AS g").clone().all(self.read()).await?.first() {
            Some(row) => get(row, "total")?,
            None => 0,
        };
        if paging.limit == 0 || paging.offset >= total {
            return Ok(Page { items: Vec::new(), total });
        }
        // Open ones weigh more than any severity of a closed one.
        let mut sql = filter.selection().after(
            "SELECT ip, vantage, CAST(SUM(CASE WHEN phase = 'open' THEN 1 ELSE 0 END) AS BIGINT) AS open_count, \
             MAX(CASE WHEN phase = 'open' THEN 100 ELSE 0 END + severity_rank) AS severity_top, \
             MAX(CASE WHEN phase = 'open' THEN 100 ELSE 0 END + risk_rank) AS risk_top",
        );
        let order = match filter.sort {
            Some(Order { by: ExposureSort::Ip, descending }) => {
                format!("ip {}, vantage", if descending { "DESC" } else { "ASC" })
            }
            _ => "severity_top DESC, open_count DESC, ip, vantage".into(),
        };
        sql.push(&format!(" GROUP BY ip, vantage ORDER BY {order} LIMIT ")).bind(paging.limit.value());
        sql.push(" OFFSET ").bind(paging.offset.value());
        let mut groups = Vec::new();
        for row in sql.all(self.read()).await? {
            groups.push(AddressGroup {
                ip: get(&row, "ip")?,
                vantage: get(&row, "vantage")?,
                liveness: None,
                asset: None,
                owner: None,
                open_count: get(&row, "open_count")?,
                worst_severity: Severity::ALL[get::<i64>(&row, "severity_top")? as usize % 100 % Severity::ALL.len()],
                worst_risk: RiskKind::ALL[get::<i64>(&row, "risk_top")? as usize % 100 % RiskKind::ALL.len()],
                unreviewed: 0,
                exposures: Vec::new(),
            });
        }
        self.fill_groups(filter, &mut groups).await?;
        Ok(Page { items: groups, total })
    }

    /// Adds exposures, numbers of undecided ones, and liveness.
    async fn fill_groups(&self, filter: &ExposureFilter, groups: &mut [AddressGroup]) -> Result<()> {
        let ips: Vec<IpAddr> = groups.iter().map(|g| g.ip).collect();
        let at: HashMap<(IpAddr, Vantage), usize> =
            groups.iter().enumerate().map(|(i, g)| ((g.ip, g.vantage.clone()), i)).collect();
        let find = |row: &QueryResult| -> Result<Option<usize>> { Ok(at.get(&(get(row, "ip")?, get(row, "vantage")?)).copied()) };
        let worst_first = "CASE WHEN phase = 'open' THEN 0 ELSE 1 END, severity_rank DESC, port, proto";
        for some in ips.chunks(IN_LIST) {
            let mut sql = filter.selection();
            sql.and_in("ip", some);
            let mut shown = sql.after(&format!(
                "SELECT * FROM (SELECT {EXPOSURE}, ROW_NUMBER() OVER (PARTITION BY ip, vantage ORDER BY {worst_first}) AS place"
            ));
            shown.push(") AS g WHERE place <= ").bind(AddressGroup::SHOWN.value()).push(" ORDER BY place");
            for row in shown.all(self.read()).await? {
                let Some(i) = find(&row)? else { continue };
                let exposure = from(&row)?;
                if groups[i].exposures.is_empty() {
                    groups[i].asset = exposure.asset;
                    groups[i].owner.clone_from(&exposure.owner);
                }
                groups[i].exposures.push(exposure);
            }
            sql.push(" AND phase = 'open' AND ");
            effective(&mut sql, filter.now);
            sql.push(" = 'unreviewed' GROUP BY ip, vantage");
            for row in sql.after("SELECT ip, vantage, COUNT(*) AS n").all(self.read()).await? {
                if let Some(i) = find(&row)? {
                    groups[i].unreviewed = get(&row, "n")?;
                }
            }
            let mut hosts = Sql::new("SELECT ip, vantage, liveness FROM hosts WHERE 1 = 1");
            hosts.and_in("ip", some);
            for row in hosts.all(self.read()).await? {
                if let Some(i) = find(&row)? {
                    groups[i].liveness = Some(get(&row, "liveness")?);
                }
            }
        }
        Ok(())
    }

    /// One exposure.
    pub async fn exposure(&self, id: ExposureId) -> Result<Option<Exposure>> {
        Ok(self.exposures_by_ids(&[id]).await?.remove(&id))
    }

    /// The exposures of those endpoints.
    pub async fn exposures_by(&self, keys: &[SeenFrom]) -> Result<HashMap<SeenFrom, Exposure>> {
        let rows = by_keys(self.read(), EXPOSURE, "exposures", keys).await?;
        let keyed = |row| {
            let exposure = from(row)?;
            Ok((SeenFrom { endpoint: exposure.endpoint, vantage: exposure.vantage.clone() }, exposure))
        };
        rows.iter().map(keyed).collect()
    }

    /// The exposures with those ids.
    pub async fn exposures_by_ids(&self, ids: &[ExposureId]) -> Result<HashMap<ExposureId, Exposure>> {
        let mut found = HashMap::new();
        for some in ids.chunks(IN_LIST) {
            let mut sql = Sql::new(format!("SELECT {EXPOSURE} FROM exposures WHERE 1 = 1"));
            sql.and_in("id", some);
            for row in sql.all(self.read()).await? {
                let exposure = from(&row)?;
                found.insert(exposure.id, exposure);
            }
        }
        Ok(found)
    }

    /// Every open one, by address and port.
    pub async fn exposures_all_open(&self) -> Result<Vec<Exposure>> {
        let sql = format!("SELECT {EXPOSURE} FROM exposures WHERE phase = 'open' ORDER BY ip, port, proto, vantage");
        all(self.read(), &sql, vec![]).await?.iter().map(from).collect()
    }

    /// A person decides.
    pub async fn set_disposition(
        &self,
        id: ExposureId,
        disposition: &Disposition,
        event: &Event,
        audit: &AuditEntry,
    ) -> Result<()> {
        self.set_dispositions(&[id], disposition, std::slice::from_ref(event), audit).await
    }

    /// A person decides about several at once; one that does not exist, and none is changed.
    pub async fn set_dispositions(
        &self,
        ids: &[ExposureId],
        disposition: &Disposition,
        events: &[Event],
        audit: &AuditEntry,
    ) -> Result<()> {
        let tx = self.begin().await?;
        let d = disposition;
        let sql = "UPDATE exposures SET disposition = $2, disposition_until = $3, disposition_by = $4, disposition_note = $5, \
                   disposition_at = $6, updated_at = $7 WHERE id = $1";
        for id in ids {
            let updated_at = d.at.unwrap_or(audit.at);
            let values =
                vec![id.value(), d.kind.value(), value(&d.until), value(&d.by), value(&d.note), value(&d.at), updated_at.value()];
            run_one(&tx, sql, values, || format!("exposure {id}")).await?;
        }
        insert_events(&tx, events).await?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Writes risk, asset, owner and zone after a reassessment. Phase, service and disposition are left alone; an exposure
    /// that does not exist is an error, because reassessing never makes one.
    pub async fn update_exposure_risk(&self, exposures: &[Exposure], events: &[Event], alerts: &[Alert]) -> Result<()> {
        let tx = self.begin().await?;
        let keys: Vec<SeenFrom> =
            exposures.iter().map(|e| SeenFrom { endpoint: e.endpoint, vantage: e.vantage.clone() }).collect();
        let known = by_keys(&tx, "ip", "exposures", &keys).await?.len();
        if known < keys.len() {
            return Err(StoreError::NotFound(format!("{} of {} exposures", keys.len() - known, keys.len())));
        }
        upsert_exposures(&tx, exposures, Upsert::Assessed).await?;
        insert_events(&tx, events).await?;
        insert_alerts(&tx, alerts).await?;
        Ok(tx.commit().await?)
    }
}
