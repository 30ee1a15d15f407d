//! The half of the server that works whether anybody looks or not: scheduling, alerting and asking the canaries of doubted
//! segments, each started again should it ever fail.
//!
//! Taking reports happens in the nodes' calls; see `dispatch`.

use crate::context::Context;
use crate::{alerting, scheduler, segments};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Schedules, alerts and watches the segments until cancelled.
pub async fn run_background(context: Arc<Context>, cancel: CancellationToken) {
    tokio::join!(
        supervised("scheduling", &cancel, || scheduler::run(Arc::clone(&context), cancel.clone())),
        supervised("alerting", &cancel, || alerting::run(Arc::clone(&context), cancel.clone())),
        supervised("segments", &cancel, || segments::run(Arc::clone(&context), cancel.clone())),
    );
}

/// Runs a workflow and starts it again if it panics: a defect in one must not silence the other, nor itself for good.
async fn supervised<F>(name: &'static str, cancel: &CancellationToken, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while !cancel.is_cancelled() {
        // Whoever drops us ends the workflow too; a bare handle would leave it running.
        if let Err(error) = AbortOnDropHandle::new(tokio::spawn(start())).await {
            tracing::error!(workflow = name, %error, "a workflow failed and is started again; this is a defect of portreeve");
            metrics::counter!("portreeve_workflow_failures_total", "workflow" => name).increment(1);
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}
