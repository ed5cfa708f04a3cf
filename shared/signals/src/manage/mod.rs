//! What tenants and operators manage: tenants, users, rules, notification configs, stored events.

pub mod configs;
pub mod events;
pub mod rules;
pub mod tenants;
pub mod users;
