//! The row of an event, and of its idempotency key.

use crate::error::SignalsError;
use crate::ids::{EventId, TenantId};
use crate::ingest::new_event::{NewEvent, RESERVED};
use crate::period::{Hour, days, digits};
use crate::table::{SignalsTable, WORKFLOW};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_core::{hex_sha256, made_at, shard_of};
use switchyard_io::dynamo::{Changes, Create, Index, IntoAttribute as _, Key, Page, Transact, Write};
use switchyard_work::outbox::{self, Due};

/// Partitions of one tenant's events of one day.
const SHARDS: u32 = 4;

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pk: String,
    sk: String,
    pub(crate) id: EventId,
    pub(crate) tenant: TenantId,
    pub(crate) kind: String,
    /// JSON, byte for byte as it came.
    pub(crate) payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    pub(crate) occurred_at: Timestamp,
    pub(crate) received_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<String>,
    expires_at: i64,
    /// What the rules made of it, as JSON: an object by rule id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcomes: Option<String>,
    /// Of a copy that is evaluated again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Replay>,
    /// Absent once the rules are through with it.
    #[serde(flatten)]
    due: Option<Due>,
}

/// What a copy is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) of: EventId,
    /// Whether anything is sent and remembered.
    pub(crate) notify: bool,
}

/// Which events of a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventsAt<'a> {
    pub(crate) tenant: &'a TenantId,
    /// `20261125`.
    pub(crate) day: &'a str,
    /// Older than the one of this id.
    pub(crate) before: Option<&'a str>,
    pub(crate) limit: usize,
}

impl EventRow {
    pub(crate) fn new(
        tenant: &TenantId,
        id: EventId,
        new: &NewEvent,
        idempotency_key: Option<&str>,
        kept_days: i64,
        now: Timestamp,
    ) -> Self {
        let Key { pk, sk } = event_key(tenant, &id);
        let due = Due::at(WORKFLOW, &hex_sha256(&[id.as_str()]), (now + outbox::GRACE).as_millisecond());
        Self {
            pk,
            sk,
            id,
            tenant: tenant.clone(),
            kind: new.kind.clone(),
            payload: new.payload.clone(),
            source: new.source.clone(),
            occurred_at: new.occurred_at.unwrap_or(now),
            received_at: now,
            idempotency_key: idempotency_key.map(str::to_owned),
            expires_at: now.as_second() + kept_days * 86_400,
            outcomes: None,
            replay: None,
            due: Some(due),
        }
    }

    /// A copy under an id of its own, to be evaluated as of when what it is a copy of was received.
    pub(crate) fn replayed(&self, id: &EventId, notify: bool, kept_days: i64, now: Timestamp) -> Self {
        let Key { pk, sk } = event_key(&self.tenant, id);
        Self {
            pk,
            sk,
            id: id.clone(),
            idempotency_key: None,
            expires_at: now.as_second() + kept_days * 86_400,
            outcomes: None,
            replay: Some(Replay { of: self.id.clone(), notify }),
            due: Some(Due::at(WORKFLOW, &hex_sha256(&[id.as_str()]), (now + outbox::GRACE).as_millisecond())),
            ..self.clone()
        }
    }

    /// The time that lists have it at: when it came, and of a copy when that was asked for.
    pub(crate) fn listed_at(&self) -> Timestamp {
        self.replay.as_ref().and_then(|_| made_at(self.id.as_str())).unwrap_or(self.received_at)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdempotencyRow {
    pk: String,
    sk: String,
    pub(crate) event_id: EventId,
    pub(crate) fingerprint: String,
    expires_at: i64,
}

/// Outcome of writing an event.
pub(crate) enum EventWrite {
    Done,
    /// Its idempotency key belongs to this event.
    Taken(IdempotencyRow),
}

/// An id is made so much later than its event was received, at most.
const LATE: Duration = Duration::from_secs(120);

/// Events that are read at a time.
const PAGE: i32 = 1_000;

/// What is counted of an event.
#[derive(Deserialize)]
struct Kept {
    kind: String,
    received_at: Timestamp,
    replay: Option<Replay>,
}

fn partition(tenant: &TenantId, day: &str, shard: u32) -> String {
    format!("E#{tenant}#{day}#{shard}")
}

/// The days on which events lie that were received from one time to another, the oldest first: an id may be made just after a
/// midnight before which its event was received.
pub(crate) fn days_of_events(from: Timestamp, to: Timestamp) -> Vec<String> {
    // What is asked for may be the end of time.
    days(from, to.checked_add(LATE).unwrap_or(to))
}

/// The partitions of a tenant's events of one day.
pub(crate) fn day_partitions(tenant: &TenantId, day: &str) -> Vec<String> {
    (0..SHARDS).map(|shard| partition(tenant, day, shard)).collect()
}

/// The first and last id (UUID v7) of a time.
fn ids_of(from: Timestamp, to: Timestamp) -> (String, String) {
    let head = |at: Timestamp| {
        let ms = at.as_millisecond().max(0);
        format!("{:08x}-{:04x}", ms >> 16, ms & 0xffff)
    };
    (format!("{}-7000-8000-000000000000", head(from)), format!("{}-7fff-bfff-ffffffffffff", head(to)))
}

/// Where an event lies: by the day that its id tells.
pub(crate) fn event_key(tenant: &TenantId, id: &EventId) -> Key {
    let day = digits(made_at(id.as_str()).unwrap_or_default(), 8);
    Key { pk: partition(tenant, &day, shard_of(&hex_sha256(&[id.as_str()]), SHARDS)), sk: id.to_string() }
}

fn idempotency_key(tenant: &TenantId, key: &str) -> Key {
    Key { pk: format!("I#{tenant}#{}", hex_sha256(&[key])), sk: "-".into() }
}

impl SignalsTable {
    /// What an idempotency key stands for, unless its time is over.
    pub(crate) async fn idempotency(
        &self,
        tenant: &TenantId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRow>, SignalsError> {
        let row: Option<IdempotencyRow> = self.get(&idempotency_key(tenant, key)).await?;
        Ok(row.filter(|row| row.expires_at > now.as_second()))
    }

    /// Writes an event, with its idempotency key if it has one and no other event has that.
    pub(crate) async fn add_event(
        &self,
        event: &EventRow,
        fingerprint: &str,
        key_kept_for: Duration,
    ) -> Result<EventWrite, SignalsError> {
        let Some(key) = &event.idempotency_key else {
            // A row under a new id is our own: the SDK repeats a call whose response was lost.
            let (Create::Created | Create::Exists(_)) = self.table.create(event).await?;
            return Ok(EventWrite::Done);
        };
        let Key { pk, sk } = idempotency_key(&event.tenant, key);
        let now = event.received_at;
        let row = IdempotencyRow {
            pk,
            sk,
            event_id: event.id.clone(),
            fingerprint: fingerprint.to_owned(),
            expires_at: (now + key_kept_for).as_second(),
        };
        let is_free =
            Changes::new().only_if("attribute_not_exists(#pk) OR #expires_at <= ?", [now.as_second().into_attribute()]);
        let writes = vec![Write::PutIf(self.table.to_item(&row)?, is_free), Write::Create(self.table.to_item(event)?)];
        Ok(match self.table.transact(writes).await? {
            Transact::Refused { index: 0, row: Some(known) } => {
                let known: IdempotencyRow = self.table.read(known)?;
                if known.event_id == event.id { EventWrite::Done } else { EventWrite::Taken(known) }
            }
            Transact::Done | Transact::Refused { .. } => EventWrite::Done,
        })
    }

    pub(crate) async fn event(&self, tenant: &TenantId, id: &EventId) -> Result<Option<EventRow>, SignalsError> {
        self.get(&event_key(tenant, id)).await
    }

    /// The newest events of a day, newest first, and whether there are more. A shard's page ends at a megabyte, so that what
    /// lies before the end of any of them is left for the next look.
    pub(crate) async fn events_of_day(&self, at: EventsAt<'_>) -> Result<(Vec<EventRow>, bool), SignalsError> {
        let mut rows: Vec<EventRow> = Vec::new();
        let mut read_down_to: Option<EventId> = None;
        for shard in 0..SHARDS {
            let page = Page {
                index: Index::Table,
                hash: partition(at.tenant, at.day, shard),
                // "~" lies beyond every id; the row of the id itself is left out below.
                range: Some(("0".into_attribute(), at.before.unwrap_or("~").into_attribute())),
                newest_first: true,
                limit: i32::try_from(at.limit + 1).unwrap_or(i32::MAX),
                after: None,
            };
            let (items, more) = self.table.page(page).await?;
            for item in items {
                rows.push(self.table.read(item)?);
            }
            if let (Some(_), Some(last)) = (more, rows.last()) {
                read_down_to = read_down_to.max(Some(last.id.clone()));
            }
        }
        rows.retain(|row| Some(row.id.as_str()) != at.before && Some(&row.id) >= read_down_to.as_ref());
        rows.sort_by(|one, other| other.id.cmp(&one.id));
        let has_more = read_down_to.is_some() || rows.len() > at.limit;
        rows.truncate(at.limit);
        Ok((rows, has_more))
    }

    /// Writes a copy that is to be evaluated, and the record of that.
    pub(crate) async fn add_replay(&self, copy: &EventRow, record: Write) -> Result<(), SignalsError> {
        let (Transact::Done | Transact::Refused { .. }) =
            self.table.transact(vec![Write::Create(self.table.to_item(copy)?), record]).await?;
        Ok(())
    }

    /// The events that are kept and were counted, by the hour they were received in, from one time to before another.
    pub(crate) async fn kept_by_hour(
        &self,
        tenant: &TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeMap<Hour, u64>, SignalsError> {
        let partitions: Vec<_> = days_of_events(from, to).iter().flat_map(|day| day_partitions(tenant, day)).collect();
        let mut by_hour = BTreeMap::new();
        // A day's partitions side by side.
        for some in partitions.chunks(SHARDS as usize) {
            let counted = some.iter().map(|hash| self.kept_in(hash, from, to));
            for (hour, count) in try_join_all(counted).await?.into_iter().flatten() {
                *by_hour.entry(hour).or_default() += count;
            }
        }
        Ok(by_hour)
    }

    async fn kept_in(&self, hash: &str, from: Timestamp, to: Timestamp) -> Result<BTreeMap<Hour, u64>, SignalsError> {
        let (first, last) = ids_of(from, to + LATE);
        let (mut by_hour, mut after) = (BTreeMap::new(), None);
        loop {
            let range = Some((first.as_str().into_attribute(), last.as_str().into_attribute()));
            let (index, hash) = (Index::Table, hash.to_owned());
            let page = Page { index, hash, range, newest_first: false, limit: PAGE, after };
            let (items, more) = self.table.page_of(page, &["kind", "received_at", "replay"]).await?;
            for item in items {
                let event: Kept = self.table.read(item)?;
                let is_counted = event.replay.is_none() && !event.kind.starts_with(RESERVED);
                if is_counted && (from..to).contains(&event.received_at) {
                    *by_hour.entry(Hour::of(event.received_at)).or_default() += 1;
                }
            }
            after = more;
            if after.is_none() {
                return Ok(by_hour);
            }
        }
    }

    /// Writes what the rules made of an event, takes its unsent mark off, and writes `with` it. `false` when that was done
    /// before: then nothing is written.
    pub(crate) async fn finish_event(
        &self,
        event: &EventRow,
        outcomes: &str,
        with: Vec<Write>,
    ) -> Result<bool, SignalsError> {
        let key = Key { pk: event.pk.clone(), sk: event.sk.clone() };
        let changes = outbox::settled(Changes::new())
            .set("outcomes", outcomes)
            .only_if("attribute_exists(#pk) AND attribute_not_exists(#outcomes)", []);
        let mut writes = vec![Write::Update(key, changes)];
        writes.extend(with);
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lies_on_the_day_of_its_id() {
        let key = event_key(&"t".into(), &"019b2a3c-7c00-7a11-8b22-0c0ffee00001".into());
        assert!(key.pk.starts_with("E#t#2025121"), "{}", key.pk);
        assert_eq!(key.pk.split('#').count(), 4);
    }

    #[test]
    fn a_copy_is_listed_by_its_own_id_and_evaluated_as_of_the_first() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let new = NewEvent::parse(r#"{"type":"t","payload":{}}"#).unwrap();
        let first = at("2025-11-01T00:00:00Z");
        let event = EventRow::new(&"t".into(), "019a3c2f-0000-7a11-8b22-0c0ffee00001".into(), &new, None, 30, first);
        let id = EventId::from("019b2a3c-7c00-7a11-8b22-0c0ffee00001");
        let now = Timestamp::from_millisecond(0x019b_2a3c_7c00).unwrap();
        let copy = event.replayed(&id, true, 180, now);
        assert_eq!((copy.received_at, copy.listed_at(), event.listed_at()), (first, now, first));
        assert_eq!(copy.expires_at, now.as_second() + 180 * 86_400);
        assert_eq!(copy.pk, event_key(&"t".into(), &id).pk);
    }

    #[test]
    fn an_event_received_before_midnight_may_lie_on_the_next_day() {
        let days = |to: &str| days_of_events("2026-11-25T10:00:00Z".parse().unwrap(), to.parse().unwrap());
        assert_eq!(days("2026-11-25T23:59:00Z"), ["20261125", "20261126"]);
        assert_eq!(days("2026-11-25T23:57:00Z"), ["20261125"]);
        assert_eq!(days_of_events(Timestamp::MAX, Timestamp::MAX).len(), 1);
    }

    #[test]
    fn ids_of_a_time_lie_between_its_bounds() {
        let id = "019b2a3c-7c00-7a11-8b22-0c0ffee00001";
        let at = Timestamp::from_millisecond(0x019b_2a3c_7c00).unwrap();
        let (first, last) = ids_of(at, at);
        assert!(first.as_str() < id && id < last.as_str(), "{first} {last}");
        let (next, _) = ids_of(at + Duration::from_millis(1), at);
        assert!(id < next.as_str());
    }
}
