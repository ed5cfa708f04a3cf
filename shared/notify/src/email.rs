//! Email, over SES, SMTP or a mail service's HTTP API.

pub mod api;
pub mod ses;
pub mod smtp;

use lettre::message::Mailbox;
use lettre::message::header::{From, Headers};

/// A mailbox as a header's value on one line; a name that is not ASCII is in encoded words (RFC 2047).
fn encoded(mailbox: &Mailbox) -> String {
    let mut headers = Headers::new();
    headers.set(From::from(lettre::message::Mailboxes::from(mailbox.clone())));
    let text = headers.to_string();
    text.strip_prefix("From: ").unwrap_or(&text).trim_end().replace("\r\n ", " ")
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::config::{EmailConfig, Transport};

    pub(crate) fn config(transport: Transport) -> EmailConfig {
        let from = "Schaltwerk ✉ <alerts@acme.test>".parse().unwrap();
        let reply_to = Some("help@acme.test".parse().unwrap());
        EmailConfig { transport, from, reply_to, destination: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_ascii_are_encoded() {
        let of = |text: &str| encoded(&text.parse().unwrap());
        assert_eq!(of("alerts@acme.test"), "alerts@acme.test");
        assert_eq!(of("Acme Alerts <alerts@acme.test>"), "\"Acme Alerts\" <alerts@acme.test>");
        assert_eq!(of("Ärger <alerts@acme.test>"), "=?utf-8?b?w4RyZ2Vy?= <alerts@acme.test>");
        let long = of(&format!("{} <alerts@acme.test>", "Ärger ".repeat(20).trim()));
        assert!(long.is_ascii() && !long.contains(['\r', '\n']), "{long}");
    }
}
