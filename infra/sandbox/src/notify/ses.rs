//! Amazon SES, its v2 API for sending.

use super::{Notify, object, text};
use crate::answer::Refusal;
use crate::traffic::Answered;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

pub(super) const SERVICE: &str = "ses";

/// The domain of SES's recipients for tests.
const SIMULATOR: &str = "@simulator.amazonses.com";

pub(super) async fn send(
    State(notify): State<Notify>,
    Answered(answered): Answered,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let signature = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signature.starts_with("AWS4-HMAC-SHA256 ") || !signature.contains("/ses/aws4_request") {
        return Ok(refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token"));
    }
    let request = object(&body);
    let to = text(&request, "Destination/ToAddresses/0").to_owned();
    if to.is_empty() || text(&request, "FromEmailAddress").is_empty() || !request.contains_key("Content") {
        return Ok(refusal(400, "BadRequestException", "a sender, a recipient and a content are wanted"));
    }
    let special = match to.strip_suffix(SIMULATOR).unwrap_or_default() {
        "rejected" => Some((400, "MessageRejected", "Email address is not verified.")),
        "throttled" => Some((429, "TooManyRequestsException", "Maximum sending rate exceeded.")),
        "quota" => Some((429, "TooManyRequestsException", "Daily message quota exceeded.")),
        "paused" => Some((400, "SendingPausedException", "Email sending is disabled.")),
        "suspended" => Some((400, "AccountSuspendedException", "The account is suspended.")),
        "unverified" => Some((400, "MailFromDomainNotVerifiedException", "The MAIL FROM domain is not verified.")),
        _ => None,
    };
    if let Some((status, name, message)) = special {
        return Ok(refusal(status, name, message));
    }
    let id = notify.take(SERVICE, request, answered, |number| format!("0107sandbox{number:08}-000000"))?;
    Ok(Json(json!({"MessageId": id})).into_response())
}

fn refusal(status: u16, name: &'static str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("x-amzn-ErrorType", name)], Json(json!({"message": message}))).into_response()
}
