use crate::error::SignalsError;
use crate::ingest::event_message;
use crate::notify::message;
use crate::process::digest_message;
use crate::store::{Due, Store, WORKFLOW};
use crate::tenants::TenantDeps;
use crate::usage::reconcile_nightly;
use serde::Serialize;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError};
use switchyard_io::outbox::{self, DueRow};
use switchyard_io::{Aws, Queue, Table};
use tokio::time::Instant;

/// For so long at most one tenant's usage is compared with its events, before others have their turn.
const RECONCILE_FOR: Duration = Duration::from_secs(10);

/// What sweeping needs.
#[derive(Clone)]
pub struct SweepDeps {
    store: Store,
    rules: Queue,
    notify: Queue,
    clock: Clock,
}

impl SweepDeps {
    /// Reads `SIGNALS_TABLE`, `RULES_QUEUE_URL` and `NOTIFY_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            rules: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            notify: Queue::from_env(aws, env, "NOTIFY_QUEUE_URL")?,
            clock: Clock::system(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Overdue rows looked at.
    pub scanned: u64,
    /// Messages sent for them.
    pub enqueued: u64,
    /// Rows that could not be dealt with; then the sweep as a whole is an error.
    pub failed: u64,
}

/// Sends every event that the rules never got, every delivery whose time has come, and every digest whose time is over; each
/// night, compares what tenants used with their events.
/// Each row is put off before it is sent, so that sweeps may overlap and die at any point.
///
/// # Errors
/// The due rows could not be listed, or some could not be dealt with, after all others were.
pub async fn sweep(deps: &SweepDeps, deadline: Instant) -> Result<Swept, SignalsError> {
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

async fn deal_with(deps: &SweepDeps, row: &DueRow, deadline: Instant) -> Result<bool, SignalsError> {
    let now_ms = deps.clock.now().as_millisecond();
    let Some(item) = outbox::put_off(deps.store.table(), &row.key(), &row.due, now_ms).await? else { return Ok(false) };
    let (queue, text) = match deps.store.read_due(row, item)? {
        Due::Event(event) => (&deps.rules, event_message(&event.tenant, &event.id, None)?),
        Due::Digest(digest) => (&deps.rules, digest_message(&digest)?),
        Due::Tenant(entry) => {
            let tenants = TenantDeps { store: deps.store.clone(), clock: deps.clock.clone() };
            reconcile_nightly(&tenants, &entry, deadline.min(Instant::now() + RECONCILE_FOR)).await?;
            return Ok(false);
        }
        Due::Delivery(delivery) => (&deps.notify, message(&delivery, delivery.attempts)?),
    };
    queue.send(&text, Duration::ZERO).await?;
    Ok(true)
}
