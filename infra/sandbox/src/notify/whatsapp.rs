//! WhatsApp's Cloud API: texts and templates, with Meta's error codes.

use super::{Notify, object, text};
use crate::answer::Refusal;
use crate::traffic::Answered;
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

pub(super) const SERVICE: &str = "whatsapp";

pub(super) async fn send(
    State(notify): State<Notify>,
    Answered(answered): Answered,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = bearer.strip_prefix("Bearer ").unwrap_or_default();
    if token.is_empty() || token.starts_with("expired") {
        return Err(refusal(190));
    }
    let request = object(&body);
    let (to, kind) = (text(&request, "to").to_owned(), text(&request, "type").to_owned());
    let is_whole = match kind.as_str() {
        "text" => !text(&request, "text/body").is_empty(),
        "template" => !text(&request, "template/name").is_empty(),
        _ => false,
    };
    if text(&request, "messaging_product") != "whatsapp" || to.is_empty() || !is_whole {
        return Err(refusal(100));
    }
    let special = to.strip_prefix("1555").filter(|code| code.len() == 6).and_then(|code| code.parse().ok());
    match special {
        Some(131_047) if kind == "template" => {}
        Some(code) => return Err(refusal(code)),
        None => {}
    }
    let id = notify.take(SERVICE, request, answered, |number| format!("wamid.sandbox{number:08}"))?;
    Ok(Json(json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": to, "wa_id": to}],
        "messages": [{"id": id}],
    })))
}

fn refusal(code: u32) -> Refusal {
    let status = match code {
        190 => StatusCode::UNAUTHORIZED,
        4 | 80_007 | 130_429 => StatusCode::TOO_MANY_REQUESTS,
        1 | 2 | 131_000 | 131_016 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let message = format!("(#{code}) the sandbox was asked for this error");
    Refusal::new(
        status,
        json!({"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "sandbox"}}),
    )
}
