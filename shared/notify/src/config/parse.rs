//! Checks a channel's config as JSON, field by field.

use super::read::{self, Problem, Reader, child, section};
use super::shape::{Config, ParseMode, SlackConfig, TelegramConfig, WebhookConfig, WhatsappConfig};
use super::{Issue, email};
use crate::recipient::normalise;
use crate::{Channel, Template};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::collections::HashSet;
use switchyard_core::Secret;
use switchyard_io::http::{Guard, Url};

/// The most recipients of a config.
const MAX_DESTINATIONS: usize = 20;

/// The most additional headers of a webhook.
const MAX_HEADERS: usize = 20;

const SLACK_HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// Headers that a tenant cannot set, besides those that begin with `webhook-`.
const RESERVED_HEADERS: [&str; 9] = [
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

impl Config {
    /// Validates a channel's config, with its secrets. `guard` checks URLs as they are written; the addresses that their
    /// names resolve to are checked on each attempt.
    ///
    /// # Errors
    /// All errors of the config.
    pub fn parse(channel: Channel, config: &Value, guard: &Guard) -> Result<Self, Vec<Issue>> {
        let mut reader = Reader::default();
        let parsed = match channel {
            Channel::Email => email::parse(&mut reader, config, guard).map(Self::Email),
            Channel::Telegram => telegram(&mut reader, config).map(Self::Telegram),
            Channel::Whatsapp => whatsapp(&mut reader, config).map(Self::Whatsapp),
            Channel::Slack => slack(&mut reader, config).map(Self::Slack),
            Channel::Webhook => webhook(&mut reader, config, guard).map(Self::Webhook),
        };
        parsed.filter(|_| reader.issues.is_empty()).ok_or(reader.issues)
    }
}

fn telegram(reader: &mut Reader, config: &Value) -> Option<TelegramConfig> {
    let members = reader.object("", config, &["botToken", "destination", "parseMode", "threadId", "silent"])?;
    // The token becomes part of a path: no other characters are allowed.
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

/// Whether it is a version of Meta's Graph API, such as `v23.0`.
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

fn header(name: &str, value: &Value) -> Result<(String, String), Problem> {
    let lower = name.to_ascii_lowercase();
    if RESERVED_HEADERS.contains(&&*lower) || lower.starts_with("webhook-") {
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

fn signing_secret(value: &Value) -> Result<Secret<String>, Problem> {
    let secret = read::text(value)?;
    let key = secret.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    match key {
        Some(key) if (24..=64).contains(&key.len()) => Ok(Secret::new(secret.to_owned())),
        _ => Err("whsec_ and the base64 of 24 to 64 bytes are wanted".into()),
    }
}

pub(super) fn guarded_url(value: &Value, guard: &Guard) -> Result<Url, Problem> {
    let url = Url::parse(read::text(value)?).ok().filter(|url| url.as_str().len() <= 2_048);
    let wanted = if guard.allow_http { "an http or https" } else { "an https" };
    url.filter(|url| guard.admits(url))
        .ok_or_else(|| format!("{wanted} address on the public internet is required").into())
}

pub(super) fn secret(value: &Value) -> Result<Secret<String>, Problem> {
    let secret = read::text(value)?;
    let is_sound = (1..=4_096).contains(&secret.len()) && !secret.chars().any(char::is_control);
    is_sound.then(|| Secret::new(secret.to_owned())).ok_or_else(|| "1 to 4096 characters are wanted".into())
}

/// A secret that is sent in a header: without blanks.
pub(super) fn header_secret(value: &Value) -> Result<Secret<String>, Problem> {
    let token = secret(value)?;
    let is_visible = token.expose().bytes().all(|b| b.is_ascii_graphic());
    is_visible.then_some(token).ok_or_else(|| "a token without blanks is required".into())
}

/// One recipient or a list of recipients: text, and for Telegram also numbers.
pub(super) fn destinations(reader: &mut Reader, members: &Map<String, Value>, channel: Channel) -> Vec<String> {
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
    // A recipient that is listed twice gets one message.
    let mut seen = HashSet::new();
    found.retain(|recipient| seen.insert(recipient.clone()));
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Security, Transport};
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

    pub(crate) fn smtp_config() -> Value {
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
}
