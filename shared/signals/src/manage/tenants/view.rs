//! A tenant as the API shows it.

use super::row::{Plan, Tenant, TenantStatus};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_core::iso_millis;

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
            id: tenant.id.to_string(),
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
