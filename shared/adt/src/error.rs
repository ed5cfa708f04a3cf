//! Errors of the ADT workflow, and which of them are retried.

use std::time::Duration;
use switchyard_core::{Classify, Disposition, EnvelopeError};
use switchyard_io::dynamo::DynamoError;
use switchyard_io::http::HttpError;
use switchyard_io::{QueueError, SecretError};
use switchyard_work::dead_letters::DeadLetterError;

/// Why an ADT event could not be accepted or applied.
#[derive(Debug, thiserror::Error)]
pub enum AdtError {
    /// The queue message is not one of this workflow. Permanent.
    #[error("reading the queue message")]
    Envelope(#[source] EnvelopeError),
    /// The message is about an event that has no row. Permanent.
    #[error("event {id} has no row")]
    UnknownEvent {
        /// The event's id.
        id: String,
    },
    /// The stored payload cannot be read, or retention has removed it. Permanent.
    #[error("event {id} has no readable payload")]
    NoPayload {
        /// The event's id.
        id: String,
    },
    /// Another worker holds the event's lease. Retried when the lease ends.
    #[error("another worker holds event {id}")]
    Busy {
        /// The event's id.
        id: String,
        /// The time until the lease ends.
        wait: Duration,
    },
    /// The event has no resident. Permanent.
    #[error("the event's NotificationData names no resident")]
    NoResident,
    /// The company has no ALIS credentials and may not use the sandbox's. Permanent.
    #[error("company has no ALIS credentials and is not enabled for the sandbox's")]
    NoCredentials,
    /// ALIS refused or could not be reached: 401, 403 and 404 are permanent.
    #[error("reading the {what} from ALIS")]
    Alis {
        /// `resident`, `basic info`, `leave`, `leaves` or `communities`.
        what: &'static str,
        /// The failure.
        #[source]
        source: HttpError,
    },
    /// ALIS's response does not say which resident it describes. Permanent.
    #[error("ALIS returned a resident without ResidentId")]
    NamelessResident,
    /// Caspio refused or could not be reached: 400 and 404 are permanent, 401 is retried with a new token.
    #[error("{action} in Caspio")]
    Caspio {
        /// Such as `finding the resident's row`.
        action: &'static str,
        /// The failure.
        #[source]
        source: HttpError,
    },
    /// Caspio issued no token. Always retried: every event waits until a wrong secret is corrected.
    #[error("getting a token from Caspio")]
    CaspioToken {
        /// The failure.
        #[source]
        source: HttpError,
    },
    /// The invocation's deadline is near. Retried.
    #[error("the deadline was reached")]
    OutOfTime,
    /// Some due rows could not be processed; the log has the reasons. They are due again later.
    #[error("{failed} due rows could not be processed")]
    Sweep {
        /// The number of rows.
        failed: u64,
    },
    /// A base URL from the settings and an id do not form a URL. Permanent.
    #[error("building the address of the {what}")]
    Address {
        /// What the URL is for.
        what: &'static str,
    },
    /// DynamoDB.
    #[error("reading or writing the event's state")]
    Dynamo(#[source] DynamoError),
    /// SQS.
    #[error("queueing the event")]
    Queue(#[source] QueueError),
    /// Dead letters.
    #[error("redriving a dead letter")]
    DeadLetters(#[source] DeadLetterError),
    /// Secrets Manager.
    #[error("fetching credentials")]
    Secret(#[source] SecretError),
    /// A value could not be written as JSON. Permanent.
    #[error("writing JSON")]
    Json(#[source] serde_json::Error),
}

impl Classify for AdtError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Busy { wait, .. } => Disposition::Retry { after: Some(*wait) },
            Self::Alis { source, .. } => source.disposition(),
            Self::CaspioToken { .. } | Self::OutOfTime | Self::Sweep { .. } => Disposition::Retry { after: None },
            Self::Caspio { source, .. } if source.status() == Some(401) => Disposition::Retry { after: None },
            Self::Caspio { source, .. } => source.disposition(),
            Self::Dynamo(source) => source.disposition(),
            Self::Queue(source) => source.disposition(),
            Self::DeadLetters(source) => source.disposition(),
            Self::Secret(source) => source.disposition(),
            Self::Envelope(_)
            | Self::UnknownEvent { .. }
            | Self::NoPayload { .. }
            | Self::NoResident
            | Self::NoCredentials
            | Self::NamelessResident
            | Self::Address { .. }
            | Self::Json(_) => Disposition::Permanent,
        }
    }
}

impl AdtError {
    /// The processing stage an issue about this error is filed under.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::NoResident | Self::NoPayload { .. } => "webhook_payload",
            Self::Caspio { .. } | Self::CaspioToken { .. } => "caspio_processing",
            Self::Queue(_) => "queue_enqueue",
            _ => "event_processing",
        }
    }
}

impl From<DeadLetterError> for AdtError {
    fn from(source: DeadLetterError) -> Self {
        Self::DeadLetters(source)
    }
}
