//! Errors of stores and orders, and which of them are retried.

use crate::model::StoreId;
use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvError, EnvelopeError};
use switchyard_io::dynamo::DynamoError;
use switchyard_io::http::HttpError;
use switchyard_io::vault::VaultError;
use switchyard_io::{QueueError, SecretError};
use switchyard_work::dead_letters::DeadLetterError;

/// Why stores and orders could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The queue message is not one of this workflow. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// Other processes kept changing the same store. Retried.
    #[error("store {store} was changed too often by other processes")]
    Contended {
        /// The store's id.
        store: StoreId,
    },
    /// The lease on a store was lost to another worker. Retried later.
    #[error("the lease on store {store} was lost")]
    LeaseLost {
        /// The store's id.
        store: StoreId,
    },
    /// Some due rows could not be processed; the log has the reasons. They are due again later.
    #[error("{failed} due rows could not be processed")]
    Sweep {
        /// The number of rows.
        failed: u64,
    },
    /// A marketplace's token endpoint could not be reached or refused the request. Retried.
    #[error("refreshing a store's token")]
    Token(#[source] HttpError),
    /// The platform's own secrets at the marketplaces could not be fetched.
    #[error("fetching the platform's secrets at the marketplaces")]
    Secret(#[source] SecretError),
    /// One of the platform's own credentials at the marketplaces is not set. Retried until an operator sets it.
    #[error("reading the platform's credentials at the marketplaces")]
    Unset(#[source] EnvError),
    /// A store's token could not be sealed or opened.
    #[error("sealing or opening a store's token")]
    Vault(#[source] VaultError),
    /// DynamoDB.
    #[error("reading or writing stores and orders")]
    Dynamo(#[source] DynamoError),
    /// SQS.
    #[error("sending to the queue")]
    Queue(#[source] QueueError),
    /// Dead letters.
    #[error("redriving a dead letter")]
    DeadLetters(#[source] DeadLetterError),
    /// A value could not be written as JSON. Permanent.
    #[error("writing JSON")]
    Json(#[source] serde_json::Error),
}

impl Classify for OrdersError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Contended { .. } | Self::Sweep { .. } | Self::Unset(_) => Disposition::Retry { after: None },
            Self::LeaseLost { .. } => Disposition::Retry { after: Some(Duration::from_secs(30)) },
            Self::Token(source) => source.disposition(),
            Self::Secret(source) => source.disposition(),
            Self::Vault(source) => source.disposition(),
            Self::Dynamo(source) => source.disposition(),
            Self::Queue(source) => source.disposition(),
            Self::DeadLetters(source) => source.disposition(),
            Self::Envelope(_) | Self::Json(_) => Disposition::Permanent,
        }
    }
}

impl From<DeadLetterError> for OrdersError {
    fn from(source: DeadLetterError) -> Self {
        Self::DeadLetters(source)
    }
}

impl From<DynamoError> for OrdersError {
    fn from(source: DynamoError) -> Self {
        Self::Dynamo(source)
    }
}

impl From<VaultError> for OrdersError {
    fn from(source: VaultError) -> Self {
        Self::Vault(source)
    }
}
