//! What tenants and operators see of tenants, users, rules, configs, usage and dead letters.

use crate::error::SignalsError;
use crate::manage::configs::row::ConfigStatus;
use crate::manage::rules::row::VersionRow;
use crate::manage::rules::row::{RuleRow, RuleStatus};
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::{Plan, TenantStatus};
use crate::notify::receipts::row::SuppressionRow;
use crate::period::Month;
use crate::usage::counters::Usage;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use switchyard_core::{Channel, iso_millis};
use switchyard_identity::{Operator, Role, User};
use switchyard_rules::Issue;
use switchyard_work::dead_letters::DeadLetter;

/// A tenant as operators and its own users see it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Tenant")]
#[serde(rename_all = "camelCase")]
pub struct TenantView {
    /// The tenant's id.
    pub id: String,
    /// Its name in commands and at sign-in.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Whether events are accepted from it.
    pub status: TenantStatus,
    /// What it pays for.
    pub plan: Plan,
    /// Events a month beyond which it is warned; null for none.
    pub monthly_soft_limit: Option<u64>,
    /// Events a month at most; null for no limit.
    pub monthly_hard_limit: Option<u64>,
    /// Events a second at most; null for no limit.
    pub rate_per_second: Option<u32>,
    /// Rows that its usage is counted on.
    pub usage_shards: u32,
    /// A JSON object, or null.
    pub metadata: Option<Map<String, Value>>,
    /// Paths that readers of its events see as `***`.
    pub redact: Vec<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl TenantView {
    /// The tenant as it is shown.
    pub fn of(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.clone(),
            slug: tenant.slug.clone(),
            name: tenant.name.clone(),
            status: tenant.status,
            plan: tenant.plan,
            monthly_soft_limit: tenant.monthly_soft_limit,
            monthly_hard_limit: tenant.monthly_hard_limit,
            rate_per_second: tenant.rate_per_second,
            usage_shards: tenant.usage_shards,
            metadata: tenant.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            redact: tenant.redact.clone(),
            created_at: iso_millis(tenant.created_at),
            updated_at: iso_millis(tenant.updated_at),
        }
    }
}

/// A user.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "User")]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// The user's id.
    pub id: String,
    /// The address that the user signs in with.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// The tenant; null for an operator.
    pub tenant_id: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl UserView {
    /// A tenant's user.
    pub fn of(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            email: user.email.clone(),
            role: user.role,
            tenant_id: Some(user.tenant.clone()),
            created_at: iso_millis(user.created_at),
            updated_at: iso_millis(user.updated_at),
        }
    }

    /// An operator.
    pub fn of_operator(operator: &Operator) -> Self {
        Self {
            id: operator.id.clone(),
            email: operator.email.clone(),
            role: Role::Operator,
            tenant_id: None,
            created_at: iso_millis(operator.created_at),
            updated_at: iso_millis(operator.updated_at),
        }
    }
}

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

/// A notification config; of each secret only the last four characters are shown.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "NotificationConfig")]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    /// The config's id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// How it reaches people.
    pub channel: Channel,
    /// The channel's settings.
    pub config: Value,
    /// Whether messages are sent with it.
    pub status: ConfigStatus,
    /// Why the platform set `error`.
    pub reason: Option<String>,
    /// Used where a rule names no config.
    pub is_default: bool,
    /// Whether an action's own recipients are used.
    pub allow_override: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// A tenant's usage in one month.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Usage")]
#[serde(rename_all = "camelCase")]
pub struct UsageView {
    /// The month.
    pub period: UsagePeriod,
    /// Events accepted.
    pub events_ingested: u64,
    /// Events refused at a limit.
    pub events_rejected: u64,
    /// Events accepted before under their idempotency key.
    pub duplicates: u64,
    /// Rules that matched an event.
    pub rules_matched: u64,
    /// Notifications that a provider accepted.
    pub notifications_sent: u64,
    /// Notifications given up.
    pub notifications_failed: u64,
    /// Events a month beyond which the tenant is warned.
    pub soft_limit: Option<u64>,
    /// Events a month at most.
    pub hard_limit: Option<u64>,
    /// Whether the soft limit is exceeded.
    pub soft_limit_exceeded: bool,
    /// Whether the hard limit is reached.
    pub hard_limit_reached: bool,
    /// Events left to the hard limit; null without one.
    pub remaining: Option<u64>,
    /// Notifications sent, by channel.
    pub by_channel: BTreeMap<String, u64>,
}

/// A month by its first and last day.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct UsagePeriod {
    /// `2026-02-01`.
    pub start: String,
    /// `2026-02-28`.
    pub end: String,
}

impl UsageView {
    pub(crate) fn of(tenant: &Tenant, month: &Month, used: &Usage) -> Self {
        let (soft, hard) = (tenant.monthly_soft_limit, tenant.monthly_hard_limit);
        let ingested = used.of("events_ingested");
        let channel = |(name, count): (&String, &u64)| Some((name.strip_prefix("sent_")?.to_owned(), *count));
        let (start, end) = month.bounds();
        Self {
            period: UsagePeriod { start, end },
            events_ingested: ingested,
            events_rejected: used.of("events_rejected"),
            duplicates: used.of("duplicates"),
            rules_matched: used.of("rules_matched"),
            notifications_sent: used.of("notifications_sent"),
            notifications_failed: used.of("notifications_failed"),
            soft_limit: soft,
            hard_limit: hard,
            soft_limit_exceeded: soft.is_some_and(|soft| ingested > soft),
            hard_limit_reached: hard.is_some_and(|hard| ingested >= hard),
            remaining: hard.map(|hard| hard.saturating_sub(ingested)),
            by_channel: used.counters.iter().filter_map(channel).collect(),
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "DeadLetter")]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// The dead letter's id.
    pub id: String,
    /// What was given up.
    pub kind: DeadLetterKind,
    /// `rules` or `notify`.
    pub queue: String,
    /// The tenant, if the message names one.
    pub tenant_id: Option<String>,
    /// The event that it is about.
    pub event_id: Option<String>,
    /// The delivery that it is about.
    pub delivery_id: Option<String>,
    /// Why it was given up.
    pub error_code: String,
    /// Why it was given up, for people.
    pub error_message: String,
    /// How often the message was received.
    pub receive_count: u32,
    /// RFC 3339.
    pub first_sent_at: String,
    /// RFC 3339.
    pub archived_at: String,
    /// RFC 3339; null unless it was redriven.
    pub redriven_at: Option<String>,
}

/// What a dead letter holds.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterKind {
    /// A notification that could not be delivered.
    Notification,
    /// A queue's message that could not be processed.
    Message,
}

impl DeadLetterView {
    pub(crate) fn of(row: &DeadLetter) -> Self {
        Self {
            id: row.id.clone(),
            kind: if row.is_given_up { DeadLetterKind::Notification } else { DeadLetterKind::Message },
            queue: row.queue.clone(),
            tenant_id: row.tenant.clone(),
            event_id: row.event_id.clone(),
            delivery_id: row.delivery_id.clone(),
            error_code: row.error_code.clone(),
            error_message: row.error_message.clone(),
            receive_count: row.receives,
            first_sent_at: iso_millis(row.first_sent_at),
            archived_at: iso_millis(row.archived_at),
            redriven_at: row.redriven_at.map(iso_millis),
        }
    }
}

/// A dead letter with its message.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "DeadLetterDetails")]
pub struct DeadLetterDetails {
    /// The dead letter.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// The message: JSON, or a text that is not JSON.
    pub body: Value,
}

/// An address that messages are not sent to.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Suppression")]
#[serde(rename_all = "camelCase")]
pub struct SuppressionView {
    /// The suppression's id.
    pub id: String,
    /// The address.
    pub address: String,
    /// Why, such as `bounce`.
    pub reason: String,
    /// RFC 3339.
    pub created_at: String,
}

impl SuppressionView {
    pub(crate) fn of(row: &SuppressionRow) -> Self {
        Self {
            id: row.id.clone(),
            address: row.address.clone(),
            reason: row.reason.clone(),
            created_at: iso_millis(row.at),
        }
    }
}

/// How a test message fared.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestOutcome {
    /// Whether the provider accepted the message.
    pub ok: bool,
    /// The provider's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Why not, such as `telegram_401`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The event whose delivery is still under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
}

/// For how many stored events a rule's type and condition hold.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleOutcome {
    /// Events looked at.
    pub sampled: usize,
    /// Events that match.
    pub matched: usize,
    /// Ids of the first of them, at most 20.
    pub matched_ids: Vec<String>,
}
