//! Telegram's Bot API: `POST <base>/bot<token>/sendMessage`.

mod text;

use crate::config::{ParseMode, TelegramConfig};
use crate::outcome::{Attempt, Outcome, Substitute};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

pub use text::{MAX_CHARS, fit, plain};

pub(crate) const SERVICE: &str = "Telegram";

/// What a response of Telegram asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TelegramVerdict {
    /// No further call: the attempt ends with this outcome.
    Done(Outcome),
    /// The group became a supergroup: repeat the call with this id, and store it.
    Moved(String),
    /// The mark-up cannot be parsed: repeat the call without it.
    Unmarked,
}

/// The request's body. Without `mode` the text is plain.
pub fn request(config: &TelegramConfig, chat_id: &str, text: &str, mode: Option<ParseMode>) -> Value {
    // Ids are sent as numbers, names as text.
    let chat_id = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |id| json!(id));
    let mut body = json!({"chat_id": chat_id, "text": text});
    if let Some(mode) = mode {
        body["parse_mode"] = json!(mode.name());
    }
    if let Some(thread) = config.thread_id {
        body["message_thread_id"] = json!(thread);
    }
    if config.silent {
        body["disable_notification"] = json!(true);
    }
    body
}

/// Classifies a response.
pub fn classify(status: u16, body: &[u8]) -> TelegramVerdict {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        ok: Option<bool>,
        result: Sent,
        error_code: Option<u16>,
        description: String,
        parameters: Parameters,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Sent {
        message_id: Option<i64>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Parameters {
        retry_after: Option<u64>,
        migrate_to_chat_id: Option<i64>,
    }
    // The body may be a proxy's page; then only the status counts.
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    if answer.ok == Some(true) {
        return TelegramVerdict::Done(Outcome::Sent { provider_id: answer.result.message_id.map(|id| id.to_string()) });
    }
    if let Some(id) = answer.parameters.migrate_to_chat_id {
        return TelegramVerdict::Moved(id.to_string());
    }
    let status = answer.error_code.unwrap_or(status);
    let code = format!("telegram_{status}");
    TelegramVerdict::Done(match status {
        429 => Outcome::Retry {
            // A call within the last second would start the limit again.
            after: answer.parameters.retry_after.map(|seconds| Duration::from_secs(seconds.saturating_add(1))),
            code: code.into(),
            holds_account: true,
        },
        400 if answer.description.contains("can't parse entities") => return TelegramVerdict::Unmarked,
        // Blocked, kicked, deactivated.
        403 => Outcome::recipient(code),
        401 | 404 => Outcome::config(code),
        408 | 409 | 500.. => Outcome::retry(code),
        400..=499 => Outcome::message(code),
        // Neither a refusal nor an `ok`: the response is a proxy's.
        _ => Outcome::retry(code),
    })
}

/// Sends `text`. Follows a group to its new id, and drops mark-up that cannot be parsed, each at most once. `post` makes one
/// call and classifies its response.
pub(crate) async fn send(
    config: &TelegramConfig,
    to: &str,
    text: &str,
    post: impl AsyncFn(Value) -> TelegramVerdict,
) -> Attempt {
    let (mut text, mut mode) = fit(text, config.parse_mode);
    if text.trim().is_empty() {
        return Outcome::message("empty_text").into();
    }
    let mut attempt = Attempt::from(Outcome::retry("telegram_moved_again"));
    let mut chat_id = to.to_owned();
    // At most three calls: as it is, at the new id, and there without mark-up.
    for _ in 0..3 {
        match post(request(config, &chat_id, &text, mode)).await {
            TelegramVerdict::Done(outcome) => return Attempt { outcome, ..attempt },
            TelegramVerdict::Moved(id) if attempt.new_chat_id.is_none() => {
                chat_id.clone_from(&id);
                attempt.new_chat_id = Some(id);
            }
            TelegramVerdict::Unmarked if mode.is_some() => {
                text = fit(&plain(&text, mode), None).0;
                mode = None;
                attempt.substitute = Some(Substitute::PlainText);
            }
            TelegramVerdict::Moved(_) => break,
            TelegramVerdict::Unmarked => return Attempt { outcome: Outcome::message("telegram_400"), ..attempt },
        }
    }
    attempt
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use switchyard_core::Secret;

    fn config(parse_mode: Option<ParseMode>) -> TelegramConfig {
        let bot_token = Secret::new("42:abc".to_owned());
        TelegramConfig { bot_token, destination: Vec::new(), parse_mode, thread_id: None, silent: false }
    }

    fn refused(code: u16, description: &str, parameters: Value) -> TelegramVerdict {
        let body = json!({"ok": false, "error_code": code, "description": description, "parameters": parameters});
        classify(code, body.to_string().as_bytes())
    }

    #[test]
    fn requests() {
        assert_eq!(request(&config(None), "-100", "hi", None), json!({"chat_id": -100, "text": "hi"}));
        let config = TelegramConfig { thread_id: Some(3), silent: true, ..config(None) };
        assert_eq!(
            request(&config, "@acme", "hi", Some(ParseMode::Html)),
            json!({"chat_id": "@acme", "text": "hi", "parse_mode": "HTML", "message_thread_id": 3, "disable_notification": true})
        );
    }

    #[test]
    fn v33_too_many_requests_hold_the_whole_bot_a_second_longer_than_asked() {
        let after = Some(Duration::from_secs(36));
        let retry =
            |after| TelegramVerdict::Done(Outcome::Retry { after, code: "telegram_429".into(), holds_account: true });
        assert_eq!(refused(429, "Too Many Requests: retry after 35", json!({"retry_after": 35})), retry(after));
        assert_eq!(refused(429, "Too Many Requests", json!({})), retry(None));
    }

    #[test]
    fn v34_a_recipient_who_blocked_the_bot_is_gone() {
        for description in [
            "Forbidden: bot was blocked by the user",
            "Forbidden: bot was kicked from the group chat",
            "Forbidden: user is deactivated",
        ] {
            assert_eq!(refused(403, description, json!({})), TelegramVerdict::Done(Outcome::recipient("telegram_403")));
        }
    }

    #[test]
    fn every_other_response() {
        let sent = br#"{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42},"text":"hi"}}"#;
        assert_eq!(classify(200, sent), TelegramVerdict::Done(Outcome::sent("7")));
        assert_eq!(
            refused(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                json!({"migrate_to_chat_id": -1007})
            ),
            TelegramVerdict::Moved("-1007".to_owned())
        );
        let unreadable = "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0";
        assert_eq!(refused(400, unreadable, json!({})), TelegramVerdict::Unmarked);
        assert_eq!(
            refused(400, "Bad Request: chat not found", json!({})),
            TelegramVerdict::Done(Outcome::message("telegram_400"))
        );
        for (code, outcome) in [
            (401, Outcome::config("telegram_401")),
            (404, Outcome::config("telegram_404")),
            (409, Outcome::retry("telegram_409")),
            (413, Outcome::message("telegram_413")),
            (500, Outcome::retry("telegram_500")),
            (502, Outcome::retry("telegram_502")),
        ] {
            assert_eq!(refused(code, "", json!({})), TelegramVerdict::Done(outcome));
        }
        for (status, body) in [(502, "<html>Bad Gateway</html>"), (200, "<html>Welcome</html>"), (302, ""), (200, "{}")]
        {
            assert_eq!(
                classify(status, body.as_bytes()),
                TelegramVerdict::Done(Outcome::retry(format!("telegram_{status}"))),
                "{status} {body}"
            );
        }
    }

    async fn sent(mode: Option<ParseMode>, text: &str, verdicts: &[TelegramVerdict]) -> (Attempt, Vec<Value>) {
        let (calls, verdicts) = (RefCell::new(Vec::new()), RefCell::new(verdicts.iter().cloned()));
        let attempt = send(&config(mode), "-7", text, async |body| {
            calls.borrow_mut().push(body);
            verdicts.borrow_mut().next().expect("no such call is made")
        })
        .await;
        (attempt, calls.into_inner())
    }

    #[tokio::test]
    async fn a_group_is_followed_once_and_its_new_id_is_told() {
        let (moved, done) = (TelegramVerdict::Moved("-1007".to_owned()), TelegramVerdict::Done(Outcome::sent("9")));
        let (attempt, calls) = sent(None, "hi", &[moved.clone(), done]).await;
        assert_eq!((attempt.outcome, attempt.new_chat_id.as_deref()), (Outcome::sent("9"), Some("-1007")));
        assert_eq!(calls, [json!({"chat_id": -7, "text": "hi"}), json!({"chat_id": -1007, "text": "hi"})]);
        let (attempt, _) = sent(None, "hi", &[moved.clone(), moved]).await;
        assert_eq!(attempt.outcome, Outcome::retry("telegram_moved_again"));
    }

    #[tokio::test]
    async fn mark_up_that_cannot_be_read_is_given_up_once() {
        let done = TelegramVerdict::Done(Outcome::sent("9"));
        let (attempt, calls) = sent(Some(ParseMode::Html), "<b>a &lt; b", &[TelegramVerdict::Unmarked, done]).await;
        assert_eq!((attempt.outcome, attempt.substitute), (Outcome::sent("9"), Some(Substitute::PlainText)));
        assert_eq!(calls[1], json!({"chat_id": -7, "text": "a < b"}));
        let (attempt, calls) = sent(None, "x", &[TelegramVerdict::Unmarked]).await;
        assert_eq!((attempt.outcome, calls.len()), (Outcome::message("telegram_400"), 1));
    }

    #[tokio::test]
    async fn both_may_happen_to_one_message_and_an_empty_one_is_not_sent() {
        let moved = TelegramVerdict::Moved("-1007".to_owned());
        let (attempt, calls) = sent(
            Some(ParseMode::Html),
            "<b>",
            &[moved, TelegramVerdict::Unmarked, TelegramVerdict::Done(Outcome::retry("telegram_500"))],
        )
        .await;
        assert_eq!(attempt.outcome, Outcome::retry("telegram_500"));
        assert_eq!((attempt.new_chat_id.as_deref(), calls.len()), (Some("-1007"), 3));
        let (attempt, calls) = sent(None, " ", &[]).await;
        assert_eq!((attempt.outcome, calls.len()), (Outcome::message("empty_text"), 0));
    }
}
