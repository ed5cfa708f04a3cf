//! What makes two requests the same.

use serde_json::{Number, Value};
use switchyard_core::hex_sha256;

/// Digest of an event as it was sent: key order, blanks and ways to write a number make no difference, nor does absent
/// against null.
pub(crate) fn fingerprint(kind: &str, payload: &Value, source: Option<&str>, occurred_at: Option<&str>) -> String {
    let mut canonical = String::new();
    write(payload, &mut canonical);
    let presence = |text: Option<&str>| if text.is_some() { "1" } else { "0" };
    hex_sha256(&[
        kind,
        &canonical,
        presence(source),
        source.unwrap_or_default(),
        presence(occurred_at),
        occurred_at.unwrap_or_default(),
    ])
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (key, value) in sorted {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Number(number) => text.push_str(&normal(number)),
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// `1`, `1.0` and `1e0` are one number.
fn normal(number: &Number) -> String {
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "the double is a whole number within the range")]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => (float as i64).to_string(),
        _ => number.to_string(),
    }
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
