//! A rendered message, and the ids that it is sent under.

use jiff::Timestamp;
use std::fmt;
use std::time::{Duration, SystemTime};

/// What is to be said, rendered. Each channel takes what it can show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Whom it goes to, as [`crate::recipient::normalise`] answers; empty for Slack and webhooks.
    pub to: String,
    /// Of an email.
    pub subject: String,
    /// The text. For Telegram in the config's `parseMode`, if that is set.
    pub text: String,
    /// The other body of an email.
    pub html: Option<String>,
    /// Sent by WhatsApp in place of the text.
    pub template: Option<Template>,
    /// The whole request body of a webhook; see [`crate::webhook::body`].
    pub webhook_body: Option<String>,
}

/// A message template that WhatsApp has approved.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Language and place, such as `en_US`.
    pub language: String,
    /// What stands in for `{{1}}`, `{{2}}`, … of its body.
    pub params: Vec<String>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which delivery an attempt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryMeta<'a> {
    /// The same on every attempt, so that a provider which keeps ids can tell them apart: `webhook-id`, `Message-ID`.
    pub delivery_id: &'a str,
    /// When this attempt is made.
    pub now: Timestamp,
}

impl DeliveryMeta<'_> {
    /// The time as the standard library has it; what is older than 1970 becomes 1970.
    pub(crate) fn system_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.now.as_second()).unwrap_or_default())
    }
}
