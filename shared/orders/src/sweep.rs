//! The sweep: queues a job for each due store, and sends the events that are unsent.

use crate::error::OrdersError;
use crate::store::{WORKFLOW, is_event};
use crate::sync::{SyncDeps, enqueue, send};
use serde::Serialize;
use switchyard_core::metric;
use switchyard_work::dead_letters::{DeadLetters, is_dead_letter};
use switchyard_work::outbox::{self, DueRow};
use tokio::time::Instant;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Due stores that were found.
    pub scanned_stores: u64,
    /// Jobs queued.
    pub enqueued_jobs: u64,
    /// Unsent events that were sent.
    pub resent_events: u64,
    /// Rows that could not be processed; if there are any, the sweep returns an error.
    pub failed: u64,
}

/// Queues a job for every due store, and sends every unsent event. Each row's due time is moved before anything is sent, so
/// that sweeps may overlap and die at any point.
///
/// # Errors
/// The due rows could not be listed, or some could not be processed; all others were.
pub async fn sweep(deps: &SyncDeps, deadline: Instant) -> Result<Swept, OrdersError> {
    let mut swept = Swept::default();
    let (table, clock) = (&deps.orders.table, &deps.orders.clock);
    let failed =
        outbox::sweep(table.dynamo(), WORKFLOW, clock, deadline, async |row| process_due(deps, row, &mut swept).await);
    swept.failed = failed.await?;
    metric::count("resent", swept.resent_events);
    tracing::info!(scanned_stores = swept.scanned_stores, enqueued_jobs = swept.enqueued_jobs, "scheduler_run");
    match swept.failed {
        0 => Ok(swept),
        failed => Err(OrdersError::Sweep { failed }),
    }
}

async fn process_due(deps: &SyncDeps, row: &DueRow, swept: &mut Swept) -> Result<(), OrdersError> {
    let (table, now) = (&deps.orders.table, deps.orders.clock.now());
    if is_dead_letter(&row.key()) {
        let letters = DeadLetters::new(table.dynamo().clone(), WORKFLOW);
        swept.enqueued_jobs += u64::from(letters.send_due(row, &deps.jobs, now).await?);
        return Ok(());
    }
    if is_event(row) {
        let taken = outbox::put_off(table.dynamo(), &row.key(), &row.due, now.as_millisecond()).await?;
        let Some(item) = taken else { return Ok(()) };
        let event = table.event(item)?;
        if event.is_unsent() {
            send(deps, &event).await?;
            swept.resent_events += 1;
        }
        return Ok(());
    }
    swept.scanned_stores += 1;
    if let Some(store_id) = table.mark_queued(row, now).await? {
        enqueue(deps, &store_id, None).await?;
        swept.enqueued_jobs += 1;
    }
    Ok(())
}
