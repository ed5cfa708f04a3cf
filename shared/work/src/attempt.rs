//! A row that is attempted until it is settled: claim, reschedule, settle.
//!
//! Such a row counts its `attempts` and names its `next_attempt_at` (epoch milliseconds); each queue message about it
//! says how many attempts it knows of, so that a message of an earlier state finds the row settled. Between attempts a
//! delayed message brings the row back, or the sweep where SQS's longest delay is too short; the unsent mark
//! ([`outbox`]) stands until then. A row that has a place in a [`pace`](crate::pace) keeps it in `slot_at`.

use crate::lease;
use crate::outbox::{self, Due};
use serde::de::DeserializeOwned;
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_io::dynamo::{Changes, DynamoError, IntoAttribute as _, Key, Update, number};
use switchyard_io::{MAX_DELAY, Table};

/// Who claims a row, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// The delivery of the message that is about the row.
    pub owner: &'a Owner,
    /// Attempts that the message knows of.
    pub attempts: u32,
    /// Epoch milliseconds.
    pub now_ms: i64,
    /// When the lease ends, epoch milliseconds.
    pub until_ms: i64,
}

/// Result of [`claim`].
#[derive(Debug)]
pub enum Claim<R> {
    /// The caller holds the row until the lease ends.
    Mine(Box<R>),
    /// Another worker holds the lease.
    Busy {
        /// Until then, epoch milliseconds.
        until_ms: i64,
    },
    /// Nothing to do: the row is settled, is not due yet, or a later message is about it.
    Settled(Box<R>),
    /// The row does not exist.
    Missing,
}

/// Acquires the lease on an open row. `open` holds the conditions under which the row may be attempted, and `is_open`
/// tells the same of a row that was read.
///
/// # Errors
/// Transient faults of DynamoDB, or a row that does not read as `R`.
pub async fn claim<R: DeserializeOwned>(
    table: &Table,
    key: &Key,
    by: Claimant<'_>,
    open: Changes,
    is_open: impl FnOnce(&R) -> bool,
) -> Result<Claim<R>, DynamoError> {
    let changes = lease::ROW
        .acquire(open, by.owner, by.now_ms, by.until_ms)
        .only_if("#attempts = ?", [i64::from(by.attempts).into_attribute()]);
    Ok(match table.update(key, changes).await? {
        Update::Applied(item) => Claim::Mine(Box::new(table.read(item)?)),
        Update::Refused(None) => Claim::Missing,
        Update::Refused(Some(item)) => {
            let is_current = number(&item, "attempts") == Some(by.attempts);
            let until_ms = lease::ROW.until_ms(&item).unwrap_or(by.now_ms);
            let row: R = table.read(item)?;
            if is_current && is_open(&row) { Claim::Busy { until_ms } } else { Claim::Settled(Box::new(row)) }
        }
    })
}

/// When a row is attempted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Epoch milliseconds.
    pub at_ms: i64,
    /// Whether a place in a pace is reserved for that time.
    pub has_slot: bool,
    is_sent: bool,
}

impl Retry {
    /// An attempt at `at_ms`: brought by a delayed message, or by the sweep when SQS cannot delay for so long.
    pub fn at(at_ms: i64, now_ms: i64) -> Self {
        Self { at_ms, has_slot: false, is_sent: at_ms.saturating_sub(now_ms) <= millis(MAX_DELAY) }
    }

    /// The attempt with a place in a pace.
    #[must_use]
    pub fn with_slot(self) -> Self {
        Self { has_slot: true, ..self }
    }

    /// The delay of the message that brings the row; `None` when the sweep does.
    pub fn delay(&self, now_ms: i64) -> Option<Duration> {
        let wait = u64::try_from(self.at_ms.saturating_sub(now_ms)).unwrap_or_default();
        self.is_sent.then(|| Duration::from_millis(wait))
    }

    /// `changes` that reschedule the row on `due_shard`. Where a message brings it, the sweep leaves that some time.
    #[must_use]
    pub fn reschedule(&self, changes: Changes, due_shard: String) -> Changes {
        let due_at = if self.is_sent { self.at_ms.saturating_add(millis(outbox::GRACE)) } else { self.at_ms };
        let changes =
            changes.set("next_attempt_at", self.at_ms).set_or_remove("slot_at", self.has_slot.then_some(self.at_ms));
        outbox::marked(changes, Due { due_shard, due_at, due_count: 0 })
    }
}

/// `changes` after which the row is attempted no more.
#[must_use]
pub fn settle(changes: Changes) -> Changes {
    outbox::settled(changes).remove("next_attempt_at").remove("slot_at")
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_brings_what_sqs_can_delay_and_the_sweep_the_rest() {
        let longest = millis(MAX_DELAY);
        assert_eq!(Retry::at(1_000, 400).delay(400), Some(Duration::from_millis(600)));
        assert_eq!(Retry::at(longest + 7, 7).delay(7), Some(MAX_DELAY));
        assert_eq!(Retry::at(longest + 8, 7).delay(7), None);
        assert_eq!(Retry::at(5, 1_000).delay(1_000), Some(Duration::ZERO), "it is overdue");
        assert_eq!(Retry::at(i64::MAX, 0).delay(0), None);
    }
}
