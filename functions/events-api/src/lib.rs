//! Tenants' events, and what tenants and operators manage.

mod access;
mod api_keys;
mod auth;
mod dead_letters;
mod deliveries;
mod events;
mod failure;
mod health;
mod hooks;
mod ids;
mod ingest;
mod notification_configs;
mod rules;
mod suppressions;
mod tenants;
mod usage;
mod users;
mod validate;

pub use access::{Actor, State};
use switchyard_api::{Api, Dialect};

/// Every operation of this function.
pub fn api() -> Api<State> {
    Api::new("events-api", "Signals", Dialect::Signals)
        .with(ingest::endpoints())
        .with(auth::endpoints())
        .with(tenants::endpoints())
        .with(users::endpoints())
        .with(api_keys::endpoints())
        .with(rules::endpoints())
        .with(notification_configs::endpoints())
        .with(events::endpoints())
        .with(deliveries::endpoints())
        .with(dead_letters::endpoints())
        .with(suppressions::endpoints())
        .with(usage::endpoints())
        .with(hooks::endpoints())
        .with(health::endpoints())
}
