//! JSON responses and refusals, common to all stand-ins.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A JSON object: a row, a resident, a request body.
pub(crate) type Object = Map<String, Value>;

/// A response other than success: a status, and the body that the real service sends.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body }
    }

    /// An invalid control request.
    pub(crate) fn bad_control(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, json!({"error": format!("{field}: {reason}"), "field": field}))
    }

    /// The state file could not be written, so nothing was done.
    pub(crate) fn not_kept(error: &std::io::Error) -> Self {
        tracing::error!(%error, "the sandbox could not write its journal");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "the sandbox could not write its journal"}))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Parses a control request's body, with any content type.
pub(crate) fn control_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_control("body", error))
}

/// Parses a control request's query value.
pub(crate) fn control_number<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::bad_control(field, "a whole number is required"))
}
