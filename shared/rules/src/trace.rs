//! The trace of an evaluation: each comparison with its values and result.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Why a leaf has its result, when the values do not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The path is absent in this event.
    Missing,
    /// The path to compare with is absent in this event.
    MissingRef,
    /// The types of the two sides cannot be compared.
    TypeMismatch,
    /// The text is too long for a pattern.
    TooLong,
    /// The evaluation was stopped before, at its limit of comparisons.
    TooCostly,
}

/// The evaluation of one leaf, in a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trace {
    /// JSON Pointer from the document's root to the leaf.
    pub pointer: String,
    /// The operator.
    pub op: &'static str,
    /// The event's value, cut if it is long; absent when the event has none. For `[*]` the first few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
    /// The rule's value: its literal, or the value of a `ref` or `now`.
    pub expected: Value,
    /// Whether the leaf holds.
    pub result: bool,
    /// A note on the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

const LONGEST_TEXT: usize = 200;
const MAX_ITEMS: usize = 20;

/// `value`, shortened for display.
pub(crate) fn cut(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            let end = text.floor_char_boundary(LONGEST_TEXT);
            format!("{}…", &text[..end]).into()
        }
        Value::Array(items) => items.iter().take(MAX_ITEMS).map(outline).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().take(MAX_ITEMS).map(|(key, value)| (key.clone(), outline(value))).collect())
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
