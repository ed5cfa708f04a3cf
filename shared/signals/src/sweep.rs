//! The sweep: sends what is unsent or due, and runs the nightly work of tenants.

use crate::error::SignalsError;
use crate::evaluate::digest_message;
use crate::evaluate::plan::message;
use crate::ingest::event_message;
use crate::manage::tenants::TenantDeps;
use crate::notify::dead_letters::send_again;
use crate::queues::{NOTIFY, QueueDeps, RULES};
use crate::table::{Due, WORKFLOW};
use crate::usage::nightly::nightly;
use serde::Serialize;
use std::time::Duration;
use switchyard_work::outbox::{self, DueRow};
use tokio::time::Instant;

/// The most time that one tenant's nightly work takes of a sweep.
const NIGHTLY_TIME: Duration = Duration::from_secs(10);

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Overdue rows that were read.
    pub scanned: u64,
    /// Messages sent for them.
    pub enqueued: u64,
    /// Rows that could not be processed; the sweep as a whole is an error then.
    pub failed: u64,
}

/// Sends every event that the rules never got, every delivery whose time has come, and every digest whose time is over; each
/// night, looks after every tenant.
/// Each row is put off before it is sent, so that sweeps may overlap and die at any point.
///
/// # Errors
/// The due rows could not be listed, or some could not be processed, after all others were.
pub async fn sweep(deps: &QueueDeps, deadline: Instant) -> Result<Swept, SignalsError> {
    let mut swept = Swept::default();
    let dealt = outbox::sweep(deps.store.table(), WORKFLOW, &deps.clock, deadline, async |row| {
        swept.scanned += 1;
        swept.enqueued += u64::from(deal_with(deps, row, deadline).await?);
        Ok::<_, SignalsError>(())
    });
    swept.failed = dealt.await?;
    match swept.failed {
        0 => Ok(swept),
        failed => Err(SignalsError::Sweep { failed }),
    }
}

async fn deal_with(deps: &QueueDeps, row: &DueRow, deadline: Instant) -> Result<bool, SignalsError> {
    let now_ms = deps.clock.now().as_millisecond();
    let Some(item) = outbox::put_off(deps.store.table(), &row.key(), &row.due, now_ms).await? else { return Ok(false) };
    let (queue, text) = match deps.store.read_due(row, item)? {
        Due::Event(event) => (RULES, event_message(&event.tenant, &event.id, None)?),
        Due::Digest(digest) => (RULES, digest_message(&digest)?),
        Due::DeadLetter(letter) => {
            send_again(deps, &letter).await?;
            return Ok(true);
        }
        Due::Tenant(entry) => {
            let tenants = TenantDeps { store: deps.store.clone(), clock: deps.clock.clone() };
            nightly(&tenants, &entry, deadline.min(Instant::now() + NIGHTLY_TIME)).await?;
            return Ok(false);
        }
        Due::Delivery(delivery) => (NOTIFY, message(&delivery, delivery.attempts)?),
    };
    deps.send(queue, &text).await?;
    Ok(true)
}
