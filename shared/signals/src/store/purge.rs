use super::audit::audit_partition;
use super::dead_letter::dead_letter_partition;
use super::delivery::DeliveryStatus;
use super::event::{day_partitions, days_of_events};
use super::listed::listed_partition;
use super::tenant::{slug_key, tenant_key};
use super::usage::month_partitions;
use super::user::address_key;
use super::{Audit, Month, Store, Tenant, TenantEntry, UserRow, tenant_partition};
use crate::error::SignalsError;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_io::dynamo::{Changes, Index, Key, Page, Transact, Write};
use switchyard_io::keys;
use tokio::time::Instant;

/// Rows that are read, and removed, at a time.
const TOGETHER: i32 = 25;

/// Longest that events are kept: what lies further back is gone already.
const OLDEST: Duration = Duration::from_secs(401 * 86_400);

impl Store {
    /// Removes all that a tenant has; `false` when there is more to do at the `deadline`. What a rule remembers, idempotency
    /// keys, and what providers report by end by themselves, within 90 days.
    pub(crate) async fn remove_tenant(
        &self,
        tenant: &Tenant,
        entry: &TenantEntry,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<bool, SignalsError> {
        for status in DeliveryStatus::ALL {
            let hash = listed_partition(&tenant.id, status.name());
            if !self.remove_partition(Index::Named("listed"), hash, deadline).await? {
                return Ok(false);
            }
        }
        let first = tenant.created_at.max(now - OLDEST);
        let by_day = days_of_events(first, now).into_iter().flat_map(|day| day_partitions(&tenant.id, &day));
        let last = Month::of(now);
        let months = std::iter::successors(Some(Month::of(first)), |month| Some(month.next()));
        let by_month = months.take_while(|month| *month <= last).flat_map(|month| {
            month_partitions(tenant, &month).into_iter().chain([audit_partition(&tenant.id, &month)])
        });
        for hash in by_day.chain(by_month).chain([dead_letter_partition(Some(&tenant.id))]) {
            if !self.remove_partition(Index::Table, hash, deadline).await? {
                return Ok(false);
            }
        }
        keys::remove_all(&self.table, &tenant.id).await?;
        self.remove_owned(tenant, entry, now).await?;
        Ok(true)
    }

    /// Removes the rows of one partition; `false` when there is more to do at the `deadline`.
    async fn remove_partition(&self, index: Index, hash: String, deadline: Instant) -> Result<bool, SignalsError> {
        let mut after = None;
        loop {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let page = Page { index, hash: hash.clone(), range: None, newest_first: false, limit: TOGETHER, after };
            let (items, more) = self.table.page(page).await?;
            let keys = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<Key>, _>>()?;
            try_join_all(keys.iter().map(|key| self.table.delete(key))).await?;
            after = more;
            if after.is_none() {
                return Ok(true);
            }
        }
    }

    /// Users with their addresses, rules, configs and lists; last of all the tenant itself, by which the others are found.
    async fn remove_owned(&self, tenant: &Tenant, entry: &TenantEntry, now: Timestamp) -> Result<(), SignalsError> {
        for item in self.table.rows(&tenant_partition(&tenant.id), "").await? {
            let key: Key = self.table.read(item.clone())?;
            if key.sk.starts_with("USER#") {
                let user: UserRow = self.table.read(item)?;
                self.table.delete(&address_key(&tenant.id, &user.email)).await?;
            }
            if key != tenant_key(&tenant.id) {
                self.table.delete(&key).await?;
            }
        }
        let all = [tenant_key(&tenant.id), slug_key(&tenant.slug), entry.key()];
        let mut writes: Vec<_> = all.into_iter().map(|key| Write::Delete(key, Changes::new())).collect();
        let (actor, action, subject) = ("nightly-purge", "tenant.purge", tenant.id.as_str());
        writes.push(self.audit(Audit { tenant: subject, actor, action, subject, before: None, after: None }, now)?);
        let (Transact::Done | Transact::Refused { .. }) = self.table.transact(writes).await?;
        Ok(())
    }
}
