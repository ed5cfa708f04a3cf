//! Why an event, or what a tenant manages, could not be processed.

use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvError, EnvelopeError};
use switchyard_identity::IdentityError;
use switchyard_identity::api_keys::KeyError;
use switchyard_io::dynamo::DynamoError;
use switchyard_io::vault::VaultError;
use switchyard_io::{QueueError, SecretError};
use switchyard_notify::receipts::sns::SnsError;
use switchyard_work::dead_letters::DeadLetterError;
use switchyard_work::listing::ListError;

/// Why an event, or what a tenant manages, could not be processed.
#[derive(Debug, thiserror::Error)]
pub enum SignalsError {
    /// The queue message is none of ours. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// DynamoDB.
    #[error("keeping tenants and events")]
    Store(#[source] DynamoError),
    /// API keys.
    #[error("reading or writing a tenant's API keys")]
    Keys(#[source] KeyError),
    /// Users, passwords and tokens.
    #[error("reading or writing a tenant's users")]
    Identity(#[source] IdentityError),
    /// SQS.
    #[error("queueing events")]
    Queue(#[source] QueueError),
    /// A value could not be written as JSON. Permanent.
    #[error("writing JSON")]
    Json(#[source] serde_json::Error),
    /// The event of a message is not there. Permanent.
    #[error("event {id} is not there")]
    UnknownEvent {
        /// Its id.
        id: String,
    },
    /// The tenant of a message is not there. Permanent.
    #[error("tenant {id} is not there")]
    UnknownTenant {
        /// Its id.
        id: String,
    },
    /// Another worker has the delivery. RetryOutcome when its lease ends.
    #[error("another worker holds the delivery")]
    Busy {
        /// Until the lease ends.
        wait: Duration,
    },
    /// A config's secret could not be sealed or opened.
    #[error("keeping a config's secrets")]
    Vault(#[source] VaultError),
    /// The secret of providers' reports could not be had.
    #[error("fetching the secret of providers' reports")]
    HookSecret(#[source] SecretError),
    /// SNS could not be asked.
    #[error("taking a report of SES's")]
    Sns(#[source] SnsError),
    /// An HTTP client could not be made.
    #[error("making an HTTP client")]
    Client(#[source] EnvError),
    /// Some due rows could not be processed; the log says why. They are due again later.
    #[error("{failed} due rows could not be processed")]
    Sweep {
        /// How many.
        failed: u64,
    },
    /// The tenant is deleted, and does not come back. Permanent.
    #[error("the tenant is deleted")]
    TenantDeleted,
    /// What was asked for cannot be had. Permanent.
    #[error("{field} {reason}")]
    Refused {
        /// The field at fault, such as `from` or `metadata.stripeCustomerId`.
        field: &'static str,
        /// What it must be, to be read after the field's name.
        reason: String,
    },
    /// Another kept changing the same thing. RetryOutcome.
    #[error("{what} was changed too often by others")]
    Contended {
        /// What it was.
        what: &'static str,
    },
}

impl Classify for SignalsError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Store(source) => source.disposition(),
            Self::Keys(source) => source.disposition(),
            Self::Identity(source) => source.disposition(),
            Self::Queue(source) => source.disposition(),
            Self::Vault(source) => source.disposition(),
            Self::HookSecret(source) => source.disposition(),
            Self::Sns(source) => source.disposition(),
            Self::Busy { wait } => Disposition::Retry { after: Some(*wait) },
            Self::Sweep { .. } | Self::Contended { .. } => Disposition::Retry { after: None },
            Self::Envelope(_)
            | Self::Json(_)
            | Self::UnknownEvent { .. }
            | Self::UnknownTenant { .. }
            | Self::TenantDeleted
            | Self::Client(_)
            | Self::Refused { .. } => Disposition::Permanent,
        }
    }
}

impl SignalsError {
    /// What a dead letter calls it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "malformed_message",
            Self::UnknownEvent { .. } => "unknown_event",
            Self::UnknownTenant { .. } => "unknown_tenant",
            _ => "internal",
        }
    }

    /// A refusal of one field.
    pub(crate) fn refused(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused { field, reason: reason.into() }
    }
}

impl From<DynamoError> for SignalsError {
    fn from(source: DynamoError) -> Self {
        Self::Store(source)
    }
}

impl From<IdentityError> for SignalsError {
    fn from(source: IdentityError) -> Self {
        Self::Identity(source)
    }
}

impl From<KeyError> for SignalsError {
    fn from(source: KeyError) -> Self {
        Self::Keys(source)
    }
}

impl From<ListError> for SignalsError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(source) => Self::Store(source),
            ListError::InvalidCursor => Self::refused("cursor", "is not valid; use `nextCursor` of an earlier page"),
        }
    }
}

impl From<DeadLetterError> for SignalsError {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Store(source) => Self::Store(source),
            DeadLetterError::Queue(source) => Self::Queue(source),
            DeadLetterError::InvalidCursor => ListError::InvalidCursor.into(),
        }
    }
}

impl From<QueueError> for SignalsError {
    fn from(source: QueueError) -> Self {
        Self::Queue(source)
    }
}
