use crate::accept::{AcceptDeps, enqueue};
use crate::error::AdtError;
use crate::store::WORKFLOW;
use switchyard_core::metric;
use switchyard_io::outbox;
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
}

/// Acts on every row that is due: sends what was accepted but never taken by a consumer, and removes payloads older
/// than 30 days. Each row is put off before it is acted on, so that sweeps may overlap and die at any point.
///
/// # Errors
/// DynamoDB or SQS could not be reached; what remains is due in the next sweep.
pub async fn sweep(deps: &SweepDeps, deadline: Instant) -> Result<Swept, AdtError> {
    let mut swept = Swept::default();
    for shard in outbox::shards(WORKFLOW) {
        loop {
            let now = deps.clock.now();
            let rows = deps.store.due(&shard, now).await?;
            let full = rows.len() >= outbox::SWEEP_LIMIT as usize;
            for row in rows {
                if Instant::now() >= deadline {
                    return Ok(swept);
                }
                let taken = outbox::put_off(deps.store.table(), &row.key(), &row.due, now.as_millisecond()).await;
                let Some(item) = taken.map_err(AdtError::Store)? else { continue };
                let event = deps.store.event(item)?;
                if event.is_unsent() {
                    enqueue(&deps.queue, &event).await?;
                    swept.resent += 1;
                    metric::count("resent", 1);
                } else {
                    deps.store.remove_payload(&event).await?;
                    swept.payloads_removed += 1;
                }
            }
            if !full {
                break;
            }
        }
    }
    tracing::info!(sent = swept.resent, found = swept.payloads_removed, "swept");
    Ok(swept)
}
