//! Which dead letters of ADT may be shown: ADT's own messages hold keys of rows, any other text may hold a resident's data.

use crate::model::{ENVELOPE_KIND, EventKind, QueuedEvent};
use serde_json::Value;
use switchyard_core::{Envelope, Uuid};

/// Whether `body` is a message as [`crate::accept`] sends it, with nothing added.
pub fn is_queued_event(body: &str) -> bool {
    let Ok(envelope) = Envelope::<QueuedEvent>::parse(body, ENVELOPE_KIND) else { return false };
    let has_nothing_else = match (serde_json::to_value(&envelope), serde_json::from_str::<Value>(body)) {
        (Ok(known), Ok(whole)) => known == whole,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    };
    has_nothing_else
        && Uuid::parse_str(&envelope.id).is_ok()
        && EventKind::of(&envelope.body.event_type) != EventKind::Unsupported
        && envelope.trace.as_deref().is_none_or(is_trace_header)
}

/// Whether a text has the form of an X-Ray trace header, such as `Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1`.
fn is_trace_header(text: &str) -> bool {
    let is_value = |value: &str| value.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-:".contains(&byte));
    let is_part = |part: &str| {
        let known = |(name, value): (&str, &str)| {
            ["Root", "Parent", "Sampled", "Self", "Lineage"].contains(&name) && is_value(value)
        };
        part.split_once('=').is_some_and(known)
    };
    text.split(';').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(changes: &Value) -> String {
        let mut message = json!({
            "v": 1, "id": "0197b0c0-0000-7000-8000-000000000001", "kind": "adt.event", "tenant": "company",
            "trace": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0",
            "body": {"event_type": "residents.move_in", "event_message_id": "638"},
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        message.to_string()
    }

    #[test]
    fn only_what_accepting_sends_may_be_shown() {
        assert!(is_queued_event(&message(&json!({}))));
        for other in [
            json!({"id": "Canaryperson"}),
            json!({"kind": "Canaryperson"}),
            json!({"v": 2}),
            json!({"note": "Canaryperson"}),
            json!({"trace": "Canaryperson"}),
            json!({"trace": "Root=1-5759e988;Self=Canaryperson"}),
            json!({"body": {"event_type": "residents.move_in", "event_message_id": "638", "name": "Canaryperson"}}),
            json!({"body": {"event_type": "Canaryperson", "event_message_id": "638"}}),
            json!({"body": "Canaryperson"}),
        ] {
            assert!(!is_queued_event(&message(&other)), "{other}");
        }
        for other in ["", "Canaryperson", "7", "{}", "[]"] {
            assert!(!is_queued_event(other), "{other}");
        }
    }

    #[test]
    fn what_accepting_sends_has_this_form() {
        let body =
            QueuedEvent { event_type: "residents.move_in".to_owned(), event_message_id: "638".to_owned().into() };
        let id = Uuid::nil().to_string();
        for trace in [None, Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned())] {
            let envelope = Envelope::new(ENVELOPE_KIND, id.clone(), "company".to_owned(), trace, body.clone());
            assert!(is_queued_event(&envelope.to_json().unwrap()));
        }
    }
}
