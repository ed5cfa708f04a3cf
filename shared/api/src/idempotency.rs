//! `Idempotency-Key`: a request that is sent again with its key gets its first response, and takes effect once.

use crate::guard::response_bytes;
use crate::operation::{Argument, Operation};
use crate::refusal::{Refusal, code};
use crate::reply::IsTransient;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use switchyard_core::{error_chain, hex_sha256};
use switchyard_work::idempotency::{Begun, Idempotency};

/// Names a request, so that sending it again takes effect once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that a response was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Longest key, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// The key of a request, for an operation that keeps keys in a way of its own: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        key_of(&parts.headers).map(|key| Self(key.map(str::to_owned)))
    }
}

impl Argument for IdempotencyKey {
    fn describe(operation: &mut Operation) {
        describe(operation);
    }
}

pub(crate) fn describe(operation: &mut Operation) {
    let description = "Names the request: sent again with its key, it takes effect once and gets its first response";
    let schema = json!({"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY, "pattern": "^[ -~]+$",
        "description": description});
    operation.parameter("header", "idempotency-key", false, schema);
    operation.refuse(400, "The idempotency key is not valid");
    operation.refuse(409, "A request with this idempotency key is in progress");
    operation.refuse(422, "The idempotency key belongs to another request");
}

fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let message = format!("Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters");
    let invalid = || Refusal::new(400, code::IDEMPOTENCY_KEY_INVALID, message);
    match headers.get(IDEMPOTENCY_KEY).map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(key)) if !key.is_empty() && key.len() <= MAX_IDEMPOTENCY_KEY => Ok(Some(key)),
        Some(_) => Err(invalid()),
    }
}

/// Where keys are kept, and the name under which the caller's are.
pub(crate) struct Keys<'a> {
    pub(crate) store: &'a Idempotency,
    pub(crate) caller: String,
}

/// Serves a request; one with a key by the handler the first time and with that same response after that.
pub(crate) async fn once(keys: &Keys<'_>, parts: Parts, body: Bytes, next: Next) -> Result<Response, Refusal> {
    let Some(key) = key_of(&parts.headers)?.map(str::to_owned) else {
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    };
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let digest = hex_sha256(&[path, query, &String::from_utf8_lossy(&body)]);
    let begun = keys.store.begin(&keys.caller, &key, &digest).await;
    let running = match begun.map_err(|error| Refusal::unavailable(&error))? {
        Begun::First(running) => running,
        Begun::Answered { status, body, etag } => return Ok(replay(status, body, etag)),
        Begun::OtherRequest => {
            let message = "The idempotency key was used for another request";
            return Err(Refusal::new(422, code::IDEMPOTENCY_KEY_REUSED, message));
        }
        Begun::InProgress => {
            let message = "A request with this idempotency key is in progress; try again later";
            return Err(Refusal::new(409, code::IDEMPOTENCY_KEY_IN_USE, message));
        }
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let is_kept = response.status().is_success() && response.extensions().get::<IsTransient>().is_none();
    let (parts, body) = response.into_parts();
    let body = response_bytes(body).await?;
    let kept = match (is_kept, std::str::from_utf8(&body)) {
        (true, Ok(text)) => {
            let etag = parts.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
            keys.store.finish(running, parts.status.as_u16(), text, etag).await
        }
        _ => keys.store.abandon(running).await,
    };
    if let Err(error) = kept {
        // The effect has happened: the response is worth more than its repetition.
        tracing::warn!(error = error_chain(&error), "a response could not be kept for its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn replay(status: u16, body: String, etag: Option<String>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(Ok(etag)) = etag.map(HeaderValue::try_from) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii_of_a_bounded_length() {
        let key = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            key_of(&headers).map(|key| key.map(str::to_owned)).map_err(|refusal| refusal.status().as_u16())
        };
        assert_eq!(key(b"a b"), Ok(Some("a b".to_owned())));
        assert_eq!(key(b""), Err(400));
        assert_eq!(key(&[b'x'; 256]), Err(400));
        assert_eq!(key("ä".as_bytes()), Err(400));
        assert_eq!(key_of(&HeaderMap::new()).unwrap(), None);
    }
}
