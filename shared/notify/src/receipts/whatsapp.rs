//! WhatsApp's reports: `GET` and `POST` of the webhook that Meta calls.
//!
//! Reports come out of order and more than once: the caller must only let a state move forward.

use jiff::Timestamp;
use ring::hmac;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

/// The response to the `GET` with which Meta verifies a webhook: its `hub.challenge`, if `hub.verify_token` is right.
/// `query` is the query's decoded pairs.
pub fn challenge<'q>(query: &[(&str, &'q str)], verify_token: &str) -> Option<&'q str> {
    let of = |name: &str| query.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    let is_ours = bool::from(of("hub.verify_token")?.as_bytes().ct_eq(verify_token.as_bytes()));
    (of("hub.mode") == Some("subscribe") && is_ours && !verify_token.is_empty()).then(|| of("hub.challenge")).flatten()
}

/// Whether `signature`, the header `X-Hub-Signature-256`, is the app's over exactly these bytes.
pub fn is_authentic(app_secret: &str, signature: &str, body: &[u8]) -> bool {
    let Some(tag) = signature.strip_prefix("sha256=").and_then(unhex) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, app_secret.as_bytes());
    !app_secret.is_empty() && hmac::verify(&key, body, &tag).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On its way.
    Sent,
    /// On the recipient's phone.
    Delivered,
    /// Seen there.
    Read,
    /// It will not arrive.
    Failed,
    /// A state that this crate does not know.
    #[serde(other)]
    Unknown,
}

/// The state of one message in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `wamid…`, as the outcome of the attempt had it.
    pub message_id: String,
    /// How far it has come.
    pub state: State,
    /// Since when.
    pub at: Option<Timestamp>,
    /// The error code of a failure, for [`crate::whatsapp::classify_code`].
    pub error: Option<i64>,
}

/// The states in an authentic report. Other contents, such as received messages, are ignored.
///
/// # Errors
/// It is not a report. The error shows no content.
pub fn statuses(body: &[u8]) -> Result<Vec<Status>, NotAReport> {
    #[derive(Deserialize)]
    struct Report {
        entry: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        changes: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        #[serde(default)]
        value: Value,
    }
    #[derive(Default, Deserialize)]
    struct Value {
        #[serde(default)]
        statuses: Vec<Reported>,
    }
    #[derive(Deserialize)]
    struct Reported {
        id: String,
        status: State,
        timestamp: Option<String>,
        #[serde(default)]
        errors: Vec<ReportedError>,
    }
    #[derive(Deserialize)]
    struct ReportedError {
        code: i64,
    }
    let report: Report = serde_json::from_slice(body).map_err(|_| NotAReport)?;
    let reported = report.entry.into_iter().flat_map(|entry| entry.changes).flat_map(|change| change.value.statuses);
    Ok(reported
        .map(|status| Status {
            message_id: status.id,
            state: status.status,
            at: status.timestamp.and_then(|text| Timestamp::from_second(text.parse().ok()?).ok()),
            error: status.errors.first().map(|failure| failure.code),
        })
        .collect())
}

/// The body is not a report of WhatsApp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a report of WhatsApp's")]
pub struct NotAReport;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_challenge_is_returned_only_with_the_right_token() {
        let query = |token| [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "1158201444")];
        assert_eq!(challenge(&query("ours"), "ours"), Some("1158201444"));
        assert_eq!(challenge(&query("theirs"), "ours"), None);
        assert_eq!(challenge(&query(""), ""), None);
        assert_eq!(challenge(&query("ours")[1..], "ours"), None);
    }

    #[test]
    fn the_signature_is_over_the_bytes() {
        // RFC 4231, test case 2.
        let signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(is_authentic("Jefe", signature, b"what do ya want for nothing?"));
        assert!(!is_authentic("Jefe", signature, b"what do ya want for nothing!"));
        assert!(!is_authentic("Jefa", signature, b"what do ya want for nothing?"));
        for wrong in ["", "sha256=", "sha256=5b", &signature[7..], "sha256=zz", "sha256=é"] {
            assert!(!is_authentic("Jefe", wrong, b"what do ya want for nothing?"), "{wrong}");
        }
    }

    #[test]
    fn statuses_are_read_and_other_contents_ignored() {
        let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
            {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": {}, "statuses": [
                {"id": "wamid.A", "status": "delivered", "timestamp": "1767607200", "recipient_id": "49"},
                {"id": "wamid.B", "status": "failed", "timestamp": "1767607201", "recipient_id": "49",
                    "errors": [{"code": 131_026, "title": "Message undeliverable"}]},
                {"id": "wamid.C", "status": "warmed", "timestamp": "soon"}]}},
            {"field": "messages", "value": {"messages": [{"from": "49", "text": {"body": "hi"}}]}},
            {"field": "account_update"}]}]});
        let found = statuses(body.to_string().as_bytes()).unwrap();
        let status = |id: &str, state, at: Option<i64>, error| Status {
            message_id: id.to_owned(),
            state,
            at: at.map(|second| Timestamp::from_second(second).unwrap()),
            error,
        };
        assert_eq!(
            found,
            [
                status("wamid.A", State::Delivered, Some(1_767_607_200), None),
                status("wamid.B", State::Failed, Some(1_767_607_201), Some(131_026)),
                status("wamid.C", State::Unknown, None, None),
            ]
        );
        assert_eq!(statuses(b"{}"), Err(NotAReport));
    }
}
