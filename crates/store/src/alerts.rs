//! Alerts: what people have to be told, once per exposure, opening, kind and risk, of findings once per proof. Grouping and sending is `notify`'s.

use crate::ports::endpoint_from;
use crate::sql::*;
use crate::{Page, Paging, Result, Store};
use model::alert::{Alert, AlertKind, AlertState};
use model::{AlertId, ExposureId, Ts};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::HashMap;

/// Which alerts.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// In one of these states; any when empty.
    pub states: Vec<AlertState>,
    /// Of this exposure.
    pub exposure: Option<ExposureId>,
    /// Raised not before.
    pub since: Option<Ts>,
}

const ALERT: &str = "id, kind, state, suppressed_by, exposure, opening, ip, port, proto, risk, severity, entry, service, asset, asset_name, \
                     owner, reason, observed_at, created_at, segment, findings";
/// Written beside those: what tells the alerts about findings of one exposure apart.
const DERIVED: &str = "about";

fn values(a: &Alert) -> Vec<Value> {
    vec![
        a.id.value(),
        a.kind.value(),
        a.state.value(),
        value(&a.suppressed_by),
        a.exposure.value(),
        a.opening.value(),
        a.endpoint.ip.value(),
        a.endpoint.port.value(),
        a.endpoint.proto.value(),
        a.risk.value(),
        a.severity.value(),
        value(&a.entry),
        value(&a.service),
        value(&a.asset),
        value(&a.asset_name),
        value(&a.owner),
        value(&a.reason),
        a.observed_at.value(),
        a.created_at.value(),
        json_opt(&a.segment),
        json_opt(&(!a.findings.is_empty()).then_some(&a.findings)),
        text(&about(a)),
    ]
}

/// Check and proof of each finding that the alert is about; nothing for an alert about something else.
fn about(a: &Alert) -> String {
    if a.kind != AlertKind::FindingProved {
        return String::new();
    }
    a.findings.iter().map(|f| format!("{}@{}", f.check, f.proved_at.0)).collect::<Vec<_>>().join(" ")
}

fn from(row: &QueryResult) -> Result<Alert> {
    Ok(Alert {
        id: get(row, "id")?,
        kind: get(row, "kind")?,
        state: get(row, "state")?,
        suppressed_by: opt(row, "suppressed_by")?,
        exposure: get(row, "exposure")?,
        opening: get(row, "opening")?,
        endpoint: endpoint_from(row)?,
        risk: get(row, "risk")?,
        severity: get(row, "severity")?,
        entry: opt(row, "entry")?,
        service: opt(row, "service")?,
        asset: opt(row, "asset")?,
        asset_name: opt(row, "asset_name")?,
        owner: opt(row, "owner")?,
        reason: opt(row, "reason")?,
        observed_at: get(row, "observed_at")?,
        created_at: get(row, "created_at")?,
        segment: opt_json(row, "segment")?,
        findings: opt_json(row, "findings")?.unwrap_or_default(),
    })
}

pub(crate) async fn insert_alerts<C: ConnectionTrait>(db: &C, alerts: &[Alert]) -> Result<()> {
    let rows = alerts.iter().map(values).collect();
    insert(db, &format!("INSERT INTO alerts ({ALERT}, {DERIVED})"), rows, "ON CONFLICT DO NOTHING").await.map(drop)
}

pub(crate) async fn mark<C: ConnectionTrait>(
    db: &C,
    ids: &[AlertId],
    state: AlertState,
    suppressed_by: Option<&str>,
) -> Result<()> {
    for some in ids.chunks(IN_LIST) {
        let mut sql = Sql::new("UPDATE alerts SET state = ");
        sql.bind(state.value()).push(", suppressed_by = ").bind(value(&suppressed_by.map(str::to_owned)));
        sql.push(" WHERE 1 = 1").and_in("id", some);
        sql.run(db).await?;
    }
    Ok(())
}

impl Store {
    /// Newest first.
    pub async fn alerts(&self, filter: &AlertFilter, paging: Paging) -> Result<Page<Alert>> {
        let mut sql = Sql::new(" FROM alerts WHERE 1 = 1");
        sql.and_in("state", &filter.states).and("exposure =", &filter.exposure).and("created_at >=", &filter.since);
        self.page(&sql, ALERT, "created_at DESC, id DESC", paging, from).await
    }

    /// Alerts that wait to be sent, oldest first.
    pub async fn pending_alerts(&self, limit: u64) -> Result<Vec<Alert>> {
        let sql = format!("SELECT {ALERT} FROM alerts WHERE state = 'pending' ORDER BY created_at, id LIMIT $1");
        all(self.read(), &sql, vec![limit.value()]).await?.iter().map(from).collect()
    }

    /// Moves alerts to a state, with the reason where that is suppression.
    pub async fn mark_alerts(&self, ids: &[AlertId], state: AlertState, suppressed_by: Option<&str>) -> Result<()> {
        let tx = self.begin().await?;
        mark(&tx, ids, state, suppressed_by).await?;
        Ok(tx.commit().await?)
    }

    /// The alerts with those ids.
    pub async fn alerts_by(&self, ids: &[AlertId]) -> Result<HashMap<AlertId, Alert>> {
        let mut found = HashMap::new();
        for some in ids.chunks(IN_LIST) {
            let mut sql = Sql::new(format!("SELECT {ALERT} FROM alerts WHERE 1 = 1"));
            sql.and_in("id", some);
            for row in sql.all(self.read()).await? {
                let alert = from(&row)?;
                found.insert(alert.id, alert);
            }
        }
        Ok(found)
    }
}
