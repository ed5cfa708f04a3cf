//! Turns in time: a row gives out one place every so often, to however many ask at once, and each waits for its own.

use crate::dynamo::{Changes, DynamoError, IntoAttribute as _, Key, Table, Update, number};
use std::time::Duration;

/// Reserves the next free place, one every `step`, together with `changes`; answers when that is, epoch milliseconds.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn reserve(
    table: &Table,
    key: &Key,
    step: Duration,
    now_ms: i64,
    changes: &Changes,
) -> Result<i64, DynamoError> {
    // Microseconds, since most rates' steps are no whole milliseconds.
    let (step, now) = (i64::try_from(step.as_micros()).unwrap_or(i64::MAX), now_ms.saturating_mul(1_000));
    loop {
        let behind = changes.clone().add("free_at_us", step).only_if("#free_at_us > ?", [now.into_attribute()]);
        if let Update::Applied(row) = table.update(key, behind).await? {
            return Ok(number::<i64>(&row, "free_at_us").map_or(now_ms, |free_at| (free_at - step) / 1_000));
        }
        let at_once = changes
            .clone()
            .set("free_at_us", now.saturating_add(step))
            .only_if("attribute_not_exists(#free_at_us) OR #free_at_us <= ?", [now.into_attribute()]);
        if let Update::Applied(_) = table.update(key, at_once).await? {
            return Ok(now_ms);
        }
        // Another took the place in between; then there is one to stand behind.
    }
}

/// Gives out no place before `until_ms`, together with `changes`, unless the next one is later anyway.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn hold(table: &Table, key: &Key, until_ms: i64, changes: Changes) -> Result<(), DynamoError> {
    let until = until_ms.saturating_mul(1_000);
    let held = changes
        .set("free_at_us", until)
        .set("held_until_ms", until_ms)
        .only_if("attribute_not_exists(#free_at_us) OR #free_at_us < ?", [until.into_attribute()]);
    let (Update::Applied(_) | Update::Refused(_)) = table.update(key, held).await?;
    Ok(())
}

/// Until when [`hold`] keeps back even those who have a place, epoch milliseconds.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn held_until(table: &Table, key: &Key) -> Result<Option<i64>, DynamoError> {
    Ok(table.get(key).await?.and_then(|row| number(&row, "held_until_ms")))
}
