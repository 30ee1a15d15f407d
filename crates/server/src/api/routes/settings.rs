//! Settings that operators change while the system runs.

use super::assets::MAX_PPS;
use crate::api::access::Caller;
use crate::api::extract::Body;
use crate::api::problem::Fields;
use crate::api::views::settings::{SettingsInput, SettingsView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use model::Duration;
use model::settings::Settings;
use serde_json::json;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(get, put)]
}

/// The settings.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", operation_id = "getSettings",
    responses((status = 200, description = "The settings.", body = SettingsView)))]
async fn get(State(api): Use) -> Answer<Json<SettingsView>> {
    Ok(Json(api.store().settings().await?.into()))
}

/// Bounds within which the system does what the words promise: nothing stops for good, nothing is kept for ever.
fn check(fields: &mut Fields, s: &Settings) {
    let mut within = |field: &str, value: u64, least: u64, most: u64, say: fn(u64) -> String| {
        let message = format!("`{}` is not between {} and {}", say(value), say(least), say(most));
        fields.check((least..=most).contains(&value), field, "out-of-range", message);
    };
    let (hour, day) = (Duration::hours(1).0, Duration::days(1).0);
    for (field, value) in [
        ("pace.node_pps", s.pace.node_pps),
        ("pace.per_network_pps", s.pace.per_network_pps),
        ("pace.per_target_pps", s.pace.per_target_pps),
    ] {
        within(field, value.into(), 1, MAX_PPS.into(), count);
    }
    within("hysteresis.open_count", s.hysteresis.open_count.into(), 1, 100, count);
    within("hysteresis.refused_count", s.hysteresis.refused_count.into(), 1, 100, count);
    within("hysteresis.refused_span", s.hysteresis.refused_span.0, 0, 7 * day, span);
    within("hysteresis.silent_count", s.hysteresis.silent_count.into(), 1, 100, count);
    within("hysteresis.silent_span", s.hysteresis.silent_span.0, 0, 7 * day, span);
    within("alerts.group_wait", s.alerts.group_wait.0, 0, hour, span);
    within("alerts.group_interval", s.alerts.group_interval.0, 0, 7 * day, span);
    within("alerts.storm_groups", s.alerts.storm_groups.into(), 1, 10_000, count);
    within("alerts.max_attempts", s.alerts.max_attempts.into(), 1, 100, count);
    within("alerts.observe", s.alerts.observe.0, 0, 366 * day, span);
    within("retention.jobs", s.retention.jobs.0, hour, 3_660 * day, span);
    within("retention.coverage", s.retention.coverage.0, day, 3_660 * day, span);
}

/// A number as it was typed.
fn count(n: u64) -> String {
    n.to_string()
}

/// A span in the largest unit that says it whole, as people type it: `7 d`, not `604800000`.
fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    match units.into_iter().find(|&(size, _)| ms >= size && ms.is_multiple_of(size)) {
        Some((size, unit)) => format!("{} {unit}", ms / size),
        None if ms == 0 => "0 s".into(),
        None => format!("{ms} ms"),
    }
}

/// Changes settings; a field that is absent keeps its value.
#[utoipa::path(put, path = "/api/v1/settings", tag = "settings", operation_id = "updateSettings", request_body = SettingsInput,
    responses((status = 200, description = "The settings after the change.", body = SettingsView)))]
async fn put(State(api): Use, caller: Caller, Body(input): Body<SettingsInput>) -> Answer<Json<SettingsView>> {
    let _one_at_a_time = api.deciding().await;
    let before = api.store().settings().await?;
    let after = input.apply(before.clone());
    let mut fields = Fields::default();
    check(&mut fields, &after);
    fields.done()?;
    let entry = caller.audit(api.now(), "settings.update", "settings", json!({ "from": before, "to": after }));
    api.store().set_settings(&after, &entry).await?;
    api.context().alert_now.notify_one();
    api.changed(Topic::Settings);
    Ok(Json(after.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_the_bounds_and_zero_probes_are_not() {
        let mut fields = Fields::default();
        check(&mut fields, &Settings::default());
        fields.done().unwrap();
        let mut settings = Settings::default();
        settings.pace.node_pps = 0;
        settings.hysteresis.open_count = 0;
        let mut fields = Fields::default();
        check(&mut fields, &settings);
        let found: Vec<_> = fields.into_errors().into_iter().map(|e| e.field).collect();
        assert_eq!(found, ["pace.node_pps", "hysteresis.open_count"]);
    }
}
