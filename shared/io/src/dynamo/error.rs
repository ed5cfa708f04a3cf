//! Why a call to DynamoDB failed, and whether it may succeed when repeated.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use std::fmt::Debug;
use switchyard_core::{Classify, Disposition, error_chain};

/// A call to DynamoDB that failed, or a row that could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum DynamoError {
    /// The call failed, after the SDK's own retries.
    #[error("{action} {table}")]
    Call {
        /// Such as `creating a row in`.
        action: &'static str,
        /// The table.
        table: String,
        /// DynamoDB's error code, or the transport's failure.
        #[source]
        source: CallError,
        /// Throttled, timed out, or a fault of the service.
        transient: bool,
    },
    /// A row could not be deserialized, or a value not serialized.
    #[error("converting a row of {table}")]
    Shape {
        /// The table.
        table: String,
        /// The error of the conversion.
        #[source]
        source: serde_dynamo::Error,
    },
}

/// The SDK's error as text: code and message, without request or row.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub(crate) String);

/// Error codes of invalid requests, which are not retried. A missing permission is retried: it may be granted.
const PERMANENT: [&str; 2] = ["InvalidParameterException", "ValidationException"];

impl CallError {
    pub(crate) fn from_sdk<E, R>(error: &SdkError<E, R>) -> (Self, bool)
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Debug,
    {
        match error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("unknown");
                let transient = !PERMANENT.contains(&code);
                (Self(format!("{code}: {}", service.err().message().unwrap_or_default())), transient)
            }
            // `Display` only: the debug form can show the raw response.
            other => (Self(error_chain(other)), true),
        }
    }
}

impl Classify for DynamoError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Call { transient: true, .. } => Disposition::Retry { after: None },
            Self::Call { .. } | Self::Shape { .. } => Disposition::Permanent,
        }
    }
}
