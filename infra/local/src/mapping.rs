//! SQS event-source mappings: from a queue to a function, batch by batch.

use crate::functions::{InvokeError, Pool};
use crate::logs::LogSink;
use crate::template::{Mapping, REGION};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use switchyard_sqs::{MAX_BATCH, Message, Sqs, md5_of_body, queue_arn};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long one receive waits for a first message.
const POLL: Duration = Duration::from_secs(20);

/// Messages of a batch that failed as a whole are visible again after this time. AWS would wait for the visibility timeout;
/// here a developer is watching, and the process that held them is known to have ended (docs/adr/0004).
const FAILED_BATCH_RETURNS_AFTER_S: u32 = 1;

/// Polls until the task is aborted.
pub(crate) async fn run(mapping: Mapping, pool: Arc<Pool>, sqs: Sqs, logs: LogSink) {
    let slots = Arc::new(Semaphore::new(mapping.concurrency));
    let mapping = Arc::new(mapping);
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let batch = match receive(&mapping, &sqs).await {
            Ok(batch) if batch.is_empty() => continue,
            Ok(batch) => batch,
            Err(error) => {
                logs.host(&mapping.function, &format!("polling {}: {error}", mapping.queue));
                pause(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (mapping, pool, sqs, logs) = (mapping.clone(), pool.clone(), sqs.clone(), logs.clone());
        tokio::spawn(async move {
            deliver(&mapping, &pool, &sqs, &logs, batch).await;
            drop(slot);
        });
    }
}

/// A batch: full, or with the messages that arrived within the window after the first one.
async fn receive(mapping: &Mapping, sqs: &Sqs) -> Result<Vec<Message>, switchyard_sqs::Error> {
    let mut batch = sqs.receive_wait(&mapping.queue, mapping.batch_size.min(MAX_BATCH), None, POLL).await?;
    let end = Instant::now() + Duration::from_secs(mapping.window_s);
    while !batch.is_empty() && batch.len() < mapping.batch_size {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let room = (mapping.batch_size - batch.len()).min(MAX_BATCH);
        batch.extend(sqs.receive_wait(&mapping.queue, room, None, left).await?);
    }
    Ok(batch)
}

async fn deliver(mapping: &Mapping, pool: &Arc<Pool>, sqs: &Sqs, logs: &LogSink, batch: Vec<Message>) {
    let event = json!({"Records": batch.iter().map(|message| record(mapping, message)).collect::<Vec<_>>()});
    let ids: HashSet<&str> = batch.iter().map(|message| message.id.as_str()).collect();
    let failed = match pool.invoke(Bytes::from(event.to_string())).await {
        Ok(answer) if mapping.partial => failed_ids(&answer, &ids),
        Ok(_) => Ok(HashSet::new()),
        Err(InvokeError::Stopping) => return,
        Err(error) => Err(error.to_string()),
    };
    let failed = match failed {
        Ok(failed) => failed,
        Err(why) => {
            logs.host(&mapping.function, &format!("a batch of {} failed: {why}", batch.len()));
            for message in &batch {
                return_message(mapping, sqs, logs, message);
            }
            return;
        }
    };
    let done: Vec<_> = batch
        .iter()
        .filter(|message| !failed.contains(&message.id))
        .map(|message| message.receipt_handle.as_str())
        .collect();
    let outcomes = if done.is_empty() { Ok(Vec::new()) } else { sqs.delete_batch(&mapping.queue, &done) };
    for error in
        outcomes.map_or_else(|error| vec![error], |outcomes| outcomes.into_iter().filter_map(Result::err).collect())
    {
        logs.host(&mapping.function, &format!("deleting from {}: {error}", mapping.queue));
    }
}

fn return_message(mapping: &Mapping, sqs: &Sqs, logs: &LogSink, message: &Message) {
    if let Err(error) = sqs.change_visibility(&mapping.queue, &message.receipt_handle, FAILED_BATCH_RETURNS_AFTER_S) {
        logs.host(&mapping.function, &format!("returning to {}: {error}", mapping.queue));
    }
}

fn record(mapping: &Mapping, message: &Message) -> Value {
    json!({
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.system_attributes(),
        "messageAttributes": {},
        "md5OfBody": md5_of_body(&message.body),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(&mapping.queue),
        "awsRegion": REGION,
    })
}

/// The ids that the function reports as failed, as Lambda interprets them: an empty response, `null`, an empty list and a
/// misspelt outer key mean success; a malformed response and an empty or unknown id fail the whole batch.
fn failed_ids(answer: &[u8], known: &HashSet<&str>) -> Result<HashSet<String>, String> {
    if answer.is_empty() {
        return Ok(HashSet::new());
    }
    let answer: Value = serde_json::from_slice(answer).map_err(|_| "its answer is not JSON".to_owned())?;
    match &answer["batchItemFailures"] {
        Value::Null => Ok(HashSet::new()),
        Value::Array(failures) => failures
            .iter()
            .map(|failure| match failure["itemIdentifier"].as_str() {
                Some(id) if known.contains(id) => Ok(id.to_owned()),
                Some(_) => Err("it reports a record that was not in the batch".to_owned()),
                None => Err("it reports a record without itemIdentifier".to_owned()),
            })
            .collect(),
        _ => Err("batchItemFailures is not a list".to_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the host is no Lambda function; a poller that fails must not spin")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_failures_are_parsed_as_strictly_as_by_lambda() {
        let known = HashSet::from(["1", "2"]);
        let read = |text: &str| failed_ids(text.as_bytes(), &known);
        for success in [
            "",
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailure":[{"itemIdentifier":"1"}]}"#,
        ] {
            assert_eq!(read(success), Ok(HashSet::new()), "{success}");
        }
        assert_eq!(read(r#"{"batchItemFailures":[{"itemIdentifier":"2"}]}"#), Ok(HashSet::from(["2".to_owned()])));
        for failure in [
            "not json",
            r#"{"batchItemFailures":"1"}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"id":"1"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"3"}]}"#,
        ] {
            assert!(read(failure).is_err(), "{failure}");
        }
    }
}
