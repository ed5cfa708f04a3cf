//! What a tenant sets up once for each way to reach somebody.
//!
//! A config is JSON, as tenants write it and rows keep it; [`Config`] is the same, checked. Its secrets travel apart:
//! [`split`] takes them out for sealing, [`merge`] puts them back, [`masked`] is what a reader sees.

mod read;

use crate::recipient::normalise;
use crate::{Channel, Template};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use read::{Reader, Wrong, child};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use switchyard_core::Secret;
use switchyard_io::http::{Guard, Url};

/// One mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// JSON Pointer from the config's root, such as `/smtp/port`.
    pub pointer: String,
    /// What is wrong, without the value.
    pub message: String,
}

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

/// The most recipients that a config names.
const MAX_DESTINATIONS: usize = 20;

/// The most headers that a webhook's config adds.
const MAX_HEADERS: usize = 20;

const SLACK_HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// Headers that are not a tenant's to set; so is everything that begins with `webhook-`.
const OUR_HEADERS: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.channel()).finish()
    }
}

impl Config {
    /// Checks a channel's config, secrets included. `guard` says where URLs may lead as they are written; where their
    /// names lead is checked on each attempt.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(channel: Channel, config: &Value, guard: &Guard) -> Result<Self, Vec<Issue>> {
        let mut reader = Reader::default();
        let parsed = match channel {
            Channel::Email => email(&mut reader, config, guard).map(Self::Email),
            Channel::Telegram => telegram(&mut reader, config).map(Self::Telegram),
            Channel::Whatsapp => whatsapp(&mut reader, config).map(Self::Whatsapp),
            Channel::Slack => slack(&mut reader, config).map(Self::Slack),
            Channel::Webhook => webhook(&mut reader, config, guard).map(Self::Webhook),
        };
        parsed.filter(|_| reader.issues.is_empty()).ok_or(reader.issues)
    }

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

/// JSON Pointers of the fields that are secret.
pub fn secret_fields(channel: Channel) -> &'static [&'static str] {
    match channel {
        Channel::Email => &["/smtp/username", "/smtp/password", "/http/token"],
        Channel::Telegram => &["/botToken"],
        Channel::Whatsapp => &["/accessToken"],
        Channel::Slack => &["/webhookUrl"],
        Channel::Webhook => &["/secret", "/previousSecret"],
    }
}

/// Takes the secrets out of a checked config: what may lie open, and the secrets by JSON Pointer.
pub fn split(channel: Channel, config: &Value) -> (Value, BTreeMap<String, String>) {
    let (mut open, mut secrets) = (config.clone(), BTreeMap::new());
    for pointer in secret_fields(channel) {
        if let Some(Value::String(secret)) = member(&mut open, pointer).and_then(|(members, key)| members.remove(key)) {
            secrets.insert((*pointer).to_owned(), secret);
        }
    }
    (open, secrets)
}

/// Puts back what [`split`] took out.
pub fn merge(open: &Value, secrets: &BTreeMap<String, String>) -> Value {
    let mut config = open.clone();
    for (pointer, secret) in secrets {
        if let Some((members, key)) = member(&mut config, pointer) {
            members.insert(key.to_owned(), Value::String(secret.clone()));
        }
    }
    config
}

/// The config as its readers see it: of each secret only the last four characters, and of short ones none.
pub fn masked(channel: Channel, config: &Value) -> Value {
    let mut shown = config.clone();
    for pointer in secret_fields(channel) {
        if let Some(secret) = shown.pointer_mut(pointer) {
            *secret = Value::String(secret.as_str().map_or_else(|| mask(""), mask));
        }
    }
    shown
}

/// Where a secret is sent, if the config says so.
fn destination_of(pointer: &str) -> &'static [&'static str] {
    match pointer {
        "/http/token" => &["/http/url"],
        "/smtp/username" | "/smtp/password" => &["/smtp/host", "/smtp/port", "/smtp/security"],
        _ => &[],
    }
}

/// `new` with the secrets of `old` where it repeats what [`masked`] showed of them, so that a config can be read, edited
/// and written back. One that would be sent elsewhere than so far becomes null, which is refused: anyone who may change the
/// address need not know the secret.
pub fn unmasked(channel: Channel, new: &Value, old: &Value) -> Value {
    let mut config = new.clone();
    for pointer in secret_fields(channel) {
        if let (Some(given), Some(Value::String(kept))) = (config.pointer_mut(pointer), old.pointer(pointer))
            && given.as_str() == Some(&*mask(kept))
        {
            let goes_where_it_went = destination_of(pointer).iter().all(|at| new.pointer(at) == old.pointer(at));
            *given = if goes_where_it_went { Value::String(kept.clone()) } else { Value::Null };
        }
    }
    config
}

fn mask(secret: &str) -> String {
    // The last four of eight would be half of it.
    let shown = if secret.chars().count() > 8 { secret.char_indices().rev().nth(3) } else { None };
    format!("***{}", shown.map_or("", |(at, _)| &secret[at..]))
}

/// The object that holds `pointer`'s last member, and that member's key.
fn member<'v, 'p>(config: &'v mut Value, pointer: &'p str) -> Option<(&'v mut Map<String, Value>, &'p str)> {
    let (parent, key) = pointer.rsplit_once('/')?;
    Some((config.pointer_mut(parent)?.as_object_mut()?, key))
}

fn email(reader: &mut Reader, config: &Value, guard: &Guard) -> Option<EmailConfig> {
    let keys = ["transport", "from", "replyTo", "destination", "ses", "smtp", "http"];
    let members = reader.object("", config, &keys)?;
    let transport = reader.required(members, "", "transport", |value| {
        let name = read::text(value)?;
        ["ses", "smtp", "http"]
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| "ses, smtp or http is required".into())
    });
    let from = reader.required(members, "", "from", mailbox);
    let reply_to = reader.optional(members, "", "replyTo", mailbox);
    let destination = destinations(reader, members, Channel::Email);
    // All that is there is checked, whichever is in use: a switch from one to another then finds no surprises.
    let ses = section(members, "ses").and_then(|section| ses(reader, section));
    let smtp = section(members, "smtp").and_then(|section| smtp(reader, section));
    let http = section(members, "http").and_then(|section| http_mail(reader, section, guard));
    if let Some(name) = transport.filter(|name| section(members, name).is_none()) {
        reader.issue(&child("", name), "is missing, and the transport needs it");
    }
    let transport = match transport? {
        "ses" => Transport::Ses(ses?),
        "smtp" => Transport::Smtp(smtp?),
        _ => Transport::Http(http?),
    };
    Some(EmailConfig { transport, from: from?, reply_to, destination })
}

fn section<'v>(members: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    members.get(key).filter(|value| !value.is_null())
}

fn ses(reader: &mut Reader, config: &Value) -> Option<SesConfig> {
    let at = "/ses";
    let members = reader.object(at, config, &["region", "configurationSet"])?;
    // The region becomes part of a host's name.
    let region = reader.required(members, at, "region", |value| {
        let region = read::text(value)?;
        let is_plain = region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let is_region = is_plain && (9..=20).contains(&region.len()) && region.matches('-').count() >= 2;
        is_region.then(|| region.to_owned()).ok_or_else(|| "an AWS region such as eu-central-1 is required".into())
    });
    let configuration_set = reader.optional(members, at, "configurationSet", |value| {
        read::word(value, 64, "-_").ok_or_else(|| "at most 64 letters, digits, - and _ are wanted".into())
    });
    Some(SesConfig { region: region?, configuration_set })
}

fn smtp(reader: &mut Reader, config: &Value) -> Option<SmtpConfig> {
    let at = "/smtp";
    let members = reader.object(at, config, &["host", "port", "security", "username", "password"])?;
    let host = reader.required(members, at, "host", |value| {
        let host = read::text(value)?;
        let is_host = (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
        is_host.then(|| host.to_owned()).ok_or_else(|| "the name of a mail server is required".into())
    });
    let port = reader.optional(members, at, "port", |value| match value.as_u64().map(u16::try_from) {
        Some(Ok(25)) => Err("port 25 cannot be reached from here; 587 or 465 is required".into()),
        Some(Ok(port @ 1..)) => Ok(port),
        _ => Err("a port number is required".into()),
    });
    let security = reader.optional(members, at, "security", |value| match value.as_str() {
        Some("starttls") => Ok(Security::Starttls),
        Some("tls") => Ok(Security::Tls),
        _ => Err("starttls or tls is required".into()),
    });
    let username = reader.required(members, at, "username", secret);
    let password = reader.required(members, at, "password", secret);
    Some(SmtpConfig {
        host: host?,
        port: port.unwrap_or(587),
        security: security.unwrap_or(Security::Starttls),
        username: username?,
        password: password?,
    })
}

fn http_mail(reader: &mut Reader, config: &Value, guard: &Guard) -> Option<HttpMailConfig> {
    let at = "/http";
    let members = reader.object(at, config, &["url", "token"])?;
    let url = reader.required(members, at, "url", |value| guarded_url(value, guard));
    let token = reader.required(members, at, "token", header_secret);
    Some(HttpMailConfig { url: url?, token: token? })
}

fn telegram(reader: &mut Reader, config: &Value) -> Option<TelegramConfig> {
    let members = reader.object("", config, &["botToken", "destination", "parseMode", "threadId", "silent"])?;
    // The token becomes part of a path.
    let bot_token = reader.required(members, "", "botToken", |value| {
        let token = read::text(value)?;
        let is_token = token.split_once(':').is_some_and(|(id, secret)| {
            (1..=20).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_digit())
                && (1..=100).contains(&secret.len())
                && secret.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
        is_token.then(|| Secret::new(token.to_owned())).ok_or_else(|| "a bot's token, 123:abc, is required".into())
    });
    let destination = destinations(reader, members, Channel::Telegram);
    let parse_mode = reader.optional(members, "", "parseMode", |value| match value.as_str() {
        Some("HTML") => Ok(ParseMode::Html),
        Some("MarkdownV2") => Ok(ParseMode::MarkdownV2),
        _ => Err("HTML or MarkdownV2 is required".into()),
    });
    let thread_id = reader.optional(members, "", "threadId", |value| {
        value.as_i64().filter(|id| *id > 0).ok_or_else(|| "a positive whole number is required".into())
    });
    let silent = reader
        .optional(members, "", "silent", |value| value.as_bool().ok_or_else(|| "true or false is required".into()));
    Some(TelegramConfig { bot_token: bot_token?, destination, parse_mode, thread_id, silent: silent.unwrap_or(false) })
}

fn whatsapp(reader: &mut Reader, config: &Value) -> Option<WhatsappConfig> {
    let keys = ["phoneNumberId", "accessToken", "apiVersion", "destination", "fallbackTemplate"];
    let members = reader.object("", config, &keys)?;
    let phone_number_id = reader.required(members, "", "phoneNumberId", |value| {
        let id = read::text(value)?;
        let is_id = (1..=30).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
        is_id.then(|| id.to_owned()).ok_or_else(|| "the digits of Meta's id of the number are wanted, as text".into())
    });
    let access_token = reader.required(members, "", "accessToken", header_secret);
    let api_version = reader.optional(members, "", "apiVersion", |value| {
        let version = read::text(value)?;
        is_graph_version(version)
            .then(|| version.to_owned())
            .ok_or_else(|| "a version such as v23.0 is required".into())
    });
    let destination = destinations(reader, members, Channel::Whatsapp);
    let given = section(members, "fallbackTemplate");
    let fallback_template = given.and_then(|given| template(reader, "/fallbackTemplate", given));
    Some(WhatsappConfig {
        phone_number_id: phone_number_id?,
        access_token: access_token?,
        api_version,
        destination,
        fallback_template,
    })
}

/// Whether it is `v` and two numbers, as in `v23.0`.
pub(crate) fn is_graph_version(version: &str) -> bool {
    let is_number = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    version
        .strip_prefix('v')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

fn template(reader: &mut Reader, at: &str, config: &Value) -> Option<Template> {
    let members = reader.object(at, config, &["name", "language", "params"])?;
    let name = reader.required(members, at, "name", |value| {
        read::word(value, 512, "_").ok_or_else(|| "letters, digits and _ are wanted".into())
    });
    let language = reader.required(members, at, "language", |value| {
        read::word(value, 15, "_").ok_or_else(|| "a language such as en_US is required".into())
    });
    let params = reader.optional(members, at, "params", |value| {
        let list = value.as_array().map(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        list.and_then(|list: Option<Vec<_>>| list).ok_or_else(|| "a list of texts is required".into())
    });
    Some(Template { name: name?, language: language?, params: params.unwrap_or_default() })
}

fn slack(reader: &mut Reader, config: &Value) -> Option<SlackConfig> {
    let members = reader.object("", config, &["webhookUrl"])?;
    let webhook_url = reader.required(members, "", "webhookUrl", |value| {
        let url = Url::parse(read::text(value)?).ok();
        let is_slacks = |url: &Url| {
            url.scheme() == "https"
                && url.host_str().is_some_and(|host| SLACK_HOSTS.contains(&host))
                && url.port().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        let url = url.filter(is_slacks).map(Secret::new);
        url.ok_or_else(|| format!("an https address on {} is required", SLACK_HOSTS.join(" or ")).into())
    });
    Some(SlackConfig { webhook_url: webhook_url? })
}

fn webhook(reader: &mut Reader, config: &Value, guard: &Guard) -> Option<WebhookConfig> {
    let members = reader.object("", config, &["url", "secret", "previousSecret", "headers"])?;
    let url = reader.required(members, "", "url", |value| guarded_url(value, guard));
    let secret = reader.required(members, "", "secret", signing_secret);
    let previous = reader.optional(members, "", "previousSecret", signing_secret);
    let mut headers = Vec::new();
    if let Some(given) = section(members, "headers") {
        match given.as_object() {
            Some(given) if given.len() > MAX_HEADERS => {
                reader.issue("/headers", &format!("at most {MAX_HEADERS} headers are wanted"));
            }
            Some(given) => {
                for (name, value) in given {
                    match header(name, value) {
                        Ok(header) => headers.push(header),
                        Err(wrong) => reader.issue(&child("/headers", name), &wrong),
                    }
                }
            }
            None => reader.issue("/headers", "an object of texts is required"),
        }
    }
    Some(WebhookConfig { url: url?, secrets: [Some(secret?), previous].into_iter().flatten().collect(), headers })
}

fn header(name: &str, value: &Value) -> Result<(String, String), Wrong> {
    let lower = name.to_ascii_lowercase();
    if OUR_HEADERS.contains(&&*lower) || lower.starts_with("webhook-") {
        return Err("this header cannot be set".into());
    }
    if http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
        return Err("this is not a header's name".into());
    }
    let value = read::text(value)?;
    if value.len() > 1_024 || http::HeaderValue::from_str(value).is_err() {
        return Err("at most 1024 printable characters are wanted".into());
    }
    Ok((lower, value.to_owned()))
}

fn signing_secret(value: &Value) -> Result<Secret<String>, Wrong> {
    let secret = read::text(value)?;
    let key = secret.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    match key {
        Some(key) if (24..=64).contains(&key.len()) => Ok(Secret::new(secret.to_owned())),
        _ => Err("whsec_ and the base64 of 24 to 64 bytes are wanted".into()),
    }
}

fn guarded_url(value: &Value, guard: &Guard) -> Result<Url, Wrong> {
    let url = Url::parse(read::text(value)?).ok().filter(|url| url.as_str().len() <= 2_048);
    let wanted = if guard.allow_http { "an http or https" } else { "an https" };
    url.filter(|url| guard.admits(url))
        .ok_or_else(|| format!("{wanted} address on the public internet is required").into())
}

fn mailbox(value: &Value) -> Result<Mailbox, Wrong> {
    let wanted = || Wrong::from("an email address is required, or a name and <address>");
    let mailbox: Mailbox = read::text(value)?.trim().parse().map_err(|_| wanted())?;
    let address = normalise(Channel::Email, mailbox.email.as_ref()).map_err(|_| wanted())?;
    let name = mailbox.name.filter(|name| !name.trim().is_empty());
    if name.as_ref().is_some_and(|name| name.chars().any(char::is_control) || name.len() > 200) {
        return Err(wanted());
    }
    Ok(Mailbox::new(name, address.parse().map_err(|_| wanted())?))
}

fn secret(value: &Value) -> Result<Secret<String>, Wrong> {
    let secret = read::text(value)?;
    let is_sound = (1..=4_096).contains(&secret.len()) && !secret.chars().any(char::is_control);
    is_sound.then(|| Secret::new(secret.to_owned())).ok_or_else(|| "1 to 4096 characters are wanted".into())
}

/// A secret that is sent in a header.
fn header_secret(value: &Value) -> Result<Secret<String>, Wrong> {
    let token = secret(value)?;
    let is_visible = token.expose().bytes().all(|b| b.is_ascii_graphic());
    is_visible.then_some(token).ok_or_else(|| "a token without blanks is required".into())
}

/// One recipient or a list of them: a text, for Telegram also a number.
fn destinations(reader: &mut Reader, members: &Map<String, Value>, channel: Channel) -> Vec<String> {
    let Some(given) = section(members, "destination") else { return Vec::new() };
    let mut read_one = |at: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if channel == Channel::Telegram => number.to_string(),
            _ => String::new(),
        };
        let found = normalise(channel, &text);
        found.map_err(|error| reader.issue(at, &error.to_string())).ok()
    };
    let mut found: Vec<String> = match given {
        Value::Array(list) if (1..=MAX_DESTINATIONS).contains(&list.len()) => {
            let items = list.iter().enumerate();
            items.filter_map(|(index, value)| read_one(&format!("/destination/{index}"), value)).collect()
        }
        Value::Array(_) => {
            reader.issue("/destination", &format!("1 to {MAX_DESTINATIONS} recipients are wanted"));
            Vec::new()
        }
        value => read_one("/destination", value).into_iter().collect(),
    };
    // One named twice would be told twice.
    let mut seen = HashSet::new();
    found.retain(|recipient| seen.insert(recipient.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn parse(channel: Channel, config: Value) -> Result<Config, Vec<(String, String)>> {
        let issues = |issues: Vec<Issue>| issues.into_iter().map(|issue| (issue.pointer, issue.message)).collect();
        Config::parse(channel, &config, &Guard::default()).map_err(issues)
    }

    #[track_caller]
    fn wrong(channel: Channel, config: Value, pointers: &[&str]) {
        let issues = parse(channel, config).unwrap_err();
        let found: Vec<_> = issues.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(found, pointers, "{issues:?}");
    }

    fn smtp_config() -> Value {
        json!({"transport": "smtp", "from": "Switchyard <alerts@Acme.TEST>", "destination": ["a@acme.test", "b@acme.test"],
            "smtp": {"host": "mail.acme.test", "username": "alerts", "password": "correct horse"}})
    }

    #[test]
    fn an_email_config_has_defaults() {
        let config = parse(Channel::Email, smtp_config()).unwrap();
        assert_eq!(format!("{config:?}"), "Config(Email)");
        let Config::Email(config) = config else { panic!() };
        assert_eq!(config.from.to_string(), "Switchyard <alerts@acme.test>");
        assert_eq!(config.destination, ["a@acme.test", "b@acme.test"]);
        let Transport::Smtp(smtp) = config.transport else { panic!() };
        assert_eq!((smtp.port, smtp.security), (587, Security::Starttls));
    }

    #[test]
    fn everything_wrong_with_an_email_config_is_told_at_once() {
        wrong(
            Channel::Email,
            json!({"transport": "pigeon", "from": "nobody", "replyTo": 7, "destination": ["x@y.test", "x"], "cc": "x@y.test",
                "ses": {"region": "moon"}, "smtp": {"host": "a b", "port": 25, "security": "none", "username": ""},
                "http": {"url": "https://10.0.0.1/send", "token": "a b"}}),
            &[
                "/cc",
                "/transport",
                "/from",
                "/replyTo",
                "/destination/1",
                "/ses/region",
                "/smtp/host",
                "/smtp/port",
                "/smtp/security",
                "/smtp/username",
                "/smtp/password",
                "/http/url",
                "/http/token",
            ],
        );
        wrong(Channel::Email, json!({"transport": "ses", "from": "a@acme.test"}), &["/ses"]);
        wrong(Channel::Email, json!([]), &[""]);
        for region in ["eu-central-1.evil.test/#", "EU-CENTRAL-1", "eu-central-1 "] {
            let config = json!({"transport": "ses", "from": "a@acme.test", "ses": {"region": region}});
            wrong(Channel::Email, config, &["/ses/region"]);
        }
    }

    #[test]
    fn telegram() {
        let config =
            json!({"botToken": "42:AbC-d_e", "destination": -1001234567890_i64, "parseMode": "HTML", "threadId": 3});
        let Config::Telegram(config) = parse(Channel::Telegram, config).unwrap() else { panic!() };
        assert_eq!(config.destination, ["-1001234567890"]);
        assert_eq!((config.parse_mode, config.thread_id, config.silent), (Some(ParseMode::Html), Some(3), false));
        wrong(
            Channel::Telegram,
            json!({"botToken": "42:a/../b", "destination": "ops", "parseMode": "Markdown", "threadId": 0, "silent": "no"}),
            &["/botToken", "/destination", "/parseMode", "/threadId", "/silent"],
        );
        wrong(Channel::Telegram, json!({}), &["/botToken"]);
    }

    #[test]
    fn whatsapp() {
        let config = json!({"phoneNumberId": "1066", "accessToken": "EAAG", "destination": "+49 151 2345678",
            "fallbackTemplate": {"name": "alert", "language": "en_US"}});
        let Config::Whatsapp(config) = parse(Channel::Whatsapp, config).unwrap() else { panic!() };
        assert_eq!(config.destination, ["491512345678"]);
        assert!(config.fallback_template.unwrap().params.is_empty());
        wrong(
            Channel::Whatsapp,
            json!({"phoneNumberId": 1066, "accessToken": "a\nb", "apiVersion": "v1/../v2", "destination": "0151",
                "fallbackTemplate": {"name": "a b", "params": [1], "extra": 1}}),
            &[
                "/phoneNumberId",
                "/accessToken",
                "/apiVersion",
                "/destination",
                "/fallbackTemplate/extra",
                "/fallbackTemplate/name",
                "/fallbackTemplate/language",
                "/fallbackTemplate/params",
            ],
        );
    }

    #[test]
    fn slack_is_slack() {
        for url in ["https://hooks.slack.com/services/T/B/x", "https://hooks.slack-gov.com/services/T/B/x"] {
            parse(Channel::Slack, json!({"webhookUrl": url})).unwrap();
        }
        for url in [
            "http://hooks.slack.com/services/T/B/x",
            "https://hooks.slack.com.evil.test/services",
            "https://evil.test/hooks.slack.com",
            "https://hooks.slack.com@evil.test/",
            "https://hooks.slack.com:8443/services",
            "services/T/B/x",
        ] {
            wrong(Channel::Slack, json!({"webhookUrl": url}), &["/webhookUrl"]);
        }
    }

    #[test]
    fn v37_a_webhook_on_the_instance_metadata_address_is_refused_at_write() {
        for url in ["https://169.254.169.254/", "http://acme.test/", "https://[::1]/", "https://2130706433/"] {
            wrong(Channel::Webhook, json!({"url": url, "secret": SECRET}), &["/url"]);
        }
        parse(Channel::Webhook, json!({"url": "https://acme.test/hook", "secret": SECRET})).unwrap();
    }

    #[test]
    fn a_webhooks_secrets_and_headers_are_checked() {
        let config = json!({"url": "https://acme.test/hook", "secret": SECRET, "previousSecret": SECRET,
            "headers": {"X-Team": "ops"}});
        let Config::Webhook(config) = parse(Channel::Webhook, config).unwrap() else { panic!() };
        assert_eq!((config.secrets.len(), &*config.headers), (2, &[("x-team".to_owned(), "ops".to_owned())][..]));
        wrong(
            Channel::Webhook,
            json!({"url": "https://acme.test/hook", "secret": "whsec_c2hvcnQ=", "headers": {
                "Host": "x", "Webhook-Id": "x", "a b": "x", "x-a/b~c": "x", "x-line": "a\r\nb", "x-number": 1}}),
            &[
                "/secret",
                "/headers/Host",
                "/headers/Webhook-Id",
                "/headers/a b",
                "/headers/x-a~1b~0c",
                "/headers/x-line",
                "/headers/x-number",
            ],
        );
    }

    #[test]
    fn secrets_are_taken_out_and_put_back() {
        let config = smtp_config();
        let (open, secrets) = split(Channel::Email, &config);
        assert!(!open.to_string().contains("horse") && open["smtp"].get("username").is_none());
        assert_eq!(secrets["/smtp/password"], "correct horse");
        assert_eq!(merge(&open, &secrets), config);
    }

    #[test]
    fn readers_see_the_last_four_and_may_write_them_back() {
        let config = smtp_config();
        let shown = masked(Channel::Email, &config);
        assert_eq!(shown["smtp"], json!({"host": "mail.acme.test", "username": "***", "password": "***orse"}));
        assert_eq!(unmasked(Channel::Email, &shown, &config), config);
        let mut edited = shown;
        edited["smtp"]["password"] = json!("another one");
        assert_eq!(unmasked(Channel::Email, &edited, &config)["smtp"]["password"], "another one");
        assert_eq!(masked(Channel::Telegram, &json!({"botToken": "42:geheimnisvöll"}))["botToken"], "***völl");
    }
}
