//! `/admin/dlq`: the dead-letter queues of every workflow, with the dead letters that were archived.

use crate::State;
use crate::access::Actor;
use axum::extract;
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_api::{Accepted, Authenticated, Endpoint, Json, OrFault as _, PageQuery, Path, PathParameter, Refusal};
use switchyard_core::{Timestamp, Uuid, iso_millis};
use switchyard_identity::Access;
use switchyard_io::dlq::DeadMessage;
use switchyard_work::dead_letters::{DeadLetter, DeadLetterError, DeadLetterQueue, RedriveOutcome};
use tokio::time::Instant;

/// Messages in SQS that one call shows at most.
const MAX_PEEKED: u8 = 10;

/// How long one call redrives.
const REDRIVE_TIME: Duration = Duration::from_secs(5);

pub(crate) fn endpoints() -> [Endpoint<State>; 4] {
    let manage = |endpoint: Endpoint<State>| endpoint.access(Access::OperatorOrBasic);
    [
        manage(Endpoint::get("/admin/dlq", list_dead_letter_queues)).summary("List dead-letter queues"),
        manage(Endpoint::get("/admin/dlq/{queue}", get_dead_letter_queue))
            .summary("Get a dead-letter queue and its dead letters, newest first"),
        manage(Endpoint::post("/admin/dlq/{queue}/redrive", redrive_dead_letter_queue))
            .summary("Redrive a dead-letter queue")
            .refuses(&[(409, "A redrive of the queue is running")]),
        manage(Endpoint::post("/admin/dlq/{queue}/{id}/redrive", redrive_archived_dead_letter))
            .summary("Redrive an archived dead letter, once")
            .refuses(&[(409, "It was redriven before, or is a notification, which its tenant redrives")]),
    ]
}

/// The name of a dead-letter queue, such as `adt`.
struct QueueName(String);

impl PathParameter for QueueName {
    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn schema() -> Value {
        json!({"type": "string", "examples": ["adt"]})
    }
}

impl QueueName {
    fn find<'a>(&self, state: &'a State) -> Result<&'a DeadLetterQueue, Refusal> {
        let message = "No dead-letter queue has this name; list them with GET /admin/dlq";
        state.0.dead_letters.find(&self.0).ok_or_else(|| Refusal::new(404, "not_found", message))
    }
}

/// The id of an archived dead letter.
struct ArchivedId(Uuid);

impl PathParameter for ArchivedId {
    fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }
}

/// The dead-letter queues.
#[derive(JsonSchema, Serialize)]
struct DeadLetterQueues {
    queues: Vec<DeadLetterQueueSummary>,
}

/// How many messages of a dead-letter queue wait to be redriven.
#[derive(JsonSchema, Serialize)]
struct DeadLetterQueueSummary {
    /// The queue's name.
    queue: String,
    /// About so many messages: those in SQS, and archived ones, of which at most 1,000 are counted, among the newest 10,000 of
    /// the workflow.
    waiting: u64,
}

/// A dead-letter queue.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetterQueue")]
struct DeadLetterQueueDetails {
    /// The queue's name.
    queue: String,
    /// As in the list of queues.
    waiting: u64,
    /// On the first page up to ten messages that are still in SQS, then archived ones, newest first.
    messages: Vec<DeadLetterSummary>,
    /// The latest redrive of messages in SQS, if there was one.
    last_redrive: Option<RedriveProgress>,
    /// `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A dead letter, without its body, which may hold people's data.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterSummary {
    /// SQS's id; the dead letter's own once it is archived.
    message_id: String,
    kind: DeadLetterKind,
    /// How often the message was received.
    receives: u32,
    /// RFC 3339.
    sent_at: Option<String>,
    envelope: EnvelopeHead,
    /// Whether `envelope` is left out, because the message is not of its workflow's form and may hold people's data.
    redacted: bool,
    /// RFC 3339; null while the message is in SQS.
    archived_at: Option<String>,
    /// Why it failed, such as `receives_exhausted`.
    error_code: Option<String>,
    /// RFC 3339; null unless it was redriven.
    redriven_at: Option<String>,
}

/// What a dead letter holds.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "QueueDeadLetterKind")]
enum DeadLetterKind {
    /// A queue's message that could not be processed.
    Message,
    /// A notification that could not be delivered, which its tenant redrives.
    Notification,
}

/// What a message says of itself.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
struct EnvelopeHead {
    id: Option<String>,
    kind: Option<String>,
    tenant: Option<String>,
}

impl EnvelopeHead {
    fn of(body: &str) -> Self {
        serde_json::from_str(body).unwrap_or_default()
    }
}

/// How far a redrive has come.
#[derive(JsonSchema, Serialize)]
struct RedriveProgress {
    /// `RUNNING`, `COMPLETED`, `FAILED` and so on, as SQS says.
    status: String,
    /// Messages moved so far.
    moved: i64,
}

async fn list_dead_letter_queues(
    extract::State(state): extract::State<State>,
) -> Result<Json<DeadLetterQueues>, Refusal> {
    let dead_letters = &state.0.dead_letters;
    let summaries = dead_letters.all().iter().map(async |queue| {
        let waiting = dead_letters.waiting(queue).await?;
        Ok::<_, DeadLetterError>(DeadLetterQueueSummary { queue: queue.dlq.name.clone(), waiting })
    });
    Ok(Json(DeadLetterQueues { queues: try_join_all(summaries).await.or_fault()? }))
}

async fn get_dead_letter_queue(
    extract::State(state): extract::State<State>,
    Path(name): Path<QueueName>,
    page: PageQuery,
) -> Result<Json<DeadLetterQueueDetails>, Refusal> {
    let (queues, queue) = (&state.0.dead_letters, name.find(&state)?);
    let peeked = async {
        match page.cursor() {
            None => queues.peek(queue, MAX_PEEKED).await,
            Some(_) => Ok(Vec::new()),
        }
    };
    let archived = queues.archived(queue, page.cursor(), page.limit);
    let (waiting, peeked, archived, redrive) =
        tokio::try_join!(queues.waiting(queue), peeked, archived, queues.progress(queue)).map_err(refusal)?;
    let (archived, next_cursor) = archived;
    let peeked = peeked.iter().map(|message| DeadLetterSummary::of_message(queue, message));
    let archived = archived.iter().map(|letter| DeadLetterSummary::of_archived(queue, letter));
    Ok(Json(DeadLetterQueueDetails {
        queue: queue.dlq.name.clone(),
        waiting,
        messages: peeked.chain(archived).collect(),
        last_redrive: redrive.map(|redrive| RedriveProgress { status: redrive.status, moved: redrive.moved }),
        next_cursor,
    }))
}

fn refusal(error: DeadLetterError) -> Refusal {
    match error {
        DeadLetterError::InvalidCursor => Refusal::field("cursor is not valid; use `nextCursor` of an earlier page"),
        error => Refusal::fault(&error),
    }
}

/// A redrive that was started.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct RedriveStarted {
    /// The queue's name.
    queue: String,
    /// Messages that SQS moves back, about.
    waiting: u64,
    /// Archived messages that are sent within a minute.
    redriven: usize,
    /// Whether all messages that were archived before the call are redriven; if not, call again.
    complete: bool,
}

async fn redrive_dead_letter_queue(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(name): Path<QueueName>,
) -> Result<Accepted<RedriveStarted>, Refusal> {
    let (queues, queue) = (&state.0.dead_letters, name.find(&state)?);
    let redriven = queues.redrive(queue, &actor.id(), Instant::now() + REDRIVE_TIME).await.or_fault()?;
    let (waiting, archived) = (redriven.in_queue, redriven.archived);
    if redriven.is_moving && archived == 0 {
        return Err(Refusal::new(409, "redrive_running", "A redrive of this queue is running"));
    }
    let found = waiting + archived as u64;
    tracing::info!(service = queue.dlq.name, caller = actor.id().as_str(), found, "redrive started");
    let queue = queue.dlq.name.clone();
    Ok(Accepted(RedriveStarted { queue, waiting, redriven: archived, complete: redriven.is_complete }))
}

/// An archived dead letter that was redriven.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterRedriven {
    /// The queue's name.
    queue: String,
    /// The dead letter's id.
    message_id: String,
}

async fn redrive_archived_dead_letter(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path((name, ArchivedId(id))): Path<(QueueName, ArchivedId)>,
) -> Result<Accepted<DeadLetterRedriven>, Refusal> {
    let (queues, queue, message_id) = (&state.0.dead_letters, name.find(&state)?, id.to_string());
    match queues.redrive_one(queue, &message_id, &actor.id()).await.or_fault()? {
        Some(RedriveOutcome::Redriven) => {
            tracing::info!(service = queue.dlq.name, caller = actor.id().as_str(), found = 1, "redrive started");
            Ok(Accepted(DeadLetterRedriven { queue: queue.dlq.name.clone(), message_id }))
        }
        Some(RedriveOutcome::AlreadyRedriven) => {
            Err(Refusal::new(409, "already_redriven", "This dead letter was redriven before"))
        }
        Some(RedriveOutcome::Notification) => Err(Refusal::new(
            409,
            "not_redrivable",
            "Its tenant redrives a notification, at POST /api/dlq/{id}/redrive",
        )),
        None => Err(Refusal::new(404, "not_found", "The queue has no archived dead letter with this id")),
    }
}

impl DeadLetterSummary {
    fn of_message(queue: &DeadLetterQueue, message: &DeadMessage) -> Self {
        let shown = queue.shown(&message.body);
        Self {
            message_id: message.id.clone(),
            kind: DeadLetterKind::Message,
            receives: message.receives,
            sent_at: Timestamp::from_millisecond(message.sent_ms).ok().map(iso_millis),
            envelope: shown.map(EnvelopeHead::of).unwrap_or_default(),
            redacted: shown.is_none(),
            archived_at: None,
            error_code: None,
            redriven_at: None,
        }
    }

    fn of_archived(queue: &DeadLetterQueue, letter: &DeadLetter) -> Self {
        let shown = queue.shown(&letter.body);
        Self {
            message_id: letter.id.clone(),
            kind: if letter.is_given_up { DeadLetterKind::Notification } else { DeadLetterKind::Message },
            receives: letter.receives,
            sent_at: Some(iso_millis(letter.first_sent_at)),
            envelope: shown.map(EnvelopeHead::of).unwrap_or_default(),
            redacted: shown.is_none(),
            archived_at: Some(iso_millis(letter.archived_at)),
            error_code: Some(letter.error_code.clone()),
            redriven_at: letter.redriven_at.map(iso_millis),
        }
    }
}
