//! What a tenant used in a month.
//!
//! Events are counted on `usageShards` rows (`C`), which `quota` holds to the limit; everything else on sixteen rows of its own
//! (`N`), so that it never gets in the events' way. What is billed is counted by the hour too, in columns of the same row,
//! written by the same update: `h1407` for the events, `n1407` for the notifications of the 14th, seven o'clock. A full month
//! of them is about 6 kB a row.

use crate::error::SignalsError;
use crate::ids::{EventId, TenantId};
use crate::ingest::event::EventRow;
use crate::manage::tenants::row::Tenant;
use crate::period::{Hour, Month};
use crate::table::SignalsTable;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use switchyard_core::random;
use switchyard_io::dynamo::{Changes, Item, Key, Transact, Write, number};

/// What a tenant used in one month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Counters by name, such as `events_ingested`.
    pub counters: BTreeMap<String, u64>,
    /// What is billed, by the hour.
    pub(crate) hours: BTreeMap<(Hour, Meter), u64>,
}

impl Usage {
    /// One counter.
    pub fn of(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

/// What is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meter {
    Events,
    Notifications,
}

impl Meter {
    const ALL: [Self; 2] = [Self::Events, Self::Notifications];

    /// Its counter, and its name in exports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Events => INGESTED,
            Self::Notifications => "notifications_sent",
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Events => 'h',
            Self::Notifications => 'n',
        }
    }

    /// The column of an hour.
    pub(crate) fn column(self, hour: Hour) -> String {
        format!("{}{}", self.letter(), hour.in_its_month())
    }
}

/// The counter of accepted events.
pub(crate) const INGESTED: &str = "events_ingested";

/// Numbers of a row that count nothing.
const NO_COUNTERS: [&str; 3] = ["cap", "shards", "held_until"];

#[derive(Serialize)]
struct CrossingRow {
    pk: String,
    sk: &'static str,
    event_id: EventId,
}

/// Rows that the other counters are spread over: transactions that meet on one row stop each other.
const SPREAD: u32 = 16;

/// The partitions in which a month's counters are.
pub(crate) fn month_partitions(tenant: &Tenant, month: &Month) -> Vec<String> {
    let counters = (0..tenant.shards_to_read().max(SPREAD)).map(|shard| usage_key(&tenant.id, month, shard).pk);
    counters.chain([crossings(&tenant.id, month)]).collect()
}

fn crossings(tenant: &TenantId, month: &Month) -> String {
    format!("U#{tenant}#{}", month.as_str())
}

fn spread_key(tenant: &TenantId, month: &Month, shard: u32) -> Key {
    Key { sk: "N".into(), ..usage_key(tenant, month, shard) }
}

pub(crate) fn usage_key(tenant: &TenantId, month: &Month, shard: u32) -> Key {
    Key { pk: format!("U#{tenant}#{}#{shard}", month.as_str()), sk: "C".into() }
}

impl SignalsTable {
    /// Adds to counters of a month other than the events', as a part of a transaction.
    pub(crate) fn count_with(tenant: &TenantId, at: Timestamp, amounts: &[(&str, i64)]) -> Write {
        Write::Update(spread_key(tenant, &Month::of(at), random::below_u32(SPREAD)), amounts_of(at, amounts))
    }

    /// The same by itself. A call that the SDK repeats because its answer was lost counts twice; so nothing that is billed is
    /// counted here.
    pub(crate) async fn count_apart(
        &self,
        tenant: &TenantId,
        at: Timestamp,
        amounts: &[(&str, i64)],
    ) -> Result<(), SignalsError> {
        let key = spread_key(tenant, &Month::of(at), random::below_u32(SPREAD));
        self.table.update(&key, amounts_of(at, amounts)).await?;
        Ok(())
    }

    /// What all rows of a month hold together.
    pub(crate) async fn usage(&self, tenant: &Tenant, month: &Month) -> Result<Usage, SignalsError> {
        let events = (0..tenant.shards_to_read()).map(|shard| usage_key(&tenant.id, month, shard));
        self.sum(month, events.chain((0..SPREAD).map(|shard| spread_key(&tenant.id, month, shard)))).await
    }

    /// The events that were accepted in a month.
    pub(crate) async fn ingested(&self, tenant: &Tenant, month: &Month) -> Result<u64, SignalsError> {
        let events = (0..tenant.shards_to_read()).map(|shard| usage_key(&tenant.id, month, shard));
        Ok(self.sum(month, events).await?.of(INGESTED))
    }

    async fn sum(&self, month: &Month, keys: impl Iterator<Item = Key>) -> Result<Usage, SignalsError> {
        let keys: Vec<Key> = keys.collect();
        let rows = try_join_all(keys.iter().map(|key| self.table.get(key))).await?;
        let mut usage = Usage::default();
        rows.iter().flatten().for_each(|row| add(&mut usage, month, row));
        Ok(usage)
    }
}

impl SignalsTable {
    /// Writes the event that tells of a limit's crossing, together with the row that says it was told of; `false` when it was
    /// before, this month. In one transaction: neither is there without the other.
    pub(crate) async fn add_crossing(
        &self,
        event: &EventRow,
        month: &Month,
        mark: &'static str,
    ) -> Result<bool, SignalsError> {
        let told = CrossingRow { pk: crossings(&event.tenant, month), sk: mark, event_id: event.id.clone() };
        let writes = vec![Write::Create(self.table.to_item(&told)?), Write::Create(self.table.to_item(event)?)];
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }
}

fn amounts_of(at: Timestamp, amounts: &[(&str, i64)]) -> Changes {
    amounts.iter().fold(Changes::new().without_the_rest(), |changes, (name, amount)| {
        let changes = changes.add(name, *amount);
        match Meter::ALL.into_iter().find(|meter| meter.name() == *name) {
            Some(meter) => changes.add(&meter.column(Hour::of(at)), *amount),
            None => changes,
        }
    })
}

fn add(usage: &mut Usage, month: &Month, row: &Item) {
    for name in row.keys().filter(|name| !NO_COUNTERS.contains(&name.as_str())) {
        let Some(count) = number::<i64>(row, name) else { continue };
        let sum = match hour_of(month, name) {
            Some(key) => usage.hours.entry(key).or_default(),
            None => usage.counters.entry(name.clone()).or_default(),
        };
        *sum = sum.saturating_add_signed(count);
    }
}

fn hour_of(month: &Month, column: &str) -> Option<(Hour, Meter)> {
    let meter = Meter::ALL.into_iter().find(|meter| column.starts_with(meter.letter()))?;
    Some((Hour::in_month(month, &column[1..])?, meter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_io::dynamo::IntoAttribute as _;

    #[test]
    fn a_row_is_counters_and_hours() {
        let month = Month::parse("2026-11").unwrap();
        let numbers =
            [("events_ingested", 5), ("h1407", 3), ("h1408", 2), ("notifications_sent", 1), ("n1408", 1), ("cap", 9)];
        let row: Item = numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into_attribute())).collect();
        let mut usage = Usage::default();
        add(&mut usage, &month, &row);
        let names: Vec<_> = usage.counters.keys().map(String::as_str).collect();
        assert_eq!(names, ["events_ingested", "notifications_sent"]);
        let hours: Vec<_> = usage.hours.iter().map(|((hour, meter), count)| (hour.text(), *meter, *count)).collect();
        let (seven, eight) = ("2026111407".to_owned(), "2026111408".to_owned());
        assert_eq!(
            hours,
            [(seven, Meter::Events, 3), (eight.clone(), Meter::Events, 2), (eight, Meter::Notifications, 1)]
        );
    }
}
