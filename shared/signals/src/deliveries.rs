//! What became of an event's notifications.

use crate::error::SignalsError;
use crate::store::DeliveryRow;
use crate::tenants::TenantDeps;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchyard_core::iso_millis;

/// An event's deliveries. Texts and recipients are not shown.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn deliveries(deps: &TenantDeps, tenant: &str, event_id: &str) -> Result<Vec<Value>, SignalsError> {
    Ok(deps.store.deliveries(tenant, event_id).await?.iter().map(show).collect())
}

pub(crate) fn show(row: &DeliveryRow) -> Value {
    let at = |ms: i64| Timestamp::from_millisecond(ms).ok().map(iso_millis);
    json!({
        "id": row.id,
        "eventId": row.event_id,
        "ruleId": row.rule_id,
        "ruleVersion": row.rule_version,
        "action": row.intent.action,
        "channel": row.intent.channel,
        "configId": row.intent.config,
        "status": row.status,
        "attempts": row.attempts,
        "nextAttemptAt": row.next_attempt_at.and_then(at),
        "lastError": row.last_error,
        "providerId": row.provider_id,
        "reportedAt": row.reported_at.map(iso_millis),
        "readAt": row.read_at.map(iso_millis),
        "createdAt": iso_millis(row.created_at),
    })
}
