//! Every socket the functions open.
//!
//! The rest of the workspace reaches AWS only through the handles here: [`Table`] and the conditional writes in
//! [`dynamo`], the once-only guard in [`once`], a worker's hold on a row in [`lease`], turns in time in [`pace`], repeated requests in [`idempotency`], [`Queue`], [`Secrets`], values kept sealed in
//! [`vault`], the HTTP clients in [`http`], customers' endpoints in [`webhook`] and [`circuit`], API keys in [`keys`], and what an [`operator`] is told.

mod aws;
pub mod basic;
pub mod circuit;
pub mod dlq;
pub mod dynamo;
pub mod health;
pub mod http;
pub mod idempotency;
pub mod keys;
pub mod lease;
pub mod once;
pub mod operator;
pub mod outbox;
pub mod pace;
mod queue;
pub mod reseal;
mod secrets;
pub mod vault;
pub mod webhook;

pub use aws::Aws;
pub use dynamo::Table;
pub use queue::{MAX_DELAY, Queue, QueueError};
pub use secrets::{SecretError, SecretValues, Secrets};
