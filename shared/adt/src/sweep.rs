//! The sweep: sends events whose message was lost, and removes expired payloads.

use crate::accept::{AcceptDeps, enqueue};
use crate::error::AdtError;
use crate::store::WORKFLOW;
use switchyard_core::metric;
use switchyard_work::outbox::{self, DueRow};
use tokio::time::Instant;

/// What sweeping needs: the same as accepting.
pub type SweepDeps = AcceptDeps;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Events sent to the queue again.
    pub resent: u64,
    /// Payloads removed because their time was up.
    pub payloads_removed: u64,
    /// Rows that could not be dealt with; then the sweep as a whole is an error.
    pub failed: u64,
}

enum Done {
    Resent,
    PayloadRemoved,
    /// Another sweep was faster.
    Nothing,
}

/// Acts on every row that is due: sends what was accepted but never taken by a consumer, and removes payloads older
/// than 30 days. Each row is put off before it is acted on, so that sweeps may overlap and die at any point. A row that
/// fails does not keep the others waiting.
///
/// # Errors
/// The due rows could not be listed, or some could not be dealt with, after all others were.
pub async fn sweep(deps: &SweepDeps, deadline: Instant) -> Result<Swept, AdtError> {
    let mut swept = Swept::default();
    let dealt = outbox::sweep(deps.table.dynamo(), WORKFLOW, &deps.clock, deadline, async |row| {
        match deal_with(deps, row).await? {
            Done::Resent => {
                swept.resent += 1;
                metric::count("resent", 1);
            }
            Done::PayloadRemoved => swept.payloads_removed += 1,
            Done::Nothing => {}
        }
        Ok::<_, AdtError>(())
    });
    swept.failed = dealt.await.map_err(AdtError::Dynamo)?;
    tracing::info!(sent = swept.resent, removed = swept.payloads_removed, failed = swept.failed, "swept");
    match swept.failed {
        0 => Ok(swept),
        failed => Err(AdtError::Sweep { failed }),
    }
}

async fn deal_with(deps: &SweepDeps, row: &DueRow) -> Result<Done, AdtError> {
    let now_ms = deps.clock.now().as_millisecond();
    let taken = outbox::put_off(deps.table.dynamo(), &row.key(), &row.due, now_ms).await.map_err(AdtError::Dynamo)?;
    let Some(item) = taken else { return Ok(Done::Nothing) };
    let event = deps.table.event(item)?;
    if event.is_unsent() {
        enqueue(&deps.queue, &event).await?;
        return Ok(Done::Resent);
    }
    deps.table.remove_payload(&event).await?;
    Ok(Done::PayloadRemoved)
}
