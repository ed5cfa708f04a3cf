//! Keys of the rows that sent a message, by the ids that the message names as text.

use crate::ids::{DeliveryId, EventId, TenantId};
use crate::ingest::event;
use crate::notify::delivery::row;
use switchyard_io::dynamo::Key;

/// The key of the event that a message names.
pub(crate) fn event_key(tenant: &str, event_id: &str) -> Key {
    event::event_key(&TenantId::from(tenant), &EventId::from(event_id))
}

/// The key of the delivery that a message names.
pub(crate) fn delivery_key(tenant: &str, event_id: &str, id: &str) -> Key {
    row::delivery_key(&TenantId::from(tenant), &EventId::from(event_id), &DeliveryId::from(id))
}
