//! The fingerprint by which a repeated request is recognized.

use serde_json::Value;
use switchyard_core::hex_sha256;
use switchyard_rules::canonical_text;

/// Digest of an event as it was sent: key order, blanks and ways to write a number make no difference, nor does absent
/// against null.
pub(crate) fn fingerprint(kind: &str, payload: &Value, source: Option<&str>, occurred_at: Option<&str>) -> String {
    let presence = |text: Option<&str>| if text.is_some() { "1" } else { "0" };
    hex_sha256(&[
        kind,
        &canonical_text(payload),
        presence(source),
        source.unwrap_or_default(),
        presence(occurred_at),
        occurred_at.unwrap_or_default(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_in_meaning_differs() {
        let of = |text: &str| fingerprint("t", &serde_json::from_str(text).unwrap(), None, None);
        assert_eq!(of(r#"{"a":1,"b":[1.0,{"y":1,"x":2}]}"#), of(r#"{ "b": [1, {"x":2.0,"y":1e0}], "a": 1 }"#));
        for other in [r#"{"a":2}"#, r#"{"a":"1"}"#, r#"{"b":1}"#, r#"{"a":[1]}"#, r#"{"a":1.5}"#] {
            assert_ne!(of(r#"{"a":1}"#), of(other), "{other}");
        }
        let value = Value::Null;
        assert_ne!(fingerprint("t", &value, Some(""), None), fingerprint("t", &value, None, None));
        assert_ne!(fingerprint("t", &value, Some("a"), None), fingerprint("t", &value, None, Some("a")));
    }
}
