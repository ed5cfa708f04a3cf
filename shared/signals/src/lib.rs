//! Signals: tenants' events, evaluated by the tenants' rules, notified of, counted as usage.
//!
//! By subject: [`ingest`] accepts events, [`evaluate`] applies rules to them, [`notify`] delivers notifications, [`usage`](mod@usage)
//! counts, and [`manage`] is what tenants and operators change. Each subject holds its rows beside what is done with them; `table`
//! lists every row. [`sweep`] sends what is unsent or due. The contract is `docs/signals.md`.

mod audit;
mod error;
pub mod evaluate;
mod ids;
pub mod ingest;
pub mod manage;
pub mod notify;
mod period;
mod queues;
mod sweep;
mod table;
pub mod usage;
pub mod view;

pub use error::SignalsError;
pub use evaluate::{RulesDeps, dry_run, process};
pub use ids::{
    ActorId, ApiKeyId, ConfigId, DeadLetterId, DeliveryId, EventId, RuleId, SuppressionId, TenantId, UserId,
};
pub use ingest::new_event::{BadEvent, NewEvent, RESERVED};
pub use ingest::producer::{Identified, Producer};
pub use ingest::reservations::{Reservations, release_reservations, reserve_events};
pub use ingest::{Accepted, IngestDeps, Unsent, accept, send, store_event};
pub use manage::configs::row::{ConfigStatus, SEALED};
pub use manage::rules::row::RuleStatus;
pub use manage::tenants::row::{Plan, Tenant, TenantStatus};
pub use manage::{configs, events, rules, tenants, users};
pub use notify::deliver::{NotifyDeps, deliver};
pub use notify::delivery::row::DeliveryStatus;
pub use notify::delivery::view::{DeliveryInFull, DeliveryView};
pub use notify::{archive, dead_letters, delivery as deliveries, receipts, trial as trials};
pub use queues::QueueDeps;
pub use sweep::{Swept, sweep};
pub use usage::counters::Usage;
pub use usage::export::{Export, ExportFormat, export};
pub use usage::reconcile::{Correction, reconcile};
pub use usage::{usage, usage_between};
