//! Events for tests.

use crate::event::{Event, Tenant};
use serde_json::Value;

pub(crate) const TENANT: Tenant<'_> = Tenant { slug: "acme", plan: "pro", name: "Acme" };

/// An event of the tenant acme, on Tuesday, 3 November 2026, at ten o'clock.
pub(crate) fn event<'a>(kind: &'a str, payload: &'a Value) -> Event<'a> {
    let at = "2026-11-03T10:00:00Z".parse().unwrap();
    Event { id: "evt-1", kind, payload, source: None, occurred_at: at, received_at: at, tenant: TENANT }
}
