//! The sync of one store: asks about its due receipts and announces the outcome.

use crate::decide::{Asked, settle, wait_after};
use crate::error::OrdersError;
use crate::import::{OrdersDeps, tell_of_refusal};
use crate::marketplace::LIMIT;
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

/// Kind of the envelopes that the callbacks take.
const EVENT_KIND: &str = "callbacks.event";

/// Full chunks one job walks at most.
const MAX_CHUNKS: u32 = 10;

/// Receipts asked about at a time, per store.
const CONCURRENCY: usize = 4;

/// Receipts written in one transaction, with their store.
pub(crate) const WRITTEN_TOGETHER: usize = 12;

/// A job stops this long before its deadline and goes on as another message: what is under way then still has the time to
/// end, though the marketplace answer none of it.
const MARGIN: Duration = Duration::from_secs(60);
const _: () = assert!(LIMIT.as_secs() * (WRITTEN_TOGETHER / CONCURRENCY) as u64 + 10 < MARGIN.as_secs());

/// What syncing needs.
#[derive(Clone)]
pub struct SyncDeps {
    pub(crate) orders: OrdersDeps,
    pub(crate) jobs: Queue,
    pub(crate) callbacks: Queue,
    chunk: i32,
}

impl SyncDeps {
    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { orders: self.orders.with_clock(clock), ..self }
    }

    /// What importing needs, of the same stores.
    pub fn orders(&self) -> &OrdersDeps {
        &self.orders
    }

    /// Reads what [`OrdersDeps`] does, `ORDER_QUEUE_URL`, `CALLBACK_QUEUE_URL` and `SYNC_CHUNK_SIZE` (default 100).
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

/// A job's message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) store_id: StoreId,
    /// What the job did before it ran out of time, when this goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) so_far: Option<Counts>,
}

/// Outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// The store's due receipts were asked about.
    Done(Counts),
    /// There was nothing to do, and nothing to say.
    NothingDue,
    /// The time was up; another message goes on.
    Continued(Counts),
    /// Another worker has the store.
    AlreadyRunning,
    /// There is no such store.
    StoreNotFound,
}

/// Queues a store's job.
pub(crate) async fn enqueue(deps: &SyncDeps, store_id: &StoreId, so_far: Option<Counts>) -> Result<(), OrdersError> {
    let job = Job { store_id: store_id.clone(), so_far };
    let id = deps.orders.clock.new_id().to_string();
    let body = Envelope::new(JOB_KIND, id, store_id.to_string(), None, job).to_json().map_err(OrdersError::Json)?;
    deps.jobs.send(&body, Duration::ZERO).await.map_err(OrdersError::Queue)
}

/// Runs one store's sync: asks its marketplace again about every receipt that is due, and announces start and end.
///
/// One worker per store, by a lease; each write is conditional on the rows as they were read, so a worker that lost
/// its lease can spoil nothing. Should the process die, the message's next delivery takes the lease over at once, and
/// the receipts not yet written are asked about again.
///
/// # Errors
/// Transient faults of DynamoDB or SQS, or a lost lease: the message should come again. A message that is none of ours
/// is permanent.
pub async fn sync(deps: &SyncDeps, message: &str, owner: &Owner, deadline: Instant) -> Result<Synced, OrdersError> {
    let job = Envelope::<Job>::parse(message, JOB_KIND).map_err(OrdersError::Envelope)?.body;
    let (orders, store_id) = (&deps.orders, &job.store_id);
    let Some(fence) = orders.table.acquire_lease(store_id, owner, orders.clock.now()).await? else {
        tracing::info!(store_id = store_id.as_str(), reason = "already_running", "sync_store_skipped");
        return Ok(Synced::AlreadyRunning);
    };
    let outcome = run(deps, &job, fence, deadline).await;
    // In all cases; a lease that cannot be released ends by itself.
    if let Err(error) = orders.table.release_lease(store_id, fence).await {
        tracing::warn!(
            store_id = store_id.as_str(),
            error = error_chain(&error),
            "the lease stands until its time is up"
        );
    }
    if let Ok(Synced::Continued(counts)) = outcome {
        // Only now: the message that goes on must find the lease free.
        enqueue(deps, store_id, Some(counts)).await?;
    }
    match &outcome {
        Ok(_) => tracing::info!(store_id = store_id.as_str(), "job_completed"),
        Err(_) => tracing::warn!(store_id = store_id.as_str(), "job_failed"),
    }
    outcome
}

async fn run(deps: &SyncDeps, job: &Job, fence: Fence, deadline: Instant) -> Result<Synced, OrdersError> {
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
        log_batch(&store.id, counts, before);
        match end {
            End::OutOfTime => return Ok(Synced::Continued(counts)),
            End::Stopped => break,
            End::Through if !is_full => break,
            End::Through => {}
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

enum End {
    /// Every row was asked about.
    Through,
    /// The marketplace wants no more calls for now.
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
) -> Result<End, OrdersError> {
    let orders = &deps.orders;
    // The index lags: what was touched since the job began is not ours to touch again.
    let mut rows = rows.into_iter().filter(|row| row.updated_at <= started);
    loop {
        if Instant::now() + MARGIN >= deadline {
            return Ok(End::OutOfTime);
        }
        let batch: Vec<_> = rows.by_ref().take(WRITTEN_TOGETHER).collect();
        if batch.is_empty() {
            return Ok(End::Through);
        }
        let (asked_store, is_over) = (&*store, &AtomicBool::new(false));
        let answers: Vec<_> = stream::iter(batch)
            .map(|row| async move {
                // What concerns the account concerns the rows that were not asked about yet.
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
        let wish = answers.iter().find_map(|(_, answered)| match answered.verdict {
            Verdict::RateLimited { account_wide: true, retry_after } => Some(wait_after(0, retry_after)),
            _ => None,
        });
        let mut changes: Vec<_> = answers
            .into_iter()
            .map(|(row, answered)| {
                let state = settle(&row.state, answered.verdict, Asked::BySync, now);
                let after = row.next(state, now);
                (row, after)
            })
            .collect();
        let before = store.clone();
        *store = orders
            .table
            .apply(store, &mut changes, now, |row| {
                row.pause_for(refused.as_ref());
                if let Some(wish) = wish {
                    row.not_before = Some(now + wish);
                }
            })
            .await?;
        if refused.is_some() {
            tell_of_refusal(orders, &before).await;
        }
        for (_, after) in &changes {
            counts.add(after.state.status);
        }
        if is_over.load(Ordering::Relaxed) {
            return Ok(End::Stopped);
        }
    }
}

/// Whether the marketplace wants no more calls with the store's credentials for now.
fn ends_the_job(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Auth | Verdict::RateLimited { account_wide: true, .. })
}

fn log_batch(store_id: &StoreId, counts: Counts, before: Counts) {
    tracing::info!(
        store_id = store_id.as_str(),
        processed_count = counts.processed_count - before.processed_count,
        success_count = counts.success_count - before.success_count,
        failed_count = counts.failed_count - before.failed_count,
        rate_limited_count = counts.rate_limited_count - before.rate_limited_count,
        "sync_store_batch"
    );
}

/// Takes the store's job off without a word: nothing was due.
async fn finish_quietly(deps: &SyncDeps, store: &StoreRow) -> Result<(), OrdersError> {
    let orders = &deps.orders;
    let next_retry = next_retry(deps, store).await?;
    orders.table.change(&store.id, || orders.clock.now(), |row| end_job(deps, row, next_retry)).await.map(drop)
}

/// Writes the end of the job, with the event that tells of it, and sends that.
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

/// Asked only where it decides: an open store is due every minute anyway.
async fn next_retry(deps: &SyncDeps, store: &StoreRow) -> Result<Option<Timestamp>, OrdersError> {
    if store.unfinished_count == 0 || (store.sync_status != SyncStatus::Success && !deps.orders.only_due) {
        return Ok(None);
    }
    deps.orders.table.next_retry(&store.id).await
}

/// The event as it will be delivered.
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

/// Sends an event on and takes its mark off. A failure is no failure of the job: the sweeper sends it again.
async fn publish(deps: &SyncDeps, event: &EventRow) {
    if let Err(error) = send(deps, event).await {
        tracing::warn!(event_id = event.id.as_str(), error = error_chain(&error), "the event waits for the sweeper");
    }
}

/// Sends an event to the callbacks.
pub(crate) async fn send(deps: &SyncDeps, event: &EventRow) -> Result<(), OrdersError> {
    let body = json!({"event": event.event, "subject": event.store_id, "payload": event.payload});
    let envelope = Envelope::new(EVENT_KIND, event.id.to_string(), event.organization_id.to_string(), None, body);
    let text = envelope.to_json().map_err(OrdersError::Json)?;
    deps.callbacks.send(&text, Duration::ZERO).await.map_err(OrdersError::Queue)?;
    deps.orders.table.sent(event).await
}
