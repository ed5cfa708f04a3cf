//! Deliveries: their rows, and how one is claimed, settled, rescheduled and restarted.

use super::event::{EVENT_RETENTION, event_partition};
use super::{AttemptRow, CallbacksTable, EndpointRow, EventRow, WORKFLOW};
use crate::decide::DeliverySummary;
use crate::error::CallbacksError;
use crate::model::{DeliveryStatus, EndpointId, EventId, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use switchyard_core::hex_sha256;
use switchyard_io::dynamo::{AttributeValue, Changes, Index, IntoAttribute, Item, Key, Page, Transact, Update, Write};
use switchyard_work::attempt::{self, Claim, Claimant, Retry};
use switchyard_work::lease::{self, Lease};
use switchyard_work::outbox::{self, Due};

/// A delivery's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryRow {
    pk: String,
    sk: String,
    pub(crate) event_id: EventId,
    pub(crate) endpoint_id: EndpointId,
    /// Key of the endpoint's row.
    endpoint_row_pk: String,
    endpoint_row_sk: String,
    pub(crate) target_url: String,
    pub(crate) status: DeliveryStatus,
    /// Attempts of the current round; they decide the next wait.
    pub(crate) attempts: u32,
    /// Attempts of all rounds; they number the log.
    pub(crate) attempts_ever: u32,
    #[serde(default)]
    pub(crate) trigger: Trigger,
    /// When the current round began, epoch milliseconds.
    pub(crate) round_began: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_attempt_at: Option<i64>,
    /// A slot that is reserved in the endpoint's pace, epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    #[serde(flatten)]
    lease: Lease,
    endpoint_pk: EndpointId,
    endpoint_sk: EventId,
    pub(crate) created_at: Timestamp,
    expires_at: i64,
    #[serde(flatten)]
    due: Option<Due>,
}

impl DeliveryRow {
    pub(crate) fn new(event: &EventRow, endpoint: &EndpointRow, now: Timestamp) -> Self {
        let Key { pk, sk } = delivery_key(&event.id, &endpoint.id);
        let due = (now + outbox::GRACE).as_millisecond();
        Self {
            pk,
            sk,
            event_id: event.id.clone(),
            endpoint_id: endpoint.id.clone(),
            endpoint_row_pk: endpoint.pk.clone(),
            endpoint_row_sk: endpoint.sk.clone(),
            target_url: endpoint.target_url.clone(),
            status: DeliveryStatus::Pending,
            attempts: 0,
            attempts_ever: 0,
            trigger: Trigger::Auto,
            round_began: now.as_millisecond(),
            next_attempt_at: None,
            slot_at: None,
            last_status: None,
            last_error: None,
            lease: Lease::default(),
            endpoint_pk: endpoint.id.clone(),
            endpoint_sk: event.id.clone(),
            created_at: now,
            expires_at: (now + EVENT_RETENTION).as_second(),
            due: Some(Due::at(WORKFLOW, &digest(&event.id, &endpoint.id), due)),
        }
    }

    pub(crate) fn key(&self) -> Key {
        delivery_key(&self.event_id, &self.endpoint_id)
    }

    pub(crate) fn endpoint_key(&self) -> Key {
        Key { pk: self.endpoint_row_pk.clone(), sk: self.endpoint_row_sk.clone() }
    }

    pub(crate) fn summary(&self) -> DeliverySummary {
        DeliverySummary {
            status: self.status,
            attempts: self.attempts_ever,
            next_attempt_at: self.next_attempt_at,
            last_error: self.last_error.clone(),
        }
    }

    fn shard(&self) -> String {
        outbox::shard(WORKFLOW, &digest(&self.event_id, &self.endpoint_id))
    }

    /// The unsent mark of a delivery whose message is sent now.
    fn unsent(&self, now_ms: i64) -> Due {
        let grace_ms = i64::try_from(outbox::GRACE.as_millis()).unwrap_or_default();
        Due { due_shard: self.shard(), due_at: now_ms + grace_ms, due_count: 0 }
    }
}

/// The digest that decides a delivery's shard of the index `due`.
fn digest(event_id: &EventId, endpoint_id: &EndpointId) -> String {
    hex_sha256(&[event_id.as_str(), endpoint_id.as_str()])
}

fn delivery_key(event_id: &EventId, endpoint_id: &EndpointId) -> Key {
    Key { pk: event_partition(event_id), sk: format!("D#{endpoint_id}") }
}

/// What a worker decides about the delivery that it claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resolution {
    /// No more attempts.
    Settled(DeliveryStatus),
    /// Another attempt at this time.
    Rescheduled(Retry),
}

impl CallbacksTable {
    pub(crate) async fn deliveries(&self, event_id: &EventId) -> Result<Vec<DeliveryRow>, CallbacksError> {
        let items = self.table.rows(&event_partition(event_id), "D#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// An endpoint's deliveries between two event ids, newest first, and the event id where the next page begins.
    pub(crate) async fn deliveries_to(
        &self,
        endpoint_id: &EndpointId,
        events: RangeInclusive<&EventId>,
        limit: i32,
    ) -> Result<(Vec<DeliveryRow>, Option<EventId>), CallbacksError> {
        let bound = |id: &EventId| AttributeValue::S(id.to_string());
        let page = Page {
            index: Index::Named("endpoint"),
            hash: endpoint_id.to_string(),
            range: Some((bound(events.start()), bound(events.end()))),
            newest_first: true,
            limit: limit + 1,
            after: None,
        };
        let (items, more) = self.table.page(page).await?;
        let mut rows = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<DeliveryRow>, _>>()?;
        // Long rows can fill a page before it has `limit` rows.
        let has_more = rows.len() > limit as usize || (more.is_some() && rows.len() > 1);
        let next = if has_more { rows.pop().map(|row| row.event_id) } else { None };
        Ok((rows, next))
    }

    /// Claims a delivery that is pending.
    pub(crate) async fn claim(
        &self,
        event_id: &EventId,
        endpoint_id: &EndpointId,
        by: Claimant<'_>,
    ) -> Result<Claim<DeliveryRow>, CallbacksError> {
        let pending = Changes::new().only_if("#status = ?", ["pending".into_attribute()]);
        let is_pending = |row: &DeliveryRow| row.status == DeliveryStatus::Pending;
        Ok(attempt::claim(&self.table, &delivery_key(event_id, endpoint_id), by, pending, is_pending).await?)
    }

    /// Settles or reschedules a claimed delivery, and logs the attempt if there was one. Returns `false` when the lease was
    /// lost.
    pub(crate) async fn settle(
        &self,
        row: &DeliveryRow,
        resolution: &Resolution,
        attempt: Option<&AttemptRow>,
        error: Option<&str>,
    ) -> Result<bool, CallbacksError> {
        let changes = row.lease.release(Changes::new());
        let mut changes = match resolution {
            Resolution::Settled(status) => attempt::settle(changes).set("status", status.name()),
            Resolution::Rescheduled(retry) => retry.reschedule(changes, row.shard()),
        };
        if let Some(attempt) = attempt {
            changes = changes
                .set("attempts", i64::from(row.attempts) + 1)
                .set("attempts_ever", i64::from(attempt.number))
                .set_or_remove("last_status", attempt.status_code.map(i64::from));
        }
        changes = match (error, resolution) {
            (Some(error), _) => changes.set("last_error", error),
            (None, Resolution::Settled(DeliveryStatus::Success)) => changes.remove("last_error"),
            (None, _) => changes,
        };
        let mut writes = vec![Write::Update(row.key(), changes)];
        if let Some(attempt) = attempt {
            writes.push(Write::Put(self.table.to_item(attempt)?));
        }
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Restarts a delivery on request. Returns `false` while a worker holds it, or when its status has changed since it was
    /// read: the index `endpoint` lags behind.
    pub(crate) async fn reopen(&self, row: &DeliveryRow, now_ms: i64) -> Result<bool, CallbacksError> {
        let changes = lease::ROW
            .only_if_free(Changes::new(), now_ms)
            .set("status", DeliveryStatus::Pending.name())
            .set("attempts", 0_i64)
            .set("trigger", "manual")
            .set("round_began", now_ms)
            .remove("next_attempt_at")
            .remove("slot_at")
            .only_if("#status = ?", [row.status.name().into_attribute()]);
        let changes = outbox::marked(changes, row.unsent(now_ms));
        Ok(matches!(self.table.update(&row.key(), changes).await?, Update::Applied(_)))
    }

    pub(crate) fn delivery(&self, item: Item) -> Result<DeliveryRow, CallbacksError> {
        Ok(self.table.read(item)?)
    }
}
