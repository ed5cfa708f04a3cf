//! Why a call to DynamoDB failed, and whether it may succeed when repeated.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use std::fmt::Debug;
use switchyard_core::{Classify, Disposition, error_chain};

/// A call to DynamoDB that brought no usable answer.
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
    /// A row that does not read as the type it should hold, or a value that does not write as one.
    #[error("converting a row of {table}")]
    Shape {
        /// The table.
        table: String,
        /// What did not fit.
        #[source]
        source: serde_dynamo::Error,
    },
}

/// The SDK's failure as text: code and message, without request or row.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub(crate) String);

/// Error codes that blame the request itself; it will not fare better when repeated. A right that is missing is not
/// among them: somebody will grant it.
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
            // Its sources by `Display` only: the debug form can show the raw answer.
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
