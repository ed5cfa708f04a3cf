//! One queued event, start to finish: from the claim of its row to Caspio.

use crate::alis::Alis;
use crate::caspio::{Caspio, Upserted};
use crate::credentials::Credentials;
use crate::decide::{FlatEvent, flat_row, masked, normalise, parse_instant, resident_id};
use crate::error::AdtError;
use crate::model::{CompanyKey, ENVELOPE_KIND, EventKind, LeaveRead, QueuedEvent, Record, Resident};
use crate::store::{AdtTable, EventRow, IssueRow, NewIssue, Retention, event_digest, event_key};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Classify, Clock, Disposition, Env, EnvError, Envelope, Timestamp, error_chain, metric};
use switchyard_identity::BasicCredentials;
use switchyard_io::dynamo::Key;
use switchyard_io::http::Http;
use switchyard_io::{Aws, Secrets, Table};
use switchyard_work::once::Claim;
use tokio::time::Instant;
use tracing::Instrument as _;

/// The columns that identify a resident's row in Caspio.
pub(crate) const FLAT_KEY: [&str; 2] = ["companyKey", "alisResidentId"];

/// The time before the deadline that is left for marking an event as failed.
const FAILURE_MARGIN: Duration = Duration::from_secs(1);

/// The timeout of calls that set none of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Dependencies of processing.
#[derive(Clone)]
pub struct ProcessDeps {
    pub(crate) table: AdtTable,
    pub(crate) credentials: Credentials,
    pub(crate) alis: Alis,
    pub(crate) caspio: Caspio,
    pub(crate) clock: Clock,
    delete_after_move_out: Option<Duration>,
}

impl ProcessDeps {
    /// Reads the consumer's settings and its Caspio secret.
    ///
    /// # Errors
    /// A setting or a secret's value is missing or wrong; the message names it.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let secrets = Secrets::new(aws);
        let http = Http::plain(CALL_TIMEOUT)?;
        let days: u64 = env.parsed("RESIDENT_RETENTION_DAYS", 0)?;
        Ok(Self {
            table: AdtTable::new(Table::from_env(aws, env, "ADT_TABLE")?),
            credentials: Credentials::from_env(&secrets, env)?,
            alis: Alis::from_env(&http, env)?,
            caspio: Caspio::from_env(&http, &secrets, env).await?,
            clock: Clock::system(),
            delete_after_move_out: (days > 0).then(|| Duration::from_secs(days * 86_400)),
        })
    }
}

/// Outcome of a queued event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Caspio's row holds the resident's state.
    Processed,
    /// An earlier delivery of the message processed the event.
    Duplicate,
    /// The event cannot succeed: it is marked as failed with its reason, and the message leaves the queue.
    Parked,
}

/// Processes one event: claims its row, reads the resident from ALIS, saves the state, and writes what differs to Caspio.
///
/// If the process dies between claim and completion, the next delivery claims again and repeats the reads: the resident's
/// row is overwritten with the newer state, and Caspio's row is compared before it is written. After completion the next
/// delivery finds the event done.
///
/// # Errors
/// Transient errors: the caller returns the message to the queue. A permanent failure is parked, and is not an error.
pub async fn process(deps: &ProcessDeps, body: &str, owner: &Owner, deadline: Instant) -> Result<Outcome, AdtError> {
    let envelope = Envelope::<QueuedEvent>::parse(body, ENVELOPE_KIND).map_err(AdtError::Envelope)?;
    let span = tracing::info_span!(
        "event",
        event_id = envelope.id,
        event_type = envelope.body.event_type,
        trace_id = envelope.trace.as_deref().unwrap_or_default()
    );
    claim_and_apply(deps, envelope, owner, deadline).instrument(span).await
}

async fn claim_and_apply(
    deps: &ProcessDeps,
    envelope: Envelope<QueuedEvent>,
    owner: &Owner,
    deadline: Instant,
) -> Result<Outcome, AdtError> {
    let QueuedEvent { event_type, event_message_id } = &envelope.body;
    let company_key = CompanyKey::from(envelope.tenant.as_str());
    let key = event_key(&company_key, event_type, event_message_id);
    let digest = event_digest(&company_key, event_type, event_message_id);
    let now = deps.clock.now();
    let left = i64::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0);
    let event = match deps.table.claim(&key, &digest, owner, now, now.as_millisecond() + left).await? {
        Claim::Mine(row) => deps.table.event(row)?,
        Claim::Done(_) => {
            metric::count("duplicate", 1);
            return Ok(Outcome::Duplicate);
        }
        Claim::Busy { until_ms } => {
            let wait = u64::try_from(until_ms - now.as_millisecond()).unwrap_or(0);
            return Err(AdtError::Busy { id: envelope.id, wait: Duration::from_millis(wait) });
        }
        Claim::Missing => return Err(AdtError::UnknownEvent { id: envelope.id }),
    };
    let applied = tokio::time::timeout_at(deadline - FAILURE_MARGIN, apply(deps, &event, now, deadline)).await;
    let upserted = match applied.unwrap_or(Err(AdtError::OutOfTime)) {
        Ok(upserted) => upserted,
        Err(error) => return fail(deps, &event, &key, owner, error).await,
    };
    if !deps.table.processed(&key, owner, deps.clock.now()).await? {
        return Err(AdtError::Busy { id: envelope.id, wait: Duration::from_secs(1) });
    }
    metric::count(if upserted == Upserted::Unchanged { "unchanged" } else { "processed" }, 1);
    Ok(Outcome::Processed)
}

/// Marks the event as failed and files an issue. Returns transient errors, so that the message returns to the queue.
async fn fail(
    deps: &ProcessDeps,
    event: &EventRow,
    key: &Key,
    owner: &Owner,
    error: AdtError,
) -> Result<Outcome, AdtError> {
    const MAX_REASON_CHARS: usize = 500;
    let retryable = error.disposition() != Disposition::Permanent;
    let reason: String = error_chain(&error).chars().take(MAX_REASON_CHARS).collect();
    let issue = NewIssue {
        stage: error.stage(),
        message: reason.clone(),
        retryable,
        details: masked(&json!({"attempt": owner.attempt, "httpStatus": http_status(&error)})),
    };
    let data = event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let row = IssueRow::new(event, resident_id(&data), deps.clock.new_id().to_string(), issue, deps.clock.now());
    if let Err(unfiled) = deps.table.file_issue(&row).await {
        tracing::warn!(error = error_chain(&unfiled), "the issue could not be filed");
    }
    deps.table.failed(key, owner, &reason).await?;
    if retryable {
        return Err(error);
    }
    metric::count("parked", 1);
    tracing::warn!(event_id = event.id, error = reason, stage = error.stage(), "event parked");
    Ok(Outcome::Parked)
}

fn http_status(error: &AdtError) -> Option<u16> {
    match error {
        AdtError::Alis { source, .. } | AdtError::Caspio { source, .. } => source.status(),
        _ => None,
    }
}

async fn apply(deps: &ProcessDeps, event: &EventRow, now: Timestamp, deadline: Instant) -> Result<Upserted, AdtError> {
    let payload = deps.table.payload(event).await?;
    let data: Record = serde_json::from_str(&payload).map_err(AdtError::Json)?;
    let id = resident_id(&data).ok_or(AdtError::NoResident)?;
    let kind = EventKind::of(&event.event_type);

    let auth = deps.credentials.of(&event.company_key, false).await?;
    let (resident, leave) = match read_alis(deps, &auth, kind, id, &data, deadline).await {
        Err(AdtError::Alis { source, .. }) if source.status() == Some(401) => {
            // The secret may have been rotated since it was fetched.
            let auth = deps.credentials.of(&event.company_key, true).await?;
            read_alis(deps, &auth, kind, id, &data, deadline).await?
        }
        other => other?,
    };

    // A date in the future would make every later event count as older.
    let received = parse_instant(&event.received_at).unwrap_or(now);
    let event_time = parse_instant(&event.event_message_date).unwrap_or(received).min(received);
    let retention = match (kind, deps.delete_after_move_out) {
        (EventKind::MoveOut, Some(after)) => Retention::DeleteAfter(after),
        (EventKind::MoveIn, _) => Retention::Forever,
        _ => Retention::AsIs,
    };
    let event_ms = event_time.as_millisecond();
    let in_order = deps.table.save_resident(&event.company_key, &resident, event_ms, retention, now).await?;

    let facts = FlatEvent {
        event_type: &event.event_type,
        event_message_id: &event.event_message_id,
        event_message_date: &event.event_message_date,
        leave: &leave,
    };
    let row = flat_row(&event.company_key, event.community_id, &resident, in_order.then_some(facts));
    deps.caspio.upsert(&FLAT_KEY, &row, deadline).await
}

/// The resident's current state in ALIS, and the leave when the event is about one.
async fn read_alis(
    deps: &ProcessDeps,
    auth: &BasicCredentials,
    kind: EventKind,
    id: i64,
    data: &Record,
    deadline: Instant,
) -> Result<(Resident, LeaveRead), AdtError> {
    let (detail, basic, leave) = tokio::try_join!(
        deps.alis.resident(auth, id, deadline),
        deps.alis.basic_info(auth, id, deadline),
        read_leave(deps, auth, kind, id, data, deadline),
    )?;
    let resident = normalise(&detail, &basic).ok_or(AdtError::NamelessResident)?;
    Ok((resident, leave))
}

async fn read_leave(
    deps: &ProcessDeps,
    auth: &BasicCredentials,
    kind: EventKind,
    id: i64,
    data: &Record,
    deadline: Instant,
) -> Result<LeaveRead, AdtError> {
    if !matches!(kind, EventKind::Leave | EventKind::LeaveCancelled) {
        return Ok(LeaveRead::NotRead);
    }
    if let Some(leave_id) = data.id("LeaveId") {
        match deps.alis.leave(auth, &leave_id, deadline).await? {
            Some(leave) => return Ok(LeaveRead::Read(Some(leave))),
            None if kind == EventKind::Leave => return Ok(LeaveRead::NotRead),
            // A cancelled leave may be deleted: then the resident's remaining leave is written, if there is one.
            None => {}
        }
    }
    let leaves = match deps.alis.leaves(auth, id, deadline).await {
        Err(AdtError::Alis { source, .. }) if source.status() == Some(404) => match kind {
            EventKind::LeaveCancelled => Vec::new(),
            _ => return Ok(LeaveRead::NotRead),
        },
        other => other?,
    };
    let has_id = |leave: &Record| leave.get("LeaveId").or_else(|| leave.get("Id")).is_some_and(|id| *id != Value::Null);
    Ok(LeaveRead::Read(leaves.into_iter().find(has_id)))
}
