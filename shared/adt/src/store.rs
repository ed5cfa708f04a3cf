//! Every row of the ADT table, with its keys and conditions.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | event | `C#<company>` | `E#<type>#<message id>` | 400 days, payload 30 days |
//! | part of a large payload | `C#<company>` | `P#<type>#<message id>#<n>` | 30 days |
//! | resident | `C#<company>` | `R#<resident id>` | until `RESIDENT_RETENTION_DAYS` after move-out, if set |
//! | issue | `C#<company>` | `I#<uuid v7>` | 90 days |
//!
//! | Question | Query |
//! |---|---|
//! | was this event recorded before? | the condition of its create |
//! | which events are unsent, which payloads have expired? | index `due` (`due_shard`, `due_at`), marked rows only |
//! | a resident's state, a company's issues | key, key prefix |
//!
//! Event status: `received` → `queued` (a consumer claimed it) → `processed` or `failed`; `received` → `ignored`.
//! A failed event may be processed by a later delivery.

use crate::error::AdtError;
use crate::model::{CompanyKey, EventKind, EventMessageId, Notification, QueuedEvent, Resident};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Timestamp, hex_sha256, iso_millis};
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, Create, IntoAttribute, Item, Key, Update};
use switchyard_work::once::{self, Claim};
use switchyard_work::outbox::{self, Due};

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "adt";

const EVENT_TTL: Duration = Duration::from_secs(400 * 86_400);
const PAYLOAD_TTL: Duration = Duration::from_secs(30 * 86_400);
const ISSUE_TTL: Duration = Duration::from_secs(90 * 86_400);

/// A payload up to this size is stored in the event's row, and a larger one in parts: a row of DynamoDB holds 400 KB.
const MAX_INLINE_BYTES: usize = 300_000;

/// The event log's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pub(crate) pk: String,
    pub(crate) sk: String,
    /// Version of the row's schema.
    pub(crate) v: u8,
    /// Opaque id, returned to the sender.
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) company_key: CompanyKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) community_id: Option<i64>,
    pub(crate) event_type: String,
    pub(crate) event_message_id: EventMessageId,
    pub(crate) event_message_date: String,
    /// ISO 8601.
    pub(crate) received_at: String,
    /// FIFO group: a digest of company and resident, so that one resident's events keep their order.
    pub(crate) group_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    /// NotificationData, verbatim; absent when in parts, and once retention has removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<String>,
    /// Number of part rows.
    #[serde(default)]
    pub(crate) payload_parts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The due mark; absent when there is nothing left to send or remove.
    #[serde(flatten)]
    pub(crate) due: Option<Due>,
    /// TTL, epoch seconds.
    pub(crate) expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct PayloadPart {
    pk: String,
    sk: String,
    text: String,
    expires_at: i64,
}

impl EventRow {
    /// The row of a notification that arrived at `now`. `resident` decides the FIFO group.
    pub(crate) fn new(
        notification: &Notification,
        id: String,
        resident: Option<i64>,
        trace: Option<String>,
        now: Timestamp,
    ) -> Self {
        let Notification { company_key, event_type, event_message_id, .. } = notification;
        let Key { pk, sk } = event_key(company_key, event_type, event_message_id);
        let (status, error, due_after) = match notification.kind() {
            EventKind::Unsupported => ("ignored", Some(format!("Unsupported event type {event_type}")), PAYLOAD_TTL),
            EventKind::Test => ("ignored", Some("Test event acknowledged".to_owned()), PAYLOAD_TTL),
            _ => ("received", None, outbox::GRACE),
        };
        let group = resident.map_or_else(|| format!("event {event_message_id}"), |id| format!("resident {id}"));
        let digest = event_digest(company_key, event_type, event_message_id);
        Self {
            pk,
            sk,
            v: 1,
            id,
            status: status.to_owned(),
            company_key: company_key.clone(),
            community_id: notification.community_id,
            event_type: event_type.clone(),
            event_message_id: event_message_id.clone(),
            event_message_date: notification.event_message_date.clone(),
            received_at: iso_millis(now),
            group_id: hex_sha256(&[company_key.as_str(), &group]),
            trace,
            payload: Some(notification.data.clone()),
            payload_parts: 0,
            error,
            due: Some(Due::at(WORKFLOW, &digest, millis_after(now, due_after))),
            expires_at: seconds_after(now, EVENT_TTL),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }

    /// SQS's deduplication id: the event's identity, 64 hex digits.
    pub(crate) fn dedup_id(&self) -> String {
        event_digest(&self.company_key, &self.event_type, &self.event_message_id)
    }

    pub(crate) fn queued(&self) -> QueuedEvent {
        QueuedEvent { event_type: self.event_type.clone(), event_message_id: self.event_message_id.clone() }
    }

    /// Whether no consumer has claimed the event: its message may not have been sent.
    pub(crate) fn is_unsent(&self) -> bool {
        self.status == "received"
    }
}

/// How an event that is in order changes the retention of its resident's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Not at all.
    AsIs,
    /// The resident moved in: the row never expires.
    Forever,
    /// The resident moved out: the row expires after this time.
    DeleteAfter(Duration),
}

/// Outcome of [`AdtTable::record`].
#[derive(Debug)]
pub(crate) enum Recorded {
    /// The event is new.
    New(EventRow),
    /// The event was recorded before; its row as it is now.
    Known(EventRow),
}

/// The handle on the workflow's table.
#[derive(Clone)]
pub(crate) struct AdtTable {
    table: Table,
}

impl AdtTable {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    pub(crate) fn dynamo(&self) -> &Table {
        &self.table
    }

    /// Records an event once: one conditional write, or one transaction when the payload is large.
    pub(crate) async fn record(&self, mut row: EventRow) -> Result<Recorded, AdtError> {
        let parts = split_payload(&mut row);
        let created =
            if parts.is_empty() { self.table.create(&row).await } else { self.table.create_with(&row, &parts).await };
        match created.map_err(AdtError::Dynamo)? {
            Create::Created => Ok(Recorded::New(row)),
            Create::Exists(old) => {
                let old: EventRow = self.table.read(old).map_err(AdtError::Dynamo)?;
                // The SDK repeats a call whose response was lost: the row in the way is then this call's own.
                Ok(if old.id == row.id { Recorded::New(row) } else { Recorded::Known(old) })
            }
        }
    }

    /// Claims an event for one delivery of its message and marks it as `queued`. From now on only the removal of its payload
    /// is due.
    pub(crate) async fn claim(
        &self,
        key: &Key,
        dedup_id: &str,
        owner: &Owner,
        now: Timestamp,
        until_ms: i64,
    ) -> Result<Claim, AdtError> {
        let changes = Changes::new()
            .set("status", "queued")
            .set("due_shard", outbox::shard(WORKFLOW, dedup_id))
            .set("due_at", millis_after(now, PAYLOAD_TTL))
            .remove("error");
        once::claim(&self.table, key, owner, now.as_millisecond(), until_ms, changes).await.map_err(AdtError::Dynamo)
    }

    /// `queued` → `processed`.
    pub(crate) async fn processed(&self, key: &Key, owner: &Owner, now: Timestamp) -> Result<bool, AdtError> {
        let changes = Changes::new().set("status", "processed").set("processed_at", iso_millis(now));
        once::complete(&self.table, key, owner, now.as_millisecond(), changes).await.map_err(AdtError::Dynamo)
    }

    /// `queued` → `failed`, with the reason; a later delivery may claim it again.
    pub(crate) async fn failed(&self, key: &Key, owner: &Owner, reason: &str) -> Result<bool, AdtError> {
        let changes = Changes::new().set("status", "failed").set("error", reason);
        once::release(&self.table, key, owner, changes).await.map_err(AdtError::Dynamo)
    }

    /// NotificationData of an event, joined if it was written in parts.
    pub(crate) async fn payload(&self, row: &EventRow) -> Result<String, AdtError> {
        if let Some(text) = &row.payload {
            return Ok(text.clone());
        }
        let parts = self.table.rows(&row.pk, &part_prefix(&row.sk)).await.map_err(AdtError::Dynamo)?;
        if parts.is_empty() || parts.len() != row.payload_parts as usize {
            return Err(AdtError::NoPayload { id: row.id.clone() });
        }
        let read = |part| self.table.read::<PayloadPart>(part).map(|part| part.text);
        parts.into_iter().map(read).collect::<Result<String, _>>().map_err(AdtError::Dynamo)
    }

    /// Removes an event's payload; parts expire by themselves.
    pub(crate) async fn remove_payload(&self, row: &EventRow) -> Result<(), AdtError> {
        let changes = outbox::settled(Changes::new().remove("payload"));
        self.table.update(&row.key(), changes).await.map(drop).map_err(AdtError::Dynamo)
    }

    /// Writes the resident's state. Returns `false` when an event later than `event_ms` was applied before: the state is
    /// still written, since it was just read from ALIS, but the event's own facts must not be.
    pub(crate) async fn save_resident(
        &self,
        company_key: &CompanyKey,
        resident: &Resident,
        event_ms: i64,
        retention: Retention,
        now: Timestamp,
    ) -> Result<bool, AdtError> {
        let key = resident_key(company_key, resident.resident_id);
        let instant = |at: Option<Timestamp>| at.map(iso_millis);
        let changes = Changes::new()
            .set("v", 1)
            .set("company_key", company_key.as_str())
            .set("resident_id", resident.resident_id)
            .set("status", resident.status.as_str())
            .set_or_remove("product_type", resident.product_type.clone())
            .set_or_remove("classification", resident.classification.clone())
            .set_or_remove("first_name", resident.first_name.clone())
            .set_or_remove("last_name", resident.last_name.clone())
            .set_or_remove("date_of_birth", instant(resident.date_of_birth))
            .set_or_remove("room", resident.room.clone())
            .set_or_remove("room_number", resident.room_number.clone())
            .set_or_remove("bed", resident.bed.clone())
            .set("on_prem", i64::from(resident.on_prem()))
            .set("off_prem", i64::from(resident.off_prem))
            .set_or_remove("on_prem_date", instant(resident.on_prem_date))
            .set_or_remove("off_prem_date", instant(resident.off_prem_date))
            .set_or_remove("alis_updated_at", instant(resident.updated_at))
            .set_once("created_at", iso_millis(now))
            .set("updated_at", iso_millis(now));
        let in_order = match retention {
            Retention::AsIs => changes.clone(),
            Retention::Forever => changes.clone().remove("expires_at"),
            Retention::DeleteAfter(after) => changes.clone().set("expires_at", seconds_after(now, after)),
        };
        let in_order = in_order
            .set("last_event_ms", event_ms)
            .only_if("attribute_not_exists(#last_event_ms) OR #last_event_ms <= ?", [event_ms.into_attribute()]);
        if let Update::Applied(_) = self.table.update(&key, in_order).await.map_err(AdtError::Dynamo)? {
            return Ok(true);
        }
        self.table.update(&key, changes).await.map_err(AdtError::Dynamo)?;
        Ok(false)
    }

    /// Files an issue about an event. `details` must hold no personal data.
    pub(crate) async fn file_issue(&self, issue: &IssueRow) -> Result<(), AdtError> {
        self.table.put(issue).await.map_err(AdtError::Dynamo)
    }

    /// An event's row.
    pub(crate) fn event(&self, item: Item) -> Result<EventRow, AdtError> {
        self.table.read(item).map_err(AdtError::Dynamo)
    }
}

/// An issue: something that failed while an event was processed.
#[derive(Debug, Serialize)]
pub(crate) struct IssueRow {
    pk: String,
    sk: String,
    v: u8,
    event_id: String,
    event_type: String,
    event_message_id: EventMessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_id: Option<i64>,
    stage: &'static str,
    severity: &'static str,
    message: String,
    details: String,
    retryable: bool,
    created_at: String,
    expires_at: i64,
}

/// A new issue, without its event.
pub(crate) struct NewIssue {
    pub(crate) stage: &'static str,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    /// JSON without personal data.
    pub(crate) details: serde_json::Value,
}

impl IssueRow {
    pub(crate) fn new(event: &EventRow, resident_id: Option<i64>, id: String, issue: NewIssue, now: Timestamp) -> Self {
        Self {
            pk: event.pk.clone(),
            sk: format!("I#{id}"),
            v: 1,
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            event_message_id: event.event_message_id.clone(),
            community_id: event.community_id,
            resident_id,
            stage: issue.stage,
            severity: "error",
            message: issue.message,
            details: issue.details.to_string(),
            retryable: issue.retryable,
            created_at: iso_millis(now),
            expires_at: seconds_after(now, ISSUE_TTL),
        }
    }
}

/// `pk = C#<company>`, `sk = E#<type>#<message id>`; a `#` inside a part is escaped, so that no two events share a key.
pub(crate) fn event_key(company_key: &CompanyKey, event_type: &str, event_message_id: &EventMessageId) -> Key {
    let sk = format!("E#{}#{}", escaped(event_type), escaped(event_message_id.as_str()));
    Key { pk: company_pk(company_key), sk }
}

/// The event's identity as 64 hex digits: the deduplication id, and what decides its shard of the index `due`.
pub(crate) fn event_digest(company_key: &CompanyKey, event_type: &str, event_message_id: &EventMessageId) -> String {
    hex_sha256(&[company_key.as_str(), event_type, event_message_id.as_str()])
}

fn resident_key(company_key: &CompanyKey, resident_id: i64) -> Key {
    Key { pk: company_pk(company_key), sk: format!("R#{resident_id}") }
}

fn company_pk(company_key: &CompanyKey) -> String {
    format!("C#{company_key}")
}

fn part_prefix(event_sk: &str) -> String {
    format!("P{}#", event_sk.trim_start_matches('E'))
}

fn escaped(part: &str) -> String {
    part.replace('%', "%25").replace('#', "%23")
}

/// Moves a large payload out of the row into parts.
fn split_payload(row: &mut EventRow) -> Vec<PayloadPart> {
    let Some(text) = row.payload.take_if(|text| text.len() > MAX_INLINE_BYTES) else { return Vec::new() };
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.floor_char_boundary(MAX_INLINE_BYTES));
        // Two digits: a body is at most 1 MB, so there are four parts at most, and they sort.
        let sk = format!("{}{:02}", part_prefix(&row.sk), parts.len());
        let expires_at = row.expires_at - i64::try_from((EVENT_TTL - PAYLOAD_TTL).as_secs()).unwrap_or_default();
        parts.push(PayloadPart { pk: row.pk.clone(), sk, text: head.to_owned(), expires_at });
        rest = tail;
    }
    row.payload_parts = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    parts
}

fn millis_after(now: Timestamp, after: Duration) -> i64 {
    now.as_millisecond() + i64::try_from(after.as_millis()).unwrap_or(i64::MAX / 2)
}

fn seconds_after(now: Timestamp, after: Duration) -> i64 {
    now.as_second() + i64::try_from(after.as_secs()).unwrap_or(i64::MAX / 2)
}
