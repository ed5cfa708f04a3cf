//! Slack's incoming webhooks: `POST {text}` to the config's URL; the response is one word.

use crate::outcome::{Outcome, code_of};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const SERVICE: &str = "Slack";

/// Slack truncates longer texts without a mark.
const MAX_CHARS: usize = 40_000;

/// The request's body.
pub fn request(text: &str) -> Value {
    match text.char_indices().nth(MAX_CHARS) {
        None => json!({"text": text}),
        Some(_) => json!({"text": text.chars().take(MAX_CHARS - 1).chain(['…']).collect::<String>()}),
    }
}

/// Classifies a response; `retry_after` is its header's.
pub fn classify(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Outcome {
    let word = str::from_utf8(body).unwrap_or_default().trim();
    let code = code_of("slack", word, status);
    match (status, word) {
        (200, "ok") => Outcome::Sent { provider_id: None },
        (429, _) => Outcome::Retry { after: retry_after, code, holds_account: true },
        (400, "user_not_found") => Outcome::config(code),
        // `invalid_payload`, `no_text` and other errors of one message.
        (400, _) => Outcome::message(code),
        (401..=404 | 410, _) => Outcome::config(code),
        (408 | 500.., _) => Outcome::retry_after(retry_after, code),
        (405..=499, _) => Outcome::message(code),
        // 200 without `ok`, or a redirect: the response is not Slack's.
        _ => Outcome::retry(code_of("slack", "", status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v36_a_removed_webhook_is_an_error_of_the_config() {
        assert_eq!(classify(404, None, b"no_service"), Outcome::config("slack_no_service"));
    }

    #[test]
    fn every_response() {
        for (status, word, outcome) in [
            (200, "ok", Outcome::Sent { provider_id: None }),
            (200, "<html>Welcome</html>", Outcome::retry("slack_200")),
            (302, "", Outcome::retry("slack_302")),
            (400, "invalid_payload", Outcome::message("slack_invalid_payload")),
            (400, "no_text", Outcome::message("slack_no_text")),
            (400, "too_many_attachments", Outcome::message("slack_too_many_attachments")),
            (400, "user_not_found", Outcome::config("slack_user_not_found")),
            (403, "action_prohibited", Outcome::config("slack_action_prohibited")),
            (403, "invalid_token", Outcome::config("slack_invalid_token")),
            (404, "channel_not_found", Outcome::config("slack_channel_not_found")),
            (404, "<html>Not Found</html>", Outcome::config("slack_404")),
            (410, "channel_is_archived", Outcome::config("slack_channel_is_archived")),
            (413, "", Outcome::message("slack_413")),
            (500, "rollup_error", Outcome::retry("slack_rollup_error")),
            (503, "", Outcome::retry("slack_503")),
        ] {
            assert_eq!(classify(status, None, word.as_bytes()), outcome, "{status} {word}");
        }
        let after = Some(Duration::from_secs(30));
        assert_eq!(
            classify(429, after, b"rate_limited"),
            Outcome::Retry { after, code: "slack_rate_limited".into(), holds_account: true }
        );
    }

    #[test]
    fn requests() {
        assert_eq!(request("hi"), json!({"text": "hi"}));
        assert!(request(&"x".repeat(50_000))["text"].as_str().unwrap().ends_with("x…"));
    }
}
