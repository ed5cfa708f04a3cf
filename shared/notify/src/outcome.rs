//! What a provider's response means: sent, to be retried, or given up.

use std::borrow::Cow;
use std::time::Duration;
use switchyard_io::http::{Answer, HttpError};

/// Why an attempt failed: a short code such as `telegram_403`. It holds no content, so that rows and logs may hold it.
pub type Code = Cow<'static, str>;

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider accepted the message.
    Sent {
        /// The provider's id of the message, which its later reports repeat.
        provider_id: Option<String>,
    },
    /// A later attempt may succeed.
    Retry {
        /// The least wait that the provider asks for.
        after: Option<Duration>,
        /// The reason.
        code: Code,
        /// Whether the wait holds for everything that the account sends.
        holds_account: bool,
    },
    /// The provider will never accept this message; it may accept others.
    TerminalMessage {
        /// The reason.
        code: Code,
    },
    /// This recipient cannot be reached.
    TerminalRecipient {
        /// The reason.
        code: Code,
    },
    /// Nothing can be sent with this config until it is edited or enabled.
    TerminalConfig {
        /// The reason.
        code: Code,
    },
}

impl Outcome {
    pub(crate) fn sent(provider_id: impl Into<String>) -> Self {
        Self::Sent { provider_id: Some(provider_id.into()) }
    }

    pub(crate) fn retry(code: impl Into<Code>) -> Self {
        Self::Retry { after: None, code: code.into(), holds_account: false }
    }

    pub(crate) fn retry_after(after: Option<Duration>, code: impl Into<Code>) -> Self {
        Self::Retry { after, code: code.into(), holds_account: false }
    }

    pub(crate) fn message(code: impl Into<Code>) -> Self {
        Self::TerminalMessage { code: code.into() }
    }

    pub(crate) fn recipient(code: impl Into<Code>) -> Self {
        Self::TerminalRecipient { code: code.into() }
    }

    pub(crate) fn config(code: impl Into<Code>) -> Self {
        Self::TerminalConfig { code: code.into() }
    }

    /// The reason of a failure; `None` after a success.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Sent { .. } => None,
            Self::Retry { code, .. }
            | Self::TerminalMessage { code }
            | Self::TerminalRecipient { code }
            | Self::TerminalConfig { code } => Some(code),
        }
    }
}

/// The outcome of a delivery's attempt, and how the message or its recipient changed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The outcome.
    pub outcome: Outcome,
    /// The chat's new id at Telegram, which the attempt used; it must be stored, whatever the outcome.
    pub new_chat_id: Option<String>,
    /// What was sent in place of the message.
    pub substitute: Option<Substitute>,
}

/// What was sent in place of a message that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// The text without its mark-up, which Telegram could not parse.
    PlainText,
    /// The config's `fallbackTemplate`: WhatsApp accepts free text only within a day after the recipient wrote.
    FallbackTemplate,
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, new_chat_id: None, substitute: None }
    }
}

/// The most bytes that are read of a response.
pub(crate) const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The outcome of a call without a response; the provider may or may not have carried it out.
pub(crate) fn no_response(error: &HttpError) -> Outcome {
    match error {
        HttpError::Refused { .. } => Outcome::config(error.word()),
        _ => Outcome::retry(error.word()),
    }
}

/// The outcome of a call: of its response by `classify`, or of its failure.
pub(crate) fn conclude(answer: Result<Answer, HttpError>, classify: impl FnOnce(&Answer) -> Outcome) -> Outcome {
    match answer {
        Ok(answer) => classify(&answer),
        Err(error) => no_response(&error),
    }
}

/// `prefix` and the provider's error code, if that is a plain word; otherwise `prefix` and `status`.
pub(crate) fn code_of(prefix: &str, word: &str, status: u16) -> Code {
    let is_plain = (1..=48).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain { format!("{prefix}_{word}").into() } else { format!("{prefix}_{status}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_may_hold_content_does_not_become_a_code() {
        assert_eq!(code_of("slack", "no_service", 404), "slack_no_service");
        for word in ["", "Hello Ann", "<html>", &"x".repeat(49)] {
            assert_eq!(code_of("slack", word, 404), "slack_404");
        }
    }
}
