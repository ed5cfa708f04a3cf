//! What health checks return.

use crate::operation::{Operation, Reply};
use crate::reply::json_response;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

/// A report: 200 when every part is reachable, otherwise 503.
#[derive(Clone, Debug)]
pub struct Report<T> {
    /// Whether every part is reachable.
    pub is_healthy: bool,
    /// What is said of the parts.
    pub body: T,
}

impl<T: Serialize> IntoResponse for Report<T> {
    fn into_response(self) -> Response {
        let status = if self.is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_response(status, &self.body)
    }
}

impl<T: Serialize + JsonSchema> Reply for Report<T> {
    fn describe(operation: &mut Operation) {
        operation.json::<T>(200, "Every part is reachable");
        operation.json::<T>(503, "A part is not reachable");
    }
}
