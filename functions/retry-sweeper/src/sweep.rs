//! The sweep of the workflow that this function is deployed for, and the archiving of its dead-letter queues.

use serde_json::{Value, json};
use switchyard_adt::SweepDeps;
use switchyard_callbacks::CallbacksDeps;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::Error;
use switchyard_orders::SyncDeps;
use switchyard_signals::QueueDeps;
use switchyard_work::dead_letters::Archiver;
use tokio::time::Instant;

const WORKFLOW: &str = "SWEEP_WORKFLOW";

/// One workflow's sweep.
enum Workflow {
    Adt(SweepDeps),
    Orders(Box<SyncDeps>),
    Callbacks(CallbacksDeps),
    Signals(QueueDeps),
}

/// One workflow's sweep, and its dead letters.
pub struct Sweep {
    name: &'static str,
    workflow: Workflow,
    archiver: Archiver,
}

impl Sweep {
    /// Reads `SWEEP_WORKFLOW` (`adt`, `orders`, `callbacks` or `signals`), then that workflow's settings and no other's.
    ///
    /// # Errors
    /// A setting is missing or invalid.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let (name, table, workflow) = match env.required(WORKFLOW)?.as_str() {
            "adt" => ("adt", "ADT_TABLE", Workflow::Adt(SweepDeps::from_env(aws, env)?)),
            "orders" => ("orders", "ORDERS_TABLE", Workflow::Orders(Box::new(SyncDeps::from_env(aws, env)?))),
            "callbacks" => ("callbacks", "CALLBACKS_TABLE", Workflow::Callbacks(CallbacksDeps::from_env(aws, env)?)),
            "signals" => ("signals", "SIGNALS_TABLE", Workflow::Signals(QueueDeps::from_env(aws, env)?)),
            _ => {
                let reason = "expected adt, orders, callbacks or signals".to_owned();
                return Err(EnvError::Invalid { name: WORKFLOW.to_owned(), reason });
            }
        };
        Ok(Self { name, workflow, archiver: Archiver::from_env(aws, env, table, name)? })
    }

    /// Sweeps once and archives dead letters at the same time. Returns the sweep's counts under the workflow's name, and the number
    /// of messages that were archived.
    ///
    /// # Errors
    /// The workflow could not be swept, or a row or a dead letter could not be processed, after all others were.
    pub async fn run(&self, deadline: Instant) -> Result<Value, Error> {
        let (swept, archived) = tokio::join!(self.sweep(deadline), self.archive(deadline));
        Ok(json!({self.name: swept?, "archived": archived?}))
    }

    async fn sweep(&self, deadline: Instant) -> Result<Value, Error> {
        Ok(match &self.workflow {
            Workflow::Adt(deps) => json!(switchyard_adt::sweep(deps, deadline).await?),
            Workflow::Orders(deps) => json!(switchyard_orders::sweep(deps, deadline).await?),
            Workflow::Callbacks(deps) => json!(switchyard_callbacks::sweep(deps, deadline).await?),
            Workflow::Signals(deps) => json!(switchyard_signals::sweep(deps, deadline).await?),
        })
    }

    async fn archive(&self, deadline: Instant) -> Result<u64, Error> {
        Ok(match &self.workflow {
            Workflow::Signals(deps) => switchyard_signals::archive(&self.archiver, deps, deadline).await?,
            Workflow::Adt(_) | Workflow::Orders(_) | Workflow::Callbacks(_) => self.archiver.run(deadline).await?,
        })
    }
}
