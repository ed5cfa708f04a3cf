use super::Store;
use crate::error::SignalsError;
use jiff::Timestamp;
use std::collections::BTreeMap;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Item, Key, Update, Write, number};

/// A calendar month in UTC, by the time an event was received: `202611`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Month(String);

impl Month {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(at.to_string().chars().take(7).filter(char::is_ascii_digit).collect())
    }

    /// `2026-11` as `202611`; `None` when it is no month.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        format!("{text}-01").parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 7)?;
        Some(Self(text.chars().filter(char::is_ascii_digit).collect()))
    }

    /// `202611`.
    pub(crate) fn digits(&self) -> &str {
        &self.0
    }

    /// Its first and last day, `2026-11-01` and `2026-11-30`.
    pub(crate) fn bounds(&self) -> (String, String) {
        let first = format!("{}-{}-01", &self.0[..4], &self.0[4..]);
        let last = first.parse::<jiff::civil::Date>().map(|first| first.last_of_month().to_string());
        (first, last.unwrap_or_default())
    }
}

/// What a tenant used in one month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Counters by name, such as `events_ingested`.
    pub counters: BTreeMap<String, u64>,
}

impl Usage {
    /// One counter.
    pub fn of(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

/// What became of a wish to count one more event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// It is counted on this shard, which now has so many.
    Counted { shard: u32, count: u64 },
    /// The limit is reached.
    Full,
}

/// Column of the events that were taken.
const INGESTED: &str = "events_ingested";

/// What shard `shard` of `shards` may hold, so that all together hold `limit`.
pub(crate) fn cap(limit: u64, shard: u32, shards: u32) -> u64 {
    let shards = u64::from(shards.max(1));
    limit / shards + u64::from(u64::from(shard) < limit % shards)
}

/// Rows that the other counters are spread over: transactions that meet on one row stop each other.
const SPREAD: u32 = 16;

fn spread_key(tenant: &str, month: &Month, shard: u32) -> Key {
    Key { sk: "N".into(), ..usage_key(tenant, month, shard) }
}

fn usage_key(tenant: &str, month: &Month, shard: u32) -> Key {
    Key { pk: format!("U#{tenant}#{}#{shard}", month.0), sk: "C".into() }
}

impl Store {
    /// Counts one more event, first on shard `first`, then on the others: exact for any number of callers, since the shards'
    /// caps add up to `limit`.
    pub(crate) async fn reserve(
        &self,
        tenant: &str,
        month: &Month,
        limit: Option<u64>,
        shards: u32,
        first: u32,
    ) -> Result<Reserved, SignalsError> {
        let shards = shards.max(1);
        for shard in (0..shards).map(|step| (first + step) % shards) {
            let mut changes = Changes::new().add(INGESTED, 1);
            if let Some(limit) = limit {
                let cap = cap(limit, shard, shards);
                if cap == 0 {
                    continue;
                }
                let cap = i64::try_from(cap).unwrap_or(i64::MAX);
                changes = changes
                    .only_if("attribute_not_exists(#events_ingested) OR #events_ingested < ?", [cap.into_attribute()]);
            }
            if let Update::Applied(row) = self.table.update(&usage_key(tenant, month, shard), changes).await? {
                return Ok(Reserved::Counted { shard, count: number(&row, INGESTED).unwrap_or_default() });
            }
        }
        Ok(Reserved::Full)
    }

    /// Takes back what [`Store::reserve`] counted.
    pub(crate) async fn unreserve(&self, tenant: &str, month: &Month, shard: u32) -> Result<(), SignalsError> {
        self.count(tenant, month, shard, &[(INGESTED, -1)]).await
    }

    /// Adds to counters of a month.
    pub(crate) async fn count(
        &self,
        tenant: &str,
        month: &Month,
        shard: u32,
        amounts: &[(&str, i64)],
    ) -> Result<(), SignalsError> {
        self.table.update(&usage_key(tenant, month, shard), amounts_of(amounts)).await?;
        Ok(())
    }

    /// Adds to counters of a month other than the events', as a part of a transaction.
    pub(crate) fn count_with(tenant: &str, at: Timestamp, amounts: &[(&str, i64)]) -> Write {
        Write::Update(spread_key(tenant, &Month::of(at), fastrand::u32(0..SPREAD)), amounts_of(amounts))
    }

    /// The same by itself.
    pub(crate) async fn count_apart(
        &self,
        tenant: &str,
        at: Timestamp,
        amounts: &[(&str, i64)],
    ) -> Result<(), SignalsError> {
        let key = spread_key(tenant, &Month::of(at), fastrand::u32(0..SPREAD));
        self.table.update(&key, amounts_of(amounts)).await?;
        Ok(())
    }

    /// What all shards of a month hold together.
    pub(crate) async fn usage(&self, tenant: &str, month: &Month, shards: u32) -> Result<Usage, SignalsError> {
        let mut usage = Usage::default();
        let events = (0..shards.max(1)).map(|shard| usage_key(tenant, month, shard));
        for key in events.chain((0..SPREAD).map(|shard| spread_key(tenant, month, shard))) {
            if let Some(row) = self.table.get(&key).await? {
                add(&mut usage, &row);
            }
        }
        Ok(usage)
    }
}

fn amounts_of(amounts: &[(&str, i64)]) -> Changes {
    amounts.iter().fold(Changes::new(), |changes, (name, amount)| changes.add(name, *amount))
}

fn add(usage: &mut Usage, row: &Item) {
    for name in row.keys() {
        if let Some(count) = number::<u64>(row, name) {
            *usage.counters.entry(name.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v16_caps_add_up_to_the_limit() {
        for limit in [0, 1, 7, 10, 1_000, 120_001] {
            for shards in [1, 4, 8, 64] {
                assert_eq!((0..shards).map(|shard| cap(limit, shard, shards)).sum::<u64>(), limit);
            }
        }
    }

    #[test]
    fn months_are_utc() {
        assert_eq!(Month::of("2026-11-30T23:59:59.999Z".parse().unwrap()), Month("202611".into()));
        assert_eq!(Month::parse("2026-11"), Some(Month("202611".into())));
        for text in ["2026-13", "2026-1", "202611", "2026-11-01", ""] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
    }
}
