//! Deleting the rows of a deleted tenant.

use crate::audit::Audit;
use crate::audit::audit_partition;
use crate::error::SignalsError;
use crate::ids::ActorId;
use crate::ingest::event::{day_partitions, days_of_events};
use crate::manage::tenants::row::{Tenant, TenantEntry};
use crate::manage::tenants::row::{slug_key, tenant_key};
use crate::notify::delivery::row::DeliveryStatus;
use crate::period::Month;
use crate::table::{SignalsTable, tenant_partition};
use crate::usage::counters::month_partitions;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_identity::{Users, api_keys};
use switchyard_io::dynamo::{Changes, Index, Item, Key, Page, Transact, Write};
use switchyard_work::{dead_letters, listing};
use tokio::time::Instant;

/// Rows of a partition that are read, and removed, at a time.
const DELETE_BATCH: i32 = 25;

/// Partitions that are emptied at a time: most are empty.
const PARTITIONS_AT_ONCE: usize = 20;

/// Longest that events are kept: what lies further back is gone already.
const OLDEST: Duration = Duration::from_secs(401 * 86_400);

impl SignalsTable {
    /// Removes all that a tenant has; `false` when there is more to do at the `deadline`. What a rule remembers, idempotency
    /// keys, and what providers report by end by themselves, within 90 days.
    pub(crate) async fn remove_tenant(
        &self,
        tenant: &Tenant,
        entry: &TenantEntry,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<bool, SignalsError> {
        let by_status = DeliveryStatus::ALL.map(|status| listing::partition(tenant.id.as_str(), status.name()));
        let by_status = by_status.map(|hash| (listing::INDEX, hash));
        let in_table = self.partitions_of(tenant, now).into_iter().map(|hash| (Index::Table, hash));
        let all: Vec<_> = by_status.into_iter().chain(in_table).collect();
        for some in all.chunks(PARTITIONS_AT_ONCE) {
            let removed = some.iter().map(|(index, hash)| self.remove_partition(tenant, *index, hash, deadline));
            if try_join_all(removed).await?.contains(&false) {
                return Ok(false);
            }
        }
        // Last of all the tenant itself, by which the rest is found.
        let rows = [tenant_key(&tenant.id), slug_key(&tenant.slug), entry.key()];
        let mut writes: Vec<_> = rows.into_iter().map(|key| Write::Delete(key, Changes::new())).collect();
        let (actor, action, subject) = (&ActorId::from("nightly-purge"), "tenant.purge", tenant.id.as_str());
        writes.push(self.audit(Audit { tenant: subject, actor, action, subject, before: None, after: None }, now)?);
        let (Transact::Done | Transact::Refused { .. }) = self.table.transact(writes).await?;
        Ok(true)
    }

    fn partitions_of(&self, tenant: &Tenant, now: Timestamp) -> Vec<String> {
        let first = tenant.created_at.max(now - OLDEST);
        let mut all: Vec<_> =
            days_of_events(first, now).iter().flat_map(|day| day_partitions(&tenant.id, day)).collect();
        // Counters do not expire.
        let (mut month, last) = (Month::of(tenant.created_at), Month::of(now));
        while month <= last {
            all.extend(month_partitions(tenant, &month));
            all.push(audit_partition(tenant.id.as_str(), &month));
            month = month.next();
        }
        all.push(dead_letters::partition(Some(tenant.id.as_str())));
        all.extend(api_keys::owner_partitions(&tenant.id));
        all.push(tenant_partition(&tenant.id));
        all
    }

    /// Removes the rows of one partition, but the tenant's own; `false` when there is more to do at the `deadline`.
    async fn remove_partition(
        &self,
        tenant: &Tenant,
        index: Index,
        hash: &str,
        deadline: Instant,
    ) -> Result<bool, SignalsError> {
        let mut after = None;
        loop {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let page =
                Page { index, hash: hash.to_owned(), range: None, newest_first: false, limit: DELETE_BATCH, after };
            let (items, more) = self.table.page(page).await?;
            try_join_all(items.into_iter().map(|item| self.remove(tenant, item))).await?;
            after = more;
            if after.is_none() {
                return Ok(true);
            }
        }
    }

    /// Removes a row, after what is found by it: a user's address, a key.
    async fn remove(&self, tenant: &Tenant, item: Item) -> Result<(), SignalsError> {
        let key: Key = self.table.read(item.clone())?;
        if key == tenant_key(&tenant.id) {
            return Ok(());
        }
        if let Some(address) = Users::new(self.table.clone()).address_of(&item)? {
            self.table.delete(&address).await?;
        } else if api_keys::owner_partitions(&tenant.id).contains(&key.pk)
            && let Some(found) = api_keys::target_of(&item)
        {
            self.table.delete(&found).await?;
        }
        Ok(self.table.delete(&key).await?)
    }
}
