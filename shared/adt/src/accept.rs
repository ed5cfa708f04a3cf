//! Accepting a notification of ALIS: stored first, then queued.

use crate::error::AdtError;
use crate::model::{ENVELOPE_KIND, EventKind, Notification, Record};
use crate::store::{AdtTable, EventRow, Recorded};
use crate::{decide, model};
use switchyard_core::{Clock, Env, EnvError, Envelope, metric};
use switchyard_io::{Aws, Queue, Table};

/// Dependencies of accepting.
#[derive(Clone)]
pub struct AcceptDeps {
    pub(crate) table: AdtTable,
    pub(crate) queue: Queue,
    pub(crate) clock: Clock,
}

impl AcceptDeps {
    /// Reads `ADT_TABLE` and `ADT_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            table: AdtTable::new(Table::from_env(aws, env, "ADT_TABLE")?),
            queue: Queue::from_env(aws, env, "ADT_QUEUE_URL")?,
            clock: Clock::system(),
        })
    }
}

/// Outcome of a notification.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Stored and queued.
    Queued {
        /// The event's id.
        id: String,
    },
    /// A consumer has claimed the event already.
    Duplicate,
    /// Stored; events of this type have no effect.
    Ignored,
    /// Stored; a test of the connection by ALIS.
    TestAcknowledged,
}

/// Accepts one notification: one conditional write, then one send.
///
/// The row has its unsent mark from that first write on. If the process dies or the send fails, a repeated webhook sends
/// the message, and so does the sweep after two minutes. A message sent twice is harmless: SQS drops the duplicate for five
/// minutes, and the consumer's claim later.
///
/// # Errors
/// DynamoDB or SQS could not be reached; the sender should repeat the webhook.
pub async fn accept(
    deps: &AcceptDeps,
    notification: &Notification,
    trace: Option<String>,
) -> Result<Accepted, AdtError> {
    let now = deps.clock.now();
    let data: Record = serde_json::from_str(&notification.data).map_err(AdtError::Json)?;
    let resident = decide::resident_id(&data);
    let row = EventRow::new(notification, deps.clock.new_id().to_string(), resident, trace, now);
    let row = match deps.table.record(row).await? {
        Recorded::New(row) => row,
        Recorded::Known(row) if row.is_unsent() => row,
        Recorded::Known(_) => {
            metric::count("duplicate", 1);
            return Ok(Accepted::Duplicate);
        }
    };
    match notification.kind() {
        EventKind::Test => {
            metric::count("ignored", 1);
            Ok(Accepted::TestAcknowledged)
        }
        EventKind::Unsupported => {
            metric::count("ignored", 1);
            Ok(Accepted::Ignored)
        }
        EventKind::MoveIn | EventKind::Update | EventKind::MoveOut | EventKind::Leave | EventKind::LeaveCancelled => {
            enqueue(&deps.queue, &row).await?;
            metric::count("accepted", 1);
            tracing::info!(event_id = row.id, event_type = row.event_type, "event queued");
            Ok(Accepted::Queued { id: row.id })
        }
    }
}

/// Sends the event's key to the queue.
pub(crate) async fn enqueue(queue: &Queue, row: &EventRow) -> Result<(), AdtError> {
    let envelope: Envelope<model::QueuedEvent> =
        Envelope::new(ENVELOPE_KIND, row.id.clone(), row.company_key.to_string(), row.trace.clone(), row.queued());
    let body = envelope.to_json().map_err(AdtError::Json)?;
    queue.send_fifo(&body, &row.group_id, &row.dedup_id()).await.map_err(AdtError::Queue)
}
