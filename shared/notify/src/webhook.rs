//! A tenant's own endpoint, called as Standard Webhooks specifies.

use crate::outcome::Outcome;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;
use switchyard_core::iso_millis;
use switchyard_io::webhook::Answered;

pub(crate) const SERVICE: &str = "the webhook";

/// The timeout of a request.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The request's body: `{type, timestamp, data: {event, rule, delivery}}`. It must be the same on every attempt, like
/// `webhook-id`: `at` is the event's or the delivery's time, not the attempt's.
pub fn body(kind: &str, at: Timestamp, event: &EventAbout<'_>, rule: &Value, delivery: &Value) -> String {
    let body = Body { r#type: kind, timestamp: iso_millis(at), data: Data { event, rule, delivery } };
    // Serialization cannot fail for these types.
    serde_json::to_string(&body).unwrap_or_default()
}

/// An event in the body.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventAbout<'a> {
    /// The event's id.
    pub id: &'a str,
    /// The event's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// The event's source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// The payload, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event: &'a EventAbout<'a>,
    rule: &'a Value,
    delivery: &'a Value,
}

/// Classifies a response; `retry_after` is its header's. Only 410 is never retried.
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
    use crate::outcome::no_response;
    use serde_json::json;
    use switchyard_io::http::HttpError;

    #[test]
    fn only_410_is_not_retried() {
        assert_eq!(classify(204, None), Outcome::Sent { provider_id: None });
        assert_eq!(classify(410, None), Outcome::config("http_410"));
        assert_eq!(classify(404, None), Outcome::retry("http_404"));
        let after = Some(Duration::from_secs(7));
        assert_eq!(classify(503, after), Outcome::retry_after(after, "http_503"));
    }

    #[test]
    fn v37_an_address_that_became_private_is_an_error_of_the_config() {
        assert_eq!(no_response(&HttpError::Refused { service: SERVICE }), Outcome::config("blocked_address"));
    }

    #[test]
    fn a_body_is_the_same_on_every_attempt() {
        let at = Timestamp::from_second(1_767_607_200).unwrap();
        let payload = serde_json::from_str(r#"{"n": 123456789012345678901234567890}"#).ok();
        let event = EventAbout { id: "e", kind: Some("t"), source: None, occurred_at: None, payload };
        let text = body("rule.fired", at, &event, &json!({"id": "r"}), &json!({"id": "d"}));
        let event = r#"{"id":"e","type":"t","payload":{"n": 123456789012345678901234567890}}"#;
        let data = format!(r#"{{"event":{event},"rule":{{"id":"r"}},"delivery":{{"id":"d"}}}}"#);
        assert_eq!(text, format!(r#"{{"type":"rule.fired","timestamp":"2026-01-05T10:00:00.000Z","data":{data}}}"#));
    }
}
