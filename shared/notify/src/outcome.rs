//! What a provider's response means: sent, to be retried, or given up.

use std::borrow::Cow;
use std::time::Duration;
use switchyard_io::http::{Answer, HttpError};

/// Why an attempt did not succeed: a short word without any content, such as `telegram_403`. Fit for rows and logs.
pub type Code = Cow<'static, str>;

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Sent {
        /// The provider's own id of the message, by which its later reports name it.
        provider_id: Option<String>,
    },
    /// A later attempt may succeed.
    Retry {
        /// The provider wants at least this wait.
        after: Option<Duration>,
        /// Why.
        code: Code,
        /// Whether the wish is for everything the account sends, not for this message alone.
        holds_account: bool,
    },
    /// This message will never be taken; another one might.
    TerminalMessage {
        /// Why.
        code: Code,
    },
    /// This recipient cannot be reached.
    TerminalRecipient {
        /// Why.
        code: Code,
    },
    /// Nothing can be sent with this config until somebody edits or enables it.
    TerminalConfig {
        /// Why.
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

    /// Why it did not succeed; `None` when it did.
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

/// What one delivery's attempt came to, with everything that happened on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// Telegram has given the chat another id: to be stored, whatever the outcome. The attempt went there already.
    pub new_chat_id: Option<String>,
    /// What was sent in place of the message.
    pub substitute: Option<Substitute>,
}

/// What was sent because the message as it stood was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// The text without its mark-up, which Telegram could not read.
    PlainText,
    /// The config's `fallbackTemplate`: WhatsApp lets free text in only for a day after the recipient wrote.
    FallbackTemplate,
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, new_chat_id: None, substitute: None }
    }
}

/// The most that is read of an answer.
pub(crate) const ANSWER_BYTES: usize = 64 * 1024;

/// The outcome of a call that brought no answer, which may or may not have been carried out.
pub(crate) fn unanswered(error: &HttpError) -> Outcome {
    match error {
        HttpError::Refused { .. } => Outcome::config(error.word()),
        _ => Outcome::retry(error.word()),
    }
}

/// Reads an answer with `classify`, or says why there was none.
pub(crate) fn conclude(answer: Result<Answer, HttpError>, classify: impl FnOnce(&Answer) -> Outcome) -> Outcome {
    match answer {
        Ok(answer) => classify(&answer),
        Err(error) => unanswered(&error),
    }
}

/// `prefix` and the provider's own word for what went wrong, if that is a plain word; otherwise `prefix` and `status`.
pub(crate) fn code_of(prefix: &str, word: &str, status: u16) -> Code {
    let is_plain = (1..=48).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain { format!("{prefix}_{word}").into() } else { format!("{prefix}_{status}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_may_hold_content_does_not_become_a_code() {
        assert_eq!(code_of("slack", "no_service", 404), "slack_no_service");
        for word in ["", "Hello Ann", "<html>", &"x".repeat(49)] {
            assert_eq!(code_of("slack", word, 404), "slack_404");
        }
    }
}
