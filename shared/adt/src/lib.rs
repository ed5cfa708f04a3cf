//! ADT: ALIS (assisted-living records) reports that a resident moved, left or changed; Caspio's table is updated.
//!
//! Read in this order: [`Notification`] is what ALIS sends; [`accept`] stores it once and queues it; [`process`] writes
//! the resident to Caspio; [`sweep`] sends events that were stored but not queued; [`backfill`] processes all residents of
//! a company. `decide` holds the rules, `store` every row, key and condition. The contract is `docs/adt.md`.

mod accept;
mod alis;
mod backfill;
mod caspio;
mod credentials;
mod dead_letter;
mod decide;
mod error;
mod health;
mod model;
mod process;
mod store;
mod sweep;
#[cfg(test)]
mod vectors;

pub use accept::{AcceptDeps, Accepted, accept};
pub use backfill::{BackfillOptions, BackfillSummary, FailedResident, PAGE_SIZE, backfill};
pub use dead_letter::is_queued_event;
pub use error::AdtError;
pub use health::{Health, HealthDeps};
pub use model::{CompanyKey, EventKind, EventMessageId, Notification, SchemaErrors};
pub use process::{Outcome, ProcessDeps, process};
pub use sweep::{SweepDeps, Swept, sweep};
