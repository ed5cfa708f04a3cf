//! The providers' rate limits.
//!
//! Before an attempt the caller reserves a slot under each key; without free slots the attempt waits. Keys are digests,
//! since rows and metrics hold them: no token, chat or number may appear there.

use crate::Config;
use std::time::Duration;
use switchyard_core::hex_sha256;

/// A rate limit: a number of calls in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The key of the limit: messages with the same key share it.
    pub key: String,
    /// The number of calls.
    pub calls: u32,
    /// The time.
    pub per: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// All limits of a message to `to`, the narrowest first.
pub fn paces(config: &Config, to: &str) -> Vec<Pace> {
    let account = account_key(config);
    let pace = |key: String, calls, per| Pace { key, calls, per };
    let whole = |calls| pace(account.clone().unwrap_or_default(), calls, SECOND);
    match config {
        Config::Telegram(config) => {
            let chat = |kind| key(kind, &[bot_id(config.bot_token.expose()), to]);
            // Groups and channels have negative ids, and only they have names.
            let is_group = to.starts_with(['-', '@']);
            let of_group = is_group.then(|| pace(chat("telegram-group"), 20, MINUTE));
            [Some(pace(chat("telegram-chat"), 1, SECOND)), of_group, Some(whole(30))].into_iter().flatten().collect()
        }
        Config::Whatsapp(_) => vec![whole(80)],
        Config::Slack(_) => vec![whole(1)],
        Config::Email(_) | Config::Webhook(_) => Vec::new(),
    }
}

/// The key to hold back when an outcome [holds the account](crate::Outcome::Retry): of a bot, a number or a Slack channel.
pub fn account_key(config: &Config) -> Option<String> {
    match config {
        Config::Telegram(config) => Some(key("telegram-bot", &[bot_id(config.bot_token.expose())])),
        Config::Whatsapp(config) => Some(key("whatsapp-number", &[&config.phone_number_id])),
        Config::Slack(config) => Some(key("slack", &[config.webhook_url.expose().as_str()])),
        Config::Email(_) | Config::Webhook(_) => None,
    }
}

/// The part of a token that stays the same when the token is replaced.
fn bot_id(token: &str) -> &str {
    token.split(':').next().unwrap_or_default()
}

fn key(kind: &str, parts: &[&str]) -> String {
    let mut digest = hex_sha256(parts);
    digest.truncate(32);
    format!("{kind}:{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;
    use serde_json::{Value, json};
    use switchyard_io::http::Guard;

    fn config(channel: Channel, value: Value) -> Config {
        Config::parse(channel, &value, &Guard::default()).unwrap()
    }

    fn rates(config: &Config, to: &str) -> Vec<(u32, u64)> {
        paces(config, to).iter().map(|pace| (pace.calls, pace.per.as_secs())).collect()
    }

    #[test]
    fn telegram_has_a_pace_for_chat_group_and_bot() {
        let bot = config(Channel::Telegram, json!({"botToken": "42:abc"}));
        assert_eq!(rates(&bot, "7"), [(1, 1), (30, 1)]);
        assert_eq!(rates(&bot, "-100"), [(1, 1), (20, 60), (30, 1)]);
        assert_eq!(rates(&bot, "@acme"), [(1, 1), (20, 60), (30, 1)]);
    }

    #[test]
    fn v33_one_hold_covers_every_chat_of_the_bot_and_no_other_bot() {
        let (bot, other) = ("42:abc", "43:abc");
        let of = |token: &str| config(Channel::Telegram, json!({"botToken": token}));
        let hold = account_key(&of(bot));
        for chat in ["7", "8", "-100"] {
            assert!(paces(&of(bot), chat).iter().any(|pace| Some(&pace.key) == hold.as_ref()));
        }
        assert_ne!(account_key(&of(other)), hold);
        assert_eq!(account_key(&of("42:replaced")), hold);
    }

    #[test]
    fn the_others() {
        let whatsapp = config(Channel::Whatsapp, json!({"phoneNumberId": "1066", "accessToken": "x"}));
        assert_eq!(rates(&whatsapp, "491512345678"), [(80, 1)]);
        let url = "https://hooks.slack.com/services/T/B/x";
        let slack = config(Channel::Slack, json!({"webhookUrl": url}));
        assert_eq!(rates(&slack, ""), [(1, 1)]);
        assert!(!paces(&slack, "")[0].key.contains("services"));
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let webhook = config(Channel::Webhook, json!({"url": "https://acme.test", "secret": secret}));
        assert!(paces(&webhook, "").is_empty() && account_key(&webhook).is_none());
    }
}
