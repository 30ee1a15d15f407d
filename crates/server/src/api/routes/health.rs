//! Health, metrics, and the OpenAPI document.

use crate::api::problem::Problem;
use crate::api::views::system::HealthView;
use crate::api::{Answer, Api, Use};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use model::job::JobState;
use std::sync::OnceLock;
use std::time::Duration;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

/// A health check that takes longer is itself the answer.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(healthz), routes!(metrics_text), routes!(document)]
}

/// Whether the system can answer.
#[utoipa::path(get, path = "/healthz", tag = "system", operation_id = "getHealth",
    responses((status = 200, description = "It can.", body = HealthView), (status = 503, description = "The database does not answer.", body = HealthView)))]
async fn healthz(State(api): Use) -> (StatusCode, Json<HealthView>) {
    let (status, word) = match tokio::time::timeout(PING_TIMEOUT, api.store().ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "database-unavailable"),
    };
    (status, Json(HealthView { status: word.to_owned() }))
}

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Makes this process gather metrics, once; what is counted before is lost.
pub fn install_metrics() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        // Requests take between a millisecond and the timeout of 30 s.
        let seconds = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0];
        let recorder = PrometheusBuilder::new().set_buckets(&seconds).unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics are gathered by another recorder; /metrics shows only what is read from the database");
        }
        handle
    })
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "system", operation_id = "getMetrics",
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain")))]
async fn metrics_text(State(api): Use) -> Answer<Response> {
    let handle = install_metrics();
    let (backlog, hosts, phases) =
        (api.store().backlog().await?, api.store().host_counts().await?, api.store().phase_counts().await?);
    for &state in JobState::ALL {
        let n = backlog.jobs.get(&state).copied().unwrap_or(0);
        metrics::gauge!("portreeve_jobs", "state" => state.as_str()).set(n as f64);
    }
    metrics::gauge!("portreeve_alerts_pending").set(backlog.alerts_pending as f64);
    metrics::gauge!("portreeve_notifications", "state" => "queued").set(backlog.notifications_queued as f64);
    metrics::gauge!("portreeve_notifications", "state" => "failed").set(backlog.notifications_failed as f64);
    metrics::gauge!("portreeve_hosts", "liveness" => "online").set(hosts.online as f64);
    metrics::gauge!("portreeve_hosts", "liveness" => "offline").set(hosts.offline as f64);
    for (phase, n) in [("pending", phases.pending), ("open", phases.open), ("closed", phases.closed)] {
        metrics::gauge!("portreeve_endpoints", "phase" => phase).set(n as f64);
    }
    for cell in api.store().exposure_counts(api.now()).await?.open {
        let labels =
            [("risk", cell.risk.as_str()), ("severity", cell.severity.as_str()), ("disposition", cell.disposition.as_str())];
        metrics::gauge!("portreeve_exposures_open", &labels).set(cell.count as f64);
    }
    let uptime = api.now().since(api.context().started_at);
    metrics::gauge!("portreeve_uptime_seconds").set(uptime.0 as f64 / 1_000.0);
    handle.run_upkeep();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response())
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "system", operation_id = "getOpenApi",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")))]
async fn document() -> Result<Response, Problem> {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(crate::api::openapi::openapi_json);
    Ok(([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response())
}
