//! `GET /health/orders`: whether orders and callbacks can be served.

use serde_json::{Value, json};
use switchyard_core::{Env, EnvError};
use switchyard_io::health::{Kept, word};
use switchyard_io::{Aws, Queue, Table};
use switchyard_lambda::Reply;

/// What is asked.
pub struct Health {
    tables: [Table; 2],
    queues: [Queue; 2],
    last: Kept<(bool, Value)>,
}

impl Health {
    /// Reads `ORDERS_TABLE`, `CALLBACKS_TABLE`, `ORDER_QUEUE_URL` and `CALLBACK_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            tables: [Table::from_env(aws, env, "ORDERS_TABLE")?, Table::from_env(aws, env, "CALLBACKS_TABLE")?],
            queues: [Queue::from_env(aws, env, "ORDER_QUEUE_URL")?, Queue::from_env(aws, env, "CALLBACK_QUEUE_URL")?],
            last: Kept::new(),
        })
    }

    /// Asks tables and queues, unless that was done in the last 30 s: 200, or 503 when one does not answer.
    pub async fn answer(&self) -> Reply {
        let (is_well, parts) = self.last.or(self.check()).await;
        Reply::json(if is_well { 200 } else { 503 }, &parts)
    }

    async fn check(&self) -> (bool, Value) {
        let [orders, callbacks] = &self.tables;
        let [order_queue, callback_queue] = &self.queues;
        let (orders, callbacks, order_queue, callback_queue) =
            tokio::join!(orders.ping(), callbacks.ping(), order_queue.ping(), callback_queue.ping());
        let answers = [orders.is_ok(), callbacks.is_ok(), order_queue.is_ok(), callback_queue.is_ok()];
        let is_well = answers.iter().all(|answers| *answers);
        let [orders, callbacks, order_queue, callback_queue] = answers.map(word);
        let parts = json!({
            "status": if is_well { "ok" } else { "error" },
            "orders": orders,
            "callbacks": callbacks,
            "orderQueue": order_queue,
            "callbackQueue": callback_queue,
        });
        (is_well, parts)
    }
}
