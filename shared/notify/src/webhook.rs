//! A tenant's own endpoint, called as Standard Webhooks describes it.

use crate::outcome::Outcome;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::iso_millis;
use switchyard_io::webhook::Answered;

pub(crate) const SERVICE: &str = "the webhook";

/// How long a receiver may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The request's body: `{type, timestamp, data: {event, rule, delivery}}`. It has to be the same on every attempt, as
/// `webhook-id` is, so `at` is the event's or the delivery's time, not the attempt's.
pub fn body(kind: &str, at: Timestamp, event: Value, rule: Value, delivery: Value) -> String {
    let data = json!({"event": event, "rule": rule, "delivery": delivery});
    json!({"type": kind, "timestamp": iso_millis(at), "data": data}).to_string()
}

/// Reads a status; `retry_after` is the answer's header. Only 410 ends it.
pub fn classify(status: u16, retry_after: Option<Duration>) -> Outcome {
    match Answered::of(status) {
        Answered::Taken => Outcome::Sent { provider_id: None },
        Answered::Gone => Outcome::config("http_410"),
        Answered::Refused => Outcome::retry_after(retry_after, format!("http_{status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::unanswered;
    use switchyard_io::http::HttpError;

    #[test]
    fn only_410_is_the_end_of_it() {
        assert_eq!(classify(204, None), Outcome::Sent { provider_id: None });
        assert_eq!(classify(410, None), Outcome::config("http_410"));
        assert_eq!(classify(404, None), Outcome::retry("http_404"));
        let after = Some(Duration::from_secs(7));
        assert_eq!(classify(503, after), Outcome::retry_after(after, "http_503"));
    }

    #[test]
    fn v37_an_address_that_became_private_is_the_configs_fault() {
        assert_eq!(unanswered(&HttpError::Refused { service: SERVICE }), Outcome::config("blocked_address"));
    }

    #[test]
    fn a_body_is_the_same_on_every_attempt() {
        let at = Timestamp::from_second(1_767_607_200).unwrap();
        let text = body("rule.fired", at, json!({"id": "e"}), json!({"id": "r"}), json!({"id": "d"}));
        assert!(text.contains(r#""timestamp":"2026-01-05T10:00:00.000Z""#) && text.contains(r#""type":"rule.fired""#));
    }
}
