//! Events, deliveries and endpoints: ids, queue messages, retry policies and states.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_core::{OrganizationId, id_type};

id_type! {
    /// An endpoint's id, a UUID v7.
    pub EndpointId;
    /// An event's id, a UUID v7: ids sort by time.
    pub EventId;
}

/// Kind of the envelopes that hold an event.
pub const EVENT_KIND: &str = "callbacks.event";
/// Kind of the envelopes that hold a [`DeliveryJob`].
pub(crate) const DELIVERY_KIND: &str = "callbacks.delivery";
/// Kind of the envelopes that hold a [`RecoverJob`].
pub(crate) const RECOVER_KIND: &str = "callbacks.recover";

/// The event that `POST /webhooks/{id}/test` sends.
pub const TEST_EVENT: &str = "webhook.test";

/// The most bytes of a response that are read and stored.
pub const EXCERPT_BYTES: usize = 20_000;

/// An event as a workflow publishes it, in an envelope of kind [`EVENT_KIND`] with the event's id and the organization as
/// its tenant: `{"event":"sync.completed","subject":"<store id>","payload":"{…}"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The event's name, such as `sync.completed`.
    pub event: String,
    /// The id of what the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The body to post, byte for byte: every attempt signs and sends the same bytes.
    pub payload: String,
}

/// One delivery to be attempted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryJob {
    pub(crate) event_id: EventId,
    pub(crate) endpoint_id: EndpointId,
    /// Attempts made when the message was sent; an outdated message does nothing.
    pub(crate) attempts: u32,
}

/// A window of failed deliveries to be retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoverJob {
    pub(crate) endpoint_id: EndpointId,
    /// First and last event id of the window.
    pub(crate) from: EventId,
    pub(crate) to: EventId,
}

/// What an endpoint is registered with; the same three values name the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEndpoint {
    /// The organization it belongs to.
    pub organization_id: OrganizationId,
    /// The event that it receives.
    pub event: String,
    /// Where deliveries are posted, byte for byte.
    pub target_url: String,
}

/// When a failed delivery is retried.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryPolicy {
    /// Three attempts, as the replaced service made: retries after 1 minute and after 5.
    #[default]
    Compat,
    /// The ten attempts over three days that Standard Webhooks suggests.
    Standard,
    /// The endpoint's own waits, in seconds.
    #[serde(untagged)]
    Custom(Vec<u32>),
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "WebhookDeliveryStatus")]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// An attempt is due or planned.
    Pending,
    /// The receiver accepted it.
    Success,
    /// Given up; the reason is recorded.
    Failed,
    /// The endpoint was disabled or removed before an attempt.
    Skipped,
}

impl DeliveryStatus {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Whether an attempt was made by the schedule or on request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// By the schedule.
    #[default]
    Auto,
    /// On request.
    Manual,
}
