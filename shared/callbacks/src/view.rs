//! Endpoints, deliveries and events as clients see them.

use crate::decide::EventSummary;
use crate::model::{DeliveryStatus, RetryPolicy, Trigger};
use crate::store::{AttemptRow, DeliveryRow, EndpointRow, EventRow};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use switchyard_core::iso_millis;

/// The most characters shown of each response: a response of Lambda holds 6 MB.
const SHOWN_RESPONSE_CHARS: usize = 4_000;

/// A webhook endpoint, in short.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "Webhook")]
#[serde(rename_all = "camelCase")]
pub struct EndpointSummary {
    /// The endpoint's id.
    pub id: String,
    /// The organization it belongs to.
    pub organization_id: String,
    /// The event that it receives.
    pub event: String,
    /// Where deliveries are posted.
    pub target_url: String,
    /// Whether deliveries are attempted.
    pub is_active: bool,
}

impl EndpointSummary {
    pub(crate) fn of(row: &EndpointRow) -> Self {
        Self {
            id: row.id.to_string(),
            organization_id: row.organization_id.to_string(),
            event: row.event.clone(),
            target_url: row.target_url.clone(),
            is_active: row.is_active,
        }
    }
}

/// A webhook endpoint with its settings.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "WebhookDetails")]
#[serde(rename_all = "camelCase")]
pub struct EndpointDetails {
    /// The endpoint, in short.
    #[serde(flatten)]
    pub summary: EndpointSummary,
    /// Milliseconds; null for the default.
    pub timeout_ms: Option<u64>,
    /// Requests a second at most; null for no limit.
    pub rate_per_second: Option<u32>,
    /// When failed deliveries are retried.
    pub retry_policy: RetryPolicy,
    /// Why the platform disabled it, such as `gone`.
    pub disabled_reason: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl EndpointDetails {
    pub(crate) fn of(row: &EndpointRow) -> Self {
        Self {
            summary: EndpointSummary::of(row),
            timeout_ms: row.timeout_ms,
            rate_per_second: row.rate_per_second,
            retry_policy: row.retry_policy.clone(),
            disabled_reason: row.disabled_reason.clone(),
            created_at: iso_millis(row.created_at),
            updated_at: iso_millis(row.updated_at),
        }
    }
}

/// A page of an endpoint's deliveries, newest first.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "WebhookDeliveryPage")]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<WebhookDelivery>,
    /// `cursor` of the next page; null on the last one.
    pub cursor: Option<String>,
}

/// The delivery of one event to one endpoint.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDelivery {
    /// The event's id.
    pub event_id: String,
    /// The endpoint's id.
    pub webhook_id: String,
    /// Where it is posted.
    pub target_url: String,
    /// How far it has come.
    pub status: DeliveryStatus,
    /// Attempts so far.
    pub attempts: u32,
    /// RFC 3339; null when no attempt is planned.
    pub next_attempt_at: Option<String>,
    /// Status of the latest response.
    pub last_status_code: Option<u16>,
    /// Error of the latest attempt.
    pub last_error: Option<String>,
    /// RFC 3339.
    pub created_at: String,
}

impl WebhookDelivery {
    pub(crate) fn of(row: &DeliveryRow) -> Self {
        Self {
            event_id: row.event_id.to_string(),
            webhook_id: row.endpoint_id.to_string(),
            target_url: row.target_url.clone(),
            status: row.status,
            attempts: row.attempts_ever,
            next_attempt_at: row.next_attempt_at.map(iso_of),
            last_status_code: row.last_status,
            last_error: row.last_error.clone(),
            created_at: iso_millis(row.created_at),
        }
    }
}

/// One attempt at a delivery.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAttempt {
    /// The endpoint's id.
    pub webhook_id: String,
    /// Counted from 1.
    pub number: u32,
    /// RFC 3339.
    pub started_at: String,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Status of the response, if there was one.
    pub status_code: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The start of the response's body.
    pub response: String,
    /// `auto` by schedule, `manual` on request.
    pub trigger: Trigger,
}

impl WebhookAttempt {
    pub(crate) fn of(row: &AttemptRow) -> Self {
        Self {
            webhook_id: row.endpoint_id.to_string(),
            number: row.number,
            started_at: iso_millis(row.started_at),
            duration_ms: row.duration_ms,
            status_code: row.status_code,
            error: row.error.clone(),
            response: row.response.chars().take(SHOWN_RESPONSE_CHARS).collect(),
            trigger: row.trigger,
        }
    }
}

/// An event with its deliveries and newest attempts.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEvent {
    /// The event's id.
    pub id: String,
    /// The organization it belongs to.
    pub organization_id: String,
    /// The store that it is about.
    pub store_id: Option<String>,
    /// The event's name, such as `sync.completed`.
    pub event: String,
    /// What is posted, byte for byte.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub payload: Box<RawValue>,
    /// Over all deliveries.
    pub status: DeliveryStatus,
    /// Attempts at the delivery that had most.
    pub attempt: u32,
    /// RFC 3339; null when no attempt is planned.
    pub next_retry_at: Option<String>,
    /// Errors of the deliveries' latest attempts.
    pub last_error: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// One delivery for each endpoint.
    pub deliveries: Vec<WebhookDelivery>,
    /// The newest attempts, oldest first.
    pub attempts: Vec<WebhookAttempt>,
}

impl WebhookEvent {
    pub(crate) fn of(
        row: EventRow,
        summary: EventSummary,
        deliveries: &[DeliveryRow],
        attempts: &[AttemptRow],
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            payload: RawValue::from_string(row.payload)?,
            id: row.id.into(),
            organization_id: row.organization_id.into(),
            store_id: row.subject,
            event: row.event,
            status: summary.status,
            attempt: summary.attempt,
            next_retry_at: summary.next_retry_at.map(iso_of),
            last_error: summary.last_error,
            created_at: iso_millis(row.created_at),
            deliveries: deliveries.iter().map(WebhookDelivery::of).collect(),
            attempts: attempts.iter().map(WebhookAttempt::of).collect(),
        })
    }
}

fn iso_of(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(iso_millis).unwrap_or_default()
}
