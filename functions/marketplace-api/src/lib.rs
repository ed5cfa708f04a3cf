//! Stores, orders, webhooks and their events, marketplaces' notices, and the mock marketplace.

mod access;
mod events;
mod fields;
mod health;
mod inbound;
mod mock;
mod orders;
mod stores;
mod webhooks;

pub use access::State;
use switchyard_api::{Api, Dialect};

/// Every operation of this function.
pub fn api() -> Api<State> {
    Api::new("marketplace-api", "Orders", Dialect::Marketplace)
        .with(stores::endpoints())
        .with(orders::endpoints())
        .with(webhooks::endpoints())
        .with(events::endpoints())
        .with(inbound::endpoints())
        .with(mock::endpoints())
        .with(health::endpoints())
}
