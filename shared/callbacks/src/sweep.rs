//! The sweep: sends due deliveries to their queue.

use crate::deps::CallbacksDeps;
use crate::error::CallbacksError;
use crate::model::DeliveryStatus;
use crate::process::send_all;
use crate::store::WORKFLOW;
use serde::Serialize;
use switchyard_work::dead_letters::{DeadLetters, is_dead_letter};
use switchyard_work::outbox::{self, DueRow};
use tokio::time::Instant;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Due deliveries that were found.
    pub scanned: u64,
    /// Sent to the queue again.
    pub enqueued_jobs: u64,
    /// Rows that could not be processed; if there are any, the sweep returns an error.
    pub failed: u64,
}

/// Sends every due delivery: its message was lost, or its wait is longer than a message can be delayed. Each row's due time
/// is moved before it is sent, so that sweeps may overlap and die at any point.
///
/// # Errors
/// The due rows could not be listed, or some could not be processed; all others were.
pub async fn sweep(deps: &CallbacksDeps, deadline: Instant) -> Result<Swept, CallbacksError> {
    let mut swept = Swept::default();
    let failed = outbox::sweep(deps.table.dynamo(), WORKFLOW, &deps.clock, deadline, async |row| {
        swept.scanned += 1;
        swept.enqueued_jobs += u64::from(requeue(deps, row).await?);
        Ok::<_, CallbacksError>(())
    });
    swept.failed = failed.await?;
    tracing::info!(found = swept.scanned, enqueued_jobs = swept.enqueued_jobs, "callback_scheduler_run");
    match swept.failed {
        0 => Ok(swept),
        failed => Err(CallbacksError::Sweep { failed }),
    }
}

async fn requeue(deps: &CallbacksDeps, row: &DueRow) -> Result<bool, CallbacksError> {
    if is_dead_letter(&row.key()) {
        let letters = DeadLetters::new(deps.table.dynamo().clone(), WORKFLOW);
        return Ok(letters.send_due(row, &deps.queue, deps.clock.now()).await?);
    }
    let now_ms = deps.clock.now().as_millisecond();
    let Some(item) = outbox::put_off(deps.table.dynamo(), &row.key(), &row.due, now_ms).await? else {
        return Ok(false);
    };
    let delivery = deps.table.delivery(item)?;
    let is_pending = delivery.status == DeliveryStatus::Pending;
    if is_pending {
        send_all(deps, &[delivery]).await?;
    }
    Ok(is_pending)
}
