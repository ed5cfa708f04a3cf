//! Looking at what could not be done, and having it done again.

use crate::deliveries::{Retried, begin, retry_row};
use crate::error::SignalsError;
use crate::queues::QueueDeps;
use crate::store::{Audit, DeadLetterRow, DeliveryRow, WantedLetters, Whose};
use crate::view::{DeadLetterDetails, DeadLetterView};
use futures_util::future::try_join_all;
use switchyard_core::error_chain;
use tokio::time::Instant;

/// Dead letters that are sent again at a time.
const SENT_TOGETHER: usize = 10;

/// Dead letters, the newest first, at most `limit` from `cursor` on, and the cursor of the next page. One look reads a
/// bounded number of them, so that it may find fewer than there are and still say where to go on.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn list(
    deps: &QueueDeps,
    whose: Whose<'_>,
    wanted: &WantedLetters,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<DeadLetterView>, Option<String>), SignalsError> {
    let (rows, cursor) = deps.store.dead_letters(whose, wanted, cursor, limit).await?;
    Ok((rows.iter().map(DeadLetterView::of).collect(), cursor))
}

/// A dead letter with its message; `None` when there is no such thing.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn letter(deps: &QueueDeps, whose: Whose<'_>, id: &str) -> Result<Option<DeadLetterDetails>, SignalsError> {
    let Some(row) = deps.store.dead_letter(whose, id).await? else { return Ok(None) };
    let body = serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.as_str().into());
    Ok(Some(DeadLetterDetails { letter: DeadLetterView::of(&row), body }))
}

/// Removes a dead letter; `false` when there is no such thing.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn remove(deps: &QueueDeps, actor: &str, whose: Whose<'_>, id: &str) -> Result<bool, SignalsError> {
    let Some(row) = deps.store.dead_letter(whose, id).await? else { return Ok(false) };
    let record = deps.store.audit(audit(&row, actor, "dead_letter.remove"), deps.clock.now())?;
    deps.store.forget_dead_letter(&row, record).await
}

fn audit<'a>(row: &'a DeadLetterRow, actor: &'a str, action: &'a str) -> Audit<'a> {
    Audit { tenant: row.tenant.as_deref().unwrap_or("-"), actor, action, subject: &row.id, before: None, after: None }
}

/// Sends a dead letter's message again, or begins its notification again; `None` when there is no such thing.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn redrive(
    deps: &QueueDeps,
    actor: &str,
    whose: Whose<'_>,
    id: &str,
) -> Result<Option<Retried>, SignalsError> {
    match deps.store.dead_letter(whose, id).await? {
        Some(row) => redrive_row(deps, actor, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn redrive_row(deps: &QueueDeps, actor: &str, row: &DeadLetterRow) -> Result<Retried, SignalsError> {
    if row.redriven_at.is_some() {
        return Ok(Retried::Refused("it was sent again before"));
    }
    if let (Some(tenant), Some(delivery)) = (&row.tenant, &row.delivery_id) {
        let Some(delivery) = deps.store.delivery::<DeliveryRow>(tenant, delivery).await? else {
            return Ok(Retried::Refused("its notification is not kept any more"));
        };
        return match row.is_given_up {
            true if delivery.dead_letter.as_ref() == Some(&row.id) => retry_row(deps, actor, &delivery).await,
            false if delivery.is_open() => begin(deps, actor, &delivery, Some(row.key())).await,
            true | false => Ok(Retried::Refused("its notification was dealt with since")),
        };
    }
    let now = deps.clock.now();
    let record = deps.store.audit(audit(row, actor, "dead_letter.redrive"), now)?;
    if !deps.store.redrive_dead_letter(row, record, now).await? {
        return Ok(Retried::Refused("it was sent again before"));
    }
    match send_again(deps, row).await {
        Ok(()) => {}
        Err(error) => tracing::warn!(error = error_chain(&error), "a dead letter waits for the sweeper"),
    }
    Ok(Retried::Enqueued)
}

/// Sends a dead letter's message, and says so.
pub(crate) async fn send_again(deps: &QueueDeps, row: &DeadLetterRow) -> Result<(), SignalsError> {
    deps.send(&row.queue, &row.body).await?;
    deps.store.dead_letter_sent(&row.key()).await
}

/// Sends the dead letters again that are wanted, at most `most` from `cursor` on and as far as it comes by the `deadline`; answers
/// how many, and where to go on if there may be more.
///
/// # Errors
/// DynamoDB could not be reached; those before were sent.
pub async fn redrive_all(
    deps: &QueueDeps,
    actor: &str,
    whose: Whose<'_>,
    wanted: &WantedLetters,
    cursor: Option<&str>,
    most: usize,
    deadline: Instant,
) -> Result<(usize, Option<String>), SignalsError> {
    let (rows, next) = deps.store.dead_letters(whose, wanted, cursor, most).await?;
    let (mut matched, mut last) = (0, None);
    for some in rows.chunks(SENT_TOGETHER) {
        // The first ones go in any case, so that it never stands still.
        if let Some(last) = last.filter(|_: &&DeadLetterRow| Instant::now() >= deadline) {
            return Ok((matched, Some(last.place(whose))));
        }
        let retried = try_join_all(some.iter().map(|row| redrive_row(deps, actor, row))).await?;
        matched += retried.into_iter().filter(|retried| *retried == Retried::Enqueued).count();
        last = some.last();
    }
    Ok((matched, next))
}
