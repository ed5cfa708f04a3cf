//! The `by` of thresholds, cooldowns and digests: events with equal values form a group.

use crate::event::Event;
use crate::number::Num;
use crate::path::Path;
use crate::term::Term;
use serde_json::Value;
use std::fmt::Write as _;

/// The key of a group: a compact JSON array with one value per path, in a canonical form. Absent values are `null`; with
/// `need_all` the key is `None` when a value is absent.
pub(crate) fn key(paths: &[Path], event: &Event<'_>, need_all: bool) -> Option<String> {
    let mut key = String::from("[");
    for (number, path) in paths.iter().enumerate() {
        if number > 0 {
            key.push(',');
        }
        match path.find(event) {
            Some(term) => canonical(term, &mut key),
            None if need_all => return None,
            None => key.push_str("null"),
        }
    }
    key.push(']');
    Some(key)
}

/// The canonical form of a value: compact, keys sorted, numbers by their value.
pub fn canonical_text(value: &Value) -> String {
    let mut text = String::new();
    canonical_json(value, &mut text);
    text
}

pub(crate) fn canonical(term: Term<'_>, out: &mut String) {
    match term {
        Term::Json(value) => canonical_json(value, out),
        other => canonical_json(&other.to_json(), out),
    }
}

fn canonical_json(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => match Num::from_json(number) {
            Some(number) => out.push_str(&number.canonical()),
            // Outside the range of `f64` the text is used.
            None => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                canonical_json(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (number, (key, item)) in pairs.into_iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                // Writing to a string cannot fail.
                let _ = write!(out, "{comma}{}:", Value::from(key.as_str()));
                canonical_json(item, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use serde_json::json;

    #[test]
    fn equal_values_have_equal_keys_however_they_are_written() {
        let paths = ["payload.a", "payload.b", "tenant.slug"].map(|path| Path::parse(path).unwrap());
        let key = |payload: Value| key(&paths, &event("x", &payload), false).unwrap();
        assert_eq!(key(json!({"a": 1, "b": "q\""})), r#"[1,"q\"","acme"]"#);
        assert_eq!(key(json!({"a": 1.0, "b": {"y": [2.0], "x": null}})), r#"[1,{"x":null,"y":[2]},"acme"]"#);
        assert_eq!(key(json!({"b": null})), key(json!({})));
        assert_ne!(key(json!({"a": "1"})), key(json!({"a": 1})));
    }

    #[test]
    fn an_absent_value_may_leave_no_key() {
        let paths = [Path::parse("payload.a").unwrap()];
        assert_eq!(super::key(&paths, &event("x", &json!({})), true), None);
        assert_eq!(super::key(&paths, &event("x", &json!({"a": null})), true).as_deref(), Some("[null]"));
        assert_eq!(super::key(&[], &event("x", &json!({})), true).as_deref(), Some("[]"));
    }
}
