//! Checks that several operations share; each refusal names the field.

use crate::failure::{Failure, field};
use serde::{Deserialize, Deserializer};
use switchyard_core::{Secret, Timestamp};
use switchyard_identity::password;
use switchyard_identity::users::is_email;

/// So that null is told from absent.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A text of 1 to `max` characters.
pub(crate) fn check_text(name: &str, text: &str, max: usize) -> Result<(), Failure> {
    match text.chars().count() {
        0 => Err(field(format!("{name} should not be empty"))),
        length if length > max => Err(field(format!("{name} must have at most {max} characters"))),
        _ => Ok(()),
    }
}

/// A new password.
pub(crate) fn new_password(name: &str, text: String) -> Result<Secret<String>, Failure> {
    password::parse(text).map_err(|error| field(format!("{name} {error}")))
}

/// What looks like an address; whether it is one shows when mail is sent to it.
pub(crate) fn check_email(name: &str, text: &str) -> Result<(), Failure> {
    if is_email(text) { Ok(()) } else { Err(field(format!("{name} must be an e-mail address"))) }
}

/// An RFC 3339 time.
pub(crate) fn time(name: &str, text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|_| field(format!("{name} must be an RFC 3339 time")))
}
