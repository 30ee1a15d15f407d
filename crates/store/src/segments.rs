//! Segments that are doubted, what could be a canary, and what operators said about that. What silence means is `assess`'s.

use crate::alerts::insert_alerts;
use crate::assets::range_from;
use crate::audit::{append, insert_events};
use crate::ports::endpoint_from;
use crate::sql::*;
use crate::{Result, Store};
use model::address::IpRange;
use model::alert::Alert;
use model::audit::AuditEntry;
use model::event::Event;
use model::segment::{CanaryChoice, SegmentState, SegmentStatus};
use model::{CanaryId, Endpoint, Ts, Vantage};
use sea_orm::{ConnectionTrait, QueryResult, Value};

const SEGMENT: &str =
    "ip_first, ip_last, vantage, status, guard, since, trusted_from, canaries, silent, episode, set_aside, next_look_at";

fn values(s: &SegmentState) -> Vec<Value> {
    vec![
        s.range.first().value(),
        s.range.last().value(),
        s.vantage.value(),
        s.status.value(),
        s.guard.value(),
        s.since.value(),
        value(&s.trusted_from),
        s.canaries.value(),
        s.silent.value(),
        s.episode.value(),
        s.set_aside.value(),
        value(&s.next_look_at),
    ]
}

fn from(row: &QueryResult) -> Result<SegmentState> {
    Ok(SegmentState {
        range: range_from(row)?,
        vantage: get(row, "vantage")?,
        status: get(row, "status")?,
        guard: get(row, "guard")?,
        since: get(row, "since")?,
        trusted_from: opt(row, "trusted_from")?,
        canaries: get(row, "canaries")?,
        silent: get(row, "silent")?,
        episode: get(row, "episode")?,
        set_aside: get(row, "set_aside")?,
        next_look_at: opt(row, "next_look_at")?,
    })
}

pub(crate) async fn upsert_segments<C: ConnectionTrait>(db: &C, segments: &[SegmentState]) -> Result<()> {
    let set: Vec<String> = SEGMENT.split(", ").skip(3).map(|c| format!("{c} = excluded.{c}")).collect();
    let tail = format!("ON CONFLICT (ip_first, ip_last, vantage) DO UPDATE SET {}", set.join(", "));
    insert(db, &format!("INSERT INTO segments ({SEGMENT})"), segments.iter().map(values).collect(), &tail).await.map(drop)
}

impl Store {
    /// The segments that have been doubted at least once, in one of these states (any when empty), by range.
    pub async fn segments(&self, statuses: &[SegmentStatus], vantage: Option<&Vantage>) -> Result<Vec<SegmentState>> {
        let mut sql = Sql::new(format!("SELECT {SEGMENT} FROM segments WHERE 1 = 1"));
        sql.and_in("status", statuses).and("vantage =", &vantage.cloned()).push(" ORDER BY ip_first, ip_last, vantage");
        sql.all(self.read()).await?.iter().map(from).collect()
    }

    /// Those whose canaries are to be asked by now.
    pub async fn segments_due(&self, now: Ts) -> Result<Vec<SegmentState>> {
        let sql = format!("SELECT {SEGMENT} FROM segments WHERE next_look_at <= $1 ORDER BY ip_first, ip_last, vantage");
        all(self.read(), &sql, vec![now.value()]).await?.iter().map(from).collect()
    }

    /// Notes when the canaries of a doubted segment are asked again.
    pub async fn segment_looks(&self, segment: &SegmentState, next_look_at: Ts) -> Result<()> {
        let sql = "UPDATE segments SET next_look_at = $4 WHERE ip_first = $1 AND ip_last = $2 AND vantage = $3 \
                   AND next_look_at IS NOT NULL";
        let (first, last) = (segment.range.first(), segment.range.last());
        let values = vec![first.value(), last.value(), segment.vantage.value(), next_look_at.value()];
        run(self.write().await?, sql, values).await.map(drop)
    }

    /// Forgets a segment that is none any more, because the assets changed, with the event and alert that its end asks for.
    pub async fn forget_segment(&self, segment: &SegmentState, events: &[Event], alerts: &[Alert]) -> Result<()> {
        let tx = self.begin().await?;
        let sql = "DELETE FROM segments WHERE ip_first = $1 AND ip_last = $2 AND vantage = $3";
        run(&tx, sql, vec![segment.range.first().value(), segment.range.last().value(), segment.vantage.value()]).await?;
        insert_events(&tx, events).await?;
        insert_alerts(&tx, alerts).await?;
        Ok(tx.commit().await?)
    }

    /// Endpoints that could be canaries, those open the longest first: confirmed open over TCP, on hosts that do not accept on
    /// every port, with since when.
    pub async fn canary_candidates(&self, vantage: &Vantage, within: Option<IpRange>, limit: u64) -> Result<Vec<(Endpoint, Ts)>> {
        let mut sql = Sql::new(
            "SELECT ip, port, proto, opened_at FROM port_states WHERE phase = 'open' AND NOT pseudo_open AND proto = 'tcp' \
             AND opened_at IS NOT NULL AND vantage = ",
        );
        sql.bind(vantage.value()).and("ip >=", &within.map(|r| r.first())).and("ip <=", &within.map(|r| r.last()));
        sql.push(" ORDER BY opened_at, ip, port LIMIT ").bind(limit.value());
        let rows = sql.all(self.read()).await?;
        rows.iter().map(|row| Ok((endpoint_from(row)?, get(row, "opened_at")?))).collect()
    }

    /// What operators said about endpoints as canaries, by endpoint.
    pub async fn canary_choices(&self) -> Result<Vec<CanaryChoice>> {
        let sql = "SELECT id, ip, port, proto, role, note, created_at FROM canaries ORDER BY ip, port, proto";
        let from = |row: &QueryResult| -> Result<CanaryChoice> {
            Ok(CanaryChoice {
                id: get(row, "id")?,
                endpoint: endpoint_from(row)?,
                role: get(row, "role")?,
                note: opt(row, "note")?,
                created_at: get(row, "created_at")?,
            })
        };
        all(self.read(), sql, vec![]).await?.iter().map(from).collect()
    }

    /// Writes one down; [`crate::StoreError::Conflict`] when something was said of the endpoint already.
    pub async fn insert_canary_choice(&self, choice: &CanaryChoice, audit: &AuditEntry) -> Result<()> {
        let c = choice;
        let row = vec![
            c.id.value(),
            c.endpoint.ip.value(),
            c.endpoint.port.value(),
            c.endpoint.proto.value(),
            c.role.value(),
            value(&c.note),
            c.created_at.value(),
        ];
        let tx = self.begin().await?;
        let inserted = insert(&tx, "INSERT INTO canaries (id, ip, port, proto, role, note, created_at)", vec![row], "").await;
        naming(inserted, || format!("a choice about {}", c.endpoint))?;
        append(&tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Takes it back.
    pub async fn delete_canary_choice(&self, id: CanaryId, audit: &AuditEntry) -> Result<()> {
        self.delete_by_id("canaries", "canary choice", id.value(), audit).await
    }
}
