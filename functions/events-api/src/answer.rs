//! Answers in the words of the service this one replaces: `{statusCode, error, message, code, requestId}`.

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::error_chain;
use switchyard_io::keys::KeyError;
use switchyard_lambda::{Call, Reply, Unrepeatable};
use switchyard_signals::SignalsError;
use switchyard_work::idempotency::IdempotencyError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refusal, or a fault of our own.
#[derive(Debug)]
pub struct Failure {
    status: u16,
    code: &'static str,
    message: Value,
    retry_after: Option<Duration>,
    details: Option<Value>,
}

impl Failure {
    /// A refusal with one message.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: Value::String(message.into()), retry_after: None, details: None }
    }

    /// Fields that are not what they should be, each with its message.
    pub fn fields(messages: Vec<String>) -> Self {
        Self { message: json!(messages), ..Self::new(400, "validation_failed", "") }
    }

    /// The store cannot be reached; the same request may be sent again.
    pub fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = error_chain(error), "the request could not be completed");
        let failure = Self::new(503, "unavailable", "Service unavailable");
        failure.retry_after(Duration::from_secs(1))
    }

    /// The same, to be sent again after `wait`.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// A document that is wrong, with everything that is.
    pub fn invalid(code: &'static str, message: &str, details: Value) -> Self {
        Self { details: Some(details), ..Self::new(400, code, message) }
    }

    /// A field that is not what it should be.
    pub fn field(message: impl Into<String>) -> Self {
        Self::fields(vec![message.into()])
    }

    /// There is no such thing, or it is another's.
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "Not found")
    }

    /// Another change came at the same time.
    pub fn contended() -> Self {
        Self::new(409, "contended", "It was changed meanwhile; try again")
    }

    /// It is not any more as the caller knows it.
    pub fn stale() -> Self {
        Self::new(412, "stale", "It was changed meanwhile")
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, for the request with this id.
    pub fn body(&self, request_id: &str) -> Value {
        let status = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut body = json!({
            "statusCode": self.status,
            "error": status.unwrap_or("Error"),
            "message": self.message,
            "code": self.code,
            "requestId": request_id,
        });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }

    /// The answer to `call`.
    pub fn reply(&self, call: &Call) -> Reply {
        let reply = Reply::json(self.status, &self.body(&call.origin.request_id));
        match self.retry_after {
            Some(wait) => reply.with_header(header::RETRY_AFTER, HeaderValue::from(wait.as_secs())),
            None => reply,
        }
    }
}

impl From<SignalsError> for Failure {
    fn from(error: SignalsError) -> Self {
        match error {
            SignalsError::Refused { field, reason } => Self::field(format!("{field} {reason}")),
            SignalsError::Contended { .. } => Self::contended(),
            SignalsError::TenantDeleted => Self::new(409, "tenant_deleted", "The tenant is deleted"),
            SignalsError::Keys(KeyError::Contended) => {
                Self::new(409, "conflict", "The API key was changed meanwhile; try again")
            }
            SignalsError::Keys(KeyError::NotActive(why)) => {
                Self::new(409, "key_not_active", format!("The API key {why}"))
            }
            error => Self::unavailable(&error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::from(SignalsError::Keys(error))
    }
}

impl From<IdempotencyError> for Failure {
    fn from(error: IdempotencyError) -> Self {
        Self::unavailable(&error)
    }
}

impl From<Unrepeatable> for Failure {
    fn from(reason: Unrepeatable) -> Self {
        match reason {
            Unrepeatable::BadKey => {
                Self::new(400, "idempotency_key_unusable", "Idempotency key must be 1 to 255 visible ASCII characters")
            }
            Unrepeatable::OtherRequest => {
                Self::new(422, "idempotency_mismatch", "Idempotency key reused with a different request")
            }
            Unrepeatable::InProgress => {
                Self::new(409, "idempotency_in_progress", "The request with this idempotency key is being answered")
            }
        }
    }
}

/// `reply` with the request's id.
pub fn identified(reply: Reply, call: &Call) -> Reply {
    match HeaderValue::from_str(&call.origin.request_id) {
        Ok(id) => reply.with_header(REQUEST_ID, id),
        Err(_) => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_to_a_key_is_told_so() {
        let failure = Failure::from(KeyError::Contended);
        assert_eq!((failure.status(), &failure.body("r")["code"]), (409, &json!("conflict")));
        assert_eq!(failure.retry_after, None);
    }
}
