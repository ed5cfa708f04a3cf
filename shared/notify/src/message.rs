//! A rendered message, and the ids that it is sent under.

use jiff::Timestamp;
use std::fmt;
use std::time::{Duration, SystemTime};

/// A rendered message. Each channel uses the parts that it can show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The recipient, as [`crate::recipient::normalise`] returns it; empty for Slack and webhooks.
    pub to: String,
    /// The subject of an email.
    pub subject: String,
    /// The text; for Telegram in the config's `parseMode`, if that is set.
    pub text: String,
    /// The HTML body of an email.
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
    /// Language and region, such as `en_US`.
    pub language: String,
    /// The values of `{{1}}`, `{{2}}`, … in its body.
    pub params: Vec<String>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The delivery that an attempt belongs to, and the attempt's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryMeta<'a> {
    /// The same on every attempt, so that receivers can recognize duplicates: `webhook-id`, `Message-ID`.
    pub delivery_id: &'a str,
    /// The time of this attempt.
    pub now: Timestamp,
}

impl DeliveryMeta<'_> {
    /// The time of this attempt, as the standard library's type; times before 1970 become 1970.
    pub(crate) fn system_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.now.as_second()).unwrap_or_default())
    }
}
