//! Errors of receiving and delivering events, and which of them are retried.

use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvelopeError};
use switchyard_io::QueueError;
use switchyard_io::dynamo::DynamoError;
use switchyard_io::vault::VaultError;
use switchyard_work::dead_letters::DeadLetterError;

/// Why an event could not be accepted or delivered. A receiver's response is never an error here: it is recorded as the
/// outcome of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum CallbacksError {
    /// The queue message is not one of this workflow. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// Another worker holds the delivery's lease. Retried when the lease ends.
    #[error("another worker holds the delivery")]
    Busy {
        /// The time until the lease ends.
        wait: Duration,
    },
    /// Some due rows could not be processed; the log has the reasons. They are due again later.
    #[error("{failed} due rows could not be processed")]
    Sweep {
        /// The number of rows.
        failed: u64,
    },
    /// DynamoDB.
    #[error("reading or writing endpoints and deliveries")]
    Dynamo(#[source] DynamoError),
    /// An endpoint's secret could not be sealed or opened.
    #[error("sealing or opening an endpoint's secret")]
    Vault(#[source] VaultError),
    /// SQS.
    #[error("queueing deliveries")]
    Queue(#[source] QueueError),
    /// Dead letters.
    #[error("redriving a dead letter")]
    DeadLetters(#[source] DeadLetterError),
    /// A value could not be written as JSON. Permanent.
    #[error("writing JSON")]
    Json(#[source] serde_json::Error),
}

impl Classify for CallbacksError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Busy { wait } => Disposition::Retry { after: Some(*wait) },
            Self::Sweep { .. } => Disposition::Retry { after: None },
            Self::Dynamo(source) => source.disposition(),
            Self::Vault(source) => source.disposition(),
            Self::Queue(source) => source.disposition(),
            Self::DeadLetters(source) => source.disposition(),
            Self::Envelope(_) | Self::Json(_) => Disposition::Permanent,
        }
    }
}

impl From<DeadLetterError> for CallbacksError {
    fn from(source: DeadLetterError) -> Self {
        Self::DeadLetters(source)
    }
}

impl From<DynamoError> for CallbacksError {
    fn from(source: DynamoError) -> Self {
        Self::Dynamo(source)
    }
}

impl From<QueueError> for CallbacksError {
    fn from(source: QueueError) -> Self {
        Self::Queue(source)
    }
}

impl From<VaultError> for CallbacksError {
    fn from(source: VaultError) -> Self {
        Self::Vault(source)
    }
}
