//! The request of one attempt, and what is stored of its response.

use crate::deps::DeliverDeps;
use crate::model::EXCERPT_BYTES;
use crate::store::{EndpointRow, EventRow};
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::signature::legacy;
use switchyard_core::{Secret, iso_millis};
use switchyard_io::http::{Answer, HttpError};
use switchyard_io::webhook::Webhook;

pub(super) async fn post(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    secrets: &[Secret<String>],
    event: &EventRow,
    now: Timestamp,
) -> Result<Answer, HttpError> {
    const SERVICE: &str = "the receiver";
    let (url, timeout) = (endpoint.target_url.as_str(), deps.timeout_of(endpoint));
    let request = Webhook { id: event.id.as_str(), url, body: &event.payload, timeout };
    let secrets = secrets.iter().map(|secret| secret.expose().as_str());
    let headers = request.headers(secrets, now).map_err(|_| HttpError::Refused { service: SERVICE })?;
    let mut headers: Vec<_> = headers.into();
    headers.push(("x-event-id", event.id.to_string()));
    if let Some(secret) = &deps.legacy_secret {
        headers.push(("x-webhook-signature", legacy(secret.expose(), &event.payload)));
        headers.push(("x-webhook-timestamp", iso_millis(now)));
    }
    request.post(&deps.http, SERVICE, headers, EXCERPT_BYTES).await
}

/// The beginning of a response as text. It is cut after decoding: replacing invalid UTF-8 makes it longer.
pub(super) fn excerpt(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    text.truncate(text.floor_char_boundary(EXCERPT_BYTES));
    text
}

/// `500 Internal Server Error`, or a code for why there was no response.
pub(super) fn reason(answer: &Result<Answer, HttpError>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, answer.reason()),
        Err(error) => error.word().to_owned(),
    }
}

/// `Retry-After` of a response that asks to be retried later.
pub(super) fn requested_wait(answer: &Answer, now: Timestamp) -> Option<Duration> {
    matches!(answer.status, 429 | 502..=504).then(|| answer.retry_after(now)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_stays_short_whatever_it_holds() {
        assert_eq!(excerpt("ä".as_bytes()), "ä");
        assert!((EXCERPT_BYTES - 3..=EXCERPT_BYTES).contains(&excerpt(&[0xff; EXCERPT_BYTES]).len()));
    }

    #[test]
    fn retry_after_counts_only_on_a_status_that_asks_for_it() {
        let now: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        let wish = |status: u16, text: &str| {
            let mut answer = Answer { status, headers: Default::default(), body: Default::default() };
            answer.headers.insert("retry-after", text.parse().unwrap());
            requested_wait(&answer, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wish(429, "7"), Some(7));
        assert_eq!(wish(503, "Mon, 05 Jan 2026 10:02:00 GMT"), Some(120));
        assert_eq!(wish(503, "Mon, 05 Jan 2026 09:02:00 GMT"), None);
        assert_eq!(wish(500, "7"), None);
        assert_eq!(wish(429, "soon"), None);
    }
}
