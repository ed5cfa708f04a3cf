//! Errors of the engine, with the codes and texts of Amazon SQS.

use std::path::PathBuf;

/// Why a call was refused. Apart from [`Error::Open`] and [`Error::Database`], each is one of Amazon SQS's own errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No queue has that name.
    #[error("The specified queue does not exist.")]
    QueueDoesNotExist,
    /// The queue exists with other attributes.
    #[error("A queue already exists with the same name and a different value for attribute(s).")]
    QueueNameExists,
    /// The queue attribute is unknown or cannot be set.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// A queue attribute is out of range.
    #[error("Invalid value for the parameter {0}.")]
    InvalidAttributeValue(String),
    /// A parameter is out of range, or does not suit this kind of queue.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// A parameter is absent.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// The receipt handle is not one that this queue gave out.
    #[error("The input receipt handle is invalid.")]
    ReceiptHandleIsInvalid,
    /// The message is visible already.
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    /// More than ten entries.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// A batch without entries.
    #[error("There should be at least one entry in the request.")]
    EmptyBatchRequest,
    /// Two entries of one batch have this id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// A batch entry's id is invalid.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// A batch with too many bytes.
    #[error("Batch requests cannot be longer than {limit} bytes. You have sent {sent} bytes.")]
    BatchRequestTooLong {
        /// The most a batch may hold.
        limit: usize,
        /// What this one holds.
        sent: usize,
    },
    /// The body holds characters that XML 1.0 does not allow.
    #[error(
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
    )]
    InvalidMessageContents,
    /// The named queue or task is not there.
    #[error("{0}")]
    ResourceNotFound(&'static str),
    /// Not possible in the present state.
    #[error("{0}")]
    UnsupportedOperation(&'static str),
    /// The action is unknown.
    #[error("The action {0} is not valid for this endpoint.")]
    InvalidAction(String),
    /// The request body is not a JSON object.
    #[error("The request body is not a JSON object")]
    Serialization(#[source] serde_json::Error),
    /// The database cannot be opened, perhaps because another process has it open.
    #[error("opening the queue database {path}")]
    Open {
        /// The file, or `:memory:`.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The database file was written by another version of this crate.
    #[error("the queue database has schema {found}, this build reads {expected}; delete the file to start afresh")]
    Schema {
        /// In the file.
        found: i64,
        /// In this build.
        expected: i64,
    },
    /// Reading or writing failed. `From`, because every statement fails alike.
    #[error("reading or writing the queue database")]
    Database(#[from] rusqlite::Error),
}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The code in `x-amzn-query-error`, by which SDKs tell errors apart.
    pub fn code(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist => "AWS.SimpleQueueService.NonExistentQueue",
            Self::QueueNameExists => "QueueAlreadyExists",
            Self::MessageNotInflight => "AWS.SimpleQueueService.MessageNotInflight",
            Self::TooManyEntriesInBatchRequest(_) => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            Self::EmptyBatchRequest => "AWS.SimpleQueueService.EmptyBatchRequest",
            Self::BatchEntryIdsNotDistinct(_) => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Self::BatchRequestTooLong { .. } => "AWS.SimpleQueueService.BatchRequestTooLong",
            Self::UnsupportedOperation(_) => "AWS.SimpleQueueService.UnsupportedOperation",
            Self::InvalidParameterValue(_) => "InvalidParameterValue",
            Self::MissingParameter(_) => "MissingParameter",
            other => other.shape().rsplit('#').next().unwrap_or_default(),
        }
    }

    /// The `__type` of the JSON error body.
    pub(crate) fn shape(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist => "com.amazonaws.sqs#QueueDoesNotExist",
            Self::QueueNameExists => "com.amazonaws.sqs#QueueNameExists",
            Self::InvalidAttributeName(_) => "com.amazonaws.sqs#InvalidAttributeName",
            Self::InvalidAttributeValue(_) => "com.amazonaws.sqs#InvalidAttributeValue",
            // These two are outside the service's model; the names are from real responses.
            Self::InvalidParameterValue(_) => "com.amazon.coral.service#InvalidParameterValueException",
            Self::MissingParameter(_) => "com.amazon.coral.service#MissingRequiredParameterException",
            Self::ReceiptHandleIsInvalid => "com.amazonaws.sqs#ReceiptHandleIsInvalid",
            Self::MessageNotInflight => "com.amazonaws.sqs#MessageNotInflight",
            Self::TooManyEntriesInBatchRequest(_) => "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
            Self::EmptyBatchRequest => "com.amazonaws.sqs#EmptyBatchRequest",
            Self::BatchEntryIdsNotDistinct(_) => "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId => "com.amazonaws.sqs#InvalidBatchEntryId",
            Self::BatchRequestTooLong { .. } => "com.amazonaws.sqs#BatchRequestTooLong",
            Self::InvalidMessageContents => "com.amazonaws.sqs#InvalidMessageContents",
            Self::ResourceNotFound(_) => "com.amazonaws.sqs#ResourceNotFoundException",
            Self::UnsupportedOperation(_) => "com.amazonaws.sqs#UnsupportedOperation",
            Self::InvalidAction(_) => "com.amazon.coral.service#UnknownOperationException",
            Self::Serialization(_) => "com.amazon.coral.service#SerializationException",
            Self::Open { .. } | Self::Schema { .. } | Self::Database(_) => "com.amazonaws.sqs#InternalFailure",
        }
    }

    /// Whether the caller is at fault: the same call fails again.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Open { .. } | Self::Schema { .. } | Self::Database(_))
    }

    /// Separates the caller's errors, of one batch entry, from failures that must undo the whole batch.
    pub(crate) fn per_entry<T>(result: Result<T>) -> Result<Result<T>> {
        match result {
            Err(error) if !error.is_callers_fault() => Err(error),
            entry => Ok(entry),
        }
    }

    pub(crate) fn parameter(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::InvalidParameterValue(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
    }
}
