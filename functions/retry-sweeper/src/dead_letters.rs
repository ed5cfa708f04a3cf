//! Operator events about messages in dead-letter queues.

use serde_json::json;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use switchyard_core::{Env, EnvError, error_chain};
use switchyard_io::Aws;
use switchyard_io::dlq::Dlqs;
use switchyard_io::operator::{Notice, Operator};

/// Sends `dlq.message` for each queue of `DLQS` that holds more messages than a minute before, and for each that holds some
/// when the process starts.
pub struct DeadLetters {
    dlqs: Dlqs,
    operator: Operator,
    known: Mutex<HashMap<String, u64>>,
}

impl DeadLetters {
    /// Reads `DLQS` and `OPERATOR_BUS`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let (dlqs, operator) = (Dlqs::from_env(aws, env)?, Operator::from_env(aws, env)?);
        Ok(Self { dlqs, operator, known: Mutex::default() })
    }

    /// Counts every queue. One that cannot be counted is logged, and counted in the next minute.
    pub async fn report(&self) {
        for dlq in self.dlqs.all() {
            let waiting = match self.dlqs.waiting(dlq).await {
                Ok(waiting) => waiting,
                Err(error) => {
                    tracing::warn!(
                        service = dlq.name,
                        error = error_chain(&error),
                        "a dead-letter queue was not counted"
                    );
                    continue;
                }
            };
            let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(dlq.name.clone(), waiting);
            if waiting > before.unwrap_or(0) {
                let detail = json!({"queue": dlq.name, "waiting": waiting});
                self.operator.tell(Notice::DlqMessage, &detail).await;
            }
        }
    }
}
