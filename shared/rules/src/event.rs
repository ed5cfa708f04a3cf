//! An event and its tenant, as rules and templates see them.

use jiff::Timestamp;
use serde_json::{Value, json};
use switchyard_core::iso_millis;

/// An event, as rules and templates see it. All parts are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The event's id.
    pub id: &'a str,
    /// The event's type, such as `payment.failed`.
    pub kind: &'a str,
    /// The payload.
    pub payload: &'a Value,
    /// The source, if the event has one.
    pub source: Option<&'a str>,
    /// When it happened, according to the sender.
    pub occurred_at: Timestamp,
    /// When it was received. Rules use it as the current time, so that a second evaluation has the same result.
    pub received_at: Timestamp,
    /// The tenant.
    pub tenant: Tenant<'a>,
}

/// A tenant, as rules and templates see it.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    /// The slug.
    pub slug: &'a str,
    /// The plan.
    pub plan: &'a str,
    /// The name.
    pub name: &'a str,
}

impl Event<'_> {
    /// The event as JSON: `{id,type,payload,source,occurredAt,receivedAt}`, times in RFC 3339 with milliseconds.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id, "type": self.kind, "payload": self.payload, "source": self.source,
            "occurredAt": iso_millis(self.occurred_at), "receivedAt": iso_millis(self.received_at),
        })
    }
}
