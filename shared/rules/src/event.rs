//! An event and its tenant, as rules and templates see them.

use jiff::Timestamp;
use serde_json::{Value, json};
use switchyard_core::iso_millis;

/// An event, as rules and templates see it. Borrowed throughout: looking at one copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its type, such as `payment.failed`.
    pub kind: &'a str,
    /// Its payload.
    pub payload: &'a Value,
    /// Who sent it, if they said.
    pub source: Option<&'a str>,
    /// When it happened, as its sender says.
    pub occurred_at: Timestamp,
    /// When it came in: what rules call now, so that a repetition finds what the first evaluation found.
    pub received_at: Timestamp,
    /// Whose it is.
    pub tenant: Tenant<'a>,
}

/// What rules may know of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    /// Its slug.
    pub slug: &'a str,
    /// Its plan.
    pub plan: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Event<'_> {
    /// As JSON: `{id,type,payload,source,occurredAt,receivedAt}`, times in RFC 3339 with milliseconds.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id, "type": self.kind, "payload": self.payload, "source": self.source,
            "occurredAt": iso_millis(self.occurred_at), "receivedAt": iso_millis(self.received_at),
        })
    }
}
