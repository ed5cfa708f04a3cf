//! Deliveries: one message to one recipient on one channel, attempted until it is settled.

use crate::error::SignalsError;
use crate::ids::{ActorId, ConfigId, DeliveryId, EventId, RuleId, TenantId};
use crate::notify::delivery::view::{DeliveryView, as_iso_millis};
use crate::notify::trial::TRIAL;
use crate::table::{SignalsTable, WORKFLOW};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::hex_sha256;
use switchyard_io::dynamo::{Changes, Create, IntoAttribute as _, Key, Transact, Write};
use switchyard_notify::Channel;
use switchyard_work::attempt::{self, Claim, Claimant, Retry};
use switchyard_work::dead_letters::{self, DeadLetter};
use switchyard_work::lease::Lease;
use switchyard_work::listing;
use switchyard_work::outbox::{self, Due};

/// A message may be so much ahead of its time, in milliseconds: clocks differ.
const EARLY_MS: i64 = 1_000;

/// Deliveries are kept for as long as an enterprise's events.
const TTL: Duration = Duration::from_secs(400 * 86_400);

/// Deliveries that are written at a time, where a transaction cannot take them all.
const WRITE_BATCH: usize = 10;

/// Attempts that a row keeps, the newest ones: a delivery may be retried by hand any number of times.
const REMEMBERED: usize = 20;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// To be sent.
    Pending,
    /// To be tried again.
    RetryWait,
    /// The provider took it.
    Sent,
    /// Given up, with its reason.
    Failed,
    /// Given up because it got too old.
    Expired,
    /// Its recipient is not written to any more.
    Suppressed,
    /// Sent, and it arrived.
    Delivered,
    /// Sent, and it came back.
    Bounced,
    /// Sent, and it will not arrive.
    Undelivered,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::RetryWait,
        Self::Sent,
        Self::Failed,
        Self::Expired,
        Self::Suppressed,
        Self::Delivered,
        Self::Bounced,
        Self::Undelivered,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::RetryWait => "retry_wait",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Undelivered => "undelivered",
        }
    }
}

/// What is to be sent, as the rule said it for this event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) subject: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) html: Option<String>,
    /// Name, language, parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<(String, String, Vec<String>)>,
}

/// One message to one recipient on one channel, and what stands in for it should it fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Its place in the rule: `0`, `0.fallback.1`.
    pub(crate) action: String,
    pub(crate) channel: Channel,
    /// The config it goes out with; without one it has failed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<ConfigId>,
    pub(crate) recipient: String,
    pub(crate) content: Content,
    /// Why it cannot even be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fallback: Vec<Intent>,
}

/// A delivery's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryRow {
    pk: String,
    sk: String,
    /// With the tenant and the event as text: dead letters read them so. Elsewhere they are read typed, by the methods below.
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) event_id: String,
    pub(crate) rule_id: RuleId,
    pub(crate) rule_version: u64,
    #[serde(flatten)]
    pub(crate) intent: Intent,
    pub(crate) status: DeliveryStatus,
    /// Attempts made since it was begun, or retried.
    pub(crate) attempts: u32,
    /// When it was retried by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<AttemptRecord>,
    /// The dead letter that tells that it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_attempt_at: Option<i64>,
    /// A place in the channel's pace that is ours already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider_id: Option<String>,
    /// When its provider reported its outcome, and when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reported_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) read_at: Option<Timestamp>,
    #[serde(flatten)]
    lease: Lease,
    pub(crate) created_at: Timestamp,
    updated_at: Timestamp,
    expires_at: i64,
    #[serde(flatten)]
    due: Option<Due>,
    /// Its places in the indexes `by_id` and `listed`.
    by_id_pk: String,
    listed_pk: String,
    listed_sk: String,
}

/// The outcome of an attempt that succeeded.
pub(crate) const SENT: &str = "sent";

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeliveryAttempt")]
pub struct AttemptRecord {
    /// When it began, RFC 3339.
    #[schemars(with = "String")]
    #[serde(serialize_with = "as_iso_millis")]
    pub(crate) at: Timestamp,
    /// `sent`, or why not.
    pub(crate) outcome: String,
    /// How long the provider took, in milliseconds.
    pub(crate) ms: u64,
}

/// What a delivery belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) event_id: &'a EventId,
    pub(crate) rule_id: &'a RuleId,
    pub(crate) rule_version: u64,
}

impl DeliveryRow {
    /// Its id says what it is: the same message of the same event is the same delivery, however often it is worked out.
    pub(crate) fn new(of: Origin<'_>, intent: Intent, now: Timestamp) -> Self {
        let id = hex_sha256(&[
            of.tenant.as_str(),
            of.event_id.as_str(),
            of.rule_id.as_str(),
            &intent.action,
            &intent.recipient,
        ]);
        let Key { pk, sk } = delivery_key(of.tenant, of.event_id, &DeliveryId::from(id.as_str()));
        let failed = intent.failed.clone();
        let due = Due::at(WORKFLOW, &id, (now + outbox::GRACE).as_millisecond());
        let status = if failed.is_some() { DeliveryStatus::Failed } else { DeliveryStatus::Pending };
        Self {
            pk,
            sk,
            by_id_pk: id.clone(),
            listed_pk: listing::partition(of.tenant.as_str(), status.name()),
            listed_sk: listing::place(now, &id),
            id,
            tenant: of.tenant.to_string(),
            event_id: of.event_id.to_string(),
            rule_id: of.rule_id.clone(),
            rule_version: of.rule_version,
            intent,
            status,
            attempts: 0,
            begun_at: None,
            history: Vec::new(),
            dead_letter: None,
            next_attempt_at: None,
            slot_at: None,
            due: failed.is_none().then_some(due),
            last_error: failed,
            provider_id: None,
            reported_at: None,
            read_at: None,
            lease: Lease::default(),
            created_at: now,
            updated_at: now,
            expires_at: (now + TTL).as_second(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }

    /// Since when it has been under way.
    pub(crate) fn begun_at(&self) -> Timestamp {
        self.begun_at.unwrap_or(self.created_at)
    }

    /// Attempts that it counts as made when it is retried: none if it was given up, else those that were made.
    pub(crate) fn attempts_after_restart(&self) -> u32 {
        if self.is_open() { self.attempts } else { 0 }
    }

    /// How long it has been under way.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.begun_at())).unwrap_or_default()
    }

    /// `changes` that give it another status, in its row and in the index.
    fn moved(&self, changes: Changes, status: DeliveryStatus, now: Timestamp) -> Changes {
        moved(changes, &self.tenant_id(), &self.delivery_id(), status, now)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, DeliveryStatus::Pending | DeliveryStatus::RetryWait)
    }

    /// Whether it tries a config, in place of being sent for a rule.
    pub(crate) fn is_trial(&self) -> bool {
        self.rule_id.as_str() == TRIAL
    }

    pub(crate) fn tenant_id(&self) -> TenantId {
        TenantId::from(self.tenant.as_str())
    }

    pub(crate) fn event_id(&self) -> EventId {
        EventId::from(self.event_id.as_str())
    }

    pub(crate) fn delivery_id(&self) -> DeliveryId {
        DeliveryId::from(self.id.as_str())
    }
}

/// `changes` that give a delivery another status, in its row and in the index.
pub(crate) fn moved(
    changes: Changes,
    tenant: &TenantId,
    id: &DeliveryId,
    status: DeliveryStatus,
    now: Timestamp,
) -> Changes {
    changes
        .set("status", status.name())
        .set("updated_at", now.to_string())
        .set("listed_pk", listing::partition(tenant.as_str(), status.name()))
        .set("listed_sk", listing::place(now, id.as_str()))
}

fn delivery_partition(tenant: &TenantId, event_id: &EventId) -> String {
    format!("D#{tenant}#{event_id}")
}

pub(crate) fn delivery_key(tenant: &TenantId, event_id: &EventId, id: &DeliveryId) -> Key {
    Key { pk: delivery_partition(tenant, event_id), sk: id.to_string() }
}

/// Outcome of [`SignalsTable::restart`].
pub(crate) enum RestartWrite {
    Done,
    /// It is not as it was read, or its dead letter was redriven before.
    TooLate,
    /// Its dead letter is not kept any more.
    LetterGone,
}

/// What follows for a delivery that was claimed.
pub(crate) enum NextAttempt {
    /// The provider took it.
    Sent {
        /// The provider's own id of it.
        provider_id: Option<String>,
    },
    /// It is given up.
    Over(DeliveryStatus),
    /// It was attempted, and is again later.
    Again(Retry),
    /// It is attempted later, when its place in the pace comes; that uses up no attempt.
    Waits(Retry),
}

impl SignalsTable {
    /// Writes deliveries that are not there yet.
    pub(crate) async fn add_deliveries(&self, rows: &[DeliveryRow]) -> Result<(), SignalsError> {
        for some in rows.chunks(WRITE_BATCH) {
            for written in try_join_all(some.iter().map(|row| self.table.create(row))).await? {
                let (Create::Created | Create::Exists(_)) = written;
            }
        }
        Ok(())
    }

    /// An event's deliveries, as their rows or as what is shown of them.
    pub(crate) async fn deliveries<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        event_id: &EventId,
    ) -> Result<Vec<T>, SignalsError> {
        let items = self.table.rows(&delivery_partition(tenant, event_id), "").await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// A tenant's delivery by its id alone, as its row or as what is shown of it.
    pub(crate) async fn delivery<T: DeserializeOwned>(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<Option<T>, SignalsError> {
        let key = self.key_of(id).await?;
        match key.filter(|key| key.pk.starts_with(&format!("D#{tenant}#"))) {
            Some(key) => self.get(&key).await,
            None => Ok(None),
        }
    }

    /// Begins a delivery again that was given up, or one that is stuck, with the record of who wanted that; its dead letter, if
    /// there still is one, is redriven by it.
    pub(crate) async fn restart(
        &self,
        row: &DeliveryRow,
        letter: Option<&Key>,
        actor: &ActorId,
        record: Write,
        now: Timestamp,
    ) -> Result<RestartWrite, SignalsError> {
        let due = Due::at(WORKFLOW, &row.id, (now + outbox::GRACE).as_millisecond());
        let as_read = [row.status.name().into_attribute(), i64::from(row.attempts).into_attribute()];
        let changes = row
            .moved(outbox::marked(Changes::new(), due), DeliveryStatus::Pending, now)
            .set("attempts", i64::from(row.attempts_after_restart()))
            .set("begun_at", now.to_string())
            .remove("next_attempt_at")
            .remove("slot_at")
            .remove("dead_letter")
            .only_if("#status = ? AND #attempts = ?", as_read);
        let mut writes = vec![Write::Update(row.key(), changes), record];
        writes.extend(letter.map(|key| Write::Update(key.clone(), dead_letters::redriven(&key.sk, actor, now))));
        Ok(match self.table.transact(writes).await? {
            Transact::Done => RestartWrite::Done,
            Transact::Refused { index: 2, row: None } => RestartWrite::LetterGone,
            Transact::Refused { .. } => RestartWrite::TooLate,
        })
    }

    /// Claims a delivery that is open and due.
    pub(crate) async fn claim_delivery(&self, key: &Key, by: Claimant<'_>) -> Result<Claim<DeliveryRow>, SignalsError> {
        let latest_ms = by.now_ms + EARLY_MS;
        let open = Changes::new()
            .only_if("#status IN (?, ?)", ["pending".into_attribute(), "retry_wait".into_attribute()])
            .only_if("attribute_not_exists(#next_attempt_at) OR #next_attempt_at <= ?", [latest_ms.into_attribute()]);
        let is_open = |row: &DeliveryRow| row.is_open() && row.next_attempt_at.is_none_or(|at| at <= latest_ms);
        Ok(attempt::claim(&self.table, key, by, open, is_open).await?)
    }

    /// Settles or reschedules a claimed delivery, together with what it counts for, in one transaction. Returns `false`
    /// when the lease was lost.
    pub(crate) async fn settle_delivery(
        &self,
        row: &DeliveryRow,
        next: &NextAttempt,
        tried: Option<&AttemptRecord>,
        with: Vec<Write>,
        now: Timestamp,
    ) -> Result<bool, SignalsError> {
        let mut changes = self.with_attempt(settled(row, next, now), row, tried)?;
        if let Some(tried) = tried.filter(|tried| tried.outcome != SENT) {
            changes = changes.set("last_error", tried.outcome.as_str());
        }
        let mut writes = vec![Write::Update(row.key(), changes)];
        writes.extend(with);
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Ends a claimed delivery that was not sent, counts that, and writes what stands in for it, and the dead letter if there
    /// is one; returns which of that is new. Returns `None` when the lease was lost.
    pub(crate) async fn end_delivery(
        &self,
        row: &DeliveryRow,
        end: &FinalAttempt<'_>,
        letter: Option<&DeadLetter>,
        mut fallback: Vec<DeliveryRow>,
        now: Timestamp,
    ) -> Result<Option<Vec<DeliveryRow>>, SignalsError> {
        let changes = self
            .with_attempt(settled(row, &NextAttempt::Over(end.status), now), row, end.tried)?
            .set("last_error", end.reason)
            .set_or_remove("dead_letter", letter.map(|letter| letter.id.as_str()));
        loop {
            let mut writes = vec![Write::Update(row.key(), changes.clone())];
            for row in &fallback {
                writes.push(Write::Create(self.table.to_item(row)?));
            }
            writes.push(Self::count_with(&row.tenant_id(), now, &[("notifications_failed", 1)]));
            if let Some(letter) = letter {
                writes.push(Write::Create(self.table.to_item(letter)?));
            }
            match self.table.transact(writes).await? {
                Transact::Done => return Ok(Some(fallback)),
                Transact::Refused { index, .. } if (1..=fallback.len()).contains(&index) => {
                    // Another recipient's failure started some before, or the same one's, if it was retried since.
                    let known: Vec<DeliveryView> = self.deliveries(&row.tenant_id(), &row.event_id()).await?;
                    fallback.retain(|row| known.iter().all(|known| known.id != row.id));
                }
                Transact::Refused { .. } => return Ok(None),
            }
        }
    }

    /// `changes` that remember an attempt.
    fn with_attempt(
        &self,
        changes: Changes,
        row: &DeliveryRow,
        tried: Option<&AttemptRecord>,
    ) -> Result<Changes, SignalsError> {
        let Some(tried) = tried else { return Ok(changes) };
        let from = (row.history.len() + 1).saturating_sub(REMEMBERED);
        let history: Vec<_> = row.history[from..].iter().chain([tried]).collect();
        Ok(changes.set("history", self.table.to_attribute(&history)?))
    }
}

/// How a delivery ends that was not sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinalAttempt<'a> {
    pub(crate) status: DeliveryStatus,
    pub(crate) reason: &'a str,
    /// The attempt after which it is given up; it can be given up without one.
    pub(crate) tried: Option<&'a AttemptRecord>,
}

fn settled(row: &DeliveryRow, next: &NextAttempt, now: Timestamp) -> Changes {
    let changes = row.lease.release(Changes::new());
    let attempts = i64::from(row.attempts) + 1;
    let shard = || outbox::shard(WORKFLOW, &row.id);
    match next {
        NextAttempt::Sent { provider_id } => row
            .moved(attempt::settle(changes), DeliveryStatus::Sent, now)
            .set("attempts", attempts)
            .set_or_remove("provider_id", provider_id.as_deref())
            .remove("last_error"),
        NextAttempt::Over(status) => row.moved(attempt::settle(changes), *status, now).set("attempts", attempts),
        NextAttempt::Again(retry) => {
            let changes = row.moved(changes, DeliveryStatus::RetryWait, now).set("attempts", attempts);
            retry.reschedule(changes, shard())
        }
        NextAttempt::Waits(retry) => retry.with_slot().reschedule(changes, shard()),
    }
}
