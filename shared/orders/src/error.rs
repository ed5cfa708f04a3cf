//! Errors of stores and orders, and which of them are retried.

use crate::model::StoreId;
use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvError, EnvelopeError};
use switchyard_io::dynamo::DynamoError;
use switchyard_io::http::HttpError;
use switchyard_io::vault::VaultError;
use switchyard_io::{QueueError, SecretError};

/// Why stores and orders could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The queue message is none of ours. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// Another process kept changing the same store. Retried.
    #[error("store {store} was changed too often by others")]
    Contended {
        /// The store's id.
        store: StoreId,
    },
    /// The lease on a store was lost to another worker. Retried, after that one.
    #[error("the lease on store {store} was lost")]
    LeaseLost {
        /// The store's id.
        store: StoreId,
    },
    /// Some due rows could not be dealt with; the log says why. They are due again later.
    #[error("{failed} due rows could not be dealt with")]
    Sweep {
        /// How many.
        failed: u64,
    },
    /// A marketplace's token endpoint did not answer. Retried.
    #[error("replacing a store's token")]
    Token(#[source] HttpError),
    /// Our own secrets at the marketplaces could not be fetched.
    #[error("fetching our own secrets at the marketplaces")]
    Secret(#[source] SecretError),
    /// One of our own credentials at the marketplaces is not set. Retried: somebody will set it.
    #[error("reading our own credentials at the marketplaces")]
    Unset(#[source] EnvError),
    /// A store's token could not be sealed or opened.
    #[error("keeping a store's token")]
    Vault(#[source] VaultError),
    /// DynamoDB.
    #[error("keeping stores and orders")]
    Dynamo(#[source] DynamoError),
    /// SQS.
    #[error("queueing")]
    Queue(#[source] QueueError),
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
            Self::Envelope(_) | Self::Json(_) => Disposition::Permanent,
        }
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
