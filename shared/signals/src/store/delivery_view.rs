use super::{DeliveryStatus, Tried};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use switchyard_core::iso_millis;
use switchyard_notify::Channel;

/// What is shown of a delivery, read from its row or from the index `listed`. Texts and recipients are not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct DeliveryView {
    pub(super) id: String,
    event_id: String,
    rule_id: String,
    rule_version: u64,
    action: String,
    channel: Channel,
    #[serde(default, rename(serialize = "configId", deserialize = "config"))]
    config: Option<String>,
    status: DeliveryStatus,
    attempts: u32,
    #[serde(default, serialize_with = "ms_as_iso_millis")]
    next_attempt_at: Option<i64>,
    #[serde(default)]
    last_error: Option<String>,
    #[serde(default)]
    provider_id: Option<String>,
    #[serde(default, serialize_with = "some_as_iso_millis")]
    reported_at: Option<Timestamp>,
    #[serde(default, serialize_with = "some_as_iso_millis")]
    read_at: Option<Timestamp>,
    #[serde(serialize_with = "as_iso_millis")]
    created_at: Timestamp,
    #[serde(serialize_with = "as_iso_millis")]
    updated_at: Timestamp,
}

/// The same with its attempts, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryInFull {
    #[serde(flatten)]
    view: DeliveryView,
    #[serde(default)]
    history: Vec<Tried>,
}

pub(super) fn as_iso_millis<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_millis(*at))
}

fn some_as_iso_millis<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(iso_millis).serialize(serializer)
}

fn ms_as_iso_millis<S: Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    some_as_iso_millis(&ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()), serializer)
}
