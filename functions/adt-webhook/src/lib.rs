//! ALIS's webhook, and the platform's health.

mod access;
mod health;
mod webhook;

pub use access::State;
use switchyard_api::{Api, Dialect};

/// Every operation of this function.
pub fn api() -> Api<State> {
    Api::new("adt-webhook", "ADT", Dialect::Alis).with(webhook::endpoints()).with(health::endpoints())
}
