//! Audit records: who changed what of a tenant.

use crate::ids::ActorId;
use crate::period::Month;
use crate::table::SignalsTable;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_core::new_id_at;
use switchyard_io::dynamo::{DynamoError, Write};

/// Seconds that a record is kept.
const KEPT_S: i64 = 400 * 86_400;

/// Who did what to a tenant's things. Secrets are in none of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit<'a> {
    pub(crate) tenant: &'a str,
    /// `user:<id>`, `key:<id>`, `cli`, or a part of the platform.
    pub(crate) actor: &'a ActorId,
    /// What was done, such as `rule.create`.
    pub(crate) action: &'a str,
    /// To what: an id.
    pub(crate) subject: &'a str,
    pub(crate) before: Option<&'a Value>,
    pub(crate) after: Option<&'a Value>,
}

#[derive(Serialize, Deserialize)]
struct AuditRow {
    pk: String,
    sk: String,
    actor: ActorId,
    action: String,
    subject: String,
    at: Timestamp,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    expires_at: i64,
}

/// The partition of a month's records.
pub(crate) fn audit_partition(tenant: &str, month: &Month) -> String {
    format!("A#{tenant}#{}", month.as_str())
}

impl SignalsTable {
    /// The write that keeps a record, to be made in one transaction with what it tells of.
    pub(crate) fn audit(&self, audit: Audit<'_>, now: Timestamp) -> Result<Write, DynamoError> {
        let row = AuditRow {
            pk: audit_partition(audit.tenant, &Month::of(now)),
            sk: new_id_at(now).to_string(),
            actor: audit.actor.clone(),
            action: audit.action.to_owned(),
            subject: audit.subject.to_owned(),
            at: now,
            before: audit.before.map(Value::to_string),
            after: audit.after.map(Value::to_string),
            expires_at: now.as_second() + KEPT_S,
        };
        Ok(Write::Create(self.table.to_item(&row)?))
    }
}
