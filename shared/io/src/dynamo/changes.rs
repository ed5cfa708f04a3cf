//! Changes to a row: `SET`, `ADD` and `REMOVE` clauses with the condition they depend on.

use super::{AttributeValue, IntoAttribute, Item};
use std::collections::HashMap;

/// `SET`, `ADD` and `REMOVE` clauses with a condition.
///
/// Names and values are always sent as placeholders, so that attributes may be reserved words.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    sets: Vec<String>,
    adds: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Item,
    pub(super) returns_updated_only: bool,
}

impl Changes {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `attribute` to `value`.
    #[must_use]
    pub fn set(mut self, attribute: &str, value: impl IntoAttribute) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets `attribute` to `value` unless it has a value already.
    #[must_use]
    pub fn set_once(mut self, attribute: &str, value: impl IntoAttribute) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets `attribute` to `value`, or removes it when there is none.
    #[must_use]
    pub fn set_or_remove(self, attribute: &str, value: Option<impl IntoAttribute>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Adds `amount` to the number in `attribute`; absent counts as zero.
    #[must_use]
    pub fn add(mut self, attribute: &str, amount: i64) -> Self {
        let (name, amount) = (self.name(attribute), self.value(amount));
        self.adds.push(format!("{name} {amount}"));
        self
    }

    /// Makes [`super::Update::Applied`] hold only the attributes that were set or added to, for long rows. Transactions never return
    /// rows.
    #[must_use]
    pub fn without_the_rest(mut self) -> Self {
        self.returns_updated_only = true;
        self
    }

    /// Removes `attribute`.
    #[must_use]
    pub fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removes.push(name);
        self
    }

    /// Adds a condition in DynamoDB's own syntax, where each `?` stands for the next of `values` and every attribute
    /// is written as `#name`. All conditions must hold.
    #[must_use]
    pub fn only_if(mut self, condition: &str, values: impl IntoIterator<Item = AttributeValue>) -> Self {
        let mut values = values.into_iter();
        let mut text = String::new();
        let mut rest = condition.chars().peekable();
        while let Some(char) = rest.next() {
            match char {
                '?' => {
                    if let Some(value) = values.next() {
                        text.push_str(&self.value(value));
                    }
                }
                '#' => {
                    let mut attribute = String::new();
                    while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                        attribute.push(next);
                    }
                    text.push_str(&self.name(&attribute));
                }
                other => text.push(other),
            }
        }
        self.conditions.push(format!("({text})"));
        self
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: impl IntoAttribute) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.into_attribute());
        placeholder
    }

    pub(super) fn update_expression(&self) -> String {
        let clause = |word: &str, parts: &[String]| match parts {
            [] => String::new(),
            parts => format!("{word} {} ", parts.join(", ")),
        };
        format!("{}{}{}", clause("SET", &self.sets), clause("ADD", &self.adds), clause("REMOVE", &self.removes))
    }

    pub(super) fn condition_expression(&self) -> Option<String> {
        Some(self.conditions.join(" AND ")).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_write_placeholders_for_names_and_values() {
        let changes = Changes::new()
            .set("status", "queued")
            .set("lease_until", 7_i64)
            .remove("due_at")
            .only_if("attribute_exists(#pk) AND #status <> ?", [AttributeValue::S("done".into())]);
        assert_eq!(changes.update_expression(), "SET #status = :v0, #lease_until = :v1 REMOVE #due_at ");
        assert_eq!(changes.conditions, ["(attribute_exists(#pk) AND #status <> :v2)"]);
        assert_eq!(changes.names["#status"], "status");
        assert_eq!(changes.values[":v2"], AttributeValue::S("done".into()));
    }
}
