//! What each channel's config holds once it is checked.

use crate::{Channel, Template};
use lettre::message::Mailbox;
use std::fmt;
use switchyard_core::Secret;
use switchyard_io::http::Url;

/// A config that can be used. Its `Debug` names the channel and nothing else.
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

/// `{transport, from, replyTo?, destination?, ses?, smtp?, http?}`; what the transport names has to be there.
#[derive(Clone)]
pub struct EmailConfig {
    /// How it leaves.
    pub transport: Transport,
    /// Who writes.
    pub from: Mailbox,
    /// Who is to be answered.
    pub reply_to: Option<Mailbox>,
    /// Who receives unless an action says otherwise.
    pub destination: Vec<String>,
}

/// How an email leaves.
#[derive(Clone)]
pub enum Transport {
    /// SES, in the account this runs in.
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
    /// What reports deliveries, bounces and complaints.
    pub configuration_set: Option<String>,
}

/// `{host, port? (587), security? (starttls), username*, password*}`
#[derive(Clone)]
pub struct SmtpConfig {
    /// Name or address of the server; its certificate has to name it.
    pub host: String,
    /// Never 25, which Lambda cannot reach.
    pub port: u16,
    /// When TLS begins.
    pub security: Security,
    /// Who logs in.
    pub username: Secret<String>,
    /// With what.
    pub password: Secret<String>,
}

/// When TLS begins on an SMTP connection. There is no way without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// After a greeting in the clear; a server that does not offer it gets no message.
    Starttls,
    /// At once, as on port 465.
    Tls,
}

/// `{url, token*}`
#[derive(Clone)]
pub struct HttpMailConfig {
    /// Where it is posted to.
    pub url: Url,
    /// Sent as `Authorization: Bearer`.
    pub token: Secret<String>,
}

/// `{botToken*, destination?, parseMode?, threadId?, silent?}`
#[derive(Clone)]
pub struct TelegramConfig {
    /// `<bot id>:<secret>`.
    pub bot_token: Secret<String>,
    /// Chats that receive unless an action says otherwise.
    pub destination: Vec<String>,
    /// How texts are marked up.
    pub parse_mode: Option<ParseMode>,
    /// The topic of a forum.
    pub thread_id: Option<i64>,
    /// Whether receivers' devices stay quiet.
    pub silent: bool,
}

/// How a Telegram text is marked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseMode {
    /// `<b>`, `<a href>` and the like.
    Html,
    /// `*bold*` and the like; everything else that is punctuation wants a `\` before it.
    MarkdownV2,
}

impl ParseMode {
    /// Its name on the wire.
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
    /// Meta's id of the number that writes.
    pub phone_number_id: String,
    /// Sent as `Authorization: Bearer`.
    pub access_token: Secret<String>,
    /// Such as `v23.0`; `None` for the one that [`crate::Senders`] is set to.
    pub api_version: Option<String>,
    /// Numbers that receive unless an action says otherwise.
    pub destination: Vec<String>,
    /// Sent in place of a text that may not be sent.
    pub fallback_template: Option<Template>,
}

/// `{webhookUrl*}`
#[derive(Clone)]
pub struct SlackConfig {
    /// On `hooks.slack.com` or `hooks.slack-gov.com`. Anyone who has it can write to the channel.
    pub webhook_url: Secret<Url>,
}

/// `{url, secret*, previousSecret*?, headers?}`
#[derive(Clone)]
pub struct WebhookConfig {
    /// Where it is posted to.
    pub url: Url,
    /// `whsec_` and base64: those in force, newest first.
    pub secrets: Vec<Secret<String>>,
    /// Sent as they are.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.channel()).finish()
    }
}

impl Config {
    /// Which channel it is of.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Telegram(_) => Channel::Telegram,
            Self::Whatsapp(_) => Channel::Whatsapp,
            Self::Slack(_) => Channel::Slack,
            Self::Webhook(_) => Channel::Webhook,
        }
    }

    /// Who receives unless an action says otherwise, normalised; each gets a delivery of its own.
    pub fn destination(&self) -> &[String] {
        match self {
            Self::Email(config) => &config.destination,
            Self::Telegram(config) => &config.destination,
            Self::Whatsapp(config) => &config.destination,
            Self::Slack(_) | Self::Webhook(_) => &[],
        }
    }
}
