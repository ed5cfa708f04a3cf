//! What could not be done: kept, looked at, and sent again.
//!
//! A message that cannot succeed is buried at once by whoever finds that out ([`or_bury`]). One that failed too often, or took its
//! worker down, is in its queue's dead-letter queue, which [`archive`] empties. A notification that is given up leaves a dead
//! letter too, written with its end.

use crate::deliveries::{Retried, retry_row};
use crate::error::SignalsError;
use crate::queues::{NOTIFY, QueueDeps, RULES};
use crate::store::{Audit, DeadLetter, DeadLetterRow, DeliveryRow, Store, Whose, delivery_key, event_key};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::{Classify as _, Clock, Disposition, Env, EnvError, error_chain, iso_millis, metric, uuid_of};
use switchyard_io::dlq::{Dlq, Dlqs};
use switchyard_io::dynamo::Key;
use switchyard_io::operator::{Notice, Operator};
use switchyard_io::{Aws, Table};
use tokio::time::Instant;

/// Dead letters that are looked at together.
const READ_TOGETHER: usize = 200;

/// Dead letters that one look reads at most, before it says where the next should go on.
const MOST_READ: usize = 2_000;

/// Dead letters that are sent again at a time.
const SENT_TOGETHER: usize = 10;

/// For so long a message of a dead-letter queue is nobody else's.
const HIDDEN: Duration = Duration::from_secs(60);

/// What a message of either queue says of itself, as far as it can be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    tenant: Option<String>,
    body: HeadBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HeadBody {
    event_id: Option<String>,
    delivery_id: Option<String>,
}

impl Head {
    fn of(message: &str) -> Self {
        serde_json::from_str(message).unwrap_or_default()
    }

    /// The row whose work the message asks for.
    fn about(&self) -> Option<Key> {
        let (tenant, event) = (self.tenant.as_deref()?, self.body.event_id.as_deref()?);
        Some(match &self.body.delivery_id {
            Some(delivery) => delivery_key(tenant, event, delivery),
            None => event_key(tenant, event),
        })
    }

    fn letter<'a>(&'a self, id: String, queue: &'a str, body: &'a str, first_sent_at: Timestamp) -> DeadLetter<'a> {
        DeadLetter {
            id,
            queue,
            tenant: self.tenant.as_deref(),
            event_id: self.body.event_id.as_deref(),
            delivery_id: self.body.delivery_id.as_deref(),
            is_given_up: false,
            body,
            error_code: "receives_exhausted",
            error_message: "the message was received too often without an end",
            receives: 1,
            first_sent_at,
        }
    }
}

/// Buries a message that cannot succeed, and says that it is dealt with; any other outcome stays.
pub(crate) async fn or_bury(
    store: &Store,
    clock: &Clock,
    queue: &str,
    message: &str,
    outcome: Result<(), SignalsError>,
) -> Result<(), SignalsError> {
    let error = match outcome {
        Err(error) if error.disposition() == Disposition::Permanent => error,
        outcome => return outcome,
    };
    let (now, head) = (clock.now(), Head::of(message));
    let text = error.to_string();
    let letter = head.letter(clock.new_id().to_string(), queue, message, now);
    let letter = DeadLetter { error_code: error.code(), error_message: &text, ..letter };
    store.bury(&DeadLetterRow::new(letter, now), head.about()).await?;
    metric::count("parked", 1);
    tracing::error!(error = error_chain(&error), reason = error.code(), "a message cannot succeed and is kept");
    Ok(())
}

/// The dead letter of a notification that is given up.
pub(crate) fn given_up(row: &DeliveryRow, message: &str, reason: &str, id: String, now: Timestamp) -> DeadLetterRow {
    let letter = DeadLetter {
        id,
        queue: NOTIFY,
        tenant: Some(&row.tenant),
        event_id: Some(&row.event_id),
        delivery_id: Some(&row.id),
        is_given_up: true,
        body: message,
        error_code: reason,
        error_message: "the notification was given up",
        receives: row.attempts + 1,
        first_sent_at: row.created_at,
    };
    DeadLetterRow::new(letter, now)
}

/// What emptying dead-letter queues needs.
pub struct ArchiveDeps {
    store: Store,
    dlqs: Dlqs,
    operator: Operator,
    clock: Clock,
}

impl ArchiveDeps {
    /// Reads `SIGNALS_TABLE`, `DLQS` and `OPERATOR_BUS`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            dlqs: Dlqs::from_env(aws, env)?,
            operator: Operator::from_env(aws, env)?,
            clock: Clock::system(),
        })
    }
}

/// Dead-letter queues that [`archive`] empties.
pub const ARCHIVED: [&str; 2] = [RULES, NOTIFY];

/// Moves what is in the dead-letter queues of events and notifications into rows, where tenants can see what is theirs, and
/// tells the operator. A message is removed from its queue after its row is written; answers how many were moved.
///
/// # Errors
/// DynamoDB or SQS could not be reached; what was not moved stays in its queue.
pub async fn archive(deps: &ArchiveDeps, deadline: Instant) -> Result<u64, SignalsError> {
    let mut moved = 0;
    for dlq in ARCHIVED.iter().filter_map(|name| deps.dlqs.find(name)) {
        let found = empty(deps, dlq, deadline).await?;
        if found > 0 {
            metric::count("parked", found);
            deps.operator.tell(Notice::DlqMessage, &json!({"queue": dlq.name, "archived": found})).await;
        }
        moved += found;
    }
    Ok(moved)
}

async fn empty(deps: &ArchiveDeps, dlq: &Dlq, deadline: Instant) -> Result<u64, SignalsError> {
    let mut moved = 0;
    while Instant::now() < deadline {
        let taken = deps.dlqs.take(dlq, HIDDEN).await?;
        if taken.is_empty() {
            break;
        }
        for (dead, receipt) in taken {
            let (now, head) = (deps.clock.now(), Head::of(&dead.body));
            let sent = Timestamp::from_millisecond(dead.sent_ms).unwrap_or(now);
            // The same for the same message, should it not be removed the first time.
            let id = uuid_of(sent, &dead.id).to_string();
            let letter = head.letter(id, &dlq.name, &dead.body, sent);
            let letter = DeadLetter { receives: dead.receives, ..letter };
            deps.store.bury(&DeadLetterRow::new(letter, now), head.about()).await?;
            deps.dlqs.remove(dlq, &receipt).await?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct WantedLetters {
    /// Of this queue: `rules` or `notify`.
    pub queue: Option<String>,
    /// With this error code.
    pub reason: Option<String>,
    /// Kept since before then.
    pub older_than: Option<Timestamp>,
    /// Those only that were not sent again.
    pub is_open: bool,
}

impl WantedLetters {
    fn fits(&self, row: &DeadLetterRow) -> bool {
        self.queue.as_ref().is_none_or(|queue| *queue == row.queue)
            && self.reason.as_ref().is_none_or(|reason| *reason == row.error_code)
            && self.older_than.is_none_or(|time| row.archived_at < time)
            && !(self.is_open && row.redriven_at.is_some())
    }
}

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
) -> Result<(Vec<Value>, Option<String>), SignalsError> {
    let (rows, cursor) = find(deps, whose, wanted, cursor, limit).await?;
    Ok((rows.iter().map(show).collect(), cursor))
}

async fn find(
    deps: &QueueDeps,
    whose: Whose<'_>,
    wanted: &WantedLetters,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<DeadLetterRow>, Option<String>), SignalsError> {
    let (mut found, mut before) = (Vec::new(), cursor.map(str::to_owned));
    for _ in 0..MOST_READ / READ_TOGETHER {
        // No more than are wanted, so that a page ends where the next one begins.
        let together = READ_TOGETHER.min(limit - found.len());
        let (rows, next) = deps.store.dead_letters(whose, before.as_deref(), together).await?;
        found.extend(rows.into_iter().filter(|row| wanted.fits(row)));
        before = next;
        if found.len() >= limit || before.is_none() {
            break;
        }
    }
    Ok((found, before))
}

/// A dead letter with its message; `None` when there is no such thing.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn letter(deps: &QueueDeps, whose: Whose<'_>, id: &str) -> Result<Option<Value>, SignalsError> {
    let Some(row) = deps.store.dead_letter(whose, id).await? else { return Ok(None) };
    let mut shown = show(&row);
    shown["body"] = serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.as_str().into());
    Ok(Some(shown))
}

fn show(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.id,
        "queue": row.queue,
        "tenantId": row.tenant,
        "eventId": row.event_id,
        "deliveryId": row.delivery_id,
        "errorCode": row.error_code,
        "errorMessage": row.error_message,
        "receiveCount": row.receives,
        "firstSentAt": iso_millis(row.first_sent_at),
        "archivedAt": iso_millis(row.archived_at),
        "redrivenAt": row.redriven_at.map(iso_millis),
    })
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
    if let (true, Some(tenant), Some(delivery)) = (row.is_given_up, &row.tenant, &row.delivery_id) {
        return match deps.store.delivery::<DeliveryRow>(tenant, delivery).await? {
            Some(delivery) => retry_row(deps, actor, &delivery).await,
            None => Ok(Retried::Refused("its notification is not kept any more")),
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

/// Sends the dead letters again that are wanted, at most `most`; answers how many.
///
/// # Errors
/// DynamoDB could not be reached; those before were sent.
pub async fn redrive_all(
    deps: &QueueDeps,
    actor: &str,
    whose: Whose<'_>,
    wanted: &WantedLetters,
    most: usize,
) -> Result<usize, SignalsError> {
    let (mut rows, mut cursor) = find(deps, whose, wanted, None, most).await?;
    while rows.len() < most
        && let Some(before) = cursor
    {
        let (more, next) = find(deps, whose, wanted, Some(&before), most - rows.len()).await?;
        rows.extend(more);
        cursor = next;
    }
    let mut matched = 0;
    for some in rows.chunks(SENT_TOGETHER) {
        let retried = try_join_all(some.iter().map(|row| redrive_row(deps, actor, row))).await?;
        matched += retried.into_iter().filter(|retried| *retried == Retried::Enqueued).count();
    }
    Ok(matched)
}
