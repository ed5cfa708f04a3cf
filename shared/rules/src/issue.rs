//! Errors and warnings about a rule's document: their codes, pointers and messages.

use crate::operator::PatternSize;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The most errors, and the most warnings, of one check.
pub const MAX_ISSUES: usize = 50;

/// The code of an [`Issue`]; `snake_case` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "IssueCode")]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An unknown key, or one that appears twice.
    UnknownKey,
    /// A required key is absent; the pointer is its place.
    MissingKey,
    /// An unknown operator.
    UnknownOperator,
    /// Not a path, or one that is not allowed here.
    BadPath,
    /// A value of the right type that is not allowed.
    BadValue,
    /// A value of the wrong type.
    ValueType,
    /// A pattern that does not compile, or is too large.
    BadRegex,
    /// Not a duration, or one out of range.
    BadDuration,
    /// An empty `all`, `any` or `none`.
    EmptyGroup,
    /// Nested too deeply.
    TooDeep,
    /// Too many leaves, or too many bytes.
    TooLarge,
    /// `each` on a path without `[*]`.
    EachWithoutWildcard,
    /// A template that does not compile; line and column are in the message.
    BadTemplate,
    /// Not an IANA time zone.
    BadTimezone,
    /// An unknown channel.
    UnknownChannel,
    /// An unknown notification config.
    UnknownConfig,
    /// A legacy condition other than `equals`.
    UnknownCondition,
    /// An action other than `notify`.
    UnknownAction,
    /// A legacy `equals` with an object or an array.
    LegacyNonScalar,
    /// Warning: the condition holds for every event.
    AlwaysTrue,
    /// Warning: the channel has no active config.
    NoActiveConfig,
    /// Warning: this part cannot change the result.
    UnreachableBranch,
    /// Warning: braces in a legacy text, which is sent unchanged.
    LegacyBracesNotInterpolated,
    /// Warning of a rendering: a name has no value and prints nothing.
    MissingValue,
}

/// One error or warning about a rule's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Issue {
    /// JSON Pointer from the document's root, such as `/definition/when/all/0/op`.
    pub pointer: String,
    /// The code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// What the author probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The JSON Pointer of a member.
pub(crate) fn child(at: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string();
    if token.contains(['~', '/']) {
        return format!("{at}/{}", token.replace('~', "~0").replace('/', "~1"));
    }
    format!("{at}/{token}")
}

/// Collects the errors and warnings of a check.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) issues: Vec<Issue>,
    pub(crate) warnings: Vec<Issue>,
    /// The number of leaves so far, in all conditions of the document.
    pub(crate) leaves: usize,
    /// The patterns so far.
    pub(crate) patterns: Vec<PatternSize>,
}

impl Report {
    pub(crate) fn pattern_bytes(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.bytes).sum()
    }

    pub(crate) fn issue(&mut self, at: &str, code: Code, message: impl Into<String>) {
        self.push(at, code, message.into(), None);
    }

    pub(crate) fn hinted(&mut self, at: &str, code: Code, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at, code, message.into(), Some(hint.into()));
    }

    fn push(&mut self, at: &str, code: Code, message: String, hint: Option<String>) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue { pointer: at.to_owned(), code, message, hint });
        }
    }

    pub(crate) fn warning(&mut self, at: &str, code: Code, message: impl Into<String>) {
        if self.warnings.len() < MAX_ISSUES {
            self.warnings.push(Issue { pointer: at.to_owned(), code, message: message.into(), hint: None });
        }
    }

    /// `value` as an object that may have `keys` only.
    pub(crate) fn object<'v>(&mut self, value: &'v Value, at: &str, keys: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(map) = value else {
            self.issue(at, Code::ValueType, "expected an object");
            return None;
        };
        for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
            let message = format!("expected one of {}", keys.join(", "));
            let hint = nearest(key, keys).filter(|(_, distance)| *distance <= 2).map(|(name, _)| name.to_owned());
            self.push(&child(at, key), Code::UnknownKey, message, hint);
        }
        Some(map)
    }

    pub(crate) fn required<'v>(&mut self, map: &'v Map<String, Value>, at: &str, key: &str) -> Option<&'v Value> {
        let value = map.get(key);
        if value.is_none() {
            self.issue(&child(at, key), Code::MissingKey, format!("{key} is required"));
        }
        value
    }

    /// A text of so many characters.
    pub(crate) fn text<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
        chars: std::ops::RangeInclusive<usize>,
    ) -> Option<&'v str> {
        let Value::String(text) = value else {
            self.issue(at, Code::ValueType, "expected a string");
            return None;
        };
        if !chars.contains(&text.chars().count()) {
            self.issue(at, Code::BadValue, format!("expected {} to {} characters", chars.start(), chars.end()));
            return None;
        }
        Some(text)
    }

    pub(crate) fn integer(&mut self, value: &Value, at: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        if !value.is_number() {
            self.issue(at, Code::ValueType, "expected a number");
            return None;
        }
        let found = value.as_i64().filter(|number| range.contains(number));
        if found.is_none() {
            self.issue(
                at,
                Code::BadValue,
                format!("expected a whole number from {} to {}", range.start(), range.end()),
            );
        }
        found
    }

    pub(crate) fn boolean(&mut self, value: &Value, at: &str) -> Option<bool> {
        let found = value.as_bool();
        if found.is_none() {
            self.issue(at, Code::ValueType, "expected true or false");
        }
        found
    }

    /// An array of so many values.
    pub(crate) fn array<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
        length: std::ops::RangeInclusive<usize>,
    ) -> Option<&'v [Value]> {
        let Value::Array(items) = value else {
            self.issue(at, Code::ValueType, "expected an array");
            return None;
        };
        if !length.contains(&items.len()) {
            self.issue(at, Code::BadValue, format!("expected {} to {} items", length.start(), length.end()));
            return None;
        }
        Some(items)
    }

    /// One of `choices`, by its name.
    pub(crate) fn choice<T: Copy>(&mut self, value: &Value, at: &str, choices: &[(&str, T)]) -> Option<T> {
        let name = self.text(value, at, 0..=usize::MAX)?;
        let found = choices.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            self.issue(at, Code::BadValue, format!("expected one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }
}

/// The name with the fewest edits to `text`, the first of equals, with that number of edits.
pub(crate) fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<(&'n str, usize)> {
    let text: Vec<char> = text.chars().take(64).collect();
    names.iter().map(|name| (*name, distance(&text, name))).min_by_key(|(_, distance)| *distance)
}

/// Levenshtein's.
fn distance(text: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=text.len()).collect();
    for (line, letter) in name.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for column in 0..text.len() {
            let replaced = diagonal + usize::from(text[column] != letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_name_is_the_one_with_the_fewest_edits() {
        let names = ["eq", "gt", "gte", "after", "matches"];
        for (text, wanted) in [("greater", ("gte", 4)), ("match", ("matches", 2)), ("", ("eq", 2)), ("gt", ("gt", 0))] {
            assert_eq!(nearest(text, &names), Some(wanted), "{text}");
        }
    }

    #[test]
    fn pointers_are_escaped_and_keys_are_checked() {
        let mut report = Report::default();
        let value = json!({"a/b~c": 2, "nam": 1, "name": 3});
        assert!(report.object(&value, "/x", &["name"]).is_some());
        let found: Vec<_> = report.issues.iter().map(|issue| (issue.pointer.as_str(), issue.hint.as_deref())).collect();
        assert_eq!(found, [("/x/a~1b~0c", None), ("/x/nam", Some("name"))]);
    }

    #[test]
    fn a_report_stops_at_fifty() {
        let mut report = Report::default();
        (0..99).for_each(|number| report.issue(&number.to_string(), Code::BadValue, ""));
        assert_eq!(report.issues.len(), MAX_ISSUES);
    }
}
