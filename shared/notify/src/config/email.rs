//! Checks a config of email: its sender, and the settings of SES, SMTP and HTTP.

use super::parse::{destinations, guarded_url, header_secret, secret};
use super::read::{self, Problem, Reader, child, section};
use super::shape::{EmailConfig, HttpMailConfig, Security, SesConfig, SmtpConfig, Transport};
use crate::Channel;
use crate::recipient::normalise;
use lettre::message::Mailbox;
use serde_json::Value;
use switchyard_io::http::Guard;

pub(super) fn parse(reader: &mut Reader, config: &Value, guard: &Guard) -> Option<EmailConfig> {
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
    // Unused sections are validated too, so that changing the transport finds no errors.
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

fn ses(reader: &mut Reader, config: &Value) -> Option<SesConfig> {
    let at = "/ses";
    let members = reader.object(at, config, &["region", "configurationSet"])?;
    // The region becomes part of a host's name: no other characters are allowed.
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

fn mailbox(value: &Value) -> Result<Mailbox, Problem> {
    let wanted = || Problem::from("an email address is required, or a name and <address>");
    let mailbox: Mailbox = read::text(value)?.trim().parse().map_err(|_| wanted())?;
    let address = normalise(Channel::Email, mailbox.email.as_ref()).map_err(|_| wanted())?;
    let name = mailbox.name.filter(|name| !name.trim().is_empty());
    if name.as_ref().is_some_and(|name| name.chars().any(char::is_control) || name.len() > 200) {
        return Err(wanted());
    }
    Ok(Mailbox::new(name, address.parse().map_err(|_| wanted())?))
}
