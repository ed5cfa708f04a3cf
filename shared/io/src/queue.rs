//! SQS queues: sending messages, and changing when they return.

use crate::Aws;
use crate::dynamo::CallError;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::{StreamExt as _, stream};
use std::fmt::Debug;
use std::time::Duration;
use switchyard_core::{Classify, Disposition, Env, EnvError};

/// A call to SQS that failed, after the SDK's own retries. Always retried.
#[derive(Debug, thiserror::Error)]
#[error("{action} the queue")]
pub struct QueueError {
    action: &'static str,
    #[source]
    source: CallError,
}

impl Classify for QueueError {
    fn disposition(&self) -> Disposition {
        Disposition::Retry { after: None }
    }
}

/// One SQS queue.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A handle on the queue whose URL the setting `variable` holds. Opens no connection.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, variable: &str) -> Result<Self, EnvError> {
        Ok(Self { client: Client::new(&aws.0), url: env.required(variable)? })
    }

    /// Sends one message to a FIFO queue: in order within `group`, once per `dedup` id and five minutes.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn send_fifo(&self, body: &str, group: &str, dedup: &str) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_group_id(group)
            .message_deduplication_id(dedup)
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("sending to", &error))
    }

    /// Sends one message to a standard queue, to appear there after `delay` (whole seconds, at most 15 minutes).
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn send(&self, body: &str, delay: Duration) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .delay_seconds(whole_seconds(delay.min(MAX_DELAY)))
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("sending to", &error))
    }

    /// Sends messages to a standard queue, ten per call, some calls side by side.
    ///
    /// # Errors
    /// SQS could not be reached, or refused some. Every call was made, so that others may be in the queue.
    pub async fn send_all(&self, bodies: &[String]) -> Result<(), QueueError> {
        let calls: Vec<_> = bodies.chunks(PER_CALL).map(|some| self.send_some(some)).collect();
        let sent: Vec<_> = stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).collect().await;
        sent.into_iter().collect()
    }

    async fn send_some(&self, bodies: &[String]) -> Result<(), QueueError> {
        let mut call = self.client.send_message_batch().queue_url(&self.url);
        for (number, body) in bodies.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body);
            let entry = entry.build().map_err(|error| refused(&error.to_string()))?;
            call = call.entries(entry);
        }
        let answer = call.send().await.map_err(|error| failed("sending to", &error))?;
        answer.failed().first().map_or(Ok(()), |first| Err(refused(first.code())))
    }

    /// Makes a received message visible again after `wait`, rounded up to whole seconds, at most 12 hours: rounded down,
    /// a message that waits for a lease to end would come back just before that, again and again.
    ///
    /// # Errors
    /// SQS could not be reached, or the message was received again since.
    pub async fn return_after(&self, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(whole_seconds(wait))
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("returning a message to", &error))
    }

    /// Checks that the queue is reachable.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), QueueError> {
        self.client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(aws_sdk_sqs::types::QueueAttributeName::QueueArn)
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("asking after", &error))
    }
}

/// The longest delay that SQS takes.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// Messages that one call may send.
const PER_CALL: usize = 10;

/// Calls that send messages side by side.
const CALLS_AT_ONCE: usize = 10;

fn refused(why: &str) -> QueueError {
    QueueError { action: "sending to", source: CallError(why.to_owned()) }
}

fn whole_seconds(wait: Duration) -> i32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    i32::try_from(seconds.min(43_200)).unwrap_or(43_200)
}

pub(crate) fn failed<E, R>(action: &'static str, error: &SdkError<E, R>) -> QueueError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: Debug,
{
    QueueError { action, source: CallError::from_sdk(error).0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_capped() {
        for (wait, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (u64::from(u32::MAX), 43_200)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), seconds, "{wait} ms");
        }
    }
}
