//! Events for the callbacks, which a store's changes are announced with.

use super::{MAX_CHANGE_ATTEMPTS, OrdersTable, StoreRow, WORKFLOW, partition};
use crate::error::OrdersError;
use crate::model::{EventId, StoreId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{OrganizationId, hex_sha256};
use switchyard_io::dynamo::{Changes, Item, Key, Transact, Write};
use switchyard_work::outbox::{self, Due, DueRow};

const EVENT_TTL: Duration = Duration::from_secs(30 * 86_400);

/// An event for the callbacks, written in one transaction with the change that it reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pk: String,
    sk: String,
    pub(crate) id: EventId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) store_id: StoreId,
    pub(crate) event: String,
    /// The body to deliver, byte for byte.
    pub(crate) payload: String,
    expires_at: i64,
    /// The unsent mark; absent once sent.
    #[serde(flatten)]
    due: Option<Due>,
}

impl EventRow {
    pub(crate) fn new(store: &StoreRow, id: EventId, event: &str, payload: String, now: Timestamp) -> Self {
        let expires_at = (now + EVENT_TTL).as_second();
        let due = Due::at(WORKFLOW, &hex_sha256(&[id.as_str()]), (now + outbox::GRACE).as_millisecond());
        Self {
            pk: partition(&store.id),
            sk: format!("{EVENT_PREFIX}{id}"),
            id,
            organization_id: store.organization_id.clone(),
            store_id: store.id.clone(),
            event: event.to_owned(),
            payload,
            expires_at,
            due: Some(due),
        }
    }

    pub(crate) fn is_unsent(&self) -> bool {
        self.due.is_some()
    }
}

/// Whether a due row is an event; otherwise it is a store.
pub(crate) fn is_event(row: &DueRow) -> bool {
    row.sk.starts_with(EVENT_PREFIX)
}

const EVENT_PREFIX: &str = "B#";

impl OrdersTable {
    /// Changes a store and writes an event about the change, in one transaction.
    pub(crate) async fn announce(
        &self,
        store: &StoreRow,
        now: Timestamp,
        edit: impl Fn(&mut StoreRow),
        event: impl Fn(&StoreRow) -> Result<EventRow, OrdersError>,
    ) -> Result<(StoreRow, EventRow), OrdersError> {
        let mut store = store.clone();
        for _ in 0..MAX_CHANGE_ATTEMPTS {
            let next = store.next(now, &edit);
            let event = event(&next)?;
            let writes = vec![self.replace(&store, &next)?, Write::Create(self.table.to_item(&event)?)];
            match self.table.transact(writes).await? {
                Transact::Done => return Ok((next, event)),
                Transact::Refused { index: 0, row: Some(newer) } => store = self.table.read(newer)?,
                Transact::Refused { .. } => break,
            }
        }
        Err(OrdersError::Contended { store: store.id })
    }

    /// Removes an event's unsent mark.
    pub(crate) async fn sent(&self, event: &EventRow) -> Result<(), OrdersError> {
        let key = Key { pk: event.pk.clone(), sk: event.sk.clone() };
        let changes = outbox::settled(Changes::new()).only_if("attribute_exists(#pk)", []);
        self.table.update(&key, changes).await?;
        Ok(())
    }

    pub(crate) fn event(&self, item: Item) -> Result<EventRow, OrdersError> {
        Ok(self.table.read(item)?)
    }
}
