//! Attempts: the log of a delivery's requests.

use super::DeliveryRow;
use super::event::event_partition;
use crate::model::{EndpointId, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const ATTEMPT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// One attempt's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AttemptRow {
    pk: String,
    sk: String,
    pub(crate) endpoint_id: EndpointId,
    pub(crate) number: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_code: Option<u16>,
    /// `500 Internal Server Error`, or a code for why there was no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The beginning of the response's body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) response: String,
    pub(crate) trigger: Trigger,
    expires_at: i64,
}

impl AttemptRow {
    pub(crate) fn new(delivery: &DeliveryRow, started_at: Timestamp) -> Self {
        let number = delivery.attempts_ever + 1;
        Self {
            pk: event_partition(&delivery.event_id),
            sk: format!("A#{}#{number:04}", delivery.endpoint_id),
            endpoint_id: delivery.endpoint_id.clone(),
            number,
            started_at,
            duration_ms: 0,
            status_code: None,
            error: None,
            response: String::new(),
            trigger: delivery.trigger,
            expires_at: (started_at + ATTEMPT_RETENTION).as_second(),
        }
    }
}
