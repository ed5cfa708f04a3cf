//! Every socket the functions open.
//!
//! The rest of the workspace reaches AWS only through the handles here: [`Table`] and the conditional writes in
//! [`dynamo`], [`Queue`] and dead-letter queues ([`dlq`]), [`Secrets`], values kept sealed in [`vault`], the HTTP clients
//! in [`http`], customers' endpoints in [`webhook`], and the [`operator`]'s events.

mod aws;
pub mod dlq;
pub mod dynamo;
pub mod health;
pub mod http;
pub mod operator;
mod queue;
pub mod reseal;
mod secrets;
pub mod vault;
pub mod webhook;

pub use aws::Aws;
pub use dynamo::Table;
pub use queue::{MAX_DELAY, Queue, QueueError};
pub use secrets::{SecretError, SecretValues, Secrets};
