//! The sweep of the workflow that this function is deployed for.

use crate::dead_letters::DeadLetters;
use serde_json::{Value, json};
use switchyard_adt::SweepDeps;
use switchyard_callbacks::CallbacksDeps;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::Error;
use switchyard_orders::SyncDeps;
use switchyard_signals::{ArchiveDeps, QueueDeps};
use tokio::time::Instant;

const WORKFLOW: &str = "SWEEP_WORKFLOW";

/// One workflow's sweep and the dead-letter queues beside it.
pub enum Sweep {
    Adt(SweepDeps, DeadLetters),
    Orders(Box<SyncDeps>, DeadLetters),
    Callbacks(CallbacksDeps, DeadLetters),
    /// Its dead-letter queues are emptied into its table.
    Signals(QueueDeps, ArchiveDeps),
}

impl Sweep {
    /// Reads `SWEEP_WORKFLOW` (`adt`, `orders`, `callbacks` or `signals`), then that workflow's settings and no other's.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let dead_letters = || DeadLetters::from_env(aws, env);
        match env.required(WORKFLOW)?.as_str() {
            "adt" => Ok(Self::Adt(SweepDeps::from_env(aws, env)?, dead_letters()?)),
            "orders" => Ok(Self::Orders(Box::new(SyncDeps::from_env(aws, env)?), dead_letters()?)),
            "callbacks" => Ok(Self::Callbacks(CallbacksDeps::from_env(aws, env)?, dead_letters()?)),
            "signals" => Ok(Self::Signals(QueueDeps::from_env(aws, env)?, ArchiveDeps::from_env(aws, env)?)),
            _ => Err(EnvError::Invalid {
                name: WORKFLOW.to_owned(),
                reason: "expected adt, orders, callbacks or signals".to_owned(),
            }),
        }
    }

    /// Sweeps once, with the dead-letter queues at the same time, and returns the counts under the workflow's name.
    ///
    /// # Errors
    /// The workflow could not be swept, or a row could not be dealt with, after all others were.
    pub async fn run(&self, deadline: Instant) -> Result<Value, Error> {
        match self {
            Self::Adt(deps, dead_letters) => {
                let (swept, ()) = tokio::join!(switchyard_adt::sweep(deps, deadline), dead_letters.report());
                Ok(json!({"adt": swept?}))
            }
            Self::Orders(deps, dead_letters) => {
                let (swept, ()) = tokio::join!(switchyard_orders::sweep(deps, deadline), dead_letters.report());
                Ok(json!({"orders": swept?}))
            }
            Self::Callbacks(deps, dead_letters) => {
                let (swept, ()) = tokio::join!(switchyard_callbacks::sweep(deps, deadline), dead_letters.report());
                Ok(json!({"callbacks": swept?}))
            }
            Self::Signals(deps, archive) => {
                let (swept, archived) = tokio::join!(
                    switchyard_signals::sweep(deps, deadline),
                    switchyard_signals::archive(archive, deadline)
                );
                Ok(json!({"signals": swept?, "archived": archived?}))
            }
        }
    }
}
