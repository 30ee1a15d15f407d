//! The audit trail and the event log: only ever appended to. Which acts and transitions go there is `server`'s and `assess`'s.

use crate::sql::*;
use crate::{Page, Paging, Result, Store};
use model::audit::AuditEntry;
use model::event::{Event, EventKind};
use model::{Endpoint, ExposureId, Ts};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::net::IpAddr;

/// Which audit entries. Words match anywhere in their field, without case.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Words of who.
    pub actor: Option<String>,
    /// Words of what.
    pub action: Option<String>,
    /// Words of on what.
    pub subject: Option<String>,
    /// Not before.
    pub since: Option<Ts>,
    /// Before.
    pub until: Option<Ts>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this host.
    pub ip: Option<IpAddr>,
    /// Of this door.
    pub endpoint: Option<Endpoint>,
    /// Of this exposure.
    pub exposure: Option<ExposureId>,
    /// Of these kinds; all when empty.
    pub kinds: Vec<EventKind>,
    /// Recorded not before.
    pub since: Option<Ts>,
    /// Recorded before.
    pub until: Option<Ts>,
}

const AUDIT: &str = "id, at, actor, from_addr, action, subject, result, detail";
const EVENT: &str =
    "id, kind, ip, port, proto, vantage, exposure, happened_after, happened_at, observed_at, recorded_at, reason, detail";

/// Writes the entry in the transaction of what it tells about (PR-10).
pub(crate) async fn append<C: ConnectionTrait>(db: &C, e: &AuditEntry) -> Result<()> {
    let row = vec![
        e.id.value(),
        e.at.value(),
        text(&e.actor),
        value(&e.from),
        text(&e.action),
        text(&e.subject),
        text(&e.result),
        json(&e.detail),
    ];
    insert(db, &format!("INSERT INTO audit ({AUDIT})"), vec![row], "").await.map(drop)
}

/// The same, where the system itself may be the one who acts.
pub(crate) async fn append_opt<C: ConnectionTrait>(db: &C, entry: Option<&AuditEntry>) -> Result<()> {
    match entry {
        Some(entry) => append(db, entry).await,
        None => Ok(()),
    }
}

fn audit_from(row: &QueryResult) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: get(row, "id")?,
        at: get(row, "at")?,
        actor: get(row, "actor")?,
        from: opt(row, "from_addr")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        result: get(row, "result")?,
        detail: get_json(row, "detail")?,
    })
}

fn event_values(e: &Event) -> Vec<Value> {
    vec![
        e.id.value(),
        e.kind.value(),
        e.ip.value(),
        value(&e.endpoint.map(|e| e.port)),
        value(&e.endpoint.map(|e| e.proto)),
        e.vantage.value(),
        value(&e.exposure),
        value(&e.happened_after),
        e.happened_at.value(),
        e.observed_at.value(),
        e.recorded_at.value(),
        value(&e.reason),
        json(&e.detail),
    ]
}

fn event_from(row: &QueryResult) -> Result<Event> {
    let ip = get(row, "ip")?;
    let (port, proto) = (opt(row, "port")?, opt(row, "proto")?);
    Ok(Event {
        id: get(row, "id")?,
        kind: get(row, "kind")?,
        ip,
        endpoint: port.zip(proto).map(|(port, proto)| Endpoint { ip, port, proto }),
        vantage: get(row, "vantage")?,
        exposure: opt(row, "exposure")?,
        happened_after: opt(row, "happened_after")?,
        happened_at: get(row, "happened_at")?,
        observed_at: get(row, "observed_at")?,
        recorded_at: get(row, "recorded_at")?,
        reason: opt(row, "reason")?,
        detail: get_json(row, "detail")?,
    })
}

pub(crate) async fn insert_events<C: ConnectionTrait>(db: &C, events: &[Event]) -> Result<()> {
    let rows = events.iter().map(event_values).collect();
    insert(db, &format!("INSERT INTO events ({EVENT})"), rows, "ON CONFLICT DO NOTHING").await.map(drop)
}

impl Store {
    /// Newest first.
    pub async fn audit(&self, filter: &AuditFilter, paging: Paging) -> Result<Page<AuditEntry>> {
        let mut sql = Sql::new(" FROM audit WHERE 1 = 1");
        sql.and("at >=", &filter.since).and("at <", &filter.until);
        for (column, words) in
            [("LOWER(actor)", &filter.actor), ("LOWER(action)", &filter.action), ("LOWER(subject)", &filter.subject)]
        {
            if let Some(words) = words {
                sql.and_contains(column, words);
            }
        }
        self.page(&sql, AUDIT, "at DESC, id DESC", paging, audit_from).await
    }

    /// For acts that change nothing else in the database: a refused sign-in, an export.
    pub async fn append_audit(&self, entry: &AuditEntry) -> Result<()> {
        append(self.write().await?, entry).await
    }

    /// Newest first.
    pub async fn events(&self, filter: &EventFilter, paging: Paging) -> Result<Page<Event>> {
        let mut sql = Sql::new(" FROM events WHERE 1 = 1");
        sql.and("ip =", &filter.ip).and("exposure =", &filter.exposure).and_in("kind", &filter.kinds);
        if let Some(e) = filter.endpoint {
            sql.and("ip =", &Some(e.ip)).and("port =", &Some(e.port)).and("proto =", &Some(e.proto));
        }
        sql.and("recorded_at >=", &filter.since).and("recorded_at <", &filter.until);
        self.page(&sql, EVENT, "recorded_at DESC, id DESC", paging, event_from).await
    }

    /// A slice of a list and its length. `from_where` begins with ` FROM`.
    pub(crate) async fn page<T>(
        &self,
        from_where: &Sql,
        columns: &str,
        order: &str,
        paging: Paging,
        from: impl Fn(&QueryResult) -> Result<T>,
    ) -> Result<Page<T>> {
        let total = match from_where.after("SELECT COUNT(*) AS total").all(self.read()).await?.first() {
            Some(row) => get(row, "total")?,
            None => 0,
        };
        if paging.limit == 0 || paging.offset >= total {
            return Ok(Page { items: Vec::new(), total });
        }
        let mut sql = from_where.after(&format!("SELECT {columns}"));
        sql.push(&format!(" ORDER BY {order} LIMIT ")).bind(paging.limit.value()).push(" OFFSET ").bind(paging.offset.value());
        let items = sql.all(self.read()).await?.iter().map(from).collect::<Result<_>>()?;
        Ok(Page { items, total })
    }
}
