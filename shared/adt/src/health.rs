use crate::accept::AcceptDeps;
use crate::alis::Alis;
use crate::credentials::SandboxCredentials;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::http::Http;
use switchyard_io::{Aws, Secrets};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long an answer is kept, so that watching costs ALIS two calls a minute at most.
const KEEP: Duration = Duration::from_secs(30);

/// For a call that sets no timeout of its own.
const LONGEST_CALL: Duration = Duration::from_secs(10);

const UNREACHABLE: &str = "error: unreachable";

/// The state of what ADT depends on; each part is `ok` or `error: unreachable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// What the deep health check needs. The ALIS client is made on first use: no webhook should pay for it.
pub struct HealthDeps {
    accept: AcceptDeps,
    sandbox: SandboxCredentials,
    env: Env,
    alis: OnceCell<Alis>,
    last: Mutex<Option<(Instant, Health)>>,
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
            last: Mutex::new(None),
        })
    }

    /// Asks ALIS, table and queue, unless that was done in the last 30 s.
    pub async fn check(&self) -> Health {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, health)) = last
            && at.elapsed() < KEEP
        {
            return health;
        }
        let (alis, database, queue) =
            tokio::join!(self.alis_answers(), self.accept.store.table().ping(), self.accept.queue.ping());
        let word = |ok: bool| if ok { "ok" } else { UNREACHABLE };
        let all = alis && database.is_ok() && queue.is_ok();
        let queue = word(queue.is_ok());
        let health = Health {
            status: if all { "ok" } else { "error" },
            alis: word(alis),
            database: word(database.is_ok()),
            redis: queue,
            queue,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), health));
        health
    }

    async fn alis_answers(&self) -> bool {
        let asked = async {
            let make = || async { Alis::from_env(&Http::plain(LONGEST_CALL)?, &self.env) };
            let alis = self.alis.get_or_try_init(make).await.ok()?;
            alis.ping(&self.sandbox.get().await.ok()?).await.ok()
        };
        asked.await.is_some()
    }
}
