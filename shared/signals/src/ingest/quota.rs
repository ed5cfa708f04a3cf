//! The events' counters, and the month's limit that they are held to.
//!
//! Each of a tenant's shards may hold its share of the limit, and says so itself in `cap`: a process acts on what the row says,
//! whatever limit it last heard of, so that a change of the limit or of the number of shards is one transaction over the rows
//! and in force at once. A process brings its own view only where a month's row is not there yet.
//!
//! An answer that was lost makes the SDK repeat the call. The count of a single event leaves its id in `last_event`, so that a
//! repetition which finds it there counts nothing; should another event have come between, it is counted twice. That errs on
//! the safe side, refusing too early, and reconciling takes it back. Taking back is a transaction, whose token DynamoDB
//! knows: one repeated would let too many in.

use crate::error::SignalsError;
use crate::ids::EventId;
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantChange;
use crate::period::{Hour, Month};
use crate::table::SignalsTable;
use crate::usage::counters::{INGESTED, Meter, usage_key};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::error_chain;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Item, Transact, Update, Write, number};

/// Outcome of counting one more event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// It is counted on this shard, which now has so many.
    Counted { shard: u32, count: u64 },
    /// The limit is reached; so many are counted.
    Full { count: u64 },
}

/// The cap of a shard without a limit.
const UNLIMITED: i64 = i64::MAX;

/// For so long posts wait for a change of the limit that they keep getting in the way of.
const HOLD: Duration = Duration::from_secs(5);

/// A change of the limit so shortly before a month begins is made for that month too: processes know of it a minute later.
const AHEAD: Duration = Duration::from_secs(3_600);

/// What shard `shard` of `shards` may hold, so that all together hold `limit`.
pub(crate) fn share(limit: u64, shard: u32, shards: u32) -> u64 {
    let shards = u64::from(shards.max(1));
    limit / shards + u64::from(u64::from(shard) < limit % shards)
}

fn cap(limit: Option<u64>, shard: u32, shards: u32) -> i64 {
    limit.map_or(UNLIMITED, |limit| i64::try_from(share(limit, shard, shards)).unwrap_or(UNLIMITED))
}

impl SignalsTable {
    /// Counts one more event, first on shard `first`, then on the others: exact for any number of callers, since the shards'
    /// caps add up to the limit.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or the limit is being changed at this moment.
    pub(crate) async fn reserve(
        &self,
        tenant: &Tenant,
        event_id: &EventId,
        now: Timestamp,
        first: u32,
    ) -> Result<Reserved, SignalsError> {
        let month = Month::of(now);
        let (mut shards, mut is_told) = (tenant.usage_shards.max(1), false);
        let (mut step, mut count) = (0, 0);
        while step < shards {
            let shard = (first % shards + step) % shards;
            step += 1;
            let cap = cap(tenant.monthly_hard_limit, shard, shards);
            if cap == 0 {
                continue;
            }
            let changes = one_more(event_id, now, cap, shards);
            let row = match self.table.update(&usage_key(&tenant.id, &month, shard), changes).await? {
                Update::Applied(row) => {
                    return Ok(Reserved::Counted { shard, count: number(&row, INGESTED).unwrap_or_default() });
                }
                Update::Refused(None) => continue,
                Update::Refused(Some(row)) => row,
            };
            let counted = number(&row, INGESTED).unwrap_or_default();
            if row.get("last_event").and_then(|id| id.as_s().ok()).is_some_and(|id| id == event_id.as_str()) {
                return Ok(Reserved::Counted { shard, count: counted });
            }
            if number::<i64>(&row, "held_until").is_some_and(|until| until >= now.as_millisecond()) {
                return Err(SignalsError::Contended { what: "the tenant's limit" });
            }
            count += counted;
            // The number of shards was changed since this process heard of the tenant.
            if let Some(told) = number::<u32>(&row, "shards").filter(|told| *told != shards && !is_told) {
                (shards, is_told) = (told, true);
                (step, count) = (0, 0);
            }
        }
        Ok(Reserved::Full { count })
    }

    /// Counts `amount` at once, all on one shard; returns what that has then. `None`, and nothing is counted, when that shard may
    /// not have room for all of them: [`SignalsTable::reserve`] finds what there is elsewhere.
    ///
    /// A transaction, though of one row: DynamoDB knows its token, so that a repetition does not count as many again.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub(crate) async fn reserve_several(
        &self,
        tenant: &Tenant,
        now: Timestamp,
        shard: u32,
        amount: u32,
    ) -> Result<Option<u64>, SignalsError> {
        let shards = tenant.usage_shards.max(1);
        let cap = cap(tenant.monthly_hard_limit, shard, shards);
        if cap < i64::from(amount) {
            return Ok(None);
        }
        let key = usage_key(&tenant.id, &Month::of(now), shard);
        let write = Write::Update(key.clone(), several_more(amount, now, cap, shards));
        if let Transact::Refused { .. } = self.table.transact(vec![write]).await? {
            return Ok(None);
        }
        // They are counted, whether or not it can be seen.
        Ok(Some(self.table.get(&key).await.map_or_else(
            |error| {
                tracing::warn!(
                    tenant_id = tenant.id.as_str(),
                    error = error_chain(&error),
                    "the count could not be read"
                );
                u64::from(amount)
            },
            |row| counted(&row),
        )))
    }

    /// Takes `amount` back of what was counted on a shard at `at`. Should the counts have been moved since, from where they are
    /// now.
    pub(crate) async fn unreserve(
        &self,
        tenant: &Tenant,
        at: Timestamp,
        shard: u32,
        amount: u32,
    ) -> Result<(), SignalsError> {
        let month = Month::of(at);
        let hour = Meter::Events.column(Hour::of(at));
        let amount = i64::from(amount);
        let shards = std::iter::once(shard).chain((0..tenant.shards_to_read()).filter(|other| *other != shard));
        for counted_on in shards {
            let has_them = "#events_ingested >= ?";
            let mut less = Changes::new().add(INGESTED, -amount).only_if(has_them, [amount.into_attribute()]);
            let mut writes = Vec::new();
            if counted_on == shard {
                less = less.add(&hour, -amount);
            } else {
                writes.push(Write::Update(usage_key(&tenant.id, &month, shard), Changes::new().add(&hour, -amount)));
            }
            writes.push(Write::Update(usage_key(&tenant.id, &month, counted_on), less));
            if let Transact::Done = self.table.transact(writes).await? {
                return Ok(());
            }
        }
        tracing::warn!(
            tenant_id = tenant.id.as_str(),
            event_count = amount,
            "what was counted too many is left to reconciling"
        );
        Ok(())
    }

    /// Changes a tenant's limit or its number of shards, together with the shards of this month, in one transaction: counts are
    /// spread anew, so that each shard has its share of what is counted and of what is left.
    ///
    /// Events that are counted in the meantime stop it. With `is_held` they are held off for it, for a moment in which they are
    /// answered that they should come again.
    pub(crate) async fn change_quota(
        &self,
        before: &Tenant,
        now: Timestamp,
        is_held: bool,
        edit: impl FnOnce(&mut Tenant),
        record: impl FnOnce(&Tenant) -> Result<Write, SignalsError>,
    ) -> Result<TenantChange, SignalsError> {
        let (after, replaced) = self.replaced(before, now, edit)?;
        let (this, next) = (Month::of(now), Month::of(now + AHEAD));
        if is_held {
            self.hold(&after, &this, now).await?;
        }
        if next != this
            && let Transact::Refused { .. } = self.table.transact(self.moved(&after, &next).await?).await?
        {
            return Ok(TenantChange::Stale);
        }
        let mut writes = self.moved(&after, &this).await?;
        writes.extend([replaced, record(&after)?]);
        Ok(match self.table.transact(writes).await? {
            Transact::Done => TenantChange::Done(Box::new(after)),
            Transact::Refused { .. } => TenantChange::Stale,
        })
    }

    async fn hold(&self, tenant: &Tenant, month: &Month, now: Timestamp) -> Result<(), SignalsError> {
        let until = (now + HOLD).as_millisecond();
        let keys: Vec<_> = (0..tenant.shards_to_read()).map(|shard| usage_key(&tenant.id, month, shard)).collect();
        try_join_all(keys.iter().map(|key| self.table.update(key, Changes::new().set("held_until", until)))).await?;
        Ok(())
    }

    /// Every shard of a month as `tenant` wants it, on the condition that nothing was counted since it was read.
    async fn moved(&self, tenant: &Tenant, month: &Month) -> Result<Vec<Write>, SignalsError> {
        let rows = self.shards(tenant, month).await?;
        let total = rows.iter().map(counted).sum();
        let shards = tenant.usage_shards;
        let writes = (0..).zip(&rows).map(|(shard, row)| {
            let (count, cap) = match shard < shards {
                true => (share(total, shard, shards), cap(tenant.monthly_hard_limit, shard, shards)),
                false => (0, 0),
            };
            let changes = Changes::new()
                .set(INGESTED, i64::try_from(count).unwrap_or(i64::MAX))
                .set("cap", cap)
                .set("shards", i64::from(shards))
                .remove("held_until");
            let changes = match row.as_ref().and_then(|row| row.get(INGESTED)) {
                Some(known) => changes.only_if("#events_ingested = ?", [known.clone()]),
                None => changes.only_if("attribute_not_exists(#events_ingested)", []),
            };
            Write::Update(usage_key(&tenant.id, month, shard), changes)
        });
        Ok(writes.collect())
    }

    /// Puts an hour's count right, with the month's, on the condition that the hour is as it was in `rows`; `note` is written
    /// with it. `false` when it was not.
    pub(crate) async fn correct_hour(
        &self,
        tenant: &Tenant,
        rows: &[Option<Item>],
        hour: Hour,
        kept: u64,
        note: Write,
    ) -> Result<bool, SignalsError> {
        let column = Meter::Events.column(hour);
        let (by_hour, counts) = (hour_counted(rows, hour), rows.iter().map(counted).collect::<Vec<_>>());
        let known: u64 = by_hour.iter().sum();
        let amount = known.abs_diff(kept);
        let (in_hours, in_counts, sign) = match kept > known {
            // What was never counted takes the room that is left, so that the limit still holds.
            true => (spread(amount, &[]), spread(amount, &rooms(rows)), 1),
            false => (spread(amount, &by_hour), spread(amount, &counts), -1),
        };
        let at = |amounts: &[u64], shard: usize| {
            sign * i64::try_from(amounts.get(shard).copied().unwrap_or_default()).unwrap_or_default()
        };
        let mut writes = vec![note];
        for (number, (shard, row)) in (0..).zip(rows.iter().enumerate()) {
            let (in_hour, in_count) = (at(&in_hours, shard), at(&in_counts, shard));
            if (in_hour, in_count) == (0, 0) {
                continue;
            }
            let mut changes = Changes::new().add(INGESTED, in_count).add(&column, in_hour);
            changes = match row.as_ref().and_then(|row| row.get(&column)) {
                Some(known) => changes.only_if(&format!("#{column} = ?"), [known.clone()]),
                None => changes.only_if(&format!("attribute_not_exists(#{column})"), []),
            };
            if in_count < 0 {
                changes = changes.only_if("#events_ingested >= ?", [(-in_count).into_attribute()]);
            }
            writes.push(Write::Update(usage_key(&tenant.id, &hour.month(), number), changes));
        }
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// The rows of a month that events were ever counted on.
    pub(crate) async fn shards(&self, tenant: &Tenant, month: &Month) -> Result<Vec<Option<Item>>, SignalsError> {
        let keys: Vec<_> = (0..tenant.shards_to_read()).map(|shard| usage_key(&tenant.id, month, shard)).collect();
        Ok(try_join_all(keys.iter().map(|key| self.table.get(key))).await?)
    }
}

fn one_more(event_id: &EventId, now: Timestamp, cap: i64, shards: u32) -> Changes {
    let has_room = "(attribute_not_exists(#cap) AND (attribute_not_exists(#events_ingested) OR #events_ingested < ?)) \
                    OR #events_ingested < #cap";
    let is_new = "attribute_not_exists(#last_event) OR #last_event <> ?";
    more(1, now, cap, shards)
        .set("last_event", event_id.as_str())
        .without_the_rest()
        .only_if(has_room, [cap.into_attribute()])
        .only_if(is_new, [event_id.as_str().into_attribute()])
}

/// A condition cannot subtract, so this one holds only where the row's cap is the one that this process knows.
fn several_more(amount: u32, now: Timestamp, cap: i64, shards: u32) -> Changes {
    let has_room = "(attribute_not_exists(#cap) OR #cap = ?) \
                    AND (attribute_not_exists(#events_ingested) OR #events_ingested <= ?)";
    let most_before = cap - i64::from(amount);
    more(amount, now, cap, shards).only_if(has_room, [cap.into_attribute(), most_before.into_attribute()])
}

/// Counts `amount` unless the limit is being changed.
fn more(amount: u32, now: Timestamp, cap: i64, shards: u32) -> Changes {
    let is_free = "attribute_not_exists(#held_until) OR #held_until < ?";
    Changes::new()
        .add(INGESTED, i64::from(amount))
        .add(&Meter::Events.column(Hour::of(now)), i64::from(amount))
        .set_once("cap", cap)
        .set_once("shards", i64::from(shards))
        .only_if(is_free, [now.as_millisecond().into_attribute()])
}

/// What each shard counted in an hour.
pub(crate) fn hour_counted(rows: &[Option<Item>], hour: Hour) -> Vec<u64> {
    let column = Meter::Events.column(hour);
    rows.iter().map(|row| row.as_ref().and_then(|row| number(row, &column)).unwrap_or_default()).collect()
}

/// What each shard may still count.
fn rooms(rows: &[Option<Item>]) -> Vec<u64> {
    let cap = |row: &Option<Item>| row.as_ref().and_then(|row| number::<u64>(row, "cap")).unwrap_or_default();
    rows.iter().map(|row| cap(row).saturating_sub(counted(row))).collect()
}

/// `amount` over places of so much room, the first ones first; what does not fit goes to the first.
fn spread(amount: u64, rooms: &[u64]) -> Vec<u64> {
    let mut left = amount;
    let mut taken: Vec<u64> = rooms
        .iter()
        .map(|room| {
            let here = left.min(*room);
            left -= here;
            here
        })
        .collect();
    match taken.first_mut() {
        Some(first) => *first += left,
        None => taken.push(left),
    }
    taken
}

/// The events on a shard.
fn counted(row: &Option<Item>) -> u64 {
    row.as_ref().and_then(|row| number(row, INGESTED)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v16_shares_add_up_to_the_limit() {
        for limit in [0, 1, 7, 10, 1_000, 120_001] {
            for shards in [1, 4, 8, 64] {
                assert_eq!((0..shards).map(|shard| share(limit, shard, shards)).sum::<u64>(), limit);
            }
        }
    }

    #[test]
    fn a_share_of_what_is_counted_fits_a_share_of_the_limit() {
        for (counted, limit) in [(0, 3), (7, 10), (10, 10), (99, 100)] {
            for shards in [1, 2, 8, 64] {
                assert!((0..shards).all(|shard| share(counted, shard, shards) <= share(limit, shard, shards)));
            }
        }
    }

    #[test]
    fn a_correction_takes_what_room_there_is() {
        assert_eq!(spread(5, &[2, 0, 9]), [2, 0, 3]);
        assert_eq!(spread(5, &[2, 1]), [4, 1]);
        assert_eq!(spread(5, &[]), [5]);
        assert_eq!(spread(0, &[1]), [0]);
    }
}
