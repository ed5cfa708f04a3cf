//! A notification config as the API shows it.

use super::row::ConfigStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchyard_core::Channel;

/// A notification config; of each secret only the last four characters are shown.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "NotificationConfig")]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    /// The config's id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// How it reaches people.
    pub channel: Channel,
    /// The channel's settings.
    pub config: Value,
    /// Whether messages are sent with it.
    pub status: ConfigStatus,
    /// Why the platform set `error`.
    pub reason: Option<String>,
    /// Used where a rule names no config.
    pub is_default: bool,
    /// Whether an action's own recipients are used.
    pub allow_override: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}
