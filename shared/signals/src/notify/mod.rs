//! Notifying: deliveries and their attempts, what providers report of them, and what could not be delivered.

pub(crate) mod archive;
pub mod dead_letters;
pub(crate) mod deliver;
pub mod delivery;
pub(crate) mod pace;
pub mod receipts;
mod source_keys;
pub mod trial;
pub(crate) mod webhook_health;

pub use archive::archive;
