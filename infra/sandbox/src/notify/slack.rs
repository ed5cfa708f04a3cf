//! Slack's incoming webhooks, with the errors that Slack documents.

use super::{Notify, object, text};
use crate::answer::Refusal;
use crate::traffic::Answered;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::json;

pub(super) const SERVICE: &str = "slack";

pub(super) async fn send(
    State(notify): State<Notify>,
    Path((_, _, token)): Path<(String, String, String)>,
    Answered(answered): Answered,
    body: Bytes,
) -> Result<Response, Refusal> {
    let refused = match token.as_str() {
        "user_not_found" => Some(StatusCode::BAD_REQUEST),
        "action_prohibited" | "invalid_token" => Some(StatusCode::FORBIDDEN),
        "channel_not_found" | "no_service" => Some(StatusCode::NOT_FOUND),
        "channel_is_archived" => Some(StatusCode::GONE),
        "rollup_error" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        "rate_limited" => Some(StatusCode::TOO_MANY_REQUESTS),
        _ => None,
    };
    match refused {
        Some(status @ StatusCode::TOO_MANY_REQUESTS) => {
            return Ok((status, [(header::RETRY_AFTER, "30")], token).into_response());
        }
        Some(status) => return Ok((status, token).into_response()),
        None => {}
    }
    let mut request = object(&body);
    if request.is_empty() && body.trim_ascii() != b"{}" {
        return Ok((StatusCode::BAD_REQUEST, "invalid_payload").into_response());
    }
    if text(&request, "text").is_empty() {
        return Ok((StatusCode::BAD_REQUEST, "no_text").into_response());
    }
    // The ledger shows which of several webhooks was called.
    request.insert("token".to_owned(), json!(token));
    notify.take(SERVICE, request, answered, |number| number)?;
    Ok("ok".into_response())
}
