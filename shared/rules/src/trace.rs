//! The trace of an evaluation: each comparison with its values and result.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Why a leaf has the result it has, when that is not plain from the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The path names nothing in this event.
    Missing,
    /// The path to compare with names nothing in this event.
    MissingRef,
    /// The two sides are not of kinds that can be compared.
    TypeMismatch,
    /// The text is longer than a pattern is tried on.
    TooLong,
    /// The evaluation had cost too much by then.
    TooCostly,
}

/// One leaf, as it went: an entry of a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trace {
    /// JSON Pointer from the document's root to the leaf.
    pub pointer: String,
    /// The operator.
    pub op: &'static str,
    /// What the event has there, long values cut; absent when it has nothing. Of `[*]` the first few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
    /// What the rule wants: its literal, or what a `ref` or `now` came to.
    pub expected: Value,
    /// Whether the leaf holds.
    pub result: bool,
    /// Why, if it needs saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

const LONGEST_TEXT: usize = 200;
const MOST_ITEMS: usize = 20;

/// `value`, short enough for people.
pub(crate) fn cut(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            let end = text.floor_char_boundary(LONGEST_TEXT);
            format!("{}…", &text[..end]).into()
        }
        Value::Array(items) => items.iter().take(MOST_ITEMS).map(outline).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().take(MOST_ITEMS).map(|(key, value)| (key.clone(), outline(value))).collect())
        }
        other => other.clone(),
    }
}

fn outline(value: &Value) -> Value {
    match value {
        Value::Array(items) => format!("[{} items]", items.len()).into(),
        Value::Object(map) => format!("{{{} keys}}", map.len()).into(),
        other => cut(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_values_are_cut() {
        assert_eq!(cut(&json!("é".repeat(150))), json!(format!("{}…", "é".repeat(100))));
        assert_eq!(cut(&json!({"a": [1, 2], "b": {"c": 1}})), json!({"a": "[2 items]", "b": "{1 keys}"}));
        assert_eq!(cut(&json!(vec![1; 500])), json!(vec![1; 20]));
    }
}
