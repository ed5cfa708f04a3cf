//! Notification configs: a tenant's settings for each channel.
//!
//! A config is JSON, as tenants write it and rows store it; [`Config`] is its validated form. Secrets are stored apart:
//! [`split`] takes them out for sealing, [`merge`] puts them back, [`masked`] is the config as readers see it.

mod email;
mod parse;
mod read;
mod secret;
mod shape;

pub(crate) use parse::is_graph_version;
pub use secret::{masked, merge, secret_fields, split, unmasked};
pub use shape::{
    Config, EmailConfig, HttpMailConfig, ParseMode, Security, SesConfig, SlackConfig, SmtpConfig, TelegramConfig,
    Transport, WebhookConfig, WhatsappConfig,
};

use serde::Serialize;

/// One error in a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// JSON Pointer from the config's root, such as `/smtp/port`.
    pub pointer: String,
    /// What is wrong; the value is not repeated.
    pub message: String,
}
