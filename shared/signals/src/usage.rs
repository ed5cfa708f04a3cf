use crate::error::SignalsError;
use crate::store::{Month, Tenant, Usage};
use crate::tenants::TenantDeps;
use serde_json::{Value, json};

/// What a tenant used in a month, `2026-11`, or in this one; `None` when that is no month.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn usage(deps: &TenantDeps, tenant: &Tenant, month: Option<&str>) -> Result<Option<Value>, SignalsError> {
    let month = match month {
        Some(text) => Month::parse(text),
        None => Some(Month::of(deps.clock.now())),
    };
    let Some(month) = month else { return Ok(None) };
    let used = deps.store.usage(&tenant.id, &month, tenant.usage_shards).await?;
    Ok(Some(summary(tenant, &month, &used)))
}

fn summary(tenant: &Tenant, month: &Month, used: &Usage) -> Value {
    let (soft, hard) = (tenant.monthly_soft_limit, tenant.monthly_hard_limit);
    let ingested = used.of("events_ingested");
    let channels =
        used.counters.iter().filter_map(|(name, count)| Some((name.strip_prefix("sent_")?.to_owned(), *count)));
    let by_channel: serde_json::Map<_, _> = channels.map(|(channel, count)| (channel, count.into())).collect();
    let (start, end) = month.bounds();
    json!({
        "period": {"start": start, "end": end},
        "eventsIngested": ingested,
        "rulesMatched": used.of("rules_matched"),
        "notificationsSent": used.of("notifications_sent"),
        "notificationsFailed": used.of("notifications_failed"),
        "softLimit": soft,
        "hardLimit": hard,
        "softLimitExceeded": soft.is_some_and(|soft| ingested > soft),
        "hardLimitReached": hard.is_some_and(|hard| ingested >= hard),
        "remaining": hard.map(|hard| hard.saturating_sub(ingested)),
        "byChannel": by_channel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_whole_month() {
        let tenant = Tenant::new("t", "acme", "Acme", "2026-01-05T10:00:00Z".parse().unwrap());
        let mut used = Usage::default();
        used.counters.extend([("events_ingested".to_owned(), 100_001), ("sent_email".to_owned(), 3)]);
        let summary = summary(&tenant, &Month::parse("2026-02").unwrap(), &used);
        assert_eq!(summary["period"], json!({"start": "2026-02-01", "end": "2026-02-28"}));
        assert_eq!((&summary["softLimitExceeded"], &summary["remaining"]), (&json!(true), &json!(19_999)));
        assert_eq!(summary["byChannel"], json!({"email": 3}));
    }
}
