//! `POST /webhook/alis`.

use crate::State;
use axum::Extension;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use switchyard_adt::{Accepted, Notification, accept};
use switchyard_api::{Endpoint, Json, Operation, RawBody, Refusal, Reply, code};
use switchyard_core::Invocation;
use switchyard_identity::Access;

/// Largest body accepted, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

pub(crate) fn endpoints() -> [Endpoint<State>; 1] {
    [Endpoint::post("/webhook/alis", receive_alis_webhook)
        .summary("Receive an ALIS webhook")
        .access(Access::Basic)
        .max_bytes(MAX_BODY_BYTES)
        .lenient()
        .refuses(&[(403, "The address is not on the allow-list")])]
}

/// An ALIS webhook.
#[derive(JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "the document's schema; the body is read with every digit kept by `Notification::parse`")]
struct AlisWebhook {
    /// The company in ALIS.
    #[schemars(length(min = 1, max = 200))]
    company_key: String,
    /// The community, when the event concerns one.
    community_id: Option<i64>,
    /// Such as `residents.move_in`; other types are stored and ignored.
    #[schemars(length(max = 100))]
    event_type: String,
    /// ALIS's id of the message, a text or a number.
    event_message_id: MessageId,
    /// ISO 8601; UTC without a zone.
    #[schemars(length(max = 100))]
    event_message_date: String,
    /// The event's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_data: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the document's schema")]
enum MessageId {
    Text(String),
    Number(i64),
}

/// What was done with a webhook.
#[derive(JsonSchema, Serialize)]
struct WebhookReceipt {
    status: ReceiptStatus,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ReceiptStatus {
    /// Stored and queued.
    Queued,
    /// Stored and queued by an earlier delivery.
    Duplicate,
    /// Stored; no workflow handles this type of event.
    Ignored,
    /// Stored; ALIS tested the connection.
    TestAcknowledged,
}

/// 200 for a duplicate, otherwise 202.
impl IntoResponse for WebhookReceipt {
    fn into_response(self) -> Response {
        let status = if self.status == ReceiptStatus::Duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
        (status, Json(self)).into_response()
    }
}

impl Reply for WebhookReceipt {
    fn describe(operation: &mut Operation) {
        operation.json::<Self>(200, "An earlier delivery was stored");
        operation.json::<Self>(202, "The webhook is stored");
    }
}

async fn receive_alis_webhook(
    extract::State(state): extract::State<State>,
    Extension(invocation): Extension<Invocation>,
    body: RawBody<AlisWebhook>,
) -> Result<WebhookReceipt, Refusal> {
    let notification = Notification::parse(&body.bytes)
        .map_err(|errors| Refusal::new(400, code::VALIDATION_FAILED, "").with_details(json!(errors)))?;
    let receipt = |status, id| WebhookReceipt { status, id };
    match accept(&state.0.accept, &notification, invocation.trace).await {
        Ok(Accepted::Queued { id }) => Ok(receipt(ReceiptStatus::Queued, Some(id))),
        Ok(Accepted::Duplicate) => Ok(receipt(ReceiptStatus::Duplicate, None)),
        Ok(Accepted::Ignored) => Ok(receipt(ReceiptStatus::Ignored, None)),
        Ok(Accepted::TestAcknowledged) => Ok(receipt(ReceiptStatus::TestAcknowledged, None)),
        Err(error) => Err(Refusal::fault(&error)),
    }
}
