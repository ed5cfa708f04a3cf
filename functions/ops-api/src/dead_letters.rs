//! `/admin/dlq`: the dead-letter queues of every workflow.

use crate::State;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_api::{Accepted, Endpoint, Json, OrFault as _, Path, PathParameter, Refusal};
use switchyard_core::iso_millis;
use switchyard_identity::Access;
use switchyard_io::dlq::{Dead, Dlq};

/// Messages that one call shows at most.
const MAX_SHOWN: u8 = 10;

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    [
        Endpoint::get("/admin/dlq", list_dead_letter_queues)
            .summary("List dead-letter queues")
            .access(Access::OperatorOrBasic),
        Endpoint::get("/admin/dlq/{queue}", get_dead_letter_queue)
            .summary("Get a dead-letter queue and its first messages")
            .access(Access::OperatorOrBasic),
        Endpoint::post("/admin/dlq/{queue}/redrive", redrive_dead_letter_queue)
            .summary("Redrive a dead-letter queue")
            .access(Access::OperatorOrBasic)
            .refuses(&[(409, "A redrive of the queue is running")]),
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
    fn find<'a>(&self, state: &'a State) -> Result<&'a Dlq, Refusal> {
        let message = "No dead-letter queue has this name; list them with GET /admin/dlq";
        state.0.dlqs.find(&self.0).ok_or_else(|| Refusal::new(404, "not_found", message))
    }
}

/// The dead-letter queues.
#[derive(JsonSchema, Serialize)]
struct DeadLetterQueues {
    queues: Vec<DeadLetterQueueSummary>,
}

/// How many messages a dead-letter queue holds.
#[derive(JsonSchema, Serialize)]
struct DeadLetterQueueSummary {
    /// The queue's name.
    queue: String,
    /// Messages in it, about.
    waiting: u64,
}

/// A dead-letter queue.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterQueue {
    /// The queue's name.
    queue: String,
    /// Messages in it, about.
    waiting: u64,
    /// The first of them, at most ten.
    messages: Vec<DeadMessage>,
    /// The latest redrive, if there was one.
    last_redrive: Option<RedriveProgress>,
}

/// A message, without its body, which may hold people's data.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadMessage {
    /// SQS's id.
    message_id: String,
    /// How often it was received.
    receives: u32,
    /// RFC 3339.
    sent_at: Option<String>,
    envelope: EnvelopeHead,
}

/// What a message says of itself.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
struct EnvelopeHead {
    id: Option<String>,
    kind: Option<String>,
    tenant: Option<String>,
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
    let mut queues = Vec::new();
    for dlq in state.0.dlqs.all() {
        let waiting = state.0.dlqs.waiting(dlq).await.or_fault()?;
        queues.push(DeadLetterQueueSummary { queue: dlq.name.clone(), waiting });
    }
    Ok(Json(DeadLetterQueues { queues }))
}

async fn get_dead_letter_queue(
    extract::State(state): extract::State<State>,
    Path(name): Path<QueueName>,
) -> Result<Json<DeadLetterQueue>, Refusal> {
    let (dlqs, dlq) = (&state.0.dlqs, name.find(&state)?);
    let (waiting, dead, redrive) =
        tokio::try_join!(dlqs.waiting(dlq), dlqs.look(dlq, MAX_SHOWN), dlqs.progress(dlq)).or_fault()?;
    Ok(Json(DeadLetterQueue {
        queue: dlq.name.clone(),
        waiting,
        messages: dead.iter().map(DeadMessage::from).collect(),
        last_redrive: redrive.map(|redrive| RedriveProgress { status: redrive.status, moved: redrive.moved }),
    }))
}

async fn redrive_dead_letter_queue(
    extract::State(state): extract::State<State>,
    Path(name): Path<QueueName>,
) -> Result<Accepted<DeadLetterQueueSummary>, Refusal> {
    let (dlqs, dlq) = (&state.0.dlqs, name.find(&state)?);
    let redrive = dlqs.progress(dlq).await.or_fault()?;
    // SQS runs one at a time.
    if redrive.is_some_and(|redrive| redrive.status == "RUNNING") {
        return Err(Refusal::new(409, "redrive_running", "A redrive of this queue is running"));
    }
    let waiting = dlqs.waiting(dlq).await.or_fault()?;
    dlqs.redrive(dlq).await.or_fault()?;
    tracing::info!(service = dlq.name, found = waiting, "redrive started");
    Ok(Accepted(DeadLetterQueueSummary { queue: dlq.name.clone(), waiting }))
}

impl From<&Dead> for DeadMessage {
    fn from(dead: &Dead) -> Self {
        Self {
            message_id: dead.id.clone(),
            receives: dead.receives,
            sent_at: jiff::Timestamp::from_millisecond(dead.sent_ms).ok().map(iso_millis),
            envelope: serde_json::from_str(&dead.body).unwrap_or_default(),
        }
    }
}
