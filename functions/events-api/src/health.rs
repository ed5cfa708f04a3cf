//! Whether this part of the platform answers.

use serde_json::{Value, json};
use switchyard_core::{Env, EnvError};
use switchyard_io::health::{Kept, word};
use switchyard_io::{Aws, Queue, Table};
use switchyard_lambda::Reply;

/// What has to answer.
pub struct Health {
    table: Table,
    queue: Queue,
    last: Kept<(bool, Value)>,
}

impl Health {
    /// Reads `SIGNALS_TABLE` and `RULES_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            table: Table::from_env(aws, env, "SIGNALS_TABLE")?,
            queue: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            last: Kept::new(),
        })
    }

    /// That the function runs.
    pub fn answer() -> Reply {
        Reply::json(200, &json!({"status": "ok"}))
    }

    /// Whether table and queue answer, asked at most every 30 s.
    pub async fn ready(&self) -> Reply {
        let (is_well, parts) = self.last.or(self.check()).await;
        Reply::json(if is_well { 200 } else { 503 }, &parts)
    }

    async fn check(&self) -> (bool, Value) {
        let (table, queue) = tokio::join!(self.table.ping(), self.queue.ping());
        let is_well = table.is_ok() && queue.is_ok();
        let status = if is_well { "ok" } else { "error" };
        (is_well, json!({"status": status, "table": word(table.is_ok()), "queue": word(queue.is_ok())}))
    }
}
