//! What the operator of a stack should hear of, as events on the template's EventBridge bus.
//!
//! Rules on the bus take them wherever an operator looks. They are told once the state they speak of is written; should the
//! process die in between, the state, its metric and its alarm remain.

use crate::Aws;
use crate::dynamo::CallError;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::Value;
use switchyard_core::{Env, EnvError};

/// `source` of every event.
pub const SOURCE: &str = "switchyard";

/// Something an operator should hear of; its name is the event's `detail-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A webhook was switched off.
    EndpointDisabled,
    /// A webhook has only failed for half of the time, or more, after which it is switched off.
    EndpointFailing,
    /// A delivery was given up.
    DeliveryExhausted,
    /// A marketplace refuses a store's token.
    StoreAuthFailed,
    /// Messages lie in a dead-letter queue.
    DlqMessage,
}

impl Notice {
    /// Its name on the bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointFailing => "endpoint.failing",
            Self::DeliveryExhausted => "delivery.exhausted",
            Self::StoreAuthFailed => "store.auth_failed",
            Self::DlqMessage => "dlq.message",
        }
    }
}

/// The template's bus.
#[derive(Clone)]
pub struct Operator {
    client: Client,
    bus: String,
}

impl Operator {
    /// Reads `OPERATOR_BUS`, the bus's name. Opens no connection.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { client: Client::new(&aws.0), bus: env.required("OPERATOR_BUS")? })
    }

    /// Tells of something; `detail` is a JSON object of ids, counts and reasons. A failure is logged and fails nothing.
    pub async fn tell(&self, notice: Notice, detail: &Value) {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(notice.name())
            .detail(detail.to_string())
            .build();
        let reason = match self.client.put_events().entries(entry).send().await {
            Ok(answer) if answer.failed_entry_count() == 0 => return,
            Ok(answer) => answer.entries().first().and_then(|entry| entry.error_code()).unwrap_or("unknown").to_owned(),
            Err(error) => CallError::from_sdk(&error).0.to_string(),
        };
        tracing::warn!(event_type = notice.name(), error = reason, "the operator could not be told");
    }
}
