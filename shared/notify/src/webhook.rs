//! A tenant's own endpoint, called as Standard Webhooks describes it.

use crate::config::WebhookConfig;
use crate::outcome::{Outcome, unanswered};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::iso_millis;
use switchyard_core::signature::{Mismatch, signatures};
use switchyard_io::http::HttpError;

pub(crate) const SERVICE: &str = "the webhook";

/// How long a receiver may take.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The request's body: `{type, timestamp, data: {event, rule, delivery}}`. It has to be the same on every attempt, as
/// `webhook-id` is, so `at` is the event's or the delivery's time, not the attempt's.
pub fn body(kind: &str, at: Timestamp, event: Value, rule: Value, delivery: Value) -> String {
    let data = json!({"event": event, "rule": rule, "delivery": delivery});
    json!({"type": kind, "timestamp": iso_millis(at), "data": data}).to_string()
}

/// The headers of a request that carries `body`: the tenant's own, then those of the standard, with one signature for
/// each secret in force.
///
/// # Errors
/// A secret is not `whsec_` and base64.
pub fn headers(
    config: &WebhookConfig,
    delivery_id: &str,
    now: Timestamp,
    body: &str,
) -> Result<Vec<(String, String)>, Mismatch> {
    let secrets = config.secrets.iter().map(|secret| secret.expose().as_str());
    let signature = signatures(secrets, delivery_id, now.as_second(), body)?;
    let mut headers = config.headers.clone();
    headers.extend([
        ("content-type".to_owned(), "application/json".to_owned()),
        ("webhook-id".to_owned(), delivery_id.to_owned()),
        ("webhook-timestamp".to_owned(), now.as_second().to_string()),
        ("webhook-signature".to_owned(), signature),
    ]);
    Ok(headers)
}

/// Reads a status; `retry_after` is the answer's header. Only 410 ends it: what else an endpoint answers may be a
/// deployment, a proxy, a mistake that somebody mends.
pub fn classify(status: u16, retry_after: Option<Duration>) -> Outcome {
    match status {
        200..=299 => Outcome::Sent { provider_id: None },
        410 => Outcome::config("http_410"),
        _ => Outcome::retry_after(retry_after, format!("http_{status}")),
    }
}

/// The outcome of a call without an answer: `blocked_address` when the URL leads, as written or as its name resolves,
/// where it may not.
pub fn classify_failure(error: &HttpError) -> Outcome {
    unanswered(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_core::Secret;
    use switchyard_core::signature::verify;

    #[test]
    fn every_status() {
        for status in [200, 202, 204, 299] {
            assert_eq!(classify(status, None), Outcome::Sent { provider_id: None });
        }
        assert_eq!(classify(410, None), Outcome::config("http_410"));
        for status in [100, 301, 302, 307, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503] {
            assert_eq!(classify(status, None), Outcome::retry(format!("http_{status}")), "{status}");
        }
        let after = Some(Duration::from_secs(7));
        assert_eq!(classify(503, after), Outcome::retry_after(after, "http_503"));
    }

    #[test]
    fn v37_an_address_that_became_private_is_the_configs_fault() {
        assert_eq!(classify_failure(&HttpError::Refused { service: SERVICE }), Outcome::config("blocked_address"));
    }

    #[test]
    fn headers_are_those_of_the_standard_and_both_secrets_sign() {
        let secrets = ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
        let config = WebhookConfig {
            url: "https://acme.test/".parse().unwrap(),
            secrets: secrets.map(|secret| Secret::new(secret.to_owned())).into(),
            headers: vec![("x-team".to_owned(), "ops".to_owned())],
        };
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        let text = body("rule.fired", now, json!({"id": "e"}), json!({"id": "r"}), json!({"id": "d"}));
        assert!(text.contains(r#""timestamp":"2026-01-05T10:00:00.000Z""#) && text.contains(r#""type":"rule.fired""#));
        let headers = headers(&config, "d1", now, &text).unwrap();
        let of = |name: &str| &headers.iter().find(|(found, _)| found == name).unwrap().1;
        assert_eq!((&**of("webhook-id"), &**of("x-team")), ("d1", "ops"));
        for secret in secrets {
            verify(secret, "d1", of("webhook-timestamp"), of("webhook-signature"), &text, now).unwrap();
        }
    }
}
