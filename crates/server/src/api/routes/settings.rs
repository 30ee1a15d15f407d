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
    let mut number = |field: &str, value: u64, least: u64, most: u64| {
        fields.check(
            (least..=most).contains(&value),
            field,
            "out-of-range",
            format!("`{value}` is not between {least} and {most}"),
        );
    };
    let (hour, day) = (Duration::hours(1).0, Duration::days(1).0);
    for (field, value) in [
        ("pace.node_pps", s.pace.node_pps),
        ("pace.per_network_pps", s.pace.per_network_pps),
        ("pace.per_target_pps", s.pace.per_target_pps),
    ] {
        number(field, value.into(), 1, MAX_PPS.into());
    }
    number("hysteresis.open_count", s.hysteresis.open_count.into(), 1, 100);
    number("hysteresis.refused_count", s.hysteresis.refused_count.into(), 1, 100);
    number("hysteresis.refused_span", s.hysteresis.refused_span.0, 0, 7 * day);
    number("hysteresis.silent_count", s.hysteresis.silent_count.into(), 1, 100);
    number("hysteresis.silent_span", s.hysteresis.silent_span.0, 0, 7 * day);
    number("alerts.group_wait", s.alerts.group_wait.0, 0, hour);
    number("alerts.group_interval", s.alerts.group_interval.0, 0, 7 * day);
    number("alerts.storm_groups", s.alerts.storm_groups.into(), 1, 10_000);
    number("alerts.max_attempts", s.alerts.max_attempts.into(), 1, 100);
    number("alerts.observe", s.alerts.observe.0, 0, 366 * day);
    number("retention.jobs", s.retention.jobs.0, hour, 3_660 * day);
    number("retention.coverage", s.retention.coverage.0, day, 3_660 * day);
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
