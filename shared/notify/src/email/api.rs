//! A generic HTTP API of a mail service:
//! `POST {deliveryId, from, replyTo?, to: [address], subject, text, html?}` with `Authorization: Bearer` and
//! `Idempotency-Key`. An `id` or `messageId` in the response is stored.

use crate::config::EmailConfig;
use crate::message::Message;
use crate::outcome::Outcome;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const SERVICE: &str = "the mail service";

/// The request's body.
pub fn request(config: &EmailConfig, message: &Message, delivery_id: &str) -> Value {
    let mut body = json!({
        "deliveryId": delivery_id,
        "from": config.from.to_string(),
        "to": [message.to],
        "subject": message.subject,
        "text": message.text,
    });
    if let Some(reply_to) = &config.reply_to {
        body["replyTo"] = json!(reply_to.to_string());
    }
    if let Some(html) = &message.html {
        body["html"] = json!(html);
    }
    body
}

/// Classifies a response by its status.
pub fn classify(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Outcome {
    let code = format!("http_{status}");
    match status {
        200..=299 => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            let id = ["id", "messageId"].iter().find_map(|name| answer[*name].as_str());
            Outcome::Sent { provider_id: id.filter(|id| id.len() <= 255).map(str::to_owned) }
        }
        401 | 403 | 404 | 405 | 410 => Outcome::config(code),
        408 | 409 | 425 | 429 | 500.. => Outcome::retry_after(retry_after, code),
        400..=499 => Outcome::message(code),
        _ => Outcome::retry(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpMailConfig, Transport};
    use crate::email::testing::config;
    use switchyard_core::Secret;

    #[test]
    fn every_status() {
        assert_eq!(classify(202, None, br#"{"id":"m1"}"#), Outcome::sent("m1"));
        assert_eq!(classify(200, None, b"thanks"), Outcome::Sent { provider_id: None });
        for (status, outcome) in [
            (302, Outcome::retry("http_302")),
            (400, Outcome::message("http_400")),
            (401, Outcome::config("http_401")),
            (404, Outcome::config("http_404")),
            (422, Outcome::message("http_422")),
            (500, Outcome::retry("http_500")),
        ] {
            assert_eq!(classify(status, None, b""), outcome);
        }
        let after = Some(Duration::from_secs(9));
        assert_eq!(classify(429, after, b""), Outcome::retry_after(after, "http_429"));
    }

    #[test]
    fn the_request() {
        let token = Secret::new("t".to_owned());
        let transport = Transport::Http(HttpMailConfig { url: "https://mail.test/".parse().unwrap(), token });
        let message = Message { to: "a@b.test".into(), subject: "S".into(), text: "T".into(), ..Message::default() };
        let wanted = json!({"deliveryId": "d1", "from": "Schaltwerk ✉ <alerts@acme.test>", "replyTo": "help@acme.test",
            "to": ["a@b.test"], "subject": "S", "text": "T"});
        assert_eq!(request(&config(transport), &message, "d1"), wanted);
    }
}
