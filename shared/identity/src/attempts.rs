//! Attempts at passwords: counted for each account, and throttled when there are too many.

use crate::error::IdentityError;
use crate::password;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::{Secret, hex_sha256};
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Update, number};

/// Attempts at one account within [`WINDOW`] before further ones are refused.
const MAX_ATTEMPTS: u32 = 10;

/// The window of the count; it begins with the first attempt after the last window.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Seconds that a count outlives its window, until DynamoDB's TTL removes it.
const KEPT_S: i64 = 86_400;

/// Outcome of [`Attempts::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// The password matches.
    Match,
    /// It does not match, or the account does not exist.
    Mismatch,
    /// Too many attempts.
    Throttled {
        /// Until the next attempt is accepted.
        retry_after: Duration,
    },
}

/// The counts of one table: `pk` `LOGIN#<digest of the account>`, `sk` `-`.
#[derive(Clone)]
pub struct Attempts {
    table: Table,
}

impl Attempts {
    /// Counts in `table`.
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// Compares a password with an account's hash, counting the attempt first; a match resets the count. An account that
    /// does not exist has no hash, and costs as much.
    ///
    /// # Errors
    /// DynamoDB could not be reached, or the password not be hashed.
    pub async fn check(
        &self,
        account: &str,
        password: &Secret<String>,
        hash: Option<&str>,
        now: Timestamp,
    ) -> Result<PasswordCheck, IdentityError> {
        let (attempts, ends_at) = self.count(account, now).await?;
        if attempts > MAX_ATTEMPTS {
            let seconds = u64::try_from(ends_at - now.as_second()).unwrap_or(1).max(1);
            return Ok(PasswordCheck::Throttled { retry_after: Duration::from_secs(seconds) });
        }
        if !password::matches(password, hash).await.map_err(IdentityError::Password)? {
            return Ok(PasswordCheck::Mismatch);
        }
        self.table.delete(&key(account)).await?;
        Ok(PasswordCheck::Match)
    }

    /// Counts an attempt; returns the attempts of the window, this one included, and the window's end in epoch seconds.
    async fn count(&self, account: &str, now: Timestamp) -> Result<(u32, i64), IdentityError> {
        let key = key(account);
        let (now_s, until) = (now.as_second(), (now + WINDOW).as_second());
        let another = Changes::new().add("attempts", 1).only_if("#until > ?", [now_s.into_attribute()]);
        let first = Changes::new()
            .set("attempts", 1_i64)
            .set("until", until)
            .set("expires_at", until + KEPT_S)
            .only_if("attribute_not_exists(#until) OR #until <= ?", [now_s.into_attribute()]);
        // Twice: another request may open the window between the first two.
        for changes in [another.clone(), first, another] {
            if let Update::Applied(row) = self.table.update(&key, changes).await? {
                let counted = number(&row, "attempts").unwrap_or(u32::MAX);
                return Ok((counted, number(&row, "until").unwrap_or(until)));
            }
        }
        Err(IdentityError::Contended { what: "the count of attempts" })
    }
}

fn key(account: &str) -> Key {
    Key { pk: format!("LOGIN#{}", hex_sha256(&[&account.to_lowercase()])), sk: "-".into() }
}
