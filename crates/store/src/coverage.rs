//! Ground covered: which addresses and ports were probed when, so that a new opening can be dated (I1: detection bound).
//!
//! That a sweep really probed all of it is the node's word; what the bound means is `assess`'s.

use crate::sql::*;
use crate::{Result, Store};
use model::address::{merge, to_bytes};
use model::port_state::Coverage;
use model::{Endpoint, IpRange, JobId, Ports, Ts, Vantage};
use sea_orm::ConnectionTrait;
use std::collections::HashMap;

/// Coverage records read in one go, newest first, until every endpoint has its answer.
const LOOK: u64 = 500;

pub(crate) async fn insert_coverage<C: ConnectionTrait>(
    db: &C,
    job: JobId,
    fencing: i64,
    coverage: &Coverage,
    now: Ts,
) -> Result<()> {
    let c = coverage;
    let targets = merge(&c.targets);
    let (Some(first), Some(last)) = (
        targets.iter().map(IpRange::first).min_by_key(|ip| to_bytes(*ip)),
        targets.iter().map(IpRange::last).max_by_key(|ip| to_bytes(*ip)),
    ) else {
        return Ok(());
    };
    let (targets, ports) = (serde_json::to_string(&targets).expect("ranges serialise"), c.ports.to_string());
    let ground = ground(&c.vantage, &targets, &ports);
    let row = vec![
        job.value(),
        fencing.value(),
        c.vantage.value(),
        c.node.value(),
        text(&targets),
        text(&ports),
        ground.value(),
        first.value(),
        last.value(),
        c.started_at.value(),
        c.finished_at.value(),
    ];
    let head =
        "INSERT INTO coverage (job, fencing, vantage, node, targets, ports, ground, ip_first, ip_last, started_at, finished_at)";
    insert(db, head, vec![row], "ON CONFLICT DO NOTHING").await?;
    let sql = "UPDATE coverage SET replaced_at = $1 WHERE replaced_at IS NULL AND ground = $2 AND vantage = $3 AND targets = $4 \
               AND ports = $5 AND started_at < $6";
    run(db, sql, vec![now.value(), ground.value(), c.vantage.value(), text(&targets), text(&ports), c.started_at.value()])
        .await
        .map(drop)
}

/// FNV-1a, 64 bit: a short key for an index; what it finds is compared in full.
fn ground(vantage: &Vantage, targets: &str, ports: &str) -> i64 {
    let parts = [vantage.0.as_bytes(), &[0], targets.as_bytes(), &[0], ports.as_bytes()];
    let hash = parts
        .concat()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    hash.cast_signed()
}

impl Store {
    /// Start of the latest finished coverage whose ranges and ports hold the endpoint. One never covered is absent.
    pub async fn last_covered(&self, vantage: &Vantage, endpoints: &[Endpoint]) -> Result<HashMap<Endpoint, Ts>> {
        let mut open: Vec<Endpoint> = endpoints.to_vec();
        open.sort_unstable_by_key(|e| (to_bytes(e.ip), e.proto, e.port));
        open.dedup();
        let mut answers = HashMap::new();
        let mut ports: HashMap<String, Ports> = HashMap::new();
        let mut offset = 0;
        while let (Some(first), Some(last)) = (open.first(), open.last()) {
            let sql = "SELECT targets, ports, started_at FROM coverage WHERE vantage = $1 AND replaced_at IS NULL AND ip_first <= $2 \
                       AND ip_last >= $3 ORDER BY started_at DESC, job LIMIT $4 OFFSET $5";
            let values = vec![vantage.value(), last.ip.value(), first.ip.value(), LOOK.value(), offset.value()];
            let rows = all(self.read(), sql, values).await?;
            for row in &rows {
                let text: String = get(row, "ports")?;
                if !ports.contains_key(&text) {
                    let set =
                        if text.is_empty() { Ports::default() } else { text.parse().map_err(|e: String| bad("ports", &e))? };
                    ports.insert(text.clone(), set);
                }
                let started_at = get(row, "started_at")?;
                let targets: Vec<IpRange> = get_json(row, "targets")?;
                for endpoint in held_by(&open, &targets, &ports[&text]) {
                    // The first record to hold it is the latest.
                    answers.entry(endpoint).or_insert(started_at);
                }
            }
            if (rows.len() as u64) < LOOK || answers.len() == open.len() {
                break;
            }
            offset += LOOK;
        }
        Ok(answers)
    }
}

/// The endpoints, sorted by address, that lie in the ranges and on the ports.
fn held_by(sorted: &[Endpoint], ranges: &[IpRange], ports: &Ports) -> Vec<Endpoint> {
    let mut held = Vec::new();
    for range in ranges {
        let (first, last) = (to_bytes(range.first()), to_bytes(range.last()));
        let from = sorted.partition_point(|e| to_bytes(e.ip) < first);
        let within = sorted[from..].iter().take_while(|e| to_bytes(e.ip) <= last);
        held.extend(within.filter(|e| ports.contains(e.proto, e.port)).copied());
    }
    held
}
