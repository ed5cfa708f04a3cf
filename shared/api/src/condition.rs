//! Versions of what is changed: `ETag` says one, `If-Match` names the one that a change is about.

use crate::operation::{Argument, Operation, Reply};
use crate::refusal::{Refusal, code};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, header};
use serde_json::json;

/// The version in `If-Match: "7"`; `None` without the header, or with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    /// The refusal of a change that another one came before: 412 to a client that named a version, otherwise 409.
    pub fn conflict(self) -> Refusal {
        if self.0.is_some() { stale() } else { Refusal::conflict() }
    }
}

fn stale() -> Refusal {
    Refusal::new(412, code::PRECONDITION_FAILED, "It was changed by another request")
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default()) {
            None | Some("*") => Ok(Self(None)),
            // A version that was never issued is not the current one.
            Some(tag) => {
                tag.trim_start_matches("W/").trim_matches('"').parse().map(|n| Self(Some(n))).map_err(|_| stale())
            }
        }
    }
}

impl Argument for IfMatch {
    fn describe(operation: &mut Operation) {
        let description = "The `ETag` of the version that the change is about";
        operation.parameter("header", "if-match", false, json!({"type": "string", "description": description}));
        operation.refuse(412, "The version is not the current one");
    }
}

/// A response with the version of what it shows as its `ETag`.
#[derive(Debug)]
pub struct Versioned<R>(pub R, pub i64);

impl<R: IntoResponse> IntoResponse for Versioned<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.1)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl<R: Reply> Reply for Versioned<R> {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
        operation.response_header("ETag", "Version, for `If-Match`");
    }
}
