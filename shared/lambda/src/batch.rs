//! Batch consumers: each record of an SQS batch by itself, with partial failures reported.

use crate::deadline::{epoch_ms, work_deadline};
use crate::logs::flush_metrics;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use lambda_runtime::{LambdaEvent, service_fn};
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_core::{Classify, Disposition, Env, EnvError, Owner, error_chain, metric, random};
use switchyard_io::{Aws, Queue};
use tokio::time::Instant;
use tracing::Instrument as _;

/// A consumer's settings for its queue.
pub struct BatchSettings {
    /// The queue the records come from.
    pub queue: Queue,
    /// The queue's `maxReceiveCount`: after that many receives SQS moves a message to the dead-letter queue.
    pub max_receives: u32,
    /// How many groups (FIFO) or records (standard) are handled at a time.
    pub concurrency: NonZeroUsize,
    /// Ceiling of the first wait after a failure; it doubles with every receive, with full jitter, up to 15 minutes.
    pub retry_base: Duration,
}

impl BatchSettings {
    /// Reads the queue's URL from the setting `queue`, such as `ADT_QUEUE_URL`, and `QUEUE_MAX_RECEIVES`,
    /// `WORKER_CONCURRENCY` (at least 1) and `QUEUE_RETRY_BASE_MS`. None has a default: the template sets them for
    /// each consumer.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env, queue: &str) -> Result<Self, EnvError> {
        Ok(Self {
            queue: Queue::from_env(aws, env, queue)?,
            max_receives: env.required_parsed("QUEUE_MAX_RECEIVES")?,
            concurrency: env.required_parsed("WORKER_CONCURRENCY")?,
            retry_base: Duration::from_millis(env.required_parsed("QUEUE_RETRY_BASE_MS")?),
        })
    }
}

/// One record, for the handler.
#[derive(Debug)]
pub struct Delivery {
    /// The message's text.
    pub body: String,
    /// The message's id and its receive count: the holder of leases.
    pub owner: Owner,
    /// When the handler must return.
    pub deadline: Instant,
}

/// The highest ceiling of a wait.
const BACKOFF_CAP: Duration = Duration::from_secs(900);

/// Serves SQS batches with `handle`, record by record.
///
/// A record that fails or panics fails alone: it is reported in `batchItemFailures` and becomes visible again after a
/// growing wait. In a FIFO group the records behind it wait too, unless it is its last receive: then SQS moves it to the
/// dead-letter queue, and the others are handled. Near the deadline no record is started, and the rest is reported.
///
/// # Errors
/// The Runtime API cannot be reached.
pub async fn run_batch<H, F, E>(settings: BatchSettings, handle: H) -> Result<(), lambda_runtime::Error>
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Result<(), E>>,
    E: Classify,
{
    let (settings, handle) = (&settings, &handle);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let deadline = work_deadline(event.context.deadline);
        let records = event.payload.records.len();
        let groups = in_groups(event.payload.records);
        let failed: Vec<String> = stream::iter(groups)
            .map(|group| handle_group(group, settings, deadline, handle))
            .buffer_unordered(settings.concurrency.get())
            .concat()
            .await;
        if !failed.is_empty() {
            metric::count("batch.partial", 1);
        }
        tracing::info!(records, failed = failed.len(), "batch done");
        flush_metrics();
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.into_iter().map(failure).collect();
        Ok::<_, lambda_runtime::Error>(response)
    }))
    .await
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}

/// Groups the records that must be handled in order; each record of a standard queue is a group of its own.
fn in_groups(records: Vec<SqsMessage>) -> Vec<Vec<SqsMessage>> {
    let mut groups: Vec<(Option<String>, Vec<SqsMessage>)> = Vec::new();
    for record in records {
        let group = record.attributes.get("MessageGroupId").cloned();
        match groups.iter_mut().find(|(known, _)| group.is_some() && *known == group) {
            Some((_, members)) => members.push(record),
            None => groups.push((group, vec![record])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

async fn handle_group<H, F, E>(
    group: Vec<SqsMessage>,
    settings: &BatchSettings,
    deadline: Instant,
    handle: &H,
) -> Vec<String>
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Result<(), E>>,
    E: Classify,
{
    let mut failed = Vec::new();
    // Once set, the rest of the group returns to the queue with this wait.
    let mut blocked: Option<Duration> = None;
    for record in group {
        let id = record.message_id.clone().unwrap_or_default();
        let attempt = attribute(&record, "ApproximateReceiveCount").unwrap_or(1);
        let wait = match blocked {
            None if Instant::now() < deadline => {
                metric::millis("age", epoch_ms().saturating_sub(attribute(&record, "SentTimestamp").unwrap_or(0)));
                let delivery = Delivery {
                    body: record.body.clone().unwrap_or_default(),
                    owner: Owner { message_id: id.clone(), attempt },
                    deadline,
                };
                let span = tracing::info_span!("record", message_id = %id, attempt);
                match handle_record(delivery, settings.retry_base, handle).instrument(span).await {
                    None => continue,
                    Some(wait) => {
                        if attempt < settings.max_receives {
                            blocked = Some(wait);
                        }
                        wait
                    }
                }
            }
            None => Duration::ZERO,
            Some(wait) => wait,
        };
        if let Some(receipt) = &record.receipt_handle
            && let Err(error) = settings.queue.return_after(receipt, wait).await
        {
            tracing::warn!(error = %error_chain(&error), "the visibility timeout could not be changed; the queue's own applies");
        }
        failed.push(id);
    }
    failed
}

/// Handles one record. Returns `None` after a success, otherwise the wait before its next receive.
async fn handle_record<H, F, E>(delivery: Delivery, retry_base: Duration, handle: &H) -> Option<Duration>
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Result<(), E>>,
    E: Classify,
{
    let (attempt, deadline) = (delivery.owner.attempt, delivery.deadline);
    let outcome = tokio::time::timeout_at(deadline, AssertUnwindSafe(handle(delivery)).catch_unwind()).await;
    let (reason, disposition) = match outcome {
        Ok(Ok(Ok(()))) => return None,
        Ok(Ok(Err(error))) => (error_chain(&error), error.disposition()),
        Ok(Err(_)) => ("panicked".to_owned(), Disposition::Retry { after: None }),
        Err(_) => ("ran into the deadline".to_owned(), Disposition::Retry { after: None }),
    };
    metric::count("failed", 1);
    let wait = match disposition {
        Disposition::Retry { after } => {
            let backoff = Backoff::new(retry_base, BACKOFF_CAP);
            backoff.wait(attempt.saturating_sub(1), after, random::fraction())
        }
        // A wait changes nothing: the sooner the record is in the dead-letter queue, the better.
        Disposition::Permanent => Duration::ZERO,
    };
    let permanent = disposition == Disposition::Permanent;
    tracing::warn!(
        error = reason,
        wait_ms = wait.as_secs_f64() * 1e3,
        disposition = if permanent { "permanent" } else { "retry" },
        "record failed"
    );
    Some(wait)
}

fn attribute<T: std::str::FromStr>(record: &SqsMessage, name: &str) -> Option<T> {
    record.attributes.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, group: Option<&str>) -> SqsMessage {
        let mut record = SqsMessage::default();
        record.message_id = Some(id.to_owned());
        if let Some(group) = group {
            record.attributes.insert("MessageGroupId".into(), group.into());
        }
        record
    }

    #[test]
    fn fifo_records_stay_in_order_within_their_group() {
        let groups = in_groups(vec![record("1", Some("a")), record("2", Some("b")), record("3", Some("a"))]);
        let ids: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.iter().filter_map(|record| record.message_id.as_deref()).collect())
            .collect();
        assert_eq!(ids, [vec!["1", "3"], vec!["2"]]);
    }

    #[test]
    fn records_of_a_standard_queue_stand_alone() {
        assert_eq!(in_groups(vec![record("1", None), record("2", None)]).len(), 2);
    }
}
