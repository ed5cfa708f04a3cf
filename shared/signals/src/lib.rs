//! Signals: tenants' events, evaluated by the tenants' rules, told of by notifications, counted as usage.
//!
//! Read in this order: [`accept`] takes an event of an identified producer; [`reserve_places`], [`keep`] and [`send`] take those
//! of a batch; [`process`] evaluates one by the rules of a `ruleset` and writes deliveries, which `notify` works out; [`deliver`]
//! attempts one; [`sweep`] sends whatever is overdue, [`archive()`] keeps what died.
//! [`usage()`] shows what was counted, [`export()`] is for those who bill it, [`reconcile`] compares it with the events;
//! `crossing` tells of limits. [`tenants`], [`users`], [`rules`], [`configs`] and [`events`] are what is managed;
//! [`deliveries`] and [`dead_letters`] show their outcomes, [`receipts`] what providers report later; [`dry_runs`] try a rule,
//! [`trials`] a config. `model` reads what producers send, `store` holds every row, key and condition. The contract is
//! `docs/signals.md`.

mod archive;
pub mod configs;
mod crossing;
pub mod dead_letters;
mod deliver;
pub mod deliveries;
pub mod dry_runs;
mod error;
pub mod events;
mod fingerprint;
mod ingest;
mod model;
mod nightly;
mod notify;
mod occurred;
mod places;
mod process;
mod producer;
mod queues;
pub mod receipts;
pub mod rules;
mod ruleset;
mod store;
mod sweep;
pub mod tenants;
pub mod trials;
mod usage;
pub mod users;
pub mod view;
mod webhooks;

pub use archive::archive;
pub use deliver::{NotifyDeps, deliver};
pub use error::SignalsError;
pub use ingest::{Accepted, IngestDeps, Unsent, accept, keep, send};
pub use model::{BadEvent, NewEvent, Plan, RESERVED, TenantStatus};
pub use places::{Places, give_back, reserve_places};
pub use process::{RulesDeps, process};
pub use producer::{Identified, Producer};
pub use queues::QueueDeps;
pub use store::{ConfigStatus, DeliveryInFull, DeliveryStatus, DeliveryView, RuleStatus, SEALED, Tenant, Usage};
pub use sweep::{Swept, sweep};
pub use usage::{Correction, Export, ExportFormat, export, reconcile, usage, usage_between};
