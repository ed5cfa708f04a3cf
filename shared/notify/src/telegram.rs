//! Telegram's Bot API: `POST <base>/bot<token>/sendMessage`.

mod text;

use crate::config::{ParseMode, TelegramConfig};
use crate::outcome::{Attempt, Outcome, Substitute};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

pub use text::{MAX_CHARS, fit, plain};

pub(crate) const SERVICE: &str = "Telegram";

/// What an answer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more: this is how it ended.
    Done(Outcome),
    /// The group has become a supergroup: the same again at this id, which is to be stored.
    Moved(String),
    /// The mark-up cannot be read: the same again without any.
    Unmarked,
}

/// The request's body. Without `mode` the text is sent as it is.
pub fn request(config: &TelegramConfig, chat_id: &str, text: &str, mode: Option<ParseMode>) -> Value {
    // Ids go as numbers, names as text.
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

/// Reads an answer.
pub fn classify(status: u16, body: &[u8]) -> Verdict {
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
    // A proxy's page is no answer of Telegram's; its status still says something.
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    if answer.ok == Some(true) {
        return Verdict::Done(Outcome::Sent { provider_id: answer.result.message_id.map(|id| id.to_string()) });
    }
    if let Some(id) = answer.parameters.migrate_to_chat_id {
        return Verdict::Moved(id.to_string());
    }
    let status = answer.error_code.unwrap_or(status);
    let code = format!("telegram_{status}");
    Verdict::Done(match status {
        429 => Outcome::Retry {
            // Asked again within the last of the seconds, it would begin anew.
            after: answer.parameters.retry_after.map(|seconds| Duration::from_secs(seconds.saturating_add(1))),
            code: code.into(),
            holds_account: true,
        },
        400 if answer.description.contains("can't parse entities") => return Verdict::Unmarked,
        // Blocked, kicked, deactivated.
        403 => Outcome::recipient(code),
        401 | 404 => Outcome::config(code),
        408 | 409 | 500.. => Outcome::retry(code),
        400..=499 => Outcome::message(code),
        // Neither a refusal nor an `ok`: something stands between us and Telegram.
        _ => Outcome::retry(code),
    })
}

/// Sends `text`, follows a group to its new id, and gives up mark-up that cannot be read; each once. `post` makes one
/// call and reads its answer.
pub(crate) async fn send(
    config: &TelegramConfig,
    to: &str,
    text: &str,
    post: impl AsyncFn(Value) -> Verdict,
) -> Attempt {
    let (mut text, mut mode) = fit(text, config.parse_mode);
    if text.trim().is_empty() {
        return Outcome::message("empty_text").into();
    }
    let mut attempt = Attempt::from(Outcome::retry("telegram_moved_again"));
    let mut chat_id = to.to_owned();
    // At most: as it is, at the new id, and there without mark-up.
    for _ in 0..3 {
        match post(request(config, &chat_id, &text, mode)).await {
            Verdict::Done(outcome) => return Attempt { outcome, ..attempt },
            Verdict::Moved(id) if attempt.new_chat_id.is_none() => {
                chat_id.clone_from(&id);
                attempt.new_chat_id = Some(id);
            }
            Verdict::Unmarked if mode.is_some() => {
                text = fit(&plain(&text, mode), None).0;
                mode = None;
                attempt.substitute = Some(Substitute::PlainText);
            }
            Verdict::Moved(_) => break,
            Verdict::Unmarked => return Attempt { outcome: Outcome::message("telegram_400"), ..attempt },
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

    fn refused(code: u16, description: &str, parameters: Value) -> Verdict {
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
        let retry = |after| Verdict::Done(Outcome::Retry { after, code: "telegram_429".into(), holds_account: true });
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
            assert_eq!(refused(403, description, json!({})), Verdict::Done(Outcome::recipient("telegram_403")));
        }
    }

    #[test]
    fn every_other_answer() {
        let sent = br#"{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42},"text":"hi"}}"#;
        assert_eq!(classify(200, sent), Verdict::Done(Outcome::sent("7")));
        assert_eq!(
            refused(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                json!({"migrate_to_chat_id": -1007})
            ),
            Verdict::Moved("-1007".to_owned())
        );
        let unreadable = "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0";
        assert_eq!(refused(400, unreadable, json!({})), Verdict::Unmarked);
        assert_eq!(
            refused(400, "Bad Request: chat not found", json!({})),
            Verdict::Done(Outcome::message("telegram_400"))
        );
        for (code, outcome) in [
            (401, Outcome::config("telegram_401")),
            (404, Outcome::config("telegram_404")),
            (409, Outcome::retry("telegram_409")),
            (413, Outcome::message("telegram_413")),
            (500, Outcome::retry("telegram_500")),
            (502, Outcome::retry("telegram_502")),
        ] {
            assert_eq!(refused(code, "", json!({})), Verdict::Done(outcome));
        }
        for (status, body) in [(502, "<html>Bad Gateway</html>"), (200, "<html>Welcome</html>"), (302, ""), (200, "{}")]
        {
            assert_eq!(
                classify(status, body.as_bytes()),
                Verdict::Done(Outcome::retry(format!("telegram_{status}"))),
                "{status} {body}"
            );
        }
    }

    async fn sent(mode: Option<ParseMode>, text: &str, verdicts: &[Verdict]) -> (Attempt, Vec<Value>) {
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
        let (moved, done) = (Verdict::Moved("-1007".to_owned()), Verdict::Done(Outcome::sent("9")));
        let (attempt, calls) = sent(None, "hi", &[moved.clone(), done]).await;
        assert_eq!((attempt.outcome, attempt.new_chat_id.as_deref()), (Outcome::sent("9"), Some("-1007")));
        assert_eq!(calls, [json!({"chat_id": -7, "text": "hi"}), json!({"chat_id": -1007, "text": "hi"})]);
        let (attempt, _) = sent(None, "hi", &[moved.clone(), moved]).await;
        assert_eq!(attempt.outcome, Outcome::retry("telegram_moved_again"));
    }

    #[tokio::test]
    async fn mark_up_that_cannot_be_read_is_given_up_once() {
        let done = Verdict::Done(Outcome::sent("9"));
        let (attempt, calls) = sent(Some(ParseMode::Html), "<b>a &lt; b", &[Verdict::Unmarked, done]).await;
        assert_eq!((attempt.outcome, attempt.substitute), (Outcome::sent("9"), Some(Substitute::PlainText)));
        assert_eq!(calls[1], json!({"chat_id": -7, "text": "a < b"}));
        let (attempt, calls) = sent(None, "x", &[Verdict::Unmarked]).await;
        assert_eq!((attempt.outcome, calls.len()), (Outcome::message("telegram_400"), 1));
    }

    #[tokio::test]
    async fn both_may_happen_to_one_message_and_an_empty_one_is_not_sent() {
        let moved = Verdict::Moved("-1007".to_owned());
        let (attempt, calls) = sent(
            Some(ParseMode::Html),
            "<b>",
            &[moved, Verdict::Unmarked, Verdict::Done(Outcome::retry("telegram_500"))],
        )
        .await;
        assert_eq!(attempt.outcome, Outcome::retry("telegram_500"));
        assert_eq!((attempt.new_chat_id.as_deref(), calls.len()), (Some("-1007"), 3));
        let (attempt, calls) = sent(None, " ", &[]).await;
        assert_eq!((attempt.outcome, calls.len()), (Outcome::message("empty_text"), 0));
    }
}
