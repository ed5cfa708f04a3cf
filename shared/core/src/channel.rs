//! Channels of notifications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A way to notify people; lower case on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// SES, SMTP, or a mail service's HTTP endpoint.
    Email,
    /// A Telegram bot.
    Telegram,
    /// WhatsApp's Cloud API.
    Whatsapp,
    /// A Slack incoming webhook.
    Slack,
    /// A signed HTTP request, as Standard Webhooks describes it.
    Webhook,
}

/// No channel has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channels are email, telegram, whatsapp, slack and webhook")]
pub struct UnknownChannel;

impl Channel {
    /// All of them, in the order that messages name them.
    pub const ALL: [Self; 5] = [Self::Email, Self::Telegram, Self::Whatsapp, Self::Slack, Self::Webhook];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Telegram => "telegram",
            Self::Whatsapp => "whatsapp",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    /// Whether a message names whom it goes to. Where it does not, the config's address says it all.
    pub fn takes_recipients(self) -> bool {
        !matches!(self, Self::Slack | Self::Webhook)
    }
}

impl Display for Channel {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(name: &str) -> Result<Self, UnknownChannel> {
        Self::ALL.into_iter().find(|channel| channel.name() == name).ok_or(UnknownChannel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for channel in Channel::ALL {
            assert_eq!(channel.name().parse(), Ok(channel));
            assert_eq!(serde_json::to_value(channel).unwrap(), channel.name());
        }
        assert_eq!("Email".parse::<Channel>(), Err(UnknownChannel));
    }
}
