//! The unsent mark: how a row says that a message about it is still owed to a queue.
//!
//! An accepted row is written with its mark in the same write, then the message is sent. The consumer's first write
//! takes the mark off. Whatever still carries a mark when it falls due was never sent or never taken, and the sweeper
//! sends it again. The sparse index `due` holds only marked rows, spread over [`SHARDS`] partitions, since one
//! partition of an index takes about 1,000 writes a second.

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_core::{Clock, error_chain, metric, random, shard_of};
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, DynamoError, IntoAttribute as _, Item, Key, Update};
use tokio::time::Instant;

/// Partitions of the index `due`, per workflow.
pub const SHARDS: u32 = 8;

/// How long a mark may stand before the sweeper acts on it.
pub const GRACE: Duration = Duration::from_secs(120);

/// How long a row that was sent again is left alone: longer each time, so that a long backlog is not sent over and over.
const PATIENCE: Backoff = Backoff::new(GRACE, Duration::from_secs(GRACE.as_secs() * 32));

/// Rows the sweeper takes from one shard at a time.
const SWEEP_LIMIT: i32 = 100;

/// The columns of a due row, flattened into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// `<workflow>#<0..SHARDS>`.
    pub due_shard: String,
    /// Epoch milliseconds.
    pub due_at: i64,
    /// How often the sweeper has acted on it.
    #[serde(default)]
    pub due_count: u32,
}

impl Due {
    /// Due at `at_ms`, on a shard chosen by `key_digest` (hex).
    pub fn at(workflow: &str, key_digest: &str, at_ms: i64) -> Self {
        Self { due_shard: shard(workflow, key_digest), due_at: at_ms, due_count: 0 }
    }
}

/// The shard for a key's hex digest.
pub fn shard(workflow: &str, key_digest: &str) -> String {
    format!("{workflow}#{}", shard_of(key_digest, SHARDS))
}

/// All shards of a workflow.
pub fn shards(workflow: &str) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |number| format!("{workflow}#{number}"))
}

/// `changes` that put the mark on, as if the sweeper had not acted on it yet.
#[must_use]
pub fn marked(changes: Changes, due: Due) -> Changes {
    let count = i64::from(due.due_count);
    changes.set("due_shard", due.due_shard).set("due_at", due.due_at).set("due_count", count)
}

/// `changes` that take the mark off.
#[must_use]
pub fn settled(changes: Changes) -> Changes {
    changes.remove("due_shard").remove("due_at").remove("due_count")
}

/// Postpones a due row before it is acted on, so that two sweepers never act on the same one, for twice as long each
/// time. Returns the row, or `None` when another sweeper was faster.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn put_off(table: &Table, key: &Key, due: &Due, now_ms: i64) -> Result<Option<Item>, DynamoError> {
    let wait = PATIENCE.ceiling(due.due_count);
    let next = now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let changes = Changes::new()
        .set("due_at", next)
        .set("due_count", i64::from(due.due_count) + 1)
        .only_if("#due_at = ?", [due.due_at.into_attribute()]);
    Ok(match table.update(key, changes).await? {
        Update::Applied(row) => Some(row),
        Update::Refused(_) => None,
    })
}

/// A row of the index `due`.
#[derive(Clone, Debug, Deserialize)]
pub struct DueRow {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
    /// Since when it is due.
    #[serde(flatten)]
    pub due: Due,
}

impl DueRow {
    /// The row's primary key.
    pub fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }
}

/// Calls `process` for every row of a workflow that is due, shard by shard, the most overdue first, until `deadline`.
/// One that fails does not keep the others waiting; the log says why, and their number is returned. `process` is to
/// postpone a row, or change when it is due, before it acts.
///
/// # Errors
/// The due rows could not be listed.
pub async fn sweep<E: Error>(
    table: &Table,
    workflow: &str,
    clock: &Clock,
    deadline: Instant,
    mut process: impl AsyncFnMut(&DueRow) -> Result<(), E>,
) -> Result<u64, DynamoError> {
    let mut failed = 0;
    // A page of each shard in turn, beginning anywhere, so that none waits for another's backlog.
    let mut open: Vec<String> = shards(workflow).collect();
    open.rotate_left(random::below_u32(SHARDS) as usize);
    let mut is_first_page = true;
    while !open.is_empty() {
        let mut more = Vec::new();
        for shard in open {
            let rows = table.due(&shard, clock.now().as_millisecond(), SWEEP_LIMIT).await?;
            let (found, failed_before) = (rows.len(), failed);
            metric::count("due.rows", found as u64);
            let rows = rows.into_iter().map(|row| table.read(row)).collect::<Result<Vec<DueRow>, _>>()?;
            // One of each shard: CloudWatch takes a hundred values in a line.
            if let Some(oldest) = rows.first().filter(|_| is_first_page) {
                let age_ms = clock.now().as_millisecond() - oldest.due.due_at;
                metric::millis("due.age", u64::try_from(age_ms).unwrap_or_default());
            }
            for row in rows {
                if Instant::now() >= deadline {
                    return Ok(failed);
                }
                if let Err(error) = process(&row).await {
                    failed += 1;
                    tracing::error!(error = error_chain(&error), "a due row could not be processed");
                }
            }
            // A full page means that there may be more; after failures the next run sees to the rest.
            if found >= SWEEP_LIMIT as usize && failed == failed_before {
                more.push(shard);
            }
        }
        open = more;
        is_first_page = false;
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_shards() {
        let used: std::collections::BTreeSet<_> =
            (0..200).map(|n| shard("adt", &switchyard_core::hex_sha256(&[&n.to_string()]))).collect();
        assert_eq!(used, shards("adt").collect());
    }
}
