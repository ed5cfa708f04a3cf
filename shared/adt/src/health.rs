//! The health of what ADT depends on: ALIS, the table, the queue.

use crate::accept::AcceptDeps;
use crate::alis::Alis;
use crate::credentials::SandboxCredentials;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::health::{Kept, word};
use switchyard_io::http::Http;
use switchyard_io::{Aws, Secrets};
use tokio::sync::OnceCell;

/// The timeout of calls that set none of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of what ADT depends on; each part is `ok` or `error: unreachable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(rename = "AdtHealth")]
pub struct Health {
    /// `ok` or `error`.
    pub status: &'static str,
    /// ALIS, asked for its communities with the sandbox's credentials.
    pub alis: &'static str,
    /// The table.
    pub database: &'static str,
    /// The queue, under the name the original gave it.
    pub redis: &'static str,
    /// The queue.
    pub queue: &'static str,
}

/// Dependencies of the deep health check. The ALIS client is made on first use, so that webhooks do not wait for it.
pub struct HealthDeps {
    accept: AcceptDeps,
    sandbox: SandboxCredentials,
    env: Env,
    alis: OnceCell<Alis>,
    last: Kept<Health>,
}

impl HealthDeps {
    /// Reads `ALIS_SANDBOX_SECRET` and checks `ALIS_API_BASE`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env, accept: &AcceptDeps) -> Result<Self, EnvError> {
        env.base_url("ALIS_API_BASE")?;
        Ok(Self {
            accept: accept.clone(),
            sandbox: SandboxCredentials::from_env(&Secrets::new(aws), env)?,
            env: env.clone(),
            alis: OnceCell::new(),
            last: Kept::new(),
        })
    }

    /// Asks ALIS, table and queue, unless that was done in the last 30 s.
    pub async fn check(&self) -> Health {
        self.last.or(self.ask()).await
    }

    async fn ask(&self) -> Health {
        let (alis, database, queue) =
            tokio::join!(self.is_alis_reachable(), self.accept.table.dynamo().ping(), self.accept.queue.ping());
        let all = alis && database.is_ok() && queue.is_ok();
        let queue = word(queue.is_ok());
        Health {
            status: if all { "ok" } else { "error" },
            alis: word(alis),
            database: word(database.is_ok()),
            redis: queue,
            queue,
        }
    }

    async fn is_alis_reachable(&self) -> bool {
        let asked = async {
            let make = || async { Alis::from_env(&Http::plain(CALL_TIMEOUT)?, &self.env) };
            let alis = self.alis.get_or_try_init(make).await.ok()?;
            alis.ping(&self.sandbox.get().await.ok()?).await.ok()
        };
        asked.await.is_some()
    }
}
