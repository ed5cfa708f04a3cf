//! What is delivered, to whom, and how often it is tried.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_core::{OrganizationId, id_type};

id_type! {
    /// An endpoint's id, a UUID v7.
    pub EndpointId;
    /// An event's id, a UUID v7: ids sort by time.
    pub EventId;
}

/// Kind of the envelopes that bring an event.
pub const EVENT_KIND: &str = "callbacks.event";
/// Kind of the envelopes that ask for one delivery.
pub(crate) const DELIVERY_KIND: &str = "callbacks.delivery";
/// Kind of the envelopes that ask for a window of failed deliveries.
pub(crate) const RECOVER_KIND: &str = "callbacks.recover";

/// The event that `POST /webhooks/{id}/test` sends.
pub const TEST_EVENT: &str = "webhook.test";

/// The most of a receiver's answer that is read and kept.
pub const EXCERPT_BYTES: usize = 20_000;

/// An event as a workflow hands it over, in an envelope of kind [`EVENT_KIND`] whose id is the event's and whose tenant
/// is the organisation: `{"event":"sync.completed","subject":"<store id>","payload":"{…}"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its name, such as `sync.completed`.
    pub event: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The body to post, byte for byte: every attempt signs and sends the same text.
    pub payload: String,
}

/// One delivery to be attempted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryJob {
    pub(crate) event_id: EventId,
    pub(crate) endpoint_id: EndpointId,
    /// Attempts made when this was sent; a message that is out of date does nothing.
    pub(crate) attempts: u32,
}

/// A window of failed deliveries to be sent again.
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

/// When a failed delivery is tried again.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryPolicy {
    /// Three attempts, as the service this one replaces: after 1 minute, after 5.
    #[default]
    Compat,
    /// The ten attempts over three days that Standard Webhooks suggests.
    Standard,
    /// The endpoint's own waits, in seconds.
    #[serde(untagged)]
    Custom(Vec<u32>),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(rename = "WebhookDeliveryStatus")]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// To be tried, or tried again.
    Pending,
    /// The receiver took it.
    Success,
    /// Given up, with its reason.
    Failed,
    /// The endpoint was switched off or removed before it could be tried.
    Skipped,
}

impl DeliveryStatus {
    /// Its name on the wire.
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
