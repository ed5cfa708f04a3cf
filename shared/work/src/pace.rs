//! Pace: a row gives out one place in time every `step`, however many workers ask at once, and each waits for its own.

use std::time::Duration;
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, DynamoError, IntoAttribute as _, Key, Update, number};

/// Reserves the next free place, one every `step`, together with `changes`. Returns its time, epoch milliseconds, or `None`
/// when it lies further off than `horizon`; then nothing is reserved, so that no slot lies further ahead than a caller would wait.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn reserve(
    table: &Table,
    key: &Key,
    step: Duration,
    now_ms: i64,
    horizon: Duration,
    changes: &Changes,
) -> Result<Option<i64>, DynamoError> {
    // Microseconds, since most rates' steps are no whole milliseconds.
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let (step, now) = (micros(step), now_ms.saturating_mul(1_000));
    let last = now.saturating_add(micros(horizon));
    loop {
        let behind = changes
            .clone()
            .add("free_at_us", step)
            .only_if("#free_at_us > ? AND #free_at_us <= ?", [now.into_attribute(), last.into_attribute()]);
        match table.update(key, behind).await? {
            Update::Applied(row) => {
                let free_at = number::<i64>(&row, "free_at_us").map_or(now, |free_at| free_at - step);
                return Ok(Some(free_at / 1_000));
            }
            Update::Refused(Some(row)) if number::<i64>(&row, "free_at_us").is_some_and(|free_at| free_at > last) => {
                return Ok(None);
            }
            Update::Refused(_) => {}
        }
        let at_once = changes
            .clone()
            .set("free_at_us", now.saturating_add(step))
            .only_if("attribute_not_exists(#free_at_us) OR #free_at_us <= ?", [now.into_attribute()]);
        if let Update::Applied(_) = table.update(key, at_once).await? {
            return Ok(Some(now_ms));
        }
        // Another took the place in between; then there is one to stand behind.
    }
}

/// Suspends the pace until `until_ms`, also for workers that have a place, together with `changes`. The next place is no
/// earlier either.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn hold(table: &Table, key: &Key, until_ms: i64, changes: Changes) -> Result<(), DynamoError> {
    let until = until_ms.saturating_mul(1_000);
    let held = changes
        .set("held_until_ms", until_ms)
        .only_if("attribute_not_exists(#held_until_ms) OR #held_until_ms < ?", [until_ms.into_attribute()]);
    let with_places = held
        .clone()
        .set("free_at_us", until)
        .only_if("attribute_not_exists(#free_at_us) OR #free_at_us < ?", [until.into_attribute()]);
    // Where the line is longer than that, places stay as they are.
    if let Update::Refused(_) = table.update(key, with_places).await? {
        let (Update::Applied(_) | Update::Refused(_)) = table.update(key, held).await?;
    }
    Ok(())
}

/// Until when [`hold`] suspends the pace even for workers that have a place, epoch milliseconds.
///
/// # Errors
/// Transient faults of DynamoDB.
pub async fn held_until(table: &Table, key: &Key) -> Result<Option<i64>, DynamoError> {
    Ok(table.get(key).await?.and_then(|row| number(&row, "held_until_ms")))
}
