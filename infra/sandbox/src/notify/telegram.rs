//! Telegram's Bot API: `sendMessage`, with its checks of chats, texts and mark-up.

use super::{Notify, object, text};
use crate::answer::{Object, Refusal};
use crate::traffic::Answered;
use axum::Json;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

pub(super) const SERVICE: &str = "telegram";

/// The most characters of a message, mark-up included; what the product sends is shorter still.
const MAX_CHARS: usize = 65_536;

pub(super) async fn send(
    State(notify): State<Notify>,
    Path(bot): Path<String>,
    Answered(answered): Answered,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let secret = bot.strip_prefix("bot").and_then(|token| token.split_once(':')).map(|(_, secret)| secret);
    match secret {
        Some(secret) if secret.starts_with("revoked") => return Err(refusal(401, "Unauthorized", json!({}))),
        Some(_) => {}
        None => return Err(refusal(404, "Not Found", json!({}))),
    }
    let request = object(&body);
    let chat = request.get("chat_id").cloned().unwrap_or_default();
    let id = chat.as_str().map_or_else(|| chat.to_string(), str::to_owned);
    check(&request, &id)?;
    let said = text(&request, "text").to_owned();
    let number = notify.take(SERVICE, request, answered, |number| number)?;
    let chat = json!({"id": chat, "type": if id.starts_with('-') { "supergroup" } else { "private" }});
    Ok(Json(json!({"ok": true, "result": {"message_id": number, "date": 0, "chat": chat, "text": said}})))
}

fn check(request: &Object, chat: &str) -> Result<(), Refusal> {
    match chat {
        "null" => return Err(refusal(400, "Bad Request: chat_id is empty", json!({}))),
        "400" => return Err(refusal(400, "Bad Request: chat not found", json!({}))),
        "403" => return Err(refusal(403, "Forbidden: bot was blocked by the user", json!({}))),
        "429" => {
            return Err(refusal(429, "Too Many Requests: retry after 35", json!({"parameters": {"retry_after": 35}})));
        }
        "500" => return Err(refusal(500, "Internal Server Error", json!({}))),
        "-300" => {
            let moved = json!({"parameters": {"migrate_to_chat_id": -1_000_000_000_300_i64}});
            return Err(refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", moved));
        }
        _ => {}
    }
    let said = text(request, "text");
    if said.trim().is_empty() {
        return Err(refusal(400, "Bad Request: message text is empty", json!({})));
    }
    if said.chars().count() > MAX_CHARS {
        return Err(refusal(400, "Bad Request: message is too long", json!({})));
    }
    let unreadable = match text(request, "parse_mode") {
        "HTML" => unreadable_html(said),
        "MarkdownV2" => unreadable_markdown(said),
        _ => None,
    };
    match unreadable {
        Some(why) => Err(refusal(400, &format!("Bad Request: can't parse entities: {why}"), json!({}))),
        None => Ok(()),
    }
}

fn unreadable_html(said: &str) -> Option<String> {
    const TAGS: [&str; 14] =
        ["a", "b", "blockquote", "code", "del", "em", "i", "ins", "pre", "s", "span", "strong", "tg-spoiler", "u"];
    let mut open = Vec::new();
    for part in said.split('<').skip(1) {
        let tag = part.split('>').next().unwrap_or_default();
        let (name, closes) = tag.strip_prefix('/').map_or((tag, false), |name| (name, true));
        let name = name.split(' ').next().unwrap_or_default();
        match (closes, TAGS.contains(&name)) {
            (false, true) => open.push(name),
            (true, true) if open.pop() == Some(name) => {}
            _ => return Some(format!("Unsupported start tag \"{name}\"")),
        }
    }
    open.pop().map(|name| format!("Can't find end tag corresponding to start tag \"{name}\""))
}

fn unreadable_markdown(said: &str) -> Option<String> {
    let mut escaped = false;
    for c in said.chars() {
        if matches!(c, '.' | '!') && !escaped {
            return Some(format!("Character '{c}' is reserved and must be escaped with the preceding '\\'"));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn refusal(status: u16, description: &str, more: Value) -> Refusal {
    let mut body = json!({"ok": false, "error_code": status, "description": description});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Refusal::new(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
}
