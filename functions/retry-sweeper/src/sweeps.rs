use crate::dead_letters::DeadLetters;
use serde_json::{Value, json};
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::Error;
use tokio::time::Instant;

/// What every workflow's sweep needs.
pub struct Sweeps {
    adt: switchyard_adt::SweepDeps,
    orders: switchyard_orders::SyncDeps,
    callbacks: switchyard_callbacks::CallbacksDeps,
    signals: switchyard_signals::QueueDeps,
    archive: switchyard_signals::ArchiveDeps,
    dead_letters: DeadLetters,
}

impl Sweeps {
    /// Reads the settings of all workflows.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            adt: switchyard_adt::SweepDeps::from_env(aws, env)?,
            orders: switchyard_orders::SyncDeps::from_env(aws, env)?,
            callbacks: switchyard_callbacks::CallbacksDeps::from_env(aws, env)?,
            signals: switchyard_signals::QueueDeps::from_env(aws, env)?,
            archive: switchyard_signals::ArchiveDeps::from_env(aws, env)?,
            dead_letters: DeadLetters::from_env(aws, env)?,
        })
    }

    /// Sweeps side by side, so that one workflow's fault or backlog does not keep the others waiting.
    ///
    /// # Errors
    /// The first workflow's that failed, after all were swept.
    pub async fn run(&self, deadline: Instant) -> Result<Value, Error> {
        let (adt, orders, callbacks, signals, archived, ()) = tokio::join!(
            switchyard_adt::sweep(&self.adt, deadline),
            switchyard_orders::sweep(&self.orders, deadline),
            switchyard_callbacks::sweep(&self.callbacks, deadline),
            switchyard_signals::sweep(&self.signals, deadline),
            switchyard_signals::archive(&self.archive, deadline),
            self.dead_letters.look(),
        );
        Ok(json!({"adt": adt?, "orders": orders?, "callbacks": callbacks?, "signals": signals?, "archived": archived?}))
    }
}
