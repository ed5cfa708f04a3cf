//! Reads a config's JSON and collects all errors in it.

use super::Issue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What is wrong with one value.
pub(super) type Problem = Cow<'static, str>;

#[derive(Default)]
pub(super) struct Reader {
    pub(super) issues: Vec<Issue>,
}

impl Reader {
    pub(super) fn issue(&mut self, at: &str, message: &str) {
        self.issues.push(Issue { pointer: at.to_owned(), message: message.to_owned() });
    }

    /// The members of an object that may have `keys` only.
    pub(super) fn object<'v>(&mut self, at: &str, value: &'v Value, keys: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            self.issue(at, "an object is required");
            return None;
        };
        for key in members.keys().filter(|key| !keys.contains(&key.as_str())) {
            self.issue(&child(at, key), &format!("means nothing here; known are {}", keys.join(", ")));
        }
        Some(members)
    }

    /// A required member.
    pub(super) fn required<T>(
        &mut self,
        members: &Map<String, Value>,
        at: &str,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, Problem>,
    ) -> Option<T> {
        if members.get(key).is_none_or(Value::is_null) {
            self.issue(&child(at, key), "is missing");
        }
        self.optional(members, at, key, read)
    }

    /// An optional member: it may be absent or null.
    pub(super) fn optional<T>(
        &mut self,
        members: &Map<String, Value>,
        at: &str,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, Problem>,
    ) -> Option<T> {
        let value = members.get(key).filter(|value| !value.is_null())?;
        read(value).map_err(|wrong| self.issue(&child(at, key), &wrong)).ok()
    }
}

/// The JSON Pointer of a member.
pub(super) fn child(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

pub(super) fn text(value: &Value) -> Result<&str, Problem> {
    value.as_str().ok_or(Cow::Borrowed("a text is required"))
}

/// A text of 1 to `longest` letters, digits and `others`.
pub(super) fn word(value: &Value, longest: usize, others: &str) -> Option<String> {
    let word = value.as_str()?;
    let is_word =
        (1..=longest).contains(&word.len()) && word.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
    is_word.then(|| word.to_owned())
}

/// A member that is there and not null.
pub(super) fn section<'v>(members: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    members.get(key).filter(|value| !value.is_null())
}
