//! Whether work that failed is retried.

use std::error::Error;
use std::time::Duration;

/// How to continue with work that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// A later attempt may succeed; `after` is the third party's `Retry-After`, if it sent one.
    Retry {
        /// Wait at least this long.
        after: Option<Duration>,
    },
    /// No later attempt can succeed until data, settings or code change.
    Permanent,
}

/// Errors that know whether trying again can help.
pub trait Classify: Error {
    /// Whether another attempt can succeed.
    fn disposition(&self) -> Disposition;
}

/// `error` and every source below it, joined by `: `; written once, where the error is handled.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
