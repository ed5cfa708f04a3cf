//! Errors of receiving and delivering events, and which of them are retried.

use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvelopeError};
use switchyard_io::QueueError;
use switchyard_io::dynamo::DynamoError;
use switchyard_io::vault::VaultError;

/// Why an event could not be taken on or delivered. What a receiver answers is no error of ours: it is written down.
#[derive(Debug, thiserror::Error)]
pub enum CallbacksError {
    /// The queue message is none of ours. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// Another worker has the delivery. Retried when its lease ends.
    #[error("another worker holds the delivery")]
    Busy {
        /// Until the lease ends.
        wait: Duration,
    },
    /// Some due rows could not be dealt with; the log says why. They are due again later.
    #[error("{failed} due rows could not be dealt with")]
    Sweep {
        /// How many.
        failed: u64,
    },
    /// DynamoDB.
    #[error("keeping endpoints and deliveries")]
    Dynamo(#[source] DynamoError),
    /// An endpoint's secret could not be sealed or opened.
    #[error("keeping an endpoint's secret")]
    Vault(#[source] VaultError),
    /// SQS.
    #[error("queueing deliveries")]
    Queue(#[source] QueueError),
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
            Self::Envelope(_) | Self::Json(_) => Disposition::Permanent,
        }
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
