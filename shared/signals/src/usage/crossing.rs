//! Telling a tenant's rules, once a month, that a limit was crossed: an event of the platform's own that is not counted.

use crate::error::SignalsError;
use crate::ids::EventId;
use crate::ingest::event::EventRow;
use crate::ingest::new_event::NewEvent;
use crate::ingest::{IngestDeps, Unsent, send};
use crate::manage::tenants::row::Tenant;
use crate::period::Month;
use jiff::Timestamp;
use serde_json::json;
use switchyard_core::error_chain;

/// A limit that was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    SoftLimit,
    EightyPercent,
    HardLimit,
}

impl Mark {
    /// Its name in the event's type, and in the row that records its event.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SoftLimit => "soft_limit_reached",
            Self::EightyPercent => "80_percent",
            Self::HardLimit => "hard_limit_reached",
        }
    }
}

/// Which limits so many events have crossed, each with its number.
fn crossed(soft: Option<u64>, hard: Option<u64>, count: u64) -> impl Iterator<Item = (Mark, u64)> {
    let soft = soft.filter(|soft| count > *soft).map(|soft| (Mark::SoftLimit, soft));
    let near = hard.filter(|hard| *hard > 0 && u128::from(count) * 5 >= u128::from(*hard) * 4);
    let full = hard.filter(|hard| count >= *hard).map(|hard| (Mark::HardLimit, hard));
    soft.into_iter().chain(near.map(|hard| (Mark::EightyPercent, hard))).chain(full)
}

/// Writes and sends an event for each limit that the month's `count` has crossed and that was not told of before. One that
/// cannot be told of now is told of with the next event; nothing else depends on it.
pub(crate) async fn tell(deps: &IngestDeps, tenant: &Tenant, now: Timestamp, count: u64) {
    let month = Month::of(now);
    for (mark, limit) in crossed(tenant.monthly_soft_limit, tenant.monthly_hard_limit, count) {
        if deps.known(&tenant.id, &month, |known| known.told.contains(&mark)) {
            continue;
        }
        match tell_one(deps, tenant, now, mark, limit, count).await {
            Ok(()) => deps.known(&tenant.id, &month, |known| known.told.push(mark)),
            Err(error) => {
                tracing::warn!(
                    tenant_id = tenant.id.as_str(),
                    error = error_chain(&error),
                    "a limit's crossing is not told yet"
                );
            }
        }
    }
}

async fn tell_one(
    deps: &IngestDeps,
    tenant: &Tenant,
    now: Timestamp,
    mark: Mark,
    limit: u64,
    count: u64,
) -> Result<(), SignalsError> {
    let month = Month::of(now);
    let (start, end) = month.bounds();
    let payload = json!({"period": {"start": start, "end": end}, "count": count, "limit": limit});
    let new = NewEvent {
        kind: format!("signalops.usage.{}", mark.name()),
        payload: payload.to_string(),
        source: None,
        occurred_at: None,
        fingerprint: String::new(),
    };
    let id = EventId::from(deps.clock.new_id().to_string());
    let event = EventRow::new(&tenant.id, id, &new, None, tenant.plan.kept_days(), now);
    if deps.store.add_crossing(&event, &month, mark.name()).await? {
        tracing::info!(
            tenant_id = tenant.id.as_str(),
            event_id = event.id.as_str(),
            event_type = event.kind,
            "a limit was crossed"
        );
        send(deps, &[Unsent::new(&event, None)]).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_crossed_one_after_the_other() {
        let names = |soft, hard, count| crossed(soft, hard, count).map(|(mark, _)| mark.name()).collect::<Vec<_>>();
        assert_eq!(names(Some(2), Some(10), 2), [""; 0]);
        assert_eq!(names(Some(2), Some(10), 3), ["soft_limit_reached"]);
        assert_eq!(names(None, Some(10), 8), ["80_percent"]);
        assert_eq!(names(None, Some(11), 8), [""; 0]);
        assert_eq!(names(Some(2), Some(10), 10), ["soft_limit_reached", "80_percent", "hard_limit_reached"]);
        assert_eq!(names(Some(0), Some(0), 0), ["hard_limit_reached"]);
        assert_eq!(names(None, None, u64::MAX), [""; 0]);
    }
}
