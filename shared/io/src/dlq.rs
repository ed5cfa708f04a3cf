//! Dead-letter queues: count, peek, receive, delete, redrive.

use crate::Aws;
use crate::queue::{QueueError, failed};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use std::time::Duration;
use switchyard_core::{Env, EnvError};

/// One dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dlq {
    /// Its name, such as `adt`.
    pub name: String,
    url: String,
}

/// One message in a dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadMessage {
    /// SQS's id.
    pub id: String,
    /// How often it was received.
    pub receives: u32,
    /// Epoch milliseconds.
    pub sent_ms: i64,
    /// Its body, the envelope.
    pub body: String,
    /// The group of a FIFO queue's message.
    pub group: Option<String>,
}

/// The progress of a redrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// `RUNNING`, `COMPLETED`, `FAILED` and so on.
    pub status: String,
    /// Messages moved so far.
    pub moved: i64,
}

impl Redrive {
    /// Whether SQS still moves messages.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status.as_str(), "RUNNING" | "CANCELLING")
    }
}

/// The dead-letter queues of one stack.
#[derive(Clone)]
pub struct Dlqs {
    client: Client,
    all: Vec<Dlq>,
}

impl Dlqs {
    /// Reads `DLQS`: `<name>=<URL>` of each queue, comma-separated.
    ///
    /// # Errors
    /// The setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let text = env.required("DLQS")?;
        let dlq = |pair: &str| {
            let (name, url) = pair.split_once('=')?;
            Some(Dlq { name: name.to_owned(), url: url.to_owned() })
        };
        let wrong = || EnvError::Invalid { name: "DLQS".to_owned(), reason: "expected <name>=<URL>,…".to_owned() };
        let all = text.split(',').map(dlq).collect::<Option<_>>().ok_or_else(wrong)?;
        Ok(Self { client: Client::new(&aws.0), all })
    }

    /// All of them.
    pub fn all(&self) -> &[Dlq] {
        &self.all
    }

    /// The one with a name.
    pub fn find(&self, name: &str) -> Option<&Dlq> {
        self.all.iter().find(|dlq| dlq.name == name)
    }

    /// About how many messages a queue holds.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn waiting(&self, dlq: &Dlq) -> Result<u64, QueueError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let call = self.client.get_queue_attributes().queue_url(&dlq.url).attribute_names(name.clone());
        let answer = call.send().await.map_err(|error| failed("counting", &error))?;
        let count = answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// Up to `limit` messages (at most ten); they stay in the queue.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn peek(&self, dlq: &Dlq, limit: u8) -> Result<Vec<DeadMessage>, QueueError> {
        Ok(self.receive_some(dlq, limit, Duration::ZERO).await?.iter().map(dead).collect())
    }

    /// Receives up to ten messages, hidden from other receivers for `visibility`; each with its receipt handle.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn receive(&self, dlq: &Dlq, visibility: Duration) -> Result<Vec<(DeadMessage, String)>, QueueError> {
        let messages = self.receive_some(dlq, 10, visibility).await?;
        let handle = |message: &Message| message.receipt_handle().unwrap_or_default().to_owned();
        Ok(messages.iter().map(|message| (dead(message), handle(message))).collect())
    }

    /// Deletes a received message.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn delete(&self, dlq: &Dlq, handle: &str) -> Result<(), QueueError> {
        let call = self.client.delete_message().queue_url(&dlq.url).receipt_handle(handle);
        call.send().await.map(drop).map_err(|error| failed("deleting a message of", &error))
    }

    async fn receive_some(&self, dlq: &Dlq, limit: u8, visibility: Duration) -> Result<Vec<Message>, QueueError> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&dlq.url)
            .max_number_of_messages(i32::from(limit.clamp(1, 10)))
            .visibility_timeout(i32::try_from(visibility.as_secs()).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| failed("reading", &error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Starts to move all messages back to the queue they came from.
    ///
    /// # Errors
    /// SQS could not be reached or refused, for one because a redrive is running.
    pub async fn redrive(&self, dlq: &Dlq) -> Result<(), QueueError> {
        let arn = self.arn(dlq).await?;
        let call = self.client.start_message_move_task().source_arn(arn);
        call.send().await.map(drop).map_err(|error| failed("redriving", &error))
    }

    /// The progress of the latest redrive.
    ///
    /// # Errors
    /// SQS could not be reached or refused.
    pub async fn progress(&self, dlq: &Dlq) -> Result<Option<Redrive>, QueueError> {
        let arn = self.arn(dlq).await?;
        let call = self.client.list_message_move_tasks().source_arn(arn).max_results(1);
        let answer = call.send().await.map_err(|error| failed("following the redrive of", &error))?;
        Ok(answer.results().first().map(|task| Redrive {
            status: task.status().unwrap_or_default().to_owned(),
            moved: task.approximate_number_of_messages_moved(),
        }))
    }

    async fn arn(&self, dlq: &Dlq) -> Result<String, QueueError> {
        let name = QueueAttributeName::QueueArn;
        let call = self.client.get_queue_attributes().queue_url(&dlq.url).attribute_names(name.clone());
        let answer = call.send().await.map_err(|error| failed("asking after", &error))?;
        Ok(answer.attributes().and_then(|attributes| attributes.get(&name).cloned()).unwrap_or_default())
    }
}

fn dead(message: &Message) -> DeadMessage {
    let attribute = |name| message.attributes().and_then(|attributes| attributes.get(&name)?.parse::<i64>().ok());
    let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(0);
    DeadMessage {
        id: message.message_id().unwrap_or_default().to_owned(),
        receives: u32::try_from(receives).unwrap_or(u32::MAX),
        sent_ms: attribute(MessageSystemAttributeName::SentTimestamp).unwrap_or(0),
        body: message.body().unwrap_or_default().to_owned(),
        group: message
            .attributes()
            .and_then(|attributes| attributes.get(&MessageSystemAttributeName::MessageGroupId).cloned()),
    }
}
