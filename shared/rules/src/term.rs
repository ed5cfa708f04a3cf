//! The sides of a comparison, values of the event or of the rule, and how they compare.

use crate::number::Num;
use crate::time::{from_epoch, from_rfc3339};
use crate::trace::Note;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use switchyard_core::iso_millis;

/// The most levels that a comparison descends: more than parsed JSON has.
const DEEPEST: usize = 128;

/// Either side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Term<'a> {
    Json(&'a Value),
    Text(&'a str),
    Time(Timestamp),
    Number(Num),
}

/// How `as` converts both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    None,
    Number,
    Text,
    Time,
}

impl<'a> Term<'a> {
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(Value::String(text)) => Some(Cow::Borrowed(text)),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Time(time) => Some(Cow::Owned(iso_millis(time))),
            Self::Json(_) | Self::Number(_) => None,
        }
    }

    pub(crate) fn number(self) -> Option<Num> {
        match self {
            Self::Json(value) => Num::from_value(value),
            Self::Number(number) => Some(number),
            Self::Text(_) | Self::Time(_) => None,
        }
    }

    /// RFC 3339 text, or a number of seconds or milliseconds.
    pub(crate) fn time(self) -> Option<Timestamp> {
        match self {
            Self::Time(time) => Some(time),
            Self::Json(Value::String(text)) => from_rfc3339(text),
            Self::Text(text) => from_rfc3339(text),
            Self::Json(_) | Self::Number(_) => self.number().and_then(from_epoch),
        }
    }

    pub(crate) fn array(self) -> Option<&'a [Value]> {
        match self {
            Self::Json(Value::Array(items)) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self, Self::Json(Value::Null))
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Json(Value::Null) => Kind::Null,
            Self::Json(Value::Bool(_)) => Kind::Boolean,
            Self::Json(Value::Number(_)) | Self::Number(_) => Kind::Number,
            Self::Json(Value::String(_)) | Self::Text(_) | Self::Time(_) => Kind::String,
            Self::Json(Value::Array(_)) => Kind::Array,
            Self::Json(Value::Object(_)) => Kind::Object,
        }
    }

    /// Converts one side of a comparison.
    pub(crate) fn cast(self, cast: Cast) -> Result<Self, Note> {
        let found = match cast {
            Cast::None => Some(self),
            Cast::Number => self.number().or_else(|| Num::from_decimal(&self.text()?)).map(Self::Number),
            Cast::Text => (self.kind() == Kind::String).then_some(self),
            Cast::Time => self.time().map(Self::Time),
        };
        found.ok_or(Note::TypeMismatch)
    }

    pub(crate) fn to_json(self) -> Value {
        match self {
            Self::Json(value) => value.clone(),
            Self::Text(text) => text.into(),
            Self::Time(time) => iso_millis(time).into(),
            Self::Number(Num::Float(float)) => float.into(),
            Self::Number(Num::Int(int)) => serde_json::to_value(int).unwrap_or_else(|_| int.to_string().into()),
        }
    }
}

/// The types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(crate) const NAMES: [(&str, Self); 6] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];
}

/// Whether two terms are equal. Null is comparable with every type, other types only with themselves.
pub(crate) fn equal(left: Term<'_>, right: Term<'_>, ci: bool) -> Result<bool, Note> {
    match (left, right) {
        (Term::Json(left), Term::Json(right)) => same(left, right, ci),
        (Term::Time(left), Term::Time(right)) => Ok(left == right),
        _ if left.is_null() || right.is_null() => Ok(left.is_null() && right.is_null()),
        _ => match (left.number(), right.number(), left.text(), right.text()) {
            (Some(left), Some(right), _, _) => Ok(left.order(right).is_eq()),
            (_, _, Some(left), Some(right)) => Ok(same_text(&left, &right, ci)),
            _ => Err(Note::TypeMismatch),
        },
    }
}

fn same(left: &Value, right: &Value, ci: bool) -> Result<bool, Note> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(same_text(left, right, ci)),
        (Value::Null, _) | (_, Value::Null) => Ok(left.is_null() && right.is_null()),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::Object(_), Value::Object(_)) => Ok(deeply_same(left, right, ci, DEEPEST)),
        _ => Err(Note::TypeMismatch),
    }
}

fn deeply_same(left: &Value, right: &Value, ci: bool, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => same_text(left, right, ci),
        (Value::Number(one), Value::Number(other)) => match (Num::from_json(one), Num::from_json(other)) {
            (Some(one), Some(other)) => one.order(other).is_eq(),
            _ => one == other,
        },
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| deeply_same(left, right, ci, depth))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| deeply_same(left, right, ci, depth)))
        }
        _ => false,
    }
}

/// The order of two terms: numbers, times, and texts when `as` says so.
pub(crate) fn order(left: Term<'_>, right: Term<'_>, cast: Cast) -> Result<Ordering, Note> {
    let (left, right) = (left.cast(cast)?, right.cast(cast)?);
    if cast == Cast::Text {
        return left.text().zip(right.text()).map(|(left, right)| left.cmp(&right)).ok_or(Note::TypeMismatch);
    }
    match (left, right) {
        (Term::Time(left), Term::Time(right)) => Ok(left.cmp(&right)),
        _ => left.number().zip(right.number()).map(|(left, right)| left.order(right)).ok_or(Note::TypeMismatch),
    }
}

/// Unicode's simple lower case, character by character.
fn lower(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().map(|letter| match letter {
        _ if letter.is_ascii() => letter.to_ascii_lowercase(),
        _ => letter.to_lowercase().next().unwrap_or(letter),
    })
}

pub(crate) fn same_text(left: &str, right: &str, ci: bool) -> bool {
    left == right || ci && lower(left).eq(lower(right))
}

pub(crate) fn contains_text(text: &str, part: &str, ci: bool) -> bool {
    if !ci {
        return text.contains(part);
    }
    lower(text).collect::<String>().contains(&lower(part).collect::<String>())
}

pub(crate) fn starts_with(text: &str, start: &str, ci: bool) -> bool {
    if !ci {
        return text.starts_with(start);
    }
    begins(lower(text), lower(start))
}

pub(crate) fn ends_with(text: &str, end: &str, ci: bool) -> bool {
    if !ci {
        return text.ends_with(end);
    }
    begins(lower(text).rev(), lower(end).rev())
}

fn begins(mut letters: impl Iterator<Item = char>, mut start: impl Iterator<Item = char>) -> bool {
    start.all(|letter| letters.next() == Some(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_deep_and_of_one_kind() {
        let eq = |left: Value, right: Value| equal(Term::Json(&left), Term::Json(&right), false);
        assert_eq!(eq(json!({"a": [1, null], "b": 2}), json!({"b": 2.0, "a": [1.0, null]})), Ok(true));
        assert_eq!(eq(json!([1]), json!(["1"])), Ok(false));
        assert_eq!(eq(json!(null), json!(null)), Ok(true));
        assert_eq!(eq(json!("x"), json!(null)), Ok(false));
        assert_eq!(eq(json!("10"), json!(10)), Err(Note::TypeMismatch));
        assert_eq!(eq(json!(true), json!(1)), Err(Note::TypeMismatch));
    }

    #[test]
    fn letters_compare_in_lower_case_when_asked() {
        for (left, right, wanted) in
            [("Straße", "STRASSE", false), ("ÄÖ", "äö", true), ("İ", "i", true), ("a", "b", false)]
        {
            assert_eq!(same_text(left, right, true), wanted, "{left} {right}");
        }
        assert!(starts_with("GIFT-1", "gift-", true) && ends_with("A@ACME.test", "@acme.TEST", true));
        assert!(!ends_with("test", "a long test", true) && !starts_with("gi", "gift", true));
        assert!(contains_text("xÄy", "äY", true) && !contains_text("xÄy", "äY", false));
    }

    #[test]
    fn order_needs_numbers_moments_or_a_cast() {
        let order = |left: Value, right: Value, cast| order(Term::Json(&left), Term::Json(&right), cast);
        assert_eq!(order(json!(2), json!(10), Cast::None), Ok(Ordering::Less));
        assert_eq!(order(json!("2"), json!("10"), Cast::None), Err(Note::TypeMismatch));
        assert_eq!(order(json!("2"), json!("10"), Cast::Text), Ok(Ordering::Greater));
        assert_eq!(order(json!("2"), json!(10), Cast::Number), Ok(Ordering::Less));
        assert_eq!(order(json!("2 EUR"), json!(10), Cast::Number), Err(Note::TypeMismatch));
        assert_eq!(order(json!("1970-01-01T00:00:01Z"), json!(1), Cast::Time), Ok(Ordering::Equal));
    }
}
