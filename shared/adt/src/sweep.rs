//! The sweep: sends events whose message was lost, and removes expired payloads.

use crate::accept::{AcceptDeps, enqueue};
use crate::error::AdtError;
use crate::store::WORKFLOW;
use switchyard_core::metric;
use switchyard_work::dead_letters::{DeadLetters, is_dead_letter};
use switchyard_work::outbox::{self, DueRow};
use tokio::time::Instant;

/// Dependencies of the sweep: the same as of accepting.
pub type SweepDeps = AcceptDeps;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Events sent to the queue again.
    pub resent: u64,
    /// Expired payloads that were removed.
    pub payloads_removed: u64,
    /// Rows that could not be processed; if there are any, the sweep returns an error.
    pub failed: u64,
}

/// What a sweep did about one due row.
enum DueAction {
    Resent,
    PayloadRemoved,
    /// Another sweep took the row first.
    Nothing,
}

/// Processes every due row: sends events that no consumer has claimed, and removes payloads older than 30 days. Each row's
/// due time is moved first, so that sweeps may overlap and die at any point. A row that fails does not delay the others.
///
/// # Errors
/// The due rows could not be listed, or some could not be processed; all others were.
pub async fn sweep(deps: &SweepDeps, deadline: Instant) -> Result<Swept, AdtError> {
    let mut swept = Swept::default();
    let failed = outbox::sweep(deps.table.dynamo(), WORKFLOW, &deps.clock, deadline, async |row| {
        match process_due(deps, row).await? {
            DueAction::Resent => {
                swept.resent += 1;
                metric::count("resent", 1);
            }
            DueAction::PayloadRemoved => swept.payloads_removed += 1,
            DueAction::Nothing => {}
        }
        Ok::<_, AdtError>(())
    });
    swept.failed = failed.await.map_err(AdtError::Dynamo)?;
    tracing::info!(sent = swept.resent, removed = swept.payloads_removed, failed = swept.failed, "swept");
    match swept.failed {
        0 => Ok(swept),
        failed => Err(AdtError::Sweep { failed }),
    }
}

async fn process_due(deps: &SweepDeps, row: &DueRow) -> Result<DueAction, AdtError> {
    if is_dead_letter(&row.key()) {
        let letters = DeadLetters::new(deps.table.dynamo().clone(), WORKFLOW);
        let is_sent = letters.send_due(row, &deps.queue, deps.clock.now()).await?;
        return Ok(if is_sent { DueAction::Resent } else { DueAction::Nothing });
    }
    let now_ms = deps.clock.now().as_millisecond();
    let taken = outbox::put_off(deps.table.dynamo(), &row.key(), &row.due, now_ms).await.map_err(AdtError::Dynamo)?;
    let Some(item) = taken else { return Ok(DueAction::Nothing) };
    let event = deps.table.event(item)?;
    if event.is_unsent() {
        enqueue(&deps.queue, &event).await?;
        return Ok(DueAction::Resent);
    }
    deps.table.remove_payload(&event).await?;
    Ok(DueAction::PayloadRemoved)
}
