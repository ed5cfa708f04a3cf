//! Events: their rows, and the query that reads an event with its deliveries and attempts.

use super::{AttemptRow, CallbacksTable, DeliveryRow};
use crate::error::CallbacksError;
use crate::model::{EventId, Published};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::OrganizationId;
use switchyard_io::dynamo::{Key, Transact, Write};

/// How long events and deliveries are kept: longer than the longest custom policy, which takes 72 days with jitter.
pub(super) const EVENT_RETENTION: Duration = Duration::from_secs(90 * 86_400);

/// An event's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pk: String,
    sk: String,
    pub(crate) id: EventId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    pub(crate) payload: String,
    pub(crate) created_at: Timestamp,
    expires_at: i64,
}

impl EventRow {
    pub(crate) fn new(id: EventId, organization_id: OrganizationId, published: &Published, now: Timestamp) -> Self {
        Self {
            pk: event_partition(&id),
            sk: "META".into(),
            id,
            organization_id,
            event: published.event.clone(),
            subject: published.subject.clone(),
            payload: published.payload.clone(),
            created_at: now,
            expires_at: (now + EVENT_RETENTION).as_second(),
        }
    }
}

pub(super) fn event_partition(event_id: &EventId) -> String {
    format!("E#{event_id}")
}

fn event_key(event_id: &EventId) -> Key {
    Key { pk: event_partition(event_id), sk: "META".into() }
}

/// An event with all its deliveries and attempts.
pub(crate) struct History {
    pub(crate) event: EventRow,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) attempts: Vec<AttemptRow>,
}

impl CallbacksTable {
    /// Writes an event with its deliveries. Returns `false` when the event exists already.
    pub(crate) async fn record(&self, event: &EventRow, deliveries: &[DeliveryRow]) -> Result<bool, CallbacksError> {
        let mut writes = vec![Write::Create(self.table.to_item(event)?)];
        for delivery in deliveries {
            writes.push(Write::Create(self.table.to_item(delivery)?));
        }
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    pub(crate) async fn event(&self, event_id: &EventId) -> Result<Option<EventRow>, CallbacksError> {
        let item = self.table.get(&event_key(event_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// An event with its deliveries and attempts, in one query.
    pub(crate) async fn history(&self, event_id: &EventId) -> Result<Option<History>, CallbacksError> {
        let (mut event, mut deliveries, mut attempts) = (None, Vec::new(), Vec::new());
        for item in self.table.rows(&event_partition(event_id), "").await? {
            match item.get("sk").and_then(|sk| sk.as_s().ok()).map(|sk| sk.as_bytes()[0]) {
                Some(b'D') => deliveries.push(self.table.read(item)?),
                Some(b'A') => attempts.push(self.table.read(item)?),
                _ => event = Some(self.table.read(item)?),
            }
        }
        Ok(event.map(|event| History { event, deliveries, attempts }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{MAX_CUSTOM_WAIT_S, MAX_CUSTOM_WAITS, next_wait};
    use crate::model::RetryPolicy;

    #[test]
    fn events_outlive_the_longest_policy() {
        let policy = RetryPolicy::Custom(vec![MAX_CUSTOM_WAIT_S; MAX_CUSTOM_WAITS]);
        let longest: Duration = (1..).map_while(|made| next_wait(&policy, made, None, 1.0)).sum();
        assert!(longest < EVENT_RETENTION, "{longest:?}");
    }
}
