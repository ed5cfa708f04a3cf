//! The validated config of each channel.

use crate::{Channel, Template};
use lettre::message::Mailbox;
use std::fmt;
use switchyard_core::Secret;
use switchyard_io::http::Url;

/// A validated config. Its `Debug` shows the channel only.
#[derive(Clone)]
pub enum Config {
    /// Email.
    Email(EmailConfig),
    /// Telegram.
    Telegram(TelegramConfig),
    /// WhatsApp.
    Whatsapp(WhatsappConfig),
    /// Slack.
    Slack(SlackConfig),
    /// A webhook.
    Webhook(WebhookConfig),
}

/// `{transport, from, replyTo?, destination?, ses?, smtp?, http?}`; the section that `transport` names is required.
#[derive(Clone)]
pub struct EmailConfig {
    /// How emails are sent.
    pub transport: Transport,
    /// The sender.
    pub from: Mailbox,
    /// The address for replies.
    pub reply_to: Option<Mailbox>,
    /// The recipients, unless an action has its own.
    pub destination: Vec<String>,
}

/// How emails are sent.
#[derive(Clone)]
pub enum Transport {
    /// SES, in the platform's account.
    Ses(SesConfig),
    /// A mail server.
    Smtp(SmtpConfig),
    /// A mail service's HTTP endpoint.
    Http(HttpMailConfig),
}

/// `{region, configurationSet?}`
#[derive(Clone)]
pub struct SesConfig {
    /// AWS region, such as `eu-central-1`.
    pub region: String,
    /// The configuration set that reports deliveries, bounces and complaints.
    pub configuration_set: Option<String>,
}

/// `{host, port? (587), security? (starttls), username*, password*}`
#[derive(Clone)]
pub struct SmtpConfig {
    /// Name or address of the server, which its certificate must contain.
    pub host: String,
    /// Never 25: Lambda blocks it.
    pub port: u16,
    /// When TLS begins.
    pub security: Security,
    /// The user name.
    pub username: Secret<String>,
    /// The password.
    pub password: Secret<String>,
}

/// When TLS begins on an SMTP connection; connections without TLS are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// After a plaintext greeting; nothing is sent to a server that does not offer it.
    Starttls,
    /// At once, as on port 465.
    Tls,
}

/// `{url, token*}`
#[derive(Clone)]
pub struct HttpMailConfig {
    /// The URL of requests.
    pub url: Url,
    /// Sent as `Authorization: Bearer`.
    pub token: Secret<String>,
}

/// `{botToken*, destination?, parseMode?, threadId?, silent?}`
#[derive(Clone)]
pub struct TelegramConfig {
    /// `<bot id>:<secret>`.
    pub bot_token: Secret<String>,
    /// The chats that receive messages, unless an action has its own.
    pub destination: Vec<String>,
    /// The mark-up of texts.
    pub parse_mode: Option<ParseMode>,
    /// The topic of a forum.
    pub thread_id: Option<i64>,
    /// Whether messages arrive without a sound.
    pub silent: bool,
}

/// The mark-up of a Telegram text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseMode {
    /// `<b>`, `<a href>` and the like.
    Html,
    /// `*bold*` and the like; other punctuation is escaped with `\`.
    MarkdownV2,
}

impl ParseMode {
    /// The name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Html => "HTML",
            Self::MarkdownV2 => "MarkdownV2",
        }
    }
}

/// `{phoneNumberId, accessToken*, apiVersion?, destination?, fallbackTemplate?: {name, language, params?}}`
#[derive(Clone)]
pub struct WhatsappConfig {
    /// Meta's id of the sending number.
    pub phone_number_id: String,
    /// Sent as `Authorization: Bearer`.
    pub access_token: Secret<String>,
    /// Such as `v23.0`; `None` for the one that [`crate::Senders`] is set to.
    pub api_version: Option<String>,
    /// The numbers that receive messages, unless an action has its own.
    pub destination: Vec<String>,
    /// Sent in place of a text outside the window of a day.
    pub fallback_template: Option<Template>,
}

/// `{webhookUrl*}`
#[derive(Clone)]
pub struct SlackConfig {
    /// On `hooks.slack.com` or `hooks.slack-gov.com`. Everyone who has it can write to the channel.
    pub webhook_url: Secret<Url>,
}

/// `{url, secret*, previousSecret*?, headers?}`
#[derive(Clone)]
pub struct WebhookConfig {
    /// The URL of requests.
    pub url: Url,
    /// The current secret and the previous one, if there is one: `whsec_` and base64.
    pub secrets: Vec<Secret<String>>,
    /// Additional headers.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.channel()).finish()
    }
}

impl Config {
    /// The config's channel.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Telegram(_) => Channel::Telegram,
            Self::Whatsapp(_) => Channel::Whatsapp,
            Self::Slack(_) => Channel::Slack,
            Self::Webhook(_) => Channel::Webhook,
        }
    }

    /// The recipients, normalised, unless an action has its own; each gets a delivery of its own.
    pub fn destination(&self) -> &[String] {
        match self {
            Self::Email(config) => &config.destination,
            Self::Telegram(config) => &config.destination,
            Self::Whatsapp(config) => &config.destination,
            Self::Slack(_) | Self::Webhook(_) => &[],
        }
    }
}
