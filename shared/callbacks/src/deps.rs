//! Dependencies of this crate's functions: table, queue, clock, sealed secrets, and an HTTP client for deliveries.

use crate::store::{CallbacksTable, EndpointRow};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Secret};
use switchyard_io::http::{Guard, Http};
use switchyard_io::operator::Operator;
use switchyard_io::vault::Vault;
use switchyard_io::{Aws, Queue, Secrets, Table};

/// Dependencies of receiving events and managing endpoints.
#[derive(Clone)]
pub struct CallbacksDeps {
    pub(crate) table: CallbacksTable,
    pub(crate) queue: Queue,
    pub(crate) clock: Clock,
    pub(crate) guard: Guard,
    pub(crate) vault: Vault,
}

impl CallbacksDeps {
    /// Reads `CALLBACKS_TABLE`, `CALLBACK_QUEUE_URL`, `DATA_KEY_SECRET` and the settings of [`Guard`].
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            table: CallbacksTable::new(Table::from_env(aws, env, "CALLBACKS_TABLE")?),
            queue: Queue::from_env(aws, env, "CALLBACK_QUEUE_URL")?,
            clock: Clock::system(),
            guard: Guard::from_env(env)?,
            vault: Vault::from_env(&Secrets::new(aws), env)?,
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// Dependencies of delivering.
#[derive(Clone)]
pub struct DeliverDeps {
    pub(crate) callbacks: CallbacksDeps,
    pub(crate) http: Http,
    pub(crate) operator: Operator,
    pub(crate) timeout: Duration,
    pub(crate) legacy_secret: Option<Secret<String>>,
}

impl DeliverDeps {
    /// The timeout of a request to `endpoint`.
    pub(crate) fn timeout_of(&self, endpoint: &EndpointRow) -> Duration {
        endpoint.timeout_ms.map_or(self.timeout, Duration::from_millis)
    }

    /// Reads the settings of [`CallbacksDeps`], `OPERATOR_BUS`, `WEBHOOK_TIMEOUT_MS` (default 5000) and `WEBHOOK_SECRET`,
    /// which adds the legacy signature.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let callbacks = CallbacksDeps::from_env(aws, env)?;
        let timeout = Duration::from_millis(env.parsed("WEBHOOK_TIMEOUT_MS", 5_000)?);
        Ok(Self {
            http: Http::guarded(timeout, callbacks.guard.clone())?,
            operator: Operator::from_env(aws, env)?,
            timeout,
            legacy_secret: env.optional("WEBHOOK_SECRET").map(Secret::new),
            callbacks,
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { callbacks: self.callbacks.with_clock(clock), ..self }
    }
}
