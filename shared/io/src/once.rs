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
//! A lease is taken over when its time has passed, or at once by a *later* delivery of the same queue message: SQS
//! hands that out only after the earlier delivery was given up. Completing and releasing are conditional on owner and
//! attempt, so a process that lost its lease can change nothing any more.
//!
//! The lease narrows the window; what closes it is the far side's own key. Where the far side can be read, ask
//! [`is_in_place`] before writing there again.

use serde_json::{Map, Value};

use crate::dynamo::{AttributeValue, Changes, DynamoError, IntoAttribute, Item, Key, Table, Update, number};

/// Who works on a row: one delivery of one queue message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The queue's id of the message.
    pub message_id: String,
    /// Which delivery of it this is, from 1.
    pub attempt: u32,
}

/// What became of [`claim`].
#[derive(Debug)]
pub enum Claim {
    /// The row is ours until the lease ends; here it is, with the changes in.
    Mine(Item),
    /// The work was completed before; here is the row.
    Done(Item),
    /// Somebody else holds the lease until then.
    Busy {
        /// Epoch milliseconds.
        until_ms: i64,
    },
    /// There is no such row.
    Missing,
}

/// Whether the guards work; only `tests/chaos` builds without them, to see that it would notice.
const GUARDED: bool = !cfg!(feature = "chaos-once-off");

/// Takes the lease on `key`, together with `changes`.
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
    let mut changes = changes
        .set("lease_owner", owner.message_id.as_str())
        .set("lease_attempt", i64::from(owner.attempt))
        .set("lease_until", until_ms)
        .only_if("attribute_exists(#pk)", []);
    if GUARDED {
        changes = changes.only_if("attribute_not_exists(#done_at)", []).only_if(
            "attribute_not_exists(#lease_until) OR #lease_until < ? OR (#lease_owner = ? AND #lease_attempt < ?)",
            [
                now_ms.into_attribute(),
                owner.message_id.as_str().into_attribute(),
                i64::from(owner.attempt).into_attribute(),
            ],
        );
    }
    Ok(match table.update(key, changes).await? {
        Update::Applied(row) => Claim::Mine(row),
        Update::Refused(None) => Claim::Missing,
        Update::Refused(Some(row)) if row.contains_key("done_at") => Claim::Done(row),
        // The SDK repeats a call whose answer was lost: the refusal then comes from our own lease.
        Update::Refused(Some(row)) if holds(&row, owner) => Claim::Mine(row),
        Update::Refused(Some(row)) => Claim::Busy { until_ms: number(&row, "lease_until").unwrap_or(until_ms) },
    })
}

/// Marks the row done, together with `changes`. `false` means that the lease was lost meanwhile and nothing changed.
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
        // As in `claim`: an answer that was lost shows our own completion.
        Update::Refused(row) => Ok(row.is_some_and(|row| number(&row, "done_at") == Some(now_ms))),
    }
}

/// Gives the lease back without having done the work, together with `changes`. `false` as in [`complete`].
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
    let mut changes = changes.remove("lease_owner").remove("lease_attempt").remove("lease_until");
    if GUARDED {
        changes = changes.only_if(
            "#lease_owner = ? AND #lease_attempt = ?",
            [owner.message_id.as_str().into_attribute(), i64::from(owner.attempt).into_attribute()],
        );
    }
    table.update(key, changes).await
}

fn holds(row: &Item, owner: &Owner) -> bool {
    matches!(row.get("lease_owner"), Some(AttributeValue::S(id)) if *id == owner.message_id)
        && number(row, "lease_attempt") == Some(i64::from(owner.attempt))
}
