//! The engine; being written. The interface in `api` is final.

use crate::{Found, Ping, Progress, Recheck, ScanError, Summary, Sweep};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

fn not_yet<T>() -> Result<T, ScanError> {
    Err(ScanError::Link { what: "engine".into(), source: std::io::ErrorKind::Unsupported.into() })
}

pub(crate) async fn sweep(_: Sweep, _: Sender<Found>, _: Arc<Progress>, _: CancellationToken) -> Result<Summary, ScanError> {
    not_yet()
}
pub(crate) async fn liveness(_: Ping, _: Sender<Found>, _: Arc<Progress>, _: CancellationToken) -> Result<Summary, ScanError> {
    not_yet()
}
pub(crate) async fn probe_endpoints(_: Recheck, _: Sender<Found>, _: Arc<Progress>, _: CancellationToken) -> Result<Summary, ScanError> {
    not_yet()
}
