//! Scheduled invocations.

use crate::deadline::work_deadline;
use crate::logs::flush_metrics;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tokio::time::Instant;

/// Serves scheduled invocations with `work`, which receives the deadline; the event itself is not needed.
///
/// # Errors
/// The Runtime API cannot be reached. An error of `work` fails only that invocation.
pub async fn run_event<H, F>(work: H) -> Result<(), lambda_runtime::Error>
where
    H: Fn(Instant) -> F,
    F: Future<Output = Result<Value, lambda_runtime::Error>>,
{
    let work = &work;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let answer = work(work_deadline(event.context.deadline)).await;
        flush_metrics();
        answer
    }))
    .await
}
