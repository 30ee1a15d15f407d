//! Looking again at every open exposure after the assets changed: owner, zone and weight decide risk and who is told.
//!
//! What the change means is decided by `assess`; phase and disposition are left alone. Ingestion does the same for what a
//! report touches.

use crate::context::Context;
use crate::live::Topic;
use assess::exposure::fold;
use model::event::{Event, EventKind};
use model::observation::SeenFrom;
use model::{AlertId, EventId};
use serde_json::json;
use store::StoreError;
use uuid::Uuid;

/// Exposures written in one transaction.
const BATCH: usize = 500;

/// Assesses all open exposures against the assets as they are now. How many changed.
pub async fn reassess(context: &Context) -> Result<usize, StoreError> {
    let store = &context.store;
    let assets = store.assets().await?;
    let policy = store.settings().await?.alerts;
    let mut changed = 0;
    for batch in store.exposures_all_open().await?.chunks(BATCH) {
        let keys: Vec<_> = batch.iter().map(|e| SeenFrom { endpoint: e.endpoint, vantage: e.vantage.clone() }).collect();
        let states = store.port_states(&keys).await?;
        let findings = store.findings_by(&keys).await?;
        let now = context.now();
        let (mut exposures, mut events, mut alerts) = (Vec::new(), Vec::new(), Vec::new());
        for (exposure, key) in batch.iter().zip(&keys) {
            let asset = assess::asset_for(exposure.endpoint.ip, &assets);
            let state = states.get(key);
            let proved = findings.get(key).map_or(&[][..], Vec::as_slice);
            let change = state.and_then(|s| fold(Some(exposure), s, context.catalog, asset, proved, exposure.id, now));
            // An opening or a closing belongs to the report that observed it, not to us.
            let Some(change) = change.filter(|c| !c.opened() && !c.closed()) else { continue };
            if let Some(was) = change.risk_was() {
                let is = &change.after.risk;
                events.push(Event {
                    id: EventId(Uuid::now_v7()),
                    kind: EventKind::RiskChanged,
                    ip: exposure.endpoint.ip,
                    endpoint: Some(exposure.endpoint),
                    vantage: exposure.vantage.clone(),
                    exposure: Some(exposure.id),
                    happened_after: None,
                    happened_at: now,
                    observed_at: now,
                    recorded_at: now,
                    reason: None,
                    detail: json!({
                        "from": { "kind": was.kind, "severity": was.severity },
                        "to": { "kind": is.kind, "severity": is.severity },
                        "because": "assets changed",
                    }),
                });
            }
            alerts.extend(assess::alerts::raise(&change, false, &policy, asset, AlertId(Uuid::now_v7()), now));
            exposures.push(change.after);
        }
        if !exposures.is_empty() {
            changed += exposures.len();
            store.update_exposure_risk(&exposures, &events, &alerts).await?;
            if !alerts.is_empty() {
                context.alert_now.notify_one();
                context.live.changed(Topic::Alerts);
            }
        }
    }
    if changed > 0 {
        context.live.changed(Topic::Exposures);
    }
    Ok(changed)
}
