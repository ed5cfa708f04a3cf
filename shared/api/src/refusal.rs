//! Why a request is not served: one type for every function, rendered by the API's dialect.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use switchyard_core::{Classify, Disposition, error_chain};
use switchyard_identity::Denied;

/// Codes that every API knows; a dialect may call them otherwise.
pub mod code {
    /// 404: no operation has this path.
    pub const ROUTE_NOT_FOUND: &str = "route_not_found";
    /// 405: the path has other methods.
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    /// 404: it does not exist, or belongs to another tenant.
    pub const NOT_FOUND: &str = "not_found";
    /// 401: no credential, or one that is not valid.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// 403: the credential may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// 403: the API key lacks a scope.
    pub const MISSING_SCOPE: &str = "missing_scope";
    /// 400: the body is not JSON.
    pub const MALFORMED_JSON: &str = "malformed_json";
    /// 400: a body that says it is JSON is empty.
    pub const EMPTY_BODY: &str = "empty_body";
    /// 413: the body is larger than the operation takes.
    pub const BODY_TOO_LARGE: &str = "too_large";
    /// 415: the body's media type is not one that the operation takes.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "unsupported_media_type";
    /// 400: fields or parameters are not valid.
    pub const VALIDATION_FAILED: &str = "validation_failed";
    /// 400: the idempotency key is empty, too long, or not visible ASCII.
    pub const IDEMPOTENCY_KEY_INVALID: &str = "idempotency_key_unusable";
    /// 422: the idempotency key belongs to another request.
    pub const IDEMPOTENCY_KEY_REUSED: &str = "idempotency_mismatch";
    /// 409: a request with the idempotency key is in progress.
    pub const IDEMPOTENCY_KEY_IN_USE: &str = "idempotency_in_progress";
    /// 409: another change came first.
    pub const CONFLICT: &str = "contended";
    /// 412: the version named by `If-Match` is not the current one.
    pub const PRECONDITION_FAILED: &str = "stale";
    /// 500: our own fault.
    pub const INTERNAL: &str = "internal";
    /// 503: a dependency is down.
    pub const UNAVAILABLE: &str = "unavailable";
    /// 503: the request ran into the function's deadline.
    pub const TIMEOUT: &str = "timeout";
}

/// How long clients are asked to wait when a dependency is down and does not say so itself.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that is not served. Text in it is public; what went wrong inside goes to the log.
#[derive(Clone, Debug)]
pub struct Refusal(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: Value,
    details: Option<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

impl Refusal {
    /// A refusal with a stable code and a public message, which may be empty where the code says it all.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = Value::String(message.into());
        Self(Arc::new(Inner { status, code, message, details: None, headers: Vec::new(), cause: None }))
    }

    /// 400: each text names a field and says what is wrong with it.
    pub fn fields(messages: Vec<String>) -> Self {
        Self::new(400, code::VALIDATION_FAILED, "").change(|inner| inner.message = messages.into())
    }

    /// 400 about one field.
    pub fn field(message: impl Into<String>) -> Self {
        Self::fields(vec![message.into()])
    }

    /// 400 with a list of issues in the API's own shape.
    pub fn invalid(code: &'static str, message: &str, details: Value) -> Self {
        Self::new(400, code, message).with_details(details)
    }

    /// 404: it does not exist, or belongs to another tenant.
    pub fn not_found() -> Self {
        Self::new(404, code::NOT_FOUND, "Not found")
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, code::UNAUTHORIZED, message)
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, code::FORBIDDEN, message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, code::BODY_TOO_LARGE, format!("Request is larger than {limit} bytes"))
            .with_details(Value::from(limit))
    }

    /// 409: another change came first.
    pub fn conflict() -> Self {
        Self::new(409, code::CONFLICT, "It was changed by another request; try again")
    }

    /// 500: our own fault. The cause is logged, never shown.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::new(500, code::INTERNAL, "Internal server error").change(|inner| inner.cause = Some(error_chain(error)))
    }

    /// 503 with `Retry-After`: a dependency is down. The cause is logged, never shown.
    pub fn unavailable(error: &(dyn Error + 'static)) -> Self {
        Self::new(503, code::UNAVAILABLE, "Service unavailable")
            .change(|inner| inner.cause = Some(error_chain(error)))
            .retry_after(RETRY_AFTER)
    }

    /// 503 when the same request may succeed later, otherwise 500.
    pub fn fault<E: Classify + 'static>(error: &E) -> Self {
        match error.disposition() {
            Disposition::Retry { after } => {
                let refusal = Self::unavailable(error);
                after.map_or(refusal.clone(), |after| refusal.retry_after(after))
            }
            Disposition::Permanent => Self::internal(error),
        }
    }

    /// Sets `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Sets a header of the response.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.change(|inner| {
            inner.headers.retain(|(known, _)| *known != name);
            inner.headers.push((name, value));
        })
    }

    /// Adds details in the API's own shape.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        self.change(|inner| inner.details = Some(details))
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The public message: a text, or a list of texts.
    pub fn message(&self) -> &Value {
        &self.0.message
    }

    /// The public message as one text.
    pub fn text(&self) -> String {
        match &self.0.message {
            Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
            other => other.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Details in the API's own shape.
    pub fn details(&self) -> Option<&Value> {
        self.0.details.as_ref()
    }

    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.headers
    }

    /// What went wrong inside, for the log only.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

/// Turns a domain's error into the refusal that its disposition asks for.
pub trait OrFault<T> {
    /// The value, or [`Refusal::fault`].
    ///
    /// # Errors
    /// 503 when the same request may succeed later, otherwise 500.
    fn or_fault(self) -> Result<T, Refusal>;
}

impl<T, E: Classify + 'static> OrFault<T> for Result<T, E> {
    fn or_fault(self) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::fault(&error))
    }
}

/// The body is written by the outermost layer, which knows the request and the dialect.
impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::UserRequired => Self::forbidden("A user's token is required"),
            Denied::MissingScope(scope) => {
                Self::new(403, code::MISSING_SCOPE, format!("API key lacks scope {}", scope.name()))
            }
            Denied::Role => Self::forbidden("This role does not allow it"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_said_once() {
        let refusal = Refusal::new(429, "rate_limited", "x").retry_after(Duration::from_millis(1_001));
        let refusal = refusal.retry_after(Duration::from_millis(2_001));
        assert_eq!(refusal.headers(), [(header::RETRY_AFTER, HeaderValue::from(3_u64))]);
    }

    #[test]
    fn several_messages_read_as_one_text() {
        assert_eq!(
            Refusal::fields(vec!["a must be b".into(), "c is missing".into()]).text(),
            "a must be b; c is missing"
        );
    }
}
