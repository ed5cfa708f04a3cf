//! What a row of work goes through, defined once for all workflows.
//!
//! A row is accepted with an unsent mark ([`outbox`]), claimed by one worker at a time ([`lease`]), done once
//! ([`once`]) or attempted until it is settled ([`attempt`]). Calls to a third party wait their turn ([`pace`]) and stop
//! while it only fails ([`circuit`]). Messages that failed are kept and redriven ([`dead_letters`]). Repeated HTTP requests return
//! their first response ([`idempotency`]).

pub mod attempt;
pub mod circuit;
pub mod dead_letters;
pub mod idempotency;
pub mod lease;
pub mod listing;
pub mod once;
pub mod outbox;
pub mod pace;

pub use switchyard_core::Owner;
