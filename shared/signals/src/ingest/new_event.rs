//! What producers send, read as strictly as the contract says.

use crate::ingest::fingerprint::fingerprint;
use crate::ingest::occurred::parse_occurred_at;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Longest type, in characters.
const MAX_TYPE: usize = 120;

/// Longest source, in characters.
const MAX_SOURCE: usize = 255;

/// Deepest nesting of a payload; the payload itself is the first level.
const MAX_DEPTH: usize = 64;

/// Types that begin so are the platform's own.
pub const RESERVED: &str = "signalops.";

/// An event as it was sent, and found to be well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub kind: String,
    /// A JSON object, byte for byte as it came.
    pub payload: String,
    /// Who tells of it.
    pub source: Option<String>,
    /// When it happened; absent means when it came.
    pub occurred_at: Option<Timestamp>,
    /// Digest of all that was sent, which tells whether a repetition is one.
    pub fingerprint: String,
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadEvent {
    /// The text is not JSON.
    Malformed,
    /// It is, and these are its faults, in the order of the contract.
    Fields(Vec<String>),
}

impl NewEvent {
    /// Reads an event's JSON. What is no field of it is dropped, at the top only.
    ///
    /// # Errors
    /// See [`BadEvent`].
    pub fn parse(text: &str) -> Result<Self, BadEvent> {
        let whole: &RawValue = serde_json::from_str(text).map_err(|_| BadEvent::Malformed)?;
        let fields: BTreeMap<String, &RawValue> = match whole.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str(whole.get()).map_err(|_| BadEvent::Malformed)?,
            // Anything else has no fields.
            _ => BTreeMap::new(),
        };
        Self::from_fields(&fields)
    }

    pub(crate) fn from_fields(fields: &BTreeMap<String, &RawValue>) -> Result<Self, BadEvent> {
        let mut faults = Vec::new();
        let value = |name: &str| match fields.get(name) {
            Some(raw) => serde_json::from_str::<Value>(raw.get()).map(Some).map_err(|error| (name.to_owned(), error)),
            None => Ok(None),
        };
        let kind = match value("type") {
            Ok(Some(Value::String(kind))) => {
                check_type(&kind, &mut faults);
                kind
            }
            Ok(_) => {
                faults.push(format!("type must be shorter than or equal to {MAX_TYPE} characters"));
                faults.push("type must be a string".to_owned());
                String::new()
            }
            Err(_) => return Err(BadEvent::Malformed),
        };
        let source = match value("source") {
            Ok(None | Some(Value::Null)) => None,
            Ok(Some(Value::String(source))) => {
                if source.chars().count() > MAX_SOURCE {
                    faults.push(format!("source must be shorter than or equal to {MAX_SOURCE} characters"));
                }
                Some(source)
            }
            Ok(Some(_)) => {
                faults.push(format!("source must be shorter than or equal to {MAX_SOURCE} characters"));
                faults.push("source must be a string".to_owned());
                None
            }
            Err(_) => return Err(BadEvent::Malformed),
        };
        let (occurred_at, occurred_text) = match value("occurredAt") {
            Ok(None | Some(Value::Null)) => (None, None),
            Ok(Some(Value::String(text))) => {
                let parsed = parse_occurred_at(&text);
                if parsed.is_none() {
                    faults.push("occurredAt must be a valid ISO 8601 date string".to_owned());
                }
                (parsed, Some(text))
            }
            Ok(Some(_)) => {
                faults.push("occurredAt must be a valid ISO 8601 date string".to_owned());
                (None, None)
            }
            Err(_) => return Err(BadEvent::Malformed),
        };
        let payload = fields.get("payload").map(|raw| raw.get()).unwrap_or_default();
        let read = match (payload.starts_with('{'), nesting(payload) > MAX_DEPTH) {
            (false, _) => {
                faults.push("payload must be an object".to_owned());
                Value::Null
            }
            (true, true) => {
                faults.push(format!("payload must not be nested deeper than {MAX_DEPTH} levels"));
                Value::Null
            }
            (true, false) => match serde_json::from_str::<Value>(payload) {
                Ok(read) => read,
                // The whole is JSON, so that it is a number no double can hold, or half of a surrogate pair.
                Err(error) if error.to_string().starts_with("number out of range") => {
                    faults.push("payload must not contain numbers out of range".to_owned());
                    Value::Null
                }
                Err(_) => return Err(BadEvent::Malformed),
            },
        };
        if !faults.is_empty() {
            return Err(BadEvent::Fields(faults));
        }
        let fingerprint = fingerprint(&kind, &read, source.as_deref(), occurred_text.as_deref());
        Ok(Self { kind, payload: payload.to_owned(), source, occurred_at, fingerprint })
    }
}

fn check_type(kind: &str, faults: &mut Vec<String>) {
    if kind.is_empty() {
        faults.push("type should not be empty".to_owned());
    }
    if kind.chars().count() > MAX_TYPE {
        faults.push(format!("type must be shorter than or equal to {MAX_TYPE} characters"));
    }
    if kind.chars().any(char::is_control) {
        faults.push("type must not contain control characters".to_owned());
    }
    if kind.starts_with(RESERVED) {
        faults.push(format!("type must not start with {RESERVED}"));
    }
}

/// How deep a JSON text is nested, read without recursion.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match (is_text, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_text = !is_text,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        match NewEvent::parse(text).unwrap_err() {
            BadEvent::Fields(faults) => faults,
            BadEvent::Malformed => vec!["malformed".into()],
        }
    }

    #[test]
    fn v04_v05_v06_field_messages_come_in_the_contracts_order() {
        let type_lines = ["type must be shorter than or equal to 120 characters", "type must be a string"];
        assert_eq!(faults("{}"), [&type_lines[..], &["payload must be an object"]].concat());
        assert_eq!(faults("[]"), faults("{}"));
        let long = format!(r#"{{"type":"{}","payload":{{}}}}"#, "a".repeat(121));
        assert_eq!(faults(&long), type_lines[..1]);
        assert_eq!(faults(r#"{"type":"t","payload":[1]}"#), ["payload must be an object"]);
        assert_eq!(faults(r#"{"type":"t","payload":null}"#), ["payload must be an object"]);
        let all = faults(r#"{"type":1,"source":1,"occurredAt":1,"payload":1}"#);
        let source = ["source must be shorter than or equal to 255 characters", "source must be a string"];
        let rest = ["occurredAt must be a valid ISO 8601 date string", "payload must be an object"];
        assert_eq!(all, [&type_lines[..], &source, &rest].concat());
        assert_eq!(faults(r#"{"type":"","payload":{}}"#), ["type should not be empty"]);
        assert_eq!(faults(r#"{"type":"signalops.x","payload":{}}"#), ["type must not start with signalops."]);
        assert_eq!(faults("{"), ["malformed"]);
    }

    #[test]
    fn v07_null_is_absent_and_lengths_count_characters() {
        let text = r#"{"type":"t","payload":{},"source":null,"occurredAt":null,"other":1}"#;
        let event = NewEvent::parse(text).unwrap();
        assert_eq!((event.source, event.occurred_at), (None, None));
        let emoji = format!(r#"{{"type":"{}","payload":{{}}}}"#, "🛒".repeat(120));
        assert!(NewEvent::parse(&emoji).is_ok());
    }

    #[test]
    fn v09_other_dates_are_refused() {
        for date in [r#""2025-W50-1""#, r#""yesterday""#, "1734220800", r#""2025-02-31""#] {
            let text = format!(r#"{{"type":"t","payload":{{}},"occurredAt":{date}}}"#);
            assert_eq!(faults(&text), ["occurredAt must be a valid ISO 8601 date string"], "{date}");
        }
    }

    #[test]
    fn v19_payloads_stay_as_they_came() {
        let payload = r#"{"constructor":1,"__proto__":{"z":1},"n":12345678901234567890123,"u":"\u0000"}"#;
        let event = NewEvent::parse(&format!(r#"{{"type":"t","payload":{payload}}}"#)).unwrap();
        assert_eq!(event.payload, payload);
        let range = r#"{"type":"t","payload":{"n":1e400}}"#;
        assert_eq!(faults(range), ["payload must not contain numbers out of range"]);
        let deep = |levels| {
            format!(r#"{{"type":"t","payload":{}{}}}"#, r#"{"a":"#.repeat(levels), "1".to_owned() + &"}".repeat(levels))
        };
        assert!(NewEvent::parse(&deep(64)).is_ok());
        assert_eq!(faults(&deep(65)), ["payload must not be nested deeper than 64 levels"]);
        assert_eq!(faults(&deep(20_000)), ["payload must not be nested deeper than 64 levels"]);
    }
}
