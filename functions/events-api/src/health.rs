//! `GET /api/health` and `/api/health/ready`.

use crate::State;
use axum::extract;
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_api::health::Report;
use switchyard_api::{Endpoint, Json};
use switchyard_core::{Env, EnvError};
use switchyard_io::health::{Kept, word};
use switchyard_io::{Aws, Queue, Table};

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    [
        Endpoint::get("/api/health", get_signals_liveness).summary("Get whether signals responds").lenient(),
        Endpoint::get("/api/health/ready", get_signals_health).summary("Get the health of signals").lenient(),
    ]
}

/// That the function runs.
#[derive(JsonSchema, Serialize)]
struct Liveness {
    /// `ok`.
    status: &'static str,
}

/// The health of signals; each part is `ok` or `error: unreachable`.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(crate) struct SignalsHealth {
    /// `ok` or `error`.
    status: &'static str,
    /// The table.
    table: &'static str,
    /// The queue of events.
    queue: &'static str,
}

/// What is checked.
pub(crate) struct Health {
    table: Table,
    queue: Queue,
    last: Kept<SignalsHealth>,
}

impl Health {
    /// Reads `SIGNALS_TABLE` and `RULES_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub(crate) fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            table: Table::from_env(aws, env, "SIGNALS_TABLE")?,
            queue: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            last: Kept::new(),
        })
    }

    async fn check(&self) -> SignalsHealth {
        let (table, queue) = tokio::join!(self.table.ping(), self.queue.ping());
        let status = if table.is_ok() && queue.is_ok() { "ok" } else { "error" };
        SignalsHealth { status, table: word(table.is_ok()), queue: word(queue.is_ok()) }
    }
}

async fn get_signals_liveness() -> Json<Liveness> {
    Json(Liveness { status: "ok" })
}

/// Checks at most every 30 s.
async fn get_signals_health(extract::State(state): extract::State<State>) -> Report<SignalsHealth> {
    let health = &state.0.health;
    let body = health.last.or(health.check()).await;
    Report { is_healthy: body.status == "ok", body }
}
