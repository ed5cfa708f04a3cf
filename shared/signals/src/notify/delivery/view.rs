//! A delivery as the API shows it.

use crate::notify::delivery::row::AttemptRecord;
use crate::notify::delivery::row::DeliveryStatus;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use switchyard_core::iso_millis;
use switchyard_notify::Channel;

/// What is shown of a delivery, read from its row or from the index `listed`. Texts and recipients are not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Delivery")]
#[serde(rename_all(serialize = "camelCase"))]
pub struct DeliveryView {
    pub(crate) id: String,
    event_id: String,
    rule_id: String,
    rule_version: u64,
    action: String,
    channel: Channel,
    #[serde(default, rename(serialize = "configId", deserialize = "config"))]
    config: Option<String>,
    status: DeliveryStatus,
    attempts: u32,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    #[serde(default, serialize_with = "ms_as_iso_millis")]
    next_attempt_at: Option<i64>,
    #[serde(default)]
    last_error: Option<String>,
    #[serde(default)]
    provider_id: Option<String>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    #[serde(default, serialize_with = "some_as_iso_millis")]
    reported_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    #[serde(default, serialize_with = "some_as_iso_millis")]
    read_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "String")]
    #[serde(serialize_with = "as_iso_millis")]
    created_at: Timestamp,
    /// RFC 3339.
    #[schemars(with = "String")]
    #[serde(serialize_with = "as_iso_millis")]
    updated_at: Timestamp,
}

impl DeliveryView {
    /// The delivery's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of the rule that it belongs to.
    pub fn rule_id(&self) -> &str {
        &self.rule_id
    }

    /// How far it has come.
    pub fn status(&self) -> DeliveryStatus {
        self.status
    }
}

/// A delivery with its attempts, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeliveryDetails")]
pub struct DeliveryInFull {
    #[serde(flatten)]
    view: DeliveryView,
    #[serde(default)]
    history: Vec<AttemptRecord>,
}

pub(crate) fn as_iso_millis<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_millis(*at))
}

fn some_as_iso_millis<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(iso_millis).serialize(serializer)
}

fn ms_as_iso_millis<S: Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    some_as_iso_millis(&ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()), serializer)
}
