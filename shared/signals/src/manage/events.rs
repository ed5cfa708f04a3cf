//! Looking at events, and having them evaluated again.

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, EventId, TenantId};
use crate::ingest::event::{EventRow, EventsAt, days_of_events};
use crate::ingest::event_message;
use crate::manage::tenants::hidden;
use crate::manage::tenants::row::Tenant;
use crate::notify::delivery::view::DeliveryView;
use crate::table::SignalsTable;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, error_chain, iso_millis};
use switchyard_io::{Aws, Queue, Table};
use switchyard_rules::{Path, TypePattern, redact};

/// Days that one look goes back at most.
pub const MAX_DAYS: i64 = 31;

/// Events that one look reads at most, before it says where the next should go on.
const MAX_READ: usize = 2_000;

/// Events of a day that are read at a time, at least: few may be of the kind that is looked for.
const READ_BATCH: usize = 100;

/// Bytes of payloads that one look gathers: an answer of a function holds 6 MB, in which every quote counts twice.
const MAX_BYTES: usize = 2_500_000;

/// What looking at events and replaying them needs.
#[derive(Clone)]
pub struct EventDeps {
    pub(crate) store: SignalsTable,
    queue: Queue,
    pub(crate) clock: Clock,
}

impl EventDeps {
    /// Reads `SIGNALS_TABLE` and `RULES_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            queue: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            clock: Clock::system(),
        })
    }
}

/// How far the rules are with an event.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// They have not got to it.
    Pending,
    /// They are through.
    Processed,
    /// Its tenant was suspended before they got to it.
    #[serde(rename = "skipped_suspended")]
    Skipped,
}

impl EventStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Processed, Self::Skipped];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processed => "processed",
            Self::Skipped => "skipped_suspended",
        }
    }

    fn of(row: &EventRow) -> Self {
        match row.outcomes.as_deref() {
            None => Self::Pending,
            Some(outcomes) if outcomes.starts_with(r#"{"skipped""#) => Self::Skipped,
            Some(_) => Self::Processed,
        }
    }
}

/// Which events are looked for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of types like this.
    pub kind: Option<TypePattern>,
    /// From this source.
    pub source: Option<String>,
    /// In this state.
    pub status: Option<EventStatus>,
    /// Received since, or of a replay asked for since; a day before `to` when absent.
    pub from: Option<Timestamp>,
    /// Until then; now when absent.
    pub to: Option<Timestamp>,
    /// Older than the event of this id.
    pub before: Option<String>,
}

/// Types as a rule names them: exact, `payment.*` or `*`.
pub fn type_pattern(text: &str) -> Option<TypePattern> {
    match text.strip_suffix('*') {
        Some("") => Some(TypePattern::Any),
        Some(prefix) if prefix.len() > 1 && prefix.ends_with('.') => Some(TypePattern::Prefix(prefix.to_owned())),
        Some(_) => None,
        None => Some(TypePattern::Exact(text.to_owned())),
    }
}

/// Some events, newest first.
#[derive(Debug)]
pub struct Found {
    /// The events.
    pub events: Vec<EventView>,
    /// The cursor of the next page, if there may be more.
    pub cursor: Option<String>,
}

/// A tenant's events, newest first, at most `limit`. One look reads a bounded number of events, so that it may find fewer
/// than there are and still say where to go on.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn events(
    deps: &EventDeps,
    tenant: &Tenant,
    filter: &EventFilter,
    limit: usize,
) -> Result<Found, SignalsError> {
    let hidden = hidden(tenant)?;
    let (rows, cursor) = find(deps, &tenant.id, filter, limit, MAX_READ).await?;
    let events = rows.iter().map(|row| shown(row, &hidden, None)).collect::<Result<_, _>>()?;
    Ok(Found { events, cursor })
}

/// The rows of [`events`].
pub(crate) async fn find(
    deps: &EventDeps,
    tenant: &TenantId,
    filter: &EventFilter,
    limit: usize,
    most_read: usize,
) -> Result<(Vec<EventRow>, Option<String>), SignalsError> {
    let to = filter.to.unwrap_or_else(|| deps.clock.now());
    let from = filter.from.unwrap_or(to - Duration::from_secs(86_400));
    let (mut found, mut read, mut bytes) = (Vec::new(), 0, 0);
    let mut before = filter.before.clone();
    for day in days_of_events(from, to).into_iter().rev() {
        loop {
            let at = EventsAt { tenant, day: &day, before: before.as_deref(), limit: limit.max(READ_BATCH) };
            let (page, has_more) = deps.store.events_of_day(at).await?;
            read += page.len();
            for row in page {
                before = Some(row.id.to_string());
                if (from..=to).contains(&row.listed_at()) && fits(&row, filter) {
                    bytes += row.payload.len();
                    found.push(row);
                }
                if found.len() == limit || bytes > MAX_BYTES {
                    return Ok((found, before));
                }
            }
            if read >= most_read {
                return Ok((found, before));
            }
            if !has_more {
                break;
            }
        }
    }
    Ok((found, None))
}

fn fits(row: &EventRow, filter: &EventFilter) -> bool {
    filter.kind.as_ref().is_none_or(|kind| kind.matches(&row.kind))
        && filter.source.as_ref().is_none_or(|source| row.source.as_ref() == Some(source))
        && filter.status.is_none_or(|status| EventStatus::of(row) == status)
}

/// An event with its outcome; `None` when the tenant has no such event.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn event(deps: &EventDeps, tenant: &Tenant, id: &EventId) -> Result<Option<EventView>, SignalsError> {
    let Some(row) = deps.store.event(&tenant.id, id).await? else { return Ok(None) };
    let deliveries = deps.store.deliveries(&tenant.id, id).await?;
    shown(&row, &hidden(tenant)?, Some(deliveries)).map(Some)
}

/// A stored event; in full with its outcomes and deliveries.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "StoredEvent")]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// The event's id.
    pub id: String,
    /// Its type.
    pub r#type: String,
    /// Who sent it.
    pub source: Option<String>,
    /// Byte for byte as it was sent, unless something in it is redacted.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub payload: Box<RawValue>,
    /// RFC 3339.
    pub occurred_at: String,
    /// RFC 3339.
    pub received_at: String,
    /// How far the rules are with it.
    pub status: EventStatus,
    /// The idempotency key that it was sent with.
    pub idempotency_key: Option<String>,
    /// The event that it is a replay of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// What each rule made of it.
    #[schemars(with = "Value")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Box<RawValue>>,
    /// Its notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<DeliveryView>>,
}

/// In full when the deliveries are given.
fn shown(row: &EventRow, hidden: &[Path], deliveries: Option<Vec<DeliveryView>>) -> Result<EventView, SignalsError> {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).map_err(SignalsError::Json);
    let outcomes = row.outcomes.as_deref().filter(|_| deliveries.is_some());
    Ok(EventView {
        id: row.id.to_string(),
        r#type: row.kind.clone(),
        source: row.source.clone(),
        payload: redacted(&row.payload, hidden)?.map_or_else(|| raw(&row.payload), Ok)?,
        occurred_at: iso_millis(row.occurred_at),
        received_at: iso_millis(row.received_at),
        status: EventStatus::of(row),
        idempotency_key: row.idempotency_key.clone(),
        replay_of: row.replay.as_ref().map(|replay| replay.of.to_string()),
        outcomes: outcomes.map(raw).transpose()?,
        deliveries,
    })
}

/// A payload without what is hidden, written anew: of a key that it has twice, the text would show both. `None` when nothing is
/// to be hidden.
fn redacted(payload: &str, hidden: &[Path]) -> Result<Option<Box<RawValue>>, SignalsError> {
    if hidden.is_empty() {
        return Ok(None);
    }
    let mut payload: Value = serde_json::from_str(payload).map_err(SignalsError::Json)?;
    redact(&mut payload, hidden);
    serde_json::value::to_raw_value(&payload).map(Some).map_err(SignalsError::Json)
}

/// Has an event evaluated again, by the rules as they are now: a copy of it with an id of its own, which counts for nothing.
/// Without `notify` the copy's outcomes say what holds, and nothing is remembered or sent. Returns the copy's id; `None`
/// when the tenant has no such event.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn replay(
    deps: &EventDeps,
    actor: &ActorId,
    tenant: &Tenant,
    id: &EventId,
    notify: bool,
) -> Result<Option<String>, SignalsError> {
    let Some(row) = deps.store.event(&tenant.id, id).await? else { return Ok(None) };
    let kept_days = tenant.plan.kept_days();
    let copy = row.replayed(&EventId::from(deps.clock.new_id().to_string()), notify, kept_days, deps.clock.now());
    let audit = Audit {
        tenant: tenant.id.as_str(),
        actor,
        action: "event.replay",
        subject: id.as_str(),
        before: None,
        after: None,
    };
    deps.store.add_replay(&copy, deps.store.audit(audit, deps.clock.now())?).await?;
    if let Err(error) = deps.queue.send(&event_message(&tenant.id, &copy.id, None)?, Duration::ZERO).await {
        tracing::warn!(event_id = copy.id.as_str(), error = error_chain(&error), "the event waits for the sweeper");
    }
    Ok(Some(copy.id.into()))
}
