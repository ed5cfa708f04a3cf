//! Every row of the callbacks table, with its keys and conditions.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | endpoint | `O#<organisation>` | `W#<event>#<digest of the address>` | until removed |
//! | count of endpoints | `O#<organisation>` | `N#<event>` | no expiry |
//! | endpoint by its id | `W#<endpoint id>` | `META` | until removed |
//! | pace of an endpoint | `W#<endpoint id>` | `PACE` | until removed |
//! | event | `E#<event id>` | `META` | 90 days |
//! | delivery | `E#<event id>` | `D#<endpoint id>` | 90 days |
//! | attempt | `E#<event id>` | `A#<endpoint id>#<number>` | 30 days |
//!
//! | Question | Answered by |
//! |---|---|
//! | whom does an event go to? | key prefix `W#<event>#` |
//! | how did an event fare? | one query of `E#<event id>` |
//! | an endpoint's deliveries, newest first | index `endpoint` (`endpoint_pk` = id, `endpoint_sk` = event id) |
//! | which deliveries are overdue? | index `due`, marked rows only |

use crate::decide::Part;
use crate::error::CallbacksError;
use crate::model::{DeliveryStatus, Published, RetryPolicy};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::hex_sha256;
use switchyard_io::Table;
use switchyard_io::dynamo::{AttributeValue, Changes, Index, IntoAttribute, Item, Key, Page, Transact, Update, Write};
use switchyard_io::reseal::{SealedColumn, Shape, text};
use switchyard_io::vault::Sealed;
use switchyard_work::attempt::{self, Claim, Claimant, Retry};
use switchyard_work::circuit::Circuit;
use switchyard_work::lease::{self, Lease};
use switchyard_work::outbox::{self, Due};
use switchyard_work::pace;

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "callbacks";

/// Events and their deliveries outlive the longest policy of an endpoint's own, which waits for 72 days at most.
const EVENT_KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
const ATTEMPT_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// A secret, and until when an old one still signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SigningSecret {
    /// Sealed for the endpoint's id.
    secret: Sealed,
    /// Epoch milliseconds; absent for the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<i64>,
}

impl SigningSecret {
    pub(crate) fn new(secret: Sealed) -> Self {
        Self { secret, until: None }
    }

    pub(crate) fn sealed(&self) -> &Sealed {
        &self.secret
    }

    /// The same, signing until then.
    pub(crate) fn ending(self, until: i64) -> Self {
        Self { until: Some(until), ..self }
    }

    pub(crate) fn signs_at(&self, now_ms: i64) -> bool {
        self.until.is_none_or(|until| now_ms < until)
    }
}

/// What the callbacks table keeps sealed.
pub const SEALED: &[SealedColumn] = &[SealedColumn {
    attribute: "secrets",
    shape: Shape::ListOf("secret"),
    context: |row| text(row, "id"),
    lock: None,
}];

/// An endpoint's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndpointRow {
    pk: String,
    sk: String,
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) event: String,
    /// Byte for byte as it was given.
    pub(crate) target_url: String,
    pub(crate) is_active: bool,
    /// Newest first.
    pub(crate) secrets: Vec<SigningSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_per_second: Option<u32>,
    #[serde(default)]
    pub(crate) retry_policy: RetryPolicy,
    #[serde(flatten)]
    pub(crate) circuit: Circuit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_reason: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl EndpointRow {
    pub(crate) fn new(
        id: String,
        organization_id: &str,
        event: &str,
        target_url: &str,
        secret: Sealed,
        now: Timestamp,
    ) -> Self {
        let Key { pk, sk } = endpoint_key(organization_id, event, target_url);
        Self {
            pk,
            sk,
            id,
            organization_id: organization_id.to_owned(),
            event: event.to_owned(),
            target_url: target_url.to_owned(),
            is_active: true,
            secrets: vec![SigningSecret::new(secret)],
            timeout_ms: None,
            rate_per_second: None,
            retry_policy: RetryPolicy::default(),
            circuit: Circuit::default(),
            disabled_reason: None,
            created_at: now,
            updated_at: now,
        }
    }

    fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }
}

#[derive(Serialize, Deserialize)]
struct LookupRow {
    pk: String,
    sk: String,
    endpoint_pk_of: String,
    endpoint_sk_of: String,
}

/// An event's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pk: String,
    sk: String,
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    pub(crate) payload: String,
    pub(crate) created_at: Timestamp,
    expires_at: i64,
}

impl EventRow {
    pub(crate) fn new(id: &str, organization_id: &str, published: &Published, now: Timestamp) -> Self {
        Self {
            pk: event_partition(id),
            sk: "META".into(),
            id: id.to_owned(),
            organization_id: organization_id.to_owned(),
            event: published.event.clone(),
            subject: published.subject.clone(),
            payload: published.payload.clone(),
            created_at: now,
            expires_at: (now + EVENT_KEPT_FOR).as_second(),
        }
    }
}

/// Whether an attempt was made by the schedule or on request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// By the schedule.
    #[default]
    Auto,
    /// On request.
    Manual,
}

/// A delivery's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryRow {
    pk: String,
    sk: String,
    pub(crate) event_id: String,
    pub(crate) endpoint_id: String,
    /// The endpoint's row.
    endpoint_row_pk: String,
    endpoint_row_sk: String,
    pub(crate) target_url: String,
    pub(crate) status: DeliveryStatus,
    /// Attempts of the current round, which decide the next wait.
    pub(crate) attempts: u32,
    /// Attempts ever, which number the log.
    pub(crate) attempts_ever: u32,
    #[serde(default)]
    pub(crate) trigger: Trigger,
    /// When the current round began, epoch milliseconds.
    pub(crate) round_began: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_attempt_at: Option<i64>,
    /// A place in the endpoint's pace that is already ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    #[serde(flatten)]
    lease: Lease,
    endpoint_pk: String,
    endpoint_sk: String,
    pub(crate) created_at: Timestamp,
    expires_at: i64,
    #[serde(flatten)]
    due: Option<Due>,
}

impl DeliveryRow {
    pub(crate) fn new(event: &EventRow, endpoint: &EndpointRow, now: Timestamp) -> Self {
        let Key { pk, sk } = delivery_key(&event.id, &endpoint.id);
        let due = (now + outbox::GRACE).as_millisecond();
        Self {
            pk,
            sk,
            event_id: event.id.clone(),
            endpoint_id: endpoint.id.clone(),
            endpoint_row_pk: endpoint.pk.clone(),
            endpoint_row_sk: endpoint.sk.clone(),
            target_url: endpoint.target_url.clone(),
            status: DeliveryStatus::Pending,
            attempts: 0,
            attempts_ever: 0,
            trigger: Trigger::Auto,
            round_began: now.as_millisecond(),
            next_attempt_at: None,
            slot_at: None,
            last_status: None,
            last_error: None,
            lease: Lease::default(),
            endpoint_pk: endpoint.id.clone(),
            endpoint_sk: event.id.clone(),
            created_at: now,
            expires_at: (now + EVENT_KEPT_FOR).as_second(),
            due: Some(Due::at(WORKFLOW, &hex_sha256(&[&event.id, &endpoint.id]), due)),
        }
    }

    pub(crate) fn key(&self) -> Key {
        delivery_key(&self.event_id, &self.endpoint_id)
    }

    pub(crate) fn endpoint_key(&self) -> Key {
        Key { pk: self.endpoint_row_pk.clone(), sk: self.endpoint_row_sk.clone() }
    }

    pub(crate) fn part(&self) -> Part {
        Part {
            status: self.status,
            attempts: self.attempts_ever,
            next_attempt_at: self.next_attempt_at,
            last_error: self.last_error.clone(),
        }
    }

    fn shard(&self) -> String {
        outbox::shard(WORKFLOW, &hex_sha256(&[&self.event_id, &self.endpoint_id]))
    }

    /// The mark of a delivery whose message is to be sent now.
    fn unsent(&self, now_ms: i64) -> Due {
        let grace_ms = i64::try_from(outbox::GRACE.as_millis()).unwrap_or_default();
        Due { due_shard: self.shard(), due_at: now_ms + grace_ms, due_count: 0 }
    }
}

/// One attempt's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AttemptRow {
    pk: String,
    sk: String,
    pub(crate) endpoint_id: String,
    pub(crate) number: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_code: Option<u16>,
    /// `500 Internal Server Error`, or a word for what kept an answer from coming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The beginning of the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) response: String,
    pub(crate) trigger: Trigger,
    expires_at: i64,
}

impl AttemptRow {
    pub(crate) fn new(delivery: &DeliveryRow, started_at: Timestamp) -> Self {
        let number = delivery.attempts_ever + 1;
        Self {
            pk: event_partition(&delivery.event_id),
            sk: format!("A#{}#{number:04}", delivery.endpoint_id),
            endpoint_id: delivery.endpoint_id.clone(),
            number,
            started_at,
            duration_ms: 0,
            status_code: None,
            error: None,
            response: String::new(),
            trigger: delivery.trigger,
            expires_at: (started_at + ATTEMPT_KEPT_FOR).as_second(),
        }
    }
}

fn event_partition(event_id: &str) -> String {
    format!("E#{event_id}")
}

fn event_key(event_id: &str) -> Key {
    Key { pk: event_partition(event_id), sk: "META".into() }
}

fn delivery_key(event_id: &str, endpoint_id: &str) -> Key {
    Key { pk: event_partition(event_id), sk: format!("D#{endpoint_id}") }
}

fn organization_partition(organization_id: &str) -> String {
    format!("O#{organization_id}")
}

fn endpoint_key(organization_id: &str, event: &str, target_url: &str) -> Key {
    Key { pk: organization_partition(organization_id), sk: format!("W#{event}#{}", hex_sha256(&[target_url])) }
}

fn lookup_key(endpoint_id: &str) -> Key {
    Key { pk: format!("W#{endpoint_id}"), sk: "META".into() }
}

/// Where the organisation's endpoints for one event are counted.
fn count_key(endpoint: &EndpointRow) -> Key {
    Key { pk: endpoint.pk.clone(), sk: format!("N#{}", endpoint.event) }
}

fn pace_key(endpoint_id: &str) -> Key {
    Key { pk: format!("W#{endpoint_id}"), sk: "PACE".into() }
}

/// Outcome of [`Store::add_endpoint`].
pub(crate) enum Added {
    New,
    /// It was there: here it is.
    Known(Box<EndpointRow>),
    TooMany,
}

/// What follows for a delivery that was claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// It ends.
    Ended(DeliveryStatus),
    /// It is attempted later.
    Again(Retry),
}

/// Everything known of an event.
pub(crate) struct History {
    pub(crate) event: EventRow,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) attempts: Vec<AttemptRow>,
}

/// The workflow's table.
#[derive(Clone)]
pub(crate) struct Store {
    table: Table,
}

impl Store {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The organisation's endpoints, for one event or all.
    pub(crate) async fn endpoints(
        &self,
        organization_id: &str,
        event: Option<&str>,
    ) -> Result<Vec<EndpointRow>, CallbacksError> {
        let prefix = event.map_or_else(|| "W#".to_owned(), |event| format!("W#{event}#"));
        let items = self.table.rows(&organization_partition(organization_id), &prefix).await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// Adds an endpoint, unless it is there already or its organisation has `most` of them for the event.
    pub(crate) async fn add_endpoint(&self, row: &EndpointRow, most: i64) -> Result<Added, CallbacksError> {
        let Key { pk, sk } = lookup_key(&row.id);
        let lookup = LookupRow { pk, sk, endpoint_pk_of: row.pk.clone(), endpoint_sk_of: row.sk.clone() };
        let one_more = Changes::new()
            .add("endpoints", 1)
            .only_if("attribute_not_exists(#endpoints) OR #endpoints < ?", [most.into_attribute()]);
        let writes = vec![
            Write::Create(self.table.to_item(row)?),
            Write::Create(self.table.to_item(&lookup)?),
            Write::Update(count_key(row), one_more),
        ];
        Ok(match self.table.transact(writes).await? {
            Transact::Done => Added::New,
            Transact::Refused { index: 0, row: Some(known) } => Added::Known(Box::new(self.table.read(known)?)),
            Transact::Refused { .. } => Added::TooMany,
        })
    }

    pub(crate) async fn endpoint(&self, endpoint_id: &str) -> Result<Option<EndpointRow>, CallbacksError> {
        let Some(item) = self.table.get(&lookup_key(endpoint_id)).await? else { return Ok(None) };
        let lookup: LookupRow = self.table.read(item)?;
        self.endpoint_at(&Key { pk: lookup.endpoint_pk_of, sk: lookup.endpoint_sk_of }).await
    }

    pub(crate) async fn endpoint_at(&self, key: &Key) -> Result<Option<EndpointRow>, CallbacksError> {
        let item = self.table.get(key).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// Changes an endpoint that is still there; `None` when it is not, another has taken its place, or the changes' own
    /// condition does not hold.
    pub(crate) async fn change_endpoint(
        &self,
        endpoint: &EndpointRow,
        changes: Changes,
    ) -> Result<Option<EndpointRow>, CallbacksError> {
        match self.table.update(&endpoint.key(), is_still(changes, endpoint)).await? {
            Update::Applied(item) => Ok(Some(self.table.read(item)?)),
            Update::Refused(_) => Ok(None),
        }
    }

    /// The secrets as they are kept.
    pub(crate) fn secrets(&self, secrets: &[SigningSecret]) -> Result<AttributeValue, CallbacksError> {
        #[derive(Serialize)]
        struct Column<'a> {
            secrets: &'a [SigningSecret],
        }
        let mut item = self.table.to_item(&Column { secrets })?;
        Ok(item.remove("secrets").unwrap_or(AttributeValue::Null(true)))
    }

    /// The policy as it is kept.
    pub(crate) fn policy(&self, policy: &RetryPolicy) -> Result<AttributeValue, CallbacksError> {
        #[derive(Serialize)]
        struct Column<'a> {
            policy: &'a RetryPolicy,
        }
        let mut item = self.table.to_item(&Column { policy })?;
        Ok(item.remove("policy").unwrap_or(AttributeValue::Null(true)))
    }

    pub(crate) async fn remove_endpoint(&self, endpoint: &EndpointRow) -> Result<(), CallbacksError> {
        let writes = vec![
            Write::Delete(endpoint.key(), is_still(Changes::new(), endpoint)),
            Write::Delete(lookup_key(&endpoint.id), Changes::new()),
            Write::Delete(pace_key(&endpoint.id), Changes::new()),
            Write::Update(count_key(endpoint), Changes::new().add("endpoints", -1)),
        ];
        self.table.transact(writes).await?;
        Ok(())
    }

    /// Writes an event with its deliveries, unless it is known.
    pub(crate) async fn record(&self, event: &EventRow, deliveries: &[DeliveryRow]) -> Result<bool, CallbacksError> {
        let mut writes = vec![Write::Create(self.table.to_item(event)?)];
        for delivery in deliveries {
            writes.push(Write::Create(self.table.to_item(delivery)?));
        }
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    pub(crate) async fn event(&self, event_id: &str) -> Result<Option<EventRow>, CallbacksError> {
        let item = self.table.get(&event_key(event_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    pub(crate) async fn deliveries(&self, event_id: &str) -> Result<Vec<DeliveryRow>, CallbacksError> {
        let items = self.table.rows(&event_partition(event_id), "D#").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// An event with all that became of it, in one query.
    pub(crate) async fn history(&self, event_id: &str) -> Result<Option<History>, CallbacksError> {
        let (mut event, mut deliveries, mut attempts) = (None, Vec::new(), Vec::new());
        for item in self.table.rows(&event_partition(event_id), "").await? {
            match item.get("sk").and_then(|sk| sk.as_s().ok()).map(|sk| sk.as_bytes()[0]) {
                Some(b'D') => deliveries.push(self.table.read(item)?),
                Some(b'A') => attempts.push(self.table.read(item)?),
                _ => event = Some(self.table.read(item)?),
            }
        }
        Ok(event.map(|event| History { event, deliveries, attempts }))
    }

    /// An endpoint's deliveries between two event ids, newest first, and the event id where the next page begins.
    pub(crate) async fn deliveries_to(
        &self,
        endpoint_id: &str,
        from: &str,
        to: &str,
        limit: i32,
    ) -> Result<(Vec<DeliveryRow>, Option<String>), CallbacksError> {
        let page = Page {
            index: Index::Named("endpoint"),
            hash: endpoint_id.to_owned(),
            range: Some((AttributeValue::S(from.to_owned()), AttributeValue::S(to.to_owned()))),
            newest_first: true,
            limit: limit + 1,
            after: None,
        };
        let (items, more) = self.table.page(page).await?;
        let mut rows = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<DeliveryRow>, _>>()?;
        // Long rows fill a page before there are so many of them.
        let has_more = rows.len() > limit as usize || (more.is_some() && rows.len() > 1);
        let next = if has_more { rows.pop().map(|row| row.event_id) } else { None };
        Ok((rows, next))
    }

    /// Claims a delivery that is pending.
    pub(crate) async fn claim(
        &self,
        event_id: &str,
        endpoint_id: &str,
        by: Claimant<'_>,
    ) -> Result<Claim<DeliveryRow>, CallbacksError> {
        let pending = Changes::new().only_if("#status = ?", ["pending".into_attribute()]);
        let is_pending = |row: &DeliveryRow| row.status == DeliveryStatus::Pending;
        Ok(attempt::claim(&self.table, &delivery_key(event_id, endpoint_id), by, pending, is_pending).await?)
    }

    /// Settles or reschedules a claimed delivery, with the attempt that was made, if one was. Returns `false` when the
    /// lease was lost.
    pub(crate) async fn settle(
        &self,
        row: &DeliveryRow,
        next: &Next,
        attempt: Option<&AttemptRow>,
        error: Option<&str>,
    ) -> Result<bool, CallbacksError> {
        let changes = row.lease.release(Changes::new());
        let mut changes = match next {
            Next::Ended(status) => attempt::settle(changes).set("status", status.name()),
            Next::Again(retry) => retry.reschedule(changes, row.shard()),
        };
        if let Some(attempt) = attempt {
            changes = changes
                .set("attempts", i64::from(row.attempts) + 1)
                .set("attempts_ever", i64::from(attempt.number))
                .set_or_remove("last_status", attempt.status_code.map(i64::from));
        }
        changes = match (error, next) {
            (Some(error), _) => changes.set("last_error", error),
            (None, Next::Ended(DeliveryStatus::Success)) => changes.remove("last_error"),
            (None, _) => changes,
        };
        let mut writes = vec![Write::Update(row.key(), changes)];
        if let Some(attempt) = attempt {
            writes.push(Write::Put(self.table.to_item(attempt)?));
        }
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Starts a delivery anew because somebody asked; `false` while a worker has it, or when it is no longer as it was
    /// read: the index `endpoint` lags behind.
    pub(crate) async fn reopen(&self, row: &DeliveryRow, now_ms: i64) -> Result<bool, CallbacksError> {
        let changes = lease::ROW
            .only_if_free(Changes::new(), now_ms)
            .set("status", DeliveryStatus::Pending.name())
            .set("attempts", 0_i64)
            .set("trigger", "manual")
            .set("round_began", now_ms)
            .remove("next_attempt_at")
            .remove("slot_at")
            .only_if("#status = ?", [row.status.name().into_attribute()]);
        let changes = outbox::marked(changes, row.unsent(now_ms));
        Ok(matches!(self.table.update(&row.key(), changes).await?, Update::Applied(_)))
    }

    /// Reserves the endpoint's next free place in time, of `rate` in a second; returns when that is, or `None` when it lies
    /// beyond the `horizon`.
    pub(crate) async fn reserve(
        &self,
        endpoint_id: &str,
        rate: u32,
        now_ms: i64,
        horizon: Duration,
    ) -> Result<Option<i64>, CallbacksError> {
        let step = Duration::from_secs(1) / rate.max(1);
        Ok(pace::reserve(&self.table, &pace_key(endpoint_id), step, now_ms, horizon, &Changes::new()).await?)
    }

    pub(crate) fn delivery(&self, item: Item) -> Result<DeliveryRow, CallbacksError> {
        Ok(self.table.read(item)?)
    }
}

/// `changes` for this endpoint only, and not for one that was registered at its address since.
fn is_still(changes: Changes, endpoint: &EndpointRow) -> Changes {
    changes.only_if("#id = ?", [endpoint.id.as_str().into_attribute()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{CUSTOM_WAITS, LONGEST_CUSTOM_WAIT, next_wait};

    #[test]
    fn events_outlive_the_longest_policy() {
        let policy = RetryPolicy::Custom(vec![LONGEST_CUSTOM_WAIT; CUSTOM_WAITS]);
        let longest: Duration = (1..).map_while(|made| next_wait(&policy, made, None, 1.0)).sum();
        assert!(longest < EVENT_KEPT_FOR, "{longest:?}");
    }
}
