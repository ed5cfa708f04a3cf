//! What handlers return: a status that the type names, and a JSON body.

use crate::body::Json;
use crate::operation::{Operation, Reply};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

/// Media type of every JSON response.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON response, or 500 should the value not be serialisable.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => crate::Refusal::internal(&error).into_response(),
    }
}

/// 200 with a JSON body.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize + JsonSchema> Reply for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.json::<T>(200, "OK");
    }
}

macro_rules! json_reply {
    ($(#[$doc:meta])* $name:ident, $status:ident, $number:literal, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<T>(pub T);

        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                json_response(StatusCode::$status, &self.0)
            }
        }

        impl<T: Serialize + JsonSchema> Reply for $name<T> {
            fn describe(operation: &mut Operation) {
                operation.json::<T>($number, $text);
            }
        }
    };
}

json_reply!(
    /// 201 with a JSON body.
    Created, CREATED, 201, "Created"
);
json_reply!(
    /// 202 with a JSON body.
    Accepted, ACCEPTED, 202, "Accepted"
);
json_reply!(
    /// 207 with a JSON body: each item has a status of its own.
    MultiStatus, MULTI_STATUS, 207, "Each item has a status of its own"
);

/// 204.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Reply for NoContent {
    fn describe(operation: &mut Operation) {
        operation.response(204, "No content", None);
    }
}

/// 200 with a body that is not JSON.
#[derive(Debug)]
pub struct File {
    /// Media type of the body.
    pub media_type: &'static str,
    /// What a browser saves it as; without it, the browser shows it.
    pub name: Option<String>,
    /// The body.
    pub body: String,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let media_type = HeaderValue::from_static(self.media_type);
        let mut response = ([(header::CONTENT_TYPE, media_type)], self.body).into_response();
        let disposition = self.name.map(|name| HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")));
        if let Some(Ok(disposition)) = disposition {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

impl Reply for File {
    fn describe(operation: &mut Operation) {
        operation.response(200, "OK", Some("*/*"));
    }
}

/// Marks a response that may soon be another one, so that it is not kept for an idempotency key.
#[derive(Debug)]
pub struct Transient<R>(pub R);

#[derive(Clone, Copy, Debug)]
pub(crate) struct IsTransient;

impl<R: IntoResponse> IntoResponse for Transient<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(IsTransient);
        response
    }
}

impl<R: Reply> Reply for Transient<R> {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}

/// A response with headers beside those that every response has.
#[derive(Debug)]
pub struct WithHeaders<R>(pub R, pub Vec<(HeaderName, HeaderValue)>);

impl<R: IntoResponse> IntoResponse for WithHeaders<R> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers_mut().extend(self.1);
        response
    }
}

impl<R: Reply> Reply for WithHeaders<R> {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}
