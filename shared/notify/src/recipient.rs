//! Recipients, normalised: deliveries, paces and suppressions compare them.

use crate::Channel;
use lettre::Address;

/// Not a valid recipient of the channel. The message does not repeat the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} is required")]
pub struct InvalidRecipient {
    wanted: &'static str,
}

/// The longest address that SMTP carries (RFC 5321, 4.5.3.1.3, without the brackets).
const MAX_ADDRESS_BYTES: usize = 254;

/// Normalises a recipient.
///
/// The domain of an email address becomes lower case; a chat is a number or `@name`; a phone number is its digits, with the
/// country code. Slack and webhooks have no recipients: the input is dropped.
///
/// # Errors
/// It is not a valid recipient of the channel.
pub fn normalise(channel: Channel, given: &str) -> Result<String, InvalidRecipient> {
    let given = given.trim();
    match channel {
        Channel::Email => email(given).ok_or(InvalidRecipient { wanted: "an email address of ASCII characters" }),
        Channel::Telegram => chat(given).ok_or(InvalidRecipient { wanted: "a chat id or @name" }),
        Channel::Whatsapp => phone(given).ok_or(InvalidRecipient { wanted: "a phone number with its country code" }),
        Channel::Slack | Channel::Webhook => Ok(String::new()),
    }
}

/// The key of an email address in a suppression list: lower case, since receiving hosts change the case in bounces.
pub fn suppression_key(address: &str) -> String {
    address.trim().to_ascii_lowercase()
}

fn email(given: &str) -> Option<String> {
    let address: Address = given.parse().ok()?;
    let is_sound = given.is_ascii() && given.len() <= MAX_ADDRESS_BYTES && !address.domain().starts_with('[');
    is_sound.then(|| format!("{}@{}", address.user(), address.domain().to_ascii_lowercase()))
}

fn chat(given: &str) -> Option<String> {
    if let Some(name) = given.strip_prefix('@') {
        let is_name = (4..=32).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return is_name.then(|| format!("@{}", name.to_ascii_lowercase()));
    }
    // Ids have at most 52 bits; read as a number, `007` and `+7` become 7.
    let id: i64 = given.parse().ok()?;
    (id != 0 && id.unsigned_abs() < 1 << 52).then(|| id.to_string())
}

fn phone(given: &str) -> Option<String> {
    let rest = given.strip_prefix('+').unwrap_or(given);
    let digits: String = rest.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let is_number =
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    is_number.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn spelt(channel: Channel, given: &str, wanted: Option<&str>) {
        assert_eq!(normalise(channel, given).ok().as_deref(), wanted, "{given}");
    }

    #[test]
    fn addresses() {
        spelt(Channel::Email, " Ops.Team+x@Acme.TEST ", Some("Ops.Team+x@acme.test"));
        let long = format!("{}@acme.test", "x".repeat(250));
        for wrong in
            ["", "ops", "ops@", "@acme.test", "a b@acme.test", "ops@acme.test, b@acme.test", "é@acme.test", &long]
        {
            spelt(Channel::Email, wrong, None);
        }
        for wrong in ["Ops <ops@acme.test>", "ops@[127.0.0.1]", "ops@acme.test\r\nBcc: x@y.z"] {
            spelt(Channel::Email, wrong, None);
        }
        assert_eq!(suppression_key("Ops@Acme.Test"), "ops@acme.test");
    }

    #[test]
    fn chats() {
        for (given, wanted) in
            [("42", "42"), ("-1001234567890", "-1001234567890"), ("007", "7"), ("@Acme_Ops", "@acme_ops")]
        {
            spelt(Channel::Telegram, given, Some(wanted));
        }
        for wrong in ["", "0", "@x", "@1abc", "@acme ops", "acme", "1.5", "4503599627370496", "-"] {
            spelt(Channel::Telegram, wrong, None);
        }
    }

    #[test]
    fn phone_numbers() {
        for (given, wanted) in [("+49 (151) 234-5678", "491512345678"), ("14155550100", "14155550100")] {
            spelt(Channel::Whatsapp, given, Some(wanted));
        }
        for wrong in ["", "+", "0151 2345678", "123456", "1234567890123456", "+49x15123456", "++4915123456"] {
            spelt(Channel::Whatsapp, wrong, None);
        }
    }

    #[test]
    fn where_the_url_says_it_all() {
        spelt(Channel::Slack, "#ops", Some(""));
        spelt(Channel::Webhook, "", Some(""));
    }
}
