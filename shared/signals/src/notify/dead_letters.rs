//! Dead letters of signals: listed for tenants and operators, deleted, redriven.

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, DeadLetterId};
use crate::notify::delivery::row::DeliveryRow;
use crate::notify::delivery::{RetryOutcome, restart_delivery, retry_row};
use crate::queues::QueueDeps;
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchyard_core::error_chain;
use switchyard_core::iso_millis;
use switchyard_work::dead_letters::{self, DeadLetter, Filter, Scope};
use switchyard_work::outbox;
use tokio::time::Instant;

/// Dead letters that are redriven at a time.
const REDRIVE_BATCH: usize = 10;

/// Dead letters, newest first, at most `limit` from `cursor` on, and the cursor of the next page. A page reads a bounded number of
/// rows, so that it may hold fewer than there are and still have a cursor.
///
/// # Errors
/// DynamoDB could not be reached, or the cursor is not valid.
pub async fn list(
    deps: &QueueDeps,
    scope: Scope<'_>,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<DeadLetterView>, Option<String>), SignalsError> {
    let (rows, cursor) = deps.store.dead_letters().list(scope, filter, cursor, limit).await?;
    Ok((rows.iter().map(DeadLetterView::of).collect(), cursor))
}

/// A dead letter with its message; `None` when there is none with this id.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn get(
    deps: &QueueDeps,
    scope: Scope<'_>,
    id: &DeadLetterId,
) -> Result<Option<DeadLetterDetails>, SignalsError> {
    let Some(row) = find(deps, scope, id).await? else { return Ok(None) };
    let body = serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.as_str().into());
    Ok(Some(DeadLetterDetails { letter: DeadLetterView::of(&row), body }))
}

/// Deletes a dead letter; `false` when there is none with this id.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn delete(
    deps: &QueueDeps,
    actor: &ActorId,
    scope: Scope<'_>,
    id: &DeadLetterId,
) -> Result<bool, SignalsError> {
    let Some(row) = find(deps, scope, id).await? else { return Ok(false) };
    let record = deps.store.audit(audit(&row, actor, "dead_letter.remove"), deps.clock.now())?;
    Ok(deps.store.dead_letters().delete(&row, vec![record]).await?)
}

fn audit<'a>(row: &'a DeadLetter, actor: &'a ActorId, action: &'a str) -> Audit<'a> {
    Audit { tenant: row.tenant.as_deref().unwrap_or("-"), actor, action, subject: &row.id, before: None, after: None }
}

/// Redrives a dead letter: sends its message again, or retries its notification; `None` when there is none with this id.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn redrive(
    deps: &QueueDeps,
    actor: &ActorId,
    scope: Scope<'_>,
    id: &DeadLetterId,
) -> Result<Option<RetryOutcome>, SignalsError> {
    match find(deps, scope, id).await? {
        Some(row) => redrive_row(deps, actor, &row).await.map(Some),
        None => Ok(None),
    }
}

async fn redrive_row(deps: &QueueDeps, actor: &ActorId, row: &DeadLetter) -> Result<RetryOutcome, SignalsError> {
    if row.redriven_at.is_some() {
        return Ok(RetryOutcome::Refused("it was redriven before"));
    }
    if let (Some(tenant), Some(delivery)) = (&row.tenant, &row.delivery_id) {
        let Some(delivery) = deps.store.delivery::<DeliveryRow>(tenant, delivery).await? else {
            return Ok(RetryOutcome::Refused("its notification is not stored any longer"));
        };
        return match row.is_given_up {
            true if delivery.dead_letter.as_ref() == Some(&row.id) => retry_row(deps, actor, &delivery).await,
            false if delivery.is_open() => restart_delivery(deps, actor, &delivery, Some(row.key())).await,
            true | false => Ok(RetryOutcome::Refused("its notification was sent or retried since")),
        };
    }
    let now = deps.clock.now();
    let record = deps.store.audit(audit(row, actor, "dead_letter.redrive"), now)?;
    if !deps.store.dead_letters().redrive(row, actor, now, outbox::GRACE, vec![record]).await? {
        return Ok(RetryOutcome::Refused("it was redriven before"));
    }
    match send_again(deps, row).await {
        Ok(()) => {}
        Err(error) => tracing::warn!(error = error_chain(&error), "a dead letter waits for the sweeper"),
    }
    Ok(RetryOutcome::Enqueued)
}

/// Sends the message of a dead letter that was marked as redriven. A delivery that is still open starts anew, as its retry would.
pub(crate) async fn send_again(deps: &QueueDeps, row: &DeadLetter) -> Result<(), SignalsError> {
    let delivery = match (&row.tenant, &row.delivery_id) {
        (Some(tenant), Some(id)) => deps.store.delivery::<DeliveryRow>(tenant, id).await?,
        _ => None,
    };
    match delivery {
        Some(delivery) if delivery.is_open() => {
            let actor = ActorId::from(row.redriven_by.as_deref().unwrap_or("sweep"));
            restart_delivery(deps, &actor, &delivery, None).await?;
        }
        Some(_) => {}
        None => deps.send(&row.queue, &row.body).await?,
    }
    Ok(deps.store.dead_letters().sent(&row.key()).await?)
}

/// Redrives the dead letters that fit, at most `limit` from `cursor` on, until the `deadline`. Returns how many, and the cursor of the
/// next call if there may be more.
///
/// # Errors
/// DynamoDB could not be reached, or the cursor is not valid; those before were redriven.
pub async fn redrive_all(
    deps: &QueueDeps,
    actor: &ActorId,
    scope: Scope<'_>,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
    deadline: Instant,
) -> Result<(usize, Option<String>), SignalsError> {
    let (rows, next) = deps.store.dead_letters().list(scope, filter, cursor, limit).await?;
    let (mut matched, mut last) = (0, None);
    for some in rows.chunks(REDRIVE_BATCH) {
        // The first ones are redriven in any case, so that every call makes progress.
        if let Some(last) = last.filter(|_: &&DeadLetter| Instant::now() >= deadline) {
            return Ok((matched, Some(last.place(scope))));
        }
        let retried = try_join_all(some.iter().map(|row| redrive_row(deps, actor, row))).await?;
        matched += retried.into_iter().filter(|retried| *retried == RetryOutcome::Enqueued).count();
        last = some.last();
    }
    Ok((matched, next))
}

async fn find(deps: &QueueDeps, scope: Scope<'_>, id: &DeadLetterId) -> Result<Option<DeadLetter>, SignalsError> {
    let key = match scope {
        Scope::Tenant(tenant) => Some(dead_letters::key(Some(tenant), id.as_str())),
        Scope::All => deps.store.key_of(id.as_str()).await?.filter(dead_letters::is_dead_letter),
    };
    match key {
        Some(key) => Ok(deps.store.dead_letters().get(&key).await?),
        None => Ok(None),
    }
}

/// A dead letter.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "DeadLetter")]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// The dead letter's id.
    pub id: String,
    /// What was given up.
    pub kind: DeadLetterKind,
    /// `rules` or `notify`.
    pub queue: String,
    /// The tenant, if the message names one.
    pub tenant_id: Option<String>,
    /// The event that it is about.
    pub event_id: Option<String>,
    /// The delivery that it is about.
    pub delivery_id: Option<String>,
    /// Why it was given up.
    pub error_code: String,
    /// Why it was given up, for people.
    pub error_message: String,
    /// How often the message was received.
    pub receive_count: u32,
    /// RFC 3339.
    pub first_sent_at: String,
    /// RFC 3339.
    pub archived_at: String,
    /// RFC 3339; null unless it was redriven.
    pub redriven_at: Option<String>,
}

/// What a dead letter holds.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterKind {
    /// A notification that could not be delivered.
    Notification,
    /// A queue's message that could not be processed.
    Message,
}

impl DeadLetterView {
    pub(crate) fn of(row: &DeadLetter) -> Self {
        Self {
            id: row.id.clone(),
            kind: if row.is_given_up { DeadLetterKind::Notification } else { DeadLetterKind::Message },
            queue: row.queue.clone(),
            tenant_id: row.tenant.clone(),
            event_id: row.event_id.clone(),
            delivery_id: row.delivery_id.clone(),
            error_code: row.error_code.clone(),
            error_message: row.error_message.clone(),
            receive_count: row.receives,
            first_sent_at: iso_millis(row.first_sent_at),
            archived_at: iso_millis(row.archived_at),
            redriven_at: row.redriven_at.map(iso_millis),
        }
    }
}

/// A dead letter with its message.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "DeadLetterDetails")]
pub struct DeadLetterDetails {
    /// The dead letter.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// The message: JSON, or a text that is not JSON.
    pub body: Value,
}
