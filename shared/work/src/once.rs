//! Each accepted thing takes effect once, however often it is delivered.
//!
//! The guard lives in the thing's own row, so that taking it costs no extra write:
//!
//! ```text
//! open ── claim ──► leased(owner, attempt, until) ── complete ──► done
//!   ▲                        │
//!   └────── release ─────────┘   (failed; a later delivery may claim again)
//! ```
//!
//! The hold is a [`lease`]; completing and releasing are conditional on it. It narrows the window in which a
//! thing can take effect twice; what closes that is the third party's own key. Where the third party can be read, ask
//! [`is_in_place`] before writing there again.

use crate::lease::{self, Holder};
use serde_json::{Map, Value};
use switchyard_core::Owner;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, DynamoError, Item, Key, Update, number};

/// Result of [`claim`].
#[derive(Debug)]
pub enum Claim {
    /// The caller holds the row until the lease ends; here it is, with the changes in.
    Mine(Item),
    /// The work was completed before; here is the row.
    Done(Item),
    /// Another worker holds the lease.
    Busy {
        /// Until then, epoch milliseconds.
        until_ms: i64,
    },
    /// The row does not exist.
    Missing,
}

/// Whether the guards work; only `tests/chaos` builds without them, to see that it would notice.
const GUARDED: bool = !cfg!(feature = "chaos-once-off");

/// Acquires the lease on `key` unless the work is done, together with `changes`.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn claim(
    table: &Table,
    key: &Key,
    owner: &Owner,
    now_ms: i64,
    until_ms: i64,
    changes: Changes,
) -> Result<Claim, DynamoError> {
    let changes = changes.only_if("attribute_exists(#pk)", []);
    let changes = match GUARDED {
        true => lease::ROW.acquire(changes, owner, now_ms, until_ms).only_if("attribute_not_exists(#done_at)", []),
        false => lease::ROW.assign(changes, owner, until_ms),
    };
    Ok(match table.update(key, changes).await? {
        Update::Applied(row) => Claim::Mine(row),
        Update::Refused(None) => Claim::Missing,
        Update::Refused(Some(row)) if row.contains_key("done_at") => Claim::Done(row),
        Update::Refused(Some(row)) => Claim::Busy { until_ms: lease::ROW.until_ms(&row).unwrap_or(until_ms) },
    })
}

/// Marks the row done, together with `changes`. Returns `false` when the lease was lost; then nothing changed.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn complete(
    table: &Table,
    key: &Key,
    owner: &Owner,
    now_ms: i64,
    changes: Changes,
) -> Result<bool, DynamoError> {
    match finish(table, key, owner, changes.set("done_at", now_ms)).await? {
        Update::Applied(_) => Ok(true),
        // The SDK repeats a call whose response was lost: the refusal then shows this very completion.
        Update::Refused(row) => Ok(row.is_some_and(|row| number(&row, "done_at") == Some(now_ms))),
    }
}

/// Releases the lease without having done the work, together with `changes`. Returns `false` as [`complete`] does.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn release(table: &Table, key: &Key, owner: &Owner, changes: Changes) -> Result<bool, DynamoError> {
    Ok(matches!(finish(table, key, owner, changes).await?, Update::Applied(_)))
}

/// Whether every column of `wanted` stands in `found` already, by `same`, so that writing it again changes nothing.
pub fn is_in_place(
    found: &Map<String, Value>,
    wanted: &Map<String, Value>,
    same: impl Fn(&Value, &Value) -> bool,
) -> bool {
    GUARDED && wanted.iter().all(|(column, value)| same(found.get(column).unwrap_or(&Value::Null), value))
}

async fn finish(table: &Table, key: &Key, owner: &Owner, changes: Changes) -> Result<Update, DynamoError> {
    let changes = match GUARDED {
        true => lease::ROW.release(changes, Holder::Owner(owner)),
        false => lease::ROW.clear(changes),
    };
    table.update(key, changes).await
}
