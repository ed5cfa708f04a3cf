//! What is done for a tenant each night: its usage is compared with its events; and when it was deleted long enough ago, what
//! it has is removed.

use crate::error::SignalsError;
use crate::manage::tenants::TenantDeps;
use crate::manage::tenants::row::TenantEntry;
use crate::manage::tenants::row::TenantStatus;
use crate::usage::reconcile::reconcile_nightly;
use std::time::Duration;
use tokio::time::Instant;

/// How long a deleted tenant's data is kept.
const TTL: Duration = Duration::from_secs(30 * 86_400);

/// When an unfinished removal continues.
const NEXT_STEP: Duration = Duration::from_secs(60);

/// Does it, as far as it comes by the `deadline`; the rest follows with a later sweep.
pub(crate) async fn nightly(deps: &TenantDeps, entry: &TenantEntry, deadline: Instant) -> Result<(), SignalsError> {
    let now = deps.clock.now();
    let Some(tenant) = deps.store.tenant(&entry.id).await? else { return Ok(()) };
    match tenant.status {
        TenantStatus::Active | TenantStatus::Suspended => reconcile_nightly(deps, entry, &tenant, deadline).await,
        TenantStatus::Deleted if tenant.deleted_at.is_none_or(|at| now < at + TTL) => {
            deps.store.due_next_night(entry, now).await
        }
        TenantStatus::Deleted => {
            if deps.store.remove_tenant(&tenant, entry, now, deadline).await? {
                tracing::info!(tenant_id = tenant.id.as_str(), "a deleted tenant was removed");
                return Ok(());
            }
            deps.store.due_at(entry, now + NEXT_STEP).await
        }
    }
}
