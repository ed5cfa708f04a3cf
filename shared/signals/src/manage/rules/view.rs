//! A rule and its versions as the API shows them.

use super::row::{RuleRow, RuleStatus, VersionRow};
use crate::error::SignalsError;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use switchyard_core::iso_millis;
use switchyard_rules::Issue;

/// A rule: its document, and what the platform says of it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct RuleView(Map<String, Value>);

impl RuleView {
    pub(crate) fn of(row: &RuleRow) -> Self {
        let mut body: Map<String, Value> = serde_json::from_str(&row.document).unwrap_or_default();
        body.insert("id".to_owned(), row.id.as_str().into());
        body.insert("version".to_owned(), row.version.into());
        body.insert("status".to_owned(), json!(row.status));
        body.insert("createdAt".to_owned(), iso_millis(row.created_at).into());
        body.insert("updatedAt".to_owned(), iso_millis(row.updated_at).into());
        Self(body)
    }

    /// The rule with what its author probably did not mean.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &[Issue]) -> Self {
        self.0.insert("warnings".to_owned(), json!(warnings));
        self
    }

    /// The rule's id.
    pub fn id(&self) -> &str {
        self.0.get("id").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text of a field, such as `eventType`.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str)
    }
}

/// The document's schema of a [`RuleView`], whose document is kept as its author wrote it.
#[derive(JsonSchema)]
#[schemars(rename = "Rule")]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct RuleShape {
    id: String,
    /// The version in force.
    version: u64,
    status: RuleStatus,
    name: String,
    /// An exact type, `payment.*` or `*`.
    event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// `when`, `threshold`, `cooldown`, `digest` and `actions`.
    definition: Map<String, Value>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
    /// What the author probably did not mean; after a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<Issue>>,
}

impl JsonSchema for RuleView {
    fn schema_name() -> Cow<'static, str> {
        RuleShape::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RuleShape::json_schema(generator)
    }
}

/// One version of a rule.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "RuleVersion")]
#[serde(rename_all = "camelCase")]
pub struct RuleVersionView {
    /// Counted from 1.
    pub version: u64,
    /// RFC 3339.
    pub created_at: String,
    /// The document as its author wrote it.
    #[schemars(with = "Map<String, Value>")]
    pub document: Box<RawValue>,
}

impl RuleVersionView {
    pub(crate) fn of(row: &VersionRow) -> Result<Self, SignalsError> {
        Ok(Self {
            version: row.version,
            created_at: iso_millis(row.created_at),
            document: RawValue::from_string(row.document.clone()).map_err(SignalsError::Json)?,
        })
    }
}
