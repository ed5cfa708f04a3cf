//! WhatsApp's Cloud API: `POST <base>/<version>/<phone number id>/messages`.

use crate::config::WhatsappConfig;
use crate::message::{Message, Template};
use crate::outcome::{Attempt, Outcome, Substitute};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const SERVICE: &str = "WhatsApp";

/// The most characters of a text.
pub const MAX_CHARS: usize = 4_096;

/// The wait after WhatsApp reports that recipients block or report the number's messages.
const SPAM_WAIT: Duration = Duration::from_secs(3 * 60 * 60);

/// What a response of WhatsApp asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatsappVerdict {
    /// No further call: the attempt ends with this outcome.
    Done(Outcome),
    /// The recipient has not written within a day: only a template may be sent.
    OutsideWindow,
}

/// The body of a request that sends a text, cut to the length of one message.
pub fn text_request(to: &str, text: &str) -> Value {
    let body: String = match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_CHARS - 1).chain(['…']).collect(),
    };
    json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "text",
        "text": {"preview_url": false, "body": body},
    })
}

/// The body of a request that sends a template.
pub fn template_request(to: &str, template: &Template) -> Value {
    let parameters: Vec<_> = template.params.iter().map(|text| json!({"type": "text", "text": text})).collect();
    // A template without placeholders has no components.
    let components =
        if parameters.is_empty() { json!([]) } else { json!([{"type": "body", "parameters": parameters}]) };
    json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "template",
        "template": {"name": template.name, "language": {"code": template.language}, "components": components},
    })
}

/// Classifies a response. `Sent` means accepted; a later report says whether the message arrived, see
/// [`crate::receipts::whatsapp`].
pub fn classify(status: u16, body: &[u8]) -> WhatsappVerdict {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        messages: Vec<Accepted>,
        error: ErrorBody,
    }
    #[derive(Deserialize)]
    struct Accepted {
        id: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ErrorBody {
        code: Option<i64>,
    }
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    match (answer.messages.into_iter().next(), answer.error.code) {
        (Some(accepted), None) => WhatsappVerdict::Done(Outcome::sent(accepted.id)),
        (_, Some(code)) => classify_code(code),
        // Neither: not a response of Meta's, or of an unknown form.
        (None, None) => WhatsappVerdict::Done(Outcome::retry(format!("whatsapp_http_{status}"))),
    }
}

/// Classifies an `error.code` of a response or a later report. Status and title are ignored: Meta sends the same code with
/// different ones.
pub fn classify_code(code: i64) -> WhatsappVerdict {
    let name = format!("whatsapp_{code}");
    WhatsappVerdict::Done(match code {
        131_047 => return WhatsappVerdict::OutsideWindow,
        // The rate limit of one pair of numbers.
        131_056 => Outcome::retry_after(Some(Duration::from_secs(6)), name),
        131_048 | 131_049 => Outcome::retry_after(Some(SPAM_WAIT), name),
        1 | 2 | 4 | 80_007 | 130_429 | 131_000 | 131_016 | 131_057 | 133_004 => Outcome::retry(name),
        131_021 | 131_026 | 131_030 => Outcome::recipient(name),
        0 | 3 | 10 | 190 | 200..=299 | 368 | 131_031 | 131_042 | 131_045 | 133_010 => Outcome::config(name),
        100 | 131_008 | 131_009 | 131_051 | 132_000..=132_016 => Outcome::message(name),
        // An unknown code may be transient; the delivery's maximum age ends the retries.
        _ => Outcome::retry(name),
    })
}

/// Sends the message's template, or its text and, if only templates are accepted, the config's fallback template. `post`
/// makes one call and classifies its response.
pub(crate) async fn send(
    config: &WhatsappConfig,
    message: &Message,
    post: impl AsyncFn(Value) -> WhatsappVerdict,
) -> Attempt {
    let request = match &message.template {
        Some(template) => template_request(&message.to, template),
        None if message.text.trim().is_empty() => return Outcome::message("empty_text").into(),
        None => text_request(&message.to, &message.text),
    };
    let closed = || Outcome::recipient("whatsapp_131047");
    let fallback = match (post(request).await, &config.fallback_template) {
        (WhatsappVerdict::Done(outcome), _) => return outcome.into(),
        (WhatsappVerdict::OutsideWindow, Some(template)) if message.template.is_none() => template,
        (WhatsappVerdict::OutsideWindow, _) => return closed().into(),
    };
    let outcome = match post(template_request(&message.to, fallback)).await {
        WhatsappVerdict::Done(outcome) => outcome,
        WhatsappVerdict::OutsideWindow => closed(),
    };
    Attempt { substitute: Some(Substitute::FallbackTemplate), ..outcome.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use switchyard_core::Secret;

    fn failed(code: i64) -> WhatsappVerdict {
        // Status and title are those of another error on purpose.
        let body = json!({"error": {"message": "x", "type": "OAuthException", "code": code, "fbtrace_id": "A"}});
        classify(500, body.to_string().as_bytes())
    }

    #[test]
    fn v35_a_rate_limit_is_retried_and_an_unknown_template_is_not() {
        assert_eq!(failed(130_429), WhatsappVerdict::Done(Outcome::retry("whatsapp_130429")));
        assert_eq!(failed(132_001), WhatsappVerdict::Done(Outcome::message("whatsapp_132001")));
    }

    #[test]
    fn every_code() {
        type Row = (&'static [i64], fn(String) -> Outcome);
        let table: [Row; 6] = [
            (&[1, 2, 4, 80_007, 130_429, 131_000, 131_016, 131_057, 133_004, 999_999, -1], |name| Outcome::retry(name)),
            (&[131_056], |name| Outcome::retry_after(Some(Duration::from_secs(6)), name)),
            (&[131_048, 131_049], |name| Outcome::retry_after(Some(SPAM_WAIT), name)),
            (&[131_026, 131_021, 131_030], |name| Outcome::recipient(name)),
            (&[0, 3, 10, 190, 200, 250, 299, 368, 131_031, 131_042, 131_045, 133_010], |name| Outcome::config(name)),
            (&[100, 131_008, 131_009, 131_051, 132_000, 132_007, 132_016], |name| Outcome::message(name)),
        ];
        for (codes, outcome) in table {
            for code in codes {
                assert_eq!(failed(*code), WhatsappVerdict::Done(outcome(format!("whatsapp_{code}"))), "{code}");
            }
        }
        assert_eq!(failed(131_047), WhatsappVerdict::OutsideWindow);
        let sent = br#"{"messaging_product":"whatsapp","contacts":[{"input":"49","wa_id":"49"}],"messages":[{"id":"wamid.X"}]}"#;
        assert_eq!(classify(200, sent), WhatsappVerdict::Done(Outcome::sent("wamid.X")));
        for (status, body) in [(502, "<html>"), (200, "{}"), (400, r#"{"error":{}}"#)] {
            let outcome = Outcome::retry(format!("whatsapp_http_{status}"));
            assert_eq!(classify(status, body.as_bytes()), WhatsappVerdict::Done(outcome));
        }
    }

    #[test]
    fn requests() {
        let text = text_request("49", &"x".repeat(4_097));
        assert_eq!(text["text"]["body"].as_str().unwrap().chars().count(), 4_096);
        assert_eq!(
            text_request("49", "hi"),
            json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "49", "type": "text",
                "text": {"preview_url": false, "body": "hi"}})
        );
        let template = Template { name: "alert".into(), language: "en_US".into(), params: vec!["7".into()] };
        assert_eq!(
            template_request("49", &template)["template"],
            json!({"name": "alert", "language": {"code": "en_US"},
                "components": [{"type": "body", "parameters": [{"type": "text", "text": "7"}]}]})
        );
    }

    async fn sent(fallback: bool, template: bool, verdicts: &[WhatsappVerdict]) -> (Attempt, Vec<Value>) {
        let alert = |name: &str| Template { name: name.to_owned(), language: "en".to_owned(), params: Vec::new() };
        let config = WhatsappConfig {
            phone_number_id: "1066".to_owned(),
            access_token: Secret::new("x".to_owned()),
            api_version: None,
            destination: Vec::new(),
            fallback_template: fallback.then(|| alert("fallback")),
        };
        let template = template.then(|| alert("own"));
        let message = Message { to: "49".to_owned(), text: "hi".to_owned(), template, ..Message::default() };
        let (kinds, verdicts) = (RefCell::new(Vec::new()), RefCell::new(verdicts.iter().cloned()));
        let attempt = send(&config, &message, async |body: Value| {
            kinds.borrow_mut().push(body["template"]["name"].clone());
            verdicts.borrow_mut().next().expect("no such call is made")
        })
        .await;
        (attempt, kinds.into_inner())
    }

    #[tokio::test]
    async fn outside_the_window_the_fallback_is_sent_once_if_there_is_one() {
        let (closed, done) = (WhatsappVerdict::OutsideWindow, WhatsappVerdict::Done(Outcome::sent("wamid.X")));
        let (attempt, calls) = sent(true, false, &[closed.clone(), done.clone()]).await;
        assert_eq!(
            (attempt.outcome, attempt.substitute),
            (Outcome::sent("wamid.X"), Some(Substitute::FallbackTemplate))
        );
        assert_eq!(calls, [Value::Null, json!("fallback")]);
        for (fallback, template, verdicts) in [
            (false, false, vec![closed.clone()]),
            (true, true, vec![closed.clone()]),
            (true, false, vec![closed.clone(), closed]),
        ] {
            let (attempt, _) = sent(fallback, template, &verdicts).await;
            assert_eq!(attempt.outcome, Outcome::recipient("whatsapp_131047"));
        }
        assert_eq!(sent(true, true, &[done]).await.1, [json!("own")]);
    }
}
