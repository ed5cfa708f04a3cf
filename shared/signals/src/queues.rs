//! The queues of events to evaluate and notifications to deliver.

use crate::error::SignalsError;
use crate::table::SignalsTable;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError};
use switchyard_io::{Aws, Queue, Table};

/// The queue of events to evaluate, as dead letters call it.
pub(crate) const RULES: &str = "rules";
/// The queue of notifications to send.
pub(crate) const NOTIFY: &str = "notify";

/// What having anything sent again needs: the table and both queues.
#[derive(Clone)]
pub struct QueueDeps {
    pub(crate) store: SignalsTable,
    pub(crate) clock: Clock,
    rules: Queue,
    notify: Queue,
}

impl QueueDeps {
    /// Reads `SIGNALS_TABLE`, `RULES_QUEUE_URL` and `NOTIFY_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            rules: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            notify: Queue::from_env(aws, env, "NOTIFY_QUEUE_URL")?,
            clock: Clock::system(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sends a message to the queue of this name, to appear there at once.
    pub(crate) async fn send(&self, queue: &str, message: &str) -> Result<(), SignalsError> {
        let queue = if queue == RULES { &self.rules } else { &self.notify };
        Ok(queue.send(message, Duration::ZERO).await?)
    }
}
