//! What the first start leaves behind: the standard tasks and the first assets. It comes before anything is scheduled.
//!
//! Both are made only while there are none, so that a start never undoes what people changed. The first administrator is
//! `auth::ensure_admin`'s.

use crate::auth;
use crate::context::Context;
use model::asset::{Asset, Zone};
use model::{AssetId, IpRange, TaskId};
use plan::preset::Preset;
use serde_json::json;
use std::net::IpAddr;
use store::StoreError;
use uuid::Uuid;

/// Business weight of an asset that nobody has weighed: the middle of 0 to 10.
const UNKNOWN_WEIGHT: u8 = 5;

/// Makes the tasks of the `standard` preset if there are no tasks. Says how many were made.
pub async fn ensure_tasks(ctx: &Context) -> Result<usize, StoreError> {
    if !ctx.store.tasks().await?.is_empty() {
        return Ok(0);
    }
    let now = ctx.now();
    let tasks = Preset::Standard.tasks(now, || TaskId(Uuid::now_v7()));
    let detail = json!({ "added": tasks.len() });
    let entry = auth::audit(now, "system", "task.preset", format!("preset:{}", Preset::Standard.as_str()), detail);
    ctx.store.replace_tasks(&[], &tasks, Some(&entry)).await?;
    Ok(tasks.len())
}

/// Makes an asset of each range if there are no assets. Says how many were made.
///
/// They go through observe mode like any new range: a first look at a network is no reason to raise an alarm.
pub async fn ensure_watched(ctx: &Context, ranges: &[IpRange]) -> Result<usize, StoreError> {
    if ranges.is_empty() || !ctx.store.assets().await?.is_empty() {
        return Ok(0);
    }
    let now = ctx.now();
    let observe = ctx.store.settings().await?.alerts.observe;
    let assets: Vec<Asset> = ranges
        .iter()
        .map(|range| Asset {
            id: AssetId(Uuid::now_v7()),
            range: *range,
            name: name_of(range),
            owner: None,
            zone: Zone::Dmz,
            weight: UNKNOWN_WEIGHT,
            tags: Vec::new(),
            observe_until: (observe.0 > 0).then(|| now.plus(observe)),
            rate_pps: None,
            per_target_pps: None,
            check_ceiling: Default::default(),
            created_at: now,
            updated_at: now,
        })
        .collect();
    let names: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let entry = auth::audit(now, "system", "asset.watch", "assets".to_owned(), json!({ "ranges": names }));
    ctx.store.apply_asset_import(&assets, &[], &[], &entry).await?;
    Ok(assets.len())
}

fn name_of(range: &IpRange) -> String {
    let loopback = |ip: IpAddr| ip.is_loopback();
    if loopback(range.first()) && loopback(range.last()) { format!("This machine ({range})") } else { range.to_string() }
}
