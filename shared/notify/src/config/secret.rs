//! The secrets of a config: where they are, how they are taken out for sealing and put back, and how they are masked.

use crate::Channel;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// JSON Pointers of a channel's secret fields.
pub fn secret_fields(channel: Channel) -> &'static [&'static str] {
    match channel {
        Channel::Email => &["/smtp/username", "/smtp/password", "/http/token"],
        Channel::Telegram => &["/botToken"],
        Channel::Whatsapp => &["/accessToken"],
        Channel::Slack => &["/webhookUrl"],
        Channel::Webhook => &["/secret", "/previousSecret"],
    }
}

/// Takes the secrets out of a validated config. Returns the rest, and the secrets by JSON Pointer.
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

/// The config with masked secrets: only their last four characters are shown, and none of short ones.
pub fn masked(channel: Channel, config: &Value) -> Value {
    let mut shown = config.clone();
    for pointer in secret_fields(channel) {
        if let Some(secret) = shown.pointer_mut(pointer) {
            *secret = Value::String(secret.as_str().map_or_else(|| mask(""), mask));
        }
    }
    shown
}

/// The fields that decide where a secret is sent.
fn destination_of(pointer: &str) -> &'static [&'static str] {
    match pointer {
        "/http/token" => &["/http/url"],
        "/smtp/username" | "/smtp/password" => &["/smtp/host", "/smtp/port", "/smtp/security"],
        _ => &[],
    }
}

/// `new` with the secrets of `old` where it repeats their masked form, so that a config can be read, edited and written
/// back. A secret whose destination changed becomes null, which is refused: a client that changes the destination must know
/// the secret.
pub fn unmasked(channel: Channel, new: &Value, old: &Value) -> Value {
    let mut config = new.clone();
    for pointer in secret_fields(channel) {
        if let (Some(given), Some(Value::String(kept))) = (config.pointer_mut(pointer), old.pointer(pointer))
            && given.as_str() == Some(&*mask(kept))
        {
            let has_same_destination = destination_of(pointer).iter().all(|at| new.pointer(at) == old.pointer(at));
            *given = if has_same_destination { Value::String(kept.clone()) } else { Value::Null };
        }
    }
    config
}

fn mask(secret: &str) -> String {
    // Four of eight characters would be half of the secret.
    let shown = if secret.chars().count() > 8 { secret.char_indices().rev().nth(3) } else { None };
    format!("***{}", shown.map_or("", |(at, _)| &secret[at..]))
}

/// The object that holds `pointer`'s last member, and that member's key.
fn member<'v, 'p>(config: &'v mut Value, pointer: &'p str) -> Option<(&'v mut Map<String, Value>, &'p str)> {
    let (parent, key) = pointer.rsplit_once('/')?;
    Some((config.pointer_mut(parent)?.as_object_mut()?, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::tests::smtp_config;
    use serde_json::json;

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
