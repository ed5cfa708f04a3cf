//! Reservations under the month's limit for the events of a batch.

use crate::ids::TenantId;
use crate::ingest::{Counted, IngestDeps, count_refused};
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantStatus;
use crate::period::Month;
use jiff::Timestamp;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use switchyard_core::{error_chain, random};

/// Reservations that were counted in one write. An event takes one if it has no idempotency key: of others it is not known beforehand
/// whether they will be counted.
#[must_use = "what is left is to be given back"]
pub struct Reservations {
    tenant: TenantId,
    at: Timestamp,
    shard: u32,
    /// What the shard had at least, with the places given out.
    count: AtomicU64,
    left: AtomicU32,
}

impl Reservations {
    pub(crate) fn next(&self, tenant: &Tenant) -> Option<Counted> {
        if self.tenant != tenant.id {
            return None;
        }
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Counted { at: self.at, shard: self.shard, count })
    }

    pub(crate) fn take_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts `events` at once. `None` where each is to be counted by itself: when there are less than two, the tenant has a rate,
/// or the shard that is tried does not have room for all of them under the limit that this process knows. A store that fails
/// is no reason against trying each.
pub async fn reserve_events(deps: &IngestDeps, tenant: &Tenant, events: u32) -> Option<Reservations> {
    let at = deps.clock.now();
    let month = Month::of(at);
    let is_full = deps.known(&tenant.id, &month, |known| known.full_until.is_some_and(|until| until > at));
    if events < 2 || is_full || tenant.rate_per_second.is_some() || tenant.status != TenantStatus::Active {
        return None;
    }
    let shard = random::below_u32(tenant.usage_shards);
    match deps.store.reserve_several(tenant, at, shard, events).await {
        Ok(count) => {
            let count = AtomicU64::new(count?.saturating_sub(events.into()));
            count_refused(deps, tenant, &month).await;
            Some(Reservations { tenant: tenant.id.clone(), at, shard, count, left: AtomicU32::new(events) })
        }
        Err(error) => {
            tracing::warn!(
                tenant_id = tenant.id.as_str(),
                error = error_chain(&error),
                "a batch is counted one by one"
            );
            None
        }
    }
}

/// Gives back the places that no event was kept for. Those that cannot be given back are left to reconciling.
pub async fn release_reservations(deps: &IngestDeps, tenant: &Tenant, places: Reservations) {
    let left = places.left.into_inner();
    if left > 0
        && let Err(error) = deps.store.unreserve(tenant, places.at, places.shard, left).await
    {
        tracing::warn!(
            tenant_id = tenant.id.as_str(),
            places_left = left,
            error = error_chain(&error),
            "places are left to reconciling"
        );
    }
}
