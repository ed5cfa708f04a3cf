//! The sync of one store: asks about its due receipts and announces the outcome.

use crate::decide::{AskedBy, settle, wait_after};
use crate::error::OrdersError;
use crate::import::{OrdersDeps, report_refusal};
use crate::marketplace::ASK_TIMEOUT;
use crate::model::{Counts, EventId, StoreId, SyncStatus, Verdict};
use crate::store::{EventRow, LogRow, StoreRow};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Envelope, OrganizationId, Owner, error_chain, iso_millis, metric};
use switchyard_io::{Aws, Queue};
use switchyard_work::lease::Fence;
use tokio::time::Instant;

/// Kind of the sync jobs' envelopes.
pub(crate) const JOB_KIND: &str = "orders.sync";

/// Kind of the envelopes that hold an event for the callbacks.
const EVENT_KIND: &str = "callbacks.event";

/// The most full chunks of receipts in one job.
const MAX_CHUNKS: u32 = 10;

/// How many receipts of a store are asked about at a time.
const CONCURRENCY: usize = 4;

/// How many receipts are written in one transaction, together with their store.
pub(crate) const TRANSACTION_SIZE: usize = 12;

/// A job stops this long before its deadline and continues as another message: enough for the running requests, even if all
/// of them time out.
const DEADLINE_MARGIN: Duration = Duration::from_secs(60);
const _: () = assert!(ASK_TIMEOUT.as_secs() * (TRANSACTION_SIZE / CONCURRENCY) as u64 + 10 < DEADLINE_MARGIN.as_secs());

/// Dependencies of the sync.
#[derive(Clone)]
pub struct SyncDeps {
    pub(crate) orders: OrdersDeps,
    pub(crate) jobs: Queue,
    pub(crate) callbacks: Queue,
    chunk: i32,
}

impl SyncDeps {
    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { orders: self.orders.with_clock(clock), ..self }
    }

    /// Dependencies of requests about the same stores.
    pub fn orders(&self) -> &OrdersDeps {
        &self.orders
    }

    /// Reads the settings of [`OrdersDeps`], `ORDER_QUEUE_URL`, `CALLBACK_QUEUE_URL` and `SYNC_CHUNK_SIZE` (default 100).
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let chunk: i32 = env.parsed("SYNC_CHUNK_SIZE", 100)?;
        if chunk < 1 {
            return Err(EnvError::Invalid { name: "SYNC_CHUNK_SIZE".into(), reason: "expected at least 1".into() });
        }
        Ok(Self {
            orders: OrdersDeps::from_env(aws, env)?,
            jobs: Queue::from_env(aws, env, "ORDER_QUEUE_URL")?,
            callbacks: Queue::from_env(aws, env, "CALLBACK_QUEUE_URL")?,
            chunk,
        })
    }
}

/// The message of a sync job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncJob {
    pub(crate) store_id: StoreId,
    /// The counts so far, when the job continues one that ran out of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) so_far: Option<Counts>,
}

/// Outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// The store's due receipts were asked about.
    Done(Counts),
    /// No receipt was due, and no event was published.
    NothingDue,
    /// The job ran out of time; another message continues it.
    Continued(Counts),
    /// Another worker holds the store's lease.
    AlreadyRunning,
    /// The store does not exist.
    StoreNotFound,
}

/// Queues a sync job.
pub(crate) async fn enqueue(deps: &SyncDeps, store_id: &StoreId, so_far: Option<Counts>) -> Result<(), OrdersError> {
    let job = SyncJob { store_id: store_id.clone(), so_far };
    let id = deps.orders.clock.new_id().to_string();
    let body = Envelope::new(JOB_KIND, id, store_id.to_string(), None, job).to_json().map_err(OrdersError::Json)?;
    deps.jobs.send(&body, Duration::ZERO).await.map_err(OrdersError::Queue)
}

/// Runs one store's sync: asks its marketplace about every due receipt, and publishes `sync.started` and `sync.completed`.
///
/// A lease admits one worker per store; each write is conditional on the rows as they were read, so that a worker without
/// its lease changes nothing. If the process dies, the message's next delivery takes the lease over at once and asks again
/// about the receipts that were not written.
///
/// # Errors
/// Transient faults of DynamoDB or SQS, or a lost lease: the message should be received again. A message of another
/// workflow is permanent.
pub async fn sync(deps: &SyncDeps, message: &str, owner: &Owner, deadline: Instant) -> Result<Synced, OrdersError> {
    let job = Envelope::<SyncJob>::parse(message, JOB_KIND).map_err(OrdersError::Envelope)?.body;
    let (orders, store_id) = (&deps.orders, &job.store_id);
    let Some(fence) = orders.table.acquire_lease(store_id, owner, orders.clock.now()).await? else {
        tracing::info!(store_id = store_id.as_str(), reason = "already_running", "sync_store_skipped");
        return Ok(Synced::AlreadyRunning);
    };
    let outcome = run(deps, &job, fence, deadline).await;
    // After an error too; a lease that cannot be released expires.
    if let Err(error) = orders.table.release_lease(store_id, fence).await {
        tracing::warn!(
            store_id = store_id.as_str(),
            error = error_chain(&error),
            "the lease could not be released; it stays until it expires"
        );
    }
    if let Ok(Synced::Continued(counts)) = outcome {
        // After the release: the continuing message must find the lease free.
        enqueue(deps, store_id, Some(counts)).await?;
    }
    match &outcome {
        Ok(_) => tracing::info!(store_id = store_id.as_str(), "job_completed"),
        Err(_) => tracing::warn!(store_id = store_id.as_str(), "job_failed"),
    }
    outcome
}

async fn run(deps: &SyncDeps, job: &SyncJob, fence: Fence, deadline: Instant) -> Result<Synced, OrdersError> {
    let orders = &deps.orders;
    let Some(mut store) = orders.table.by_id(&job.store_id).await? else {
        tracing::info!(store_id = job.store_id.as_str(), reason = "store_not_found", "sync_store_skipped");
        return Ok(Synced::StoreNotFound);
    };
    let started = orders.clock.now();
    let mut rows = if store.is_paused || store.not_before.is_some_and(|time| time > started) {
        Vec::new()
    } else {
        orders.table.unfinished(&store.id, None, started, deps.chunk).await?
    };
    if rows.is_empty() && store.has_run && job.so_far.is_none() {
        finish_quietly(deps, &store).await?;
        return Ok(Synced::NothingDue);
    }
    if job.so_far.is_none() {
        let (next, event) = orders
            .table
            .announce(&store, started, |_| {}, |row| event(deps, row, "sync.started", &json!({"storeId": row.id})))
            .await?;
        store = next;
        publish(deps, &event).await;
    }

    let mut counts = job.so_far.unwrap_or_default();
    for chunk in 1..=MAX_CHUNKS {
        let now = orders.clock.now();
        if !orders.table.renew_lease(&store.id, fence, now).await? {
            return Err(OrdersError::LeaseLost { store: store.id });
        }
        let Some(last) = rows.last().and_then(LogRow::unfinished_at).map(str::to_owned) else { break };
        let is_full = rows.len() == deps.chunk as usize;
        let before = counts;
        let end = work_through(deps, &mut store, rows, started, &mut counts, deadline).await?;
        log_progress(&store.id, counts, before);
        match end {
            BatchEnd::OutOfTime => return Ok(Synced::Continued(counts)),
            BatchEnd::Stopped => break,
            BatchEnd::AllAsked if !is_full => break,
            BatchEnd::AllAsked => {}
        }
        if chunk == MAX_CHUNKS {
            tracing::info!(store_id = store.id.as_str(), iterations = MAX_CHUNKS, "remaining_backlog");
            break;
        }
        rows = orders.table.unfinished(&store.id, Some(&last), started, deps.chunk).await?;
    }
    finish(deps, &store, counts).await?;
    Ok(Synced::Done(counts))
}

/// How a chunk of receipts ended.
enum BatchEnd {
    /// Every receipt was asked about.
    AllAsked,
    /// The marketplace refused the token or limits the account.
    Stopped,
    /// The deadline is near.
    OutOfTime,
}

/// Asks about `rows`, several at a time, and writes their outcomes, several together.
async fn work_through(
    deps: &SyncDeps,
    store: &mut StoreRow,
    rows: Vec<LogRow>,
    started: Timestamp,
    counts: &mut Counts,
    deadline: Instant,
) -> Result<BatchEnd, OrdersError> {
    let orders = &deps.orders;
    // The index lags behind: rows changed since the job began are skipped.
    let mut rows = rows.into_iter().filter(|row| row.updated_at <= started);
    loop {
        if Instant::now() + DEADLINE_MARGIN >= deadline {
            return Ok(BatchEnd::OutOfTime);
        }
        let batch: Vec<_> = rows.by_ref().take(TRANSACTION_SIZE).collect();
        if batch.is_empty() {
            return Ok(BatchEnd::AllAsked);
        }
        let (asked_store, is_over) = (&*store, &AtomicBool::new(false));
        let answers: Vec<_> = stream::iter(batch)
            .map(|row| async move {
                // A refusal of the account holds for the remaining receipts as well.
                if is_over.load(Ordering::Relaxed) {
                    return None;
                }
                let answered = orders.marketplaces.ask(asked_store, &row.receipt, &orders.table, &orders.clock).await;
                if ends_the_job(&answered.verdict) {
                    is_over.store(true, Ordering::Relaxed);
                }
                Some((row, answered))
            })
            .buffered(CONCURRENCY)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let now = orders.clock.now();
        let refused = answers.iter().find_map(|(_, answered)| answered.refused.clone());
        let wait = answers.iter().find_map(|(_, answered)| match answered.verdict {
            Verdict::RateLimited { account_wide: true, retry_after } => Some(wait_after(0, retry_after)),
            _ => None,
        });
        let mut changes: Vec<_> = answers
            .into_iter()
            .map(|(row, answered)| {
                let state = settle(&row.state, answered.verdict, AskedBy::Sync, now);
                let after = row.next(state, now);
                (row, after)
            })
            .collect();
        let before = store.clone();
        *store = orders
            .table
            .apply(store, &mut changes, now, |row| {
                row.pause_for(refused.as_ref());
                if let Some(wait) = wait {
                    row.not_before = Some(now + wait);
                }
            })
            .await?;
        if refused.is_some() {
            report_refusal(orders, &before).await;
        }
        for (_, after) in &changes {
            counts.add(after.state.status);
        }
        if is_over.load(Ordering::Relaxed) {
            return Ok(BatchEnd::Stopped);
        }
    }
}

/// Whether the marketplace refuses every call with the store's credentials for now.
fn ends_the_job(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Auth | Verdict::RateLimited { account_wide: true, .. })
}

fn log_progress(store_id: &StoreId, counts: Counts, before: Counts) {
    tracing::info!(
        store_id = store_id.as_str(),
        processed_count = counts.processed_count - before.processed_count,
        success_count = counts.success_count - before.success_count,
        failed_count = counts.failed_count - before.failed_count,
        rate_limited_count = counts.rate_limited_count - before.rate_limited_count,
        "sync_store_batch"
    );
}

/// Ends the store's job without an event: nothing was due.
async fn finish_quietly(deps: &SyncDeps, store: &StoreRow) -> Result<(), OrdersError> {
    let orders = &deps.orders;
    let next_retry = next_retry(deps, store).await?;
    orders.table.change(&store.id, || orders.clock.now(), |row| end_job(deps, row, next_retry)).await.map(drop)
}

/// Writes the end of the job together with its event, and sends the event.
async fn finish(deps: &SyncDeps, store: &StoreRow, counts: Counts) -> Result<(), OrdersError> {
    let orders = &deps.orders;
    let next_retry = next_retry(deps, store).await?;
    let (done, event) = orders
        .table
        .announce(
            store,
            orders.clock.now(),
            |row| end_job(deps, row, next_retry),
            |row| {
                let name = if row.sync_status == SyncStatus::Failed { "sync.failed" } else { "sync.completed" };
                let mut data = serde_json::to_value(counts).map_err(OrdersError::Json)?;
                data["storeId"] = row.id.as_str().into();
                event(deps, row, name, &data)
            },
        )
        .await?;
    metric::count("processed", u64::from(counts.processed_count));
    tracing::info!(
        store_id = done.id.as_str(),
        status = done.sync_status.name(),
        processed_count = counts.processed_count,
        success_count = counts.success_count,
        failed_count = counts.failed_count,
        rate_limited_count = counts.rate_limited_count,
        "sync_store_done"
    );
    publish(deps, &event).await;
    Ok(())
}

fn end_job(deps: &SyncDeps, row: &mut StoreRow, next_retry: Option<Timestamp>) {
    row.last_sync_at = Some(deps.orders.clock.now());
    row.has_run = true;
    row.queued_until = None;
    row.schedule(next_retry, deps.orders.only_due);
}

/// When the next receipt is due; not queried for a store that is due every minute anyway.
async fn next_retry(deps: &SyncDeps, store: &StoreRow) -> Result<Option<Timestamp>, OrdersError> {
    if store.unfinished_count == 0 || (store.sync_status != SyncStatus::Success && !deps.orders.only_due) {
        return Ok(None);
    }
    deps.orders.table.next_retry(&store.id).await
}

/// The row of an event, with the payload as it is delivered.
fn event(deps: &SyncDeps, store: &StoreRow, name: &str, data: &Value) -> Result<EventRow, OrdersError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        event_id: &'a EventId,
        event: &'a str,
        timestamp: String,
        organization_id: &'a OrganizationId,
        store_id: &'a StoreId,
        data: &'a Value,
    }
    let (id, now) = (EventId::from(deps.orders.clock.new_id().to_string()), deps.orders.clock.now());
    let payload = Payload {
        event_id: &id,
        event: name,
        timestamp: iso_millis(now),
        organization_id: &store.organization_id,
        store_id: &store.id,
        data,
    };
    let payload = serde_json::to_string(&payload).map_err(OrdersError::Json)?;
    Ok(EventRow::new(store, id, name, payload, now))
}

/// Sends an event and removes its unsent mark. The job goes on after a failure: the sweep sends the event.
async fn publish(deps: &SyncDeps, event: &EventRow) {
    if let Err(error) = send(deps, event).await {
        tracing::warn!(
            event_id = event.id.as_str(),
            error = error_chain(&error),
            "the event could not be sent; the sweep sends it"
        );
    }
}

/// Sends an event to the callbacks' queue and removes its unsent mark.
pub(crate) async fn send(deps: &SyncDeps, event: &EventRow) -> Result<(), OrdersError> {
    let body = json!({"event": event.event, "subject": event.store_id, "payload": event.payload});
    let envelope = Envelope::new(EVENT_KIND, event.id.to_string(), event.organization_id.to_string(), None, body);
    let text = envelope.to_json().map_err(OrdersError::Json)?;
    deps.callbacks.send(&text, Duration::ZERO).await.map_err(OrdersError::Queue)?;
    deps.orders.table.sent(event).await
}
