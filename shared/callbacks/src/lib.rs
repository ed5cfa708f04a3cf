//! Callbacks: signed webhooks to customers' endpoints, for the events of every workflow.
//!
//! Read in this order: a workflow puts a [`Published`] event in an envelope on the queue; [`process`] fans it out into
//! one delivery for each endpoint, and attempts each by itself; [`sweep`] sends overdue deliveries again; [`manage`] is
//! what organizations do with their endpoints. `decide` holds the rules, `switchyard_core::signature` the signatures,
//! `store` every row, key and condition. The contract is `docs/callbacks.md`.

mod decide;
mod deliver;
mod deps;
mod error;
pub mod manage;
mod model;
mod process;
mod store;
mod sweep;
mod view;

pub use deps::{CallbacksDeps, DeliverDeps};
pub use error::CallbacksError;
pub use model::{
    DeliveryStatus, EVENT_KIND, EXCERPT_BYTES, EndpointId, EventId, NewEndpoint, Published, RetryPolicy, TEST_EVENT,
    Trigger,
};
pub use process::process;
pub use store::SEALED;
pub use sweep::{Swept, sweep};
pub use view::{DeliveryPage, EndpointDetails, EndpointSummary, WebhookAttempt, WebhookDelivery, WebhookEvent};
