//! What a tenant sets up once for each way to reach somebody.
//!
//! A config is JSON, as tenants write it and rows keep it; [`Config`] is the same, checked. Its secrets travel apart:
//! [`split`] takes them out for sealing, [`merge`] puts them back, [`masked`] is what a reader sees.

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

/// One mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// JSON Pointer from the config's root, such as `/smtp/port`.
    pub pointer: String,
    /// What is wrong, without the value.
    pub message: String,
}
