//! `GET /health/orders`: whether orders and callbacks can be served.

use crate::State;
use axum::extract;
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_api::Endpoint;
use switchyard_api::health::Report;
use switchyard_core::{Env, EnvError};
use switchyard_io::health::{Kept, word};
use switchyard_io::{Aws, Queue, Table};

pub(crate) fn endpoints() -> [Endpoint<State>; 1] {
    [Endpoint::get("/health/orders", get_orders_health).summary("Get the health of orders and webhooks").lenient()]
}

/// The health of orders and webhooks; each part is `ok` or `error: unreachable`.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrdersHealth {
    /// `ok` or `error`.
    status: &'static str,
    /// The orders' table.
    orders: &'static str,
    /// The webhooks' table.
    callbacks: &'static str,
    /// The queue of sync jobs.
    order_queue: &'static str,
    /// The queue of webhook events.
    callback_queue: &'static str,
}

/// What is checked.
pub(crate) struct Health {
    tables: [Table; 2],
    queues: [Queue; 2],
    last: Kept<OrdersHealth>,
}

impl Health {
    /// Reads `ORDERS_TABLE`, `CALLBACKS_TABLE`, `ORDER_QUEUE_URL` and `CALLBACK_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub(crate) fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            tables: [Table::from_env(aws, env, "ORDERS_TABLE")?, Table::from_env(aws, env, "CALLBACKS_TABLE")?],
            queues: [Queue::from_env(aws, env, "ORDER_QUEUE_URL")?, Queue::from_env(aws, env, "CALLBACK_QUEUE_URL")?],
            last: Kept::new(),
        })
    }

    async fn check(&self) -> OrdersHealth {
        let [orders, callbacks] = &self.tables;
        let [order_queue, callback_queue] = &self.queues;
        let (orders, callbacks, order_queue, callback_queue) =
            tokio::join!(orders.ping(), callbacks.ping(), order_queue.ping(), callback_queue.ping());
        let is_healthy = orders.is_ok() && callbacks.is_ok() && order_queue.is_ok() && callback_queue.is_ok();
        OrdersHealth {
            status: if is_healthy { "ok" } else { "error" },
            orders: word(orders.is_ok()),
            callbacks: word(callbacks.is_ok()),
            order_queue: word(order_queue.is_ok()),
            callback_queue: word(callback_queue.is_ok()),
        }
    }
}

/// Checks at most every 30 s.
async fn get_orders_health(extract::State(state): extract::State<State>) -> Report<OrdersHealth> {
    let health = &state.0.health;
    let body = health.last.or(health.check()).await;
    Report { is_healthy: body.status == "ok", body }
}
