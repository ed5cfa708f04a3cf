//! Usage as the API shows it.

use super::counters::Usage;
use crate::manage::tenants::row::Tenant;
use crate::period::Month;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

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
