//! Counters compared with the events that are kept, hour by hour, and put right.
//!
//! What makes them differ is a process that died between counting and keeping events, a count that the SDK repeated, or one that
//! could not be taken back.
//! Only hours are compared whose events are all there: over for an hour, so that nothing of them is under way, and younger
//! than the shortest time that any plan keeps events. Others stay as they are.

use super::NO_MONTH;
use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::ActorId;
use crate::ingest::quota::hour_counted;
use crate::manage::tenants::TenantDeps;
use crate::manage::tenants::row::Plan;
use crate::manage::tenants::row::{Tenant, TenantEntry};
use crate::period::{Hour, Month};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long ago an hour must have ended before it is compared.
const SETTLED_AFTER: Duration = Duration::from_secs(3_600);

/// Left between the oldest hour and the end of its events.
const MARGIN: Duration = Duration::from_secs(3_600);

/// Attempts at a correction that others get in the way of.
const ATTEMPTS: u32 = 5;

/// Who the sweep is, in the audit.
const NIGHTLY: &str = "nightly-reconcile";

/// An hour that was counted wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Correction {
    /// When it began.
    pub hour: Timestamp,
    /// Events that were counted.
    pub counted: u64,
    /// Events that are kept, which is what is counted now.
    pub kept: u64,
}

/// Compares the counter of a month, `2026-11` or this one, with the events that are kept, corrects it, and writes each
/// correction down for `actor`.
///
/// # Errors
/// [`SignalsError::Refused`] names `month` when that is none; else DynamoDB could not be reached.
pub async fn reconcile(
    deps: &TenantDeps,
    tenant: &Tenant,
    month: Option<&str>,
    actor: &ActorId,
) -> Result<Vec<Correction>, SignalsError> {
    let now = deps.clock.now();
    let month = match month {
        Some(text) => Month::parse(text).ok_or_else(|| SignalsError::refused("month", NO_MONTH))?,
        None => Month::of(now),
    };
    let (start, end) = month.span();
    let hours: Vec<_> = comparable(Hour::of(start), now).take_while(|hour| hour.start() < end).collect();
    correct(deps, tenant, &hours, actor).await
}

/// The hours from `first` on whose events are all there, and of which none is under way.
fn comparable(first: Hour, now: Timestamp) -> impl Iterator<Item = Hour> {
    let kept_days = [Plan::Free, Plan::Pro, Plan::Enterprise].map(Plan::kept_days).into_iter().min();
    let kept = Duration::from_secs(u64::try_from(kept_days.unwrap_or_default() * 86_400).unwrap_or_default());
    let oldest = Hour::of(now - kept + MARGIN).next();
    let hours = std::iter::successors(Some(first.max(oldest)), |hour| Some(hour.next()));
    hours.take_while(move |hour| hour.end() + SETTLED_AFTER <= now)
}

async fn correct(
    deps: &TenantDeps,
    tenant: &Tenant,
    hours: &[Hour],
    actor: &ActorId,
) -> Result<Vec<Correction>, SignalsError> {
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return Ok(Vec::new()) };
    let kept = deps.store.kept_by_hour(&tenant.id, first.start(), last.end()).await?;
    let mut corrections = Vec::new();
    for same_month in hours.chunk_by(|one, other| one.month() == other.month()) {
        corrections.extend(correct_month(deps, tenant, same_month, &kept, actor).await?);
    }
    Ok(corrections)
}

async fn correct_month(
    deps: &TenantDeps,
    tenant: &Tenant,
    hours: &[Hour],
    kept: &BTreeMap<Hour, u64>,
    actor: &ActorId,
) -> Result<Vec<Correction>, SignalsError> {
    let (mut corrections, mut refused) = (Vec::new(), 0);
    let Some(month) = hours.first().map(|hour| hour.month()) else { return Ok(corrections) };
    loop {
        let rows = deps.store.shards(tenant, &month).await?;
        let both = hours.iter().map(|hour| {
            (*hour, hour_counted(&rows, *hour).iter().sum::<u64>(), kept.get(hour).copied().unwrap_or_default())
        });
        let Some((hour, counted, kept)) = both.into_iter().find(|(_, counted, kept)| counted != kept) else {
            return Ok(corrections);
        };
        let at = hour.start();
        let (before, after) = (json!({"hour": at, "events": counted}), json!({"hour": at, "events": kept}));
        let about = Audit {
            tenant: tenant.id.as_str(),
            actor,
            action: "usage.reconcile",
            subject: tenant.id.as_str(),
            before: Some(&before),
            after: Some(&after),
        };
        let note = deps.store.audit(about, deps.clock.now())?;
        if deps.store.correct_hour(tenant, &rows, hour, kept, note).await? {
            tracing::warn!(
                tenant_id = tenant.id.as_str(),
                counted_events = counted,
                kept_events = kept,
                "a usage counter was corrected"
            );
            corrections.push(Correction { hour: at, counted, kept });
            continue;
        }
        refused += 1;
        if refused == ATTEMPTS {
            return Err(SignalsError::Contended { what: "the tenant's usage" });
        }
    }
}

/// Compares what was counted since the last time; what is left at the `deadline` follows with the next sweep.
pub(crate) async fn reconcile_nightly(
    deps: &TenantDeps,
    entry: &TenantEntry,
    tenant: &Tenant,
    deadline: Instant,
) -> Result<(), SignalsError> {
    let now = deps.clock.now();
    let hours: Vec<_> = comparable(Hour::of(entry.reconciled_to), now).collect();
    for hour in &hours {
        if Instant::now() >= deadline {
            return Ok(());
        }
        correct(deps, tenant, std::slice::from_ref(hour), &ActorId::from(NIGHTLY)).await?;
        deps.store.reconciled_to(entry, hour.end()).await?;
    }
    deps.store.due_next_night(entry, now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hours_are_compared_whose_events_are_all_there() {
        let hours = |first: &str, now: &str| {
            let hours: Vec<_> = comparable(Hour::of(first.parse().unwrap()), now.parse().unwrap()).collect();
            (hours.len(), hours.first().map(|hour| hour.text()), hours.last().map(|hour| hour.text()))
        };
        let texts = |first: &str, last: &str| (Some(first.to_owned()), Some(last.to_owned()));
        let (count, first, last) = hours("2026-11-25T00:00:00Z", "2026-11-25T05:00:00Z");
        assert_eq!((count, (first, last)), (4, texts("2026112500", "2026112503")));
        assert_eq!(hours("2026-11-25T03:00:00Z", "2026-11-25T04:59:59Z").0, 0);
        // Events of free plans are kept for thirty days.
        let (_, first, _) = hours("2026-10-01T00:00:00Z", "2026-11-25T05:30:00Z");
        assert_eq!(first.as_deref(), Some("2026102607"));
    }
}
