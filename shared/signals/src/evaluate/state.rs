//! Rows with the state of a rule for each group: threshold, cooldown, digest.

use crate::error::SignalsError;
use crate::ids::{EventId, RuleId, TenantId};
use crate::table::{SignalsTable, WORKFLOW};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_core::{hex_sha256, random};
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Item, Key, Transact, Write};
use switchyard_rules::{Batch, Counted};
use switchyard_work::outbox::{self, Due};

/// Attempts at a step that others get in the way of.
const ATTEMPTS: u32 = 20;

/// Waits between them.
const STEP_BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));

/// What a rule remembers of a group of events.
#[derive(Serialize, Deserialize)]
struct StateRow {
    pk: String,
    sk: String,
    lock: i64,
    /// JSON.
    state: String,
    /// Of the rule, so that who finds it due knows what it is.
    tenant: TenantId,
    rule: RuleId,
    group: String,
    expires_at: i64,
    #[serde(flatten)]
    due: Option<Due>,
}

/// Which state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateKey<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) rule: &'a RuleId,
    /// `TH`, `CD` or `DG`.
    pub(crate) part: &'a str,
    /// The group, as stable text.
    pub(crate) group: &'a str,
}

impl StateKey<'_> {
    fn key(&self) -> Key {
        let group = hex_sha256(&[self.group]);
        Key { pk: format!("S#{}#{}#{group}", self.tenant, self.rule), sk: self.part.to_owned() }
    }
}

/// What one step leaves.
pub(crate) struct Stepped<S, T> {
    pub(crate) state: S,
    pub(crate) outcome: T,
    /// When the sweep should look at the state, epoch milliseconds.
    pub(crate) due_at: Option<i64>,
    /// Written with the state, or not at all.
    pub(crate) with: Vec<Item>,
}

impl<S, T> Stepped<S, T> {
    pub(crate) fn new(state: S, outcome: T) -> Self {
        Self { state, outcome, due_at: None, with: Vec::new() }
    }
}

/// An event that was counted.
#[derive(Serialize, Deserialize)]
struct CountedRow {
    pk: String,
    sk: String,
    counted: Counted,
    expires_at: i64,
}

/// A closed window of a digest.
#[derive(Serialize, Deserialize)]
struct BatchRow {
    pk: String,
    sk: String,
    tenant: TenantId,
    rule: RuleId,
    group: String,
    opened_ms: i64,
    /// JSON.
    entries: String,
    #[serde(flatten)]
    due: Option<Due>,
}

fn counted_key(key: &StateKey<'_>, event_id: &EventId) -> Key {
    Key { sk: format!("TC#{event_id}"), ..key.key() }
}

/// A digest that is due: its open window, or one that closed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DueState {
    pub(crate) tenant: TenantId,
    pub(crate) rule: RuleId,
    pub(crate) group: String,
}

impl SignalsTable {
    /// What of a digest may be due: the window that is open, and those that closed.
    pub(crate) async fn due_of_digest(&self, tenant: &str, rule: &str, group: &str) -> Result<Vec<Key>, SignalsError> {
        let (tenant, rule) = (TenantId::from(tenant), RuleId::from(rule));
        let open = StateKey { tenant: &tenant, rule: &rule, part: "DG", group }.key();
        let closed = self.table.rows(&open.pk, "DB#").await?;
        let mut keys = closed.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<Key>, _>>()?;
        keys.push(open);
        Ok(keys)
    }

    /// Reads a state, has `step` make the next of it, and writes that unless another worker was faster; else again.
    pub(crate) async fn step<S, T>(
        &self,
        key: StateKey<'_>,
        keep_for: Duration,
        now: Timestamp,
        step: impl Fn(Option<S>) -> Result<Stepped<S, T>, SignalsError>,
    ) -> Result<T, SignalsError>
    where
        S: Serialize + DeserializeOwned + PartialEq + Clone,
    {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                #[expect(clippy::disallowed_methods, reason = "others step the same state within milliseconds")]
                tokio::time::sleep(STEP_BACKOFF.wait(attempt - 1, None, random::fraction())).await;
            }
            let row: Option<StateRow> = self.get(&key.key()).await?;
            let before: Option<S> =
                row.as_ref().map(|row| serde_json::from_str(&row.state)).transpose().map_err(SignalsError::Json)?;
            let stepped = step(before.clone())?;
            if before.as_ref() == Some(&stepped.state) && stepped.with.is_empty() {
                return Ok(stepped.outcome);
            }
            let Key { pk, sk } = key.key();
            let next = StateRow {
                lock: row.as_ref().map_or(0, |row| row.lock) + 1,
                state: serde_json::to_string(&stepped.state).map_err(SignalsError::Json)?,
                tenant: key.tenant.clone(),
                rule: key.rule.clone(),
                group: key.group.to_owned(),
                expires_at: (now + keep_for).as_second(),
                due: stepped.due_at.map(|at| Due::at(WORKFLOW, &hex_sha256(&[&pk, &sk]), at)),
                pk,
                sk,
            };
            let item = self.table.to_item(&next)?;
            let mut writes = vec![match row {
                Some(row) => Write::PutIf(item, Changes::new().only_if("#lock = ?", [row.lock.into_attribute()])),
                None => Write::Create(item),
            }];
            writes.extend(stepped.with.into_iter().map(Write::Create));
            if let Transact::Done = self.table.transact(writes).await? {
                return Ok(stepped.outcome);
            }
        }
        Err(SignalsError::Contended { what: "a rule's state" })
    }

    /// What a threshold that forgets events made of this one before.
    pub(crate) async fn counted(
        &self,
        key: &StateKey<'_>,
        event_id: &EventId,
    ) -> Result<Option<Counted>, SignalsError> {
        let row: Option<CountedRow> = self.get(&counted_key(key, event_id)).await?;
        Ok(row.map(|row| row.counted))
    }

    /// The row that says so, to be written with the state.
    pub(crate) fn counted_item(
        &self,
        key: &StateKey<'_>,
        event_id: &EventId,
        counted: &Counted,
        until: Timestamp,
    ) -> Result<Item, SignalsError> {
        let Key { pk, sk } = counted_key(key, event_id);
        Ok(self.table.to_item(&CountedRow { pk, sk, counted: *counted, expires_at: until.as_second() })?)
    }

    /// A closed window of a digest, to be written with the state.
    pub(crate) fn batch_item(&self, key: &StateKey<'_>, batch: &Batch, now: Timestamp) -> Result<Item, SignalsError> {
        let Key { pk, .. } = key.key();
        let due = Due::at(WORKFLOW, &hex_sha256(&[&pk]), (now + outbox::GRACE).as_millisecond());
        let row = BatchRow {
            pk,
            sk: format!("DB#{:015}#{}", batch.opened_ms, batch.entries.first().map_or("", |entry| &entry.event_id)),
            tenant: key.tenant.clone(),
            rule: key.rule.clone(),
            group: key.group.to_owned(),
            opened_ms: batch.opened_ms,
            entries: serde_json::to_string(&batch.entries).map_err(SignalsError::Json)?,
            due: Some(due),
        };
        Ok(self.table.to_item(&row)?)
    }

    /// The closed windows of a group that are still to be sent, the older first.
    pub(crate) async fn batches(&self, key: &StateKey<'_>) -> Result<Vec<(Key, Batch)>, SignalsError> {
        let items = self.table.rows(&key.key().pk, "DB#").await?;
        let batch = |item| {
            let row: BatchRow = self.table.read(item)?;
            let entries = serde_json::from_str(&row.entries).map_err(SignalsError::Json)?;
            Ok((Key { pk: row.pk, sk: row.sk }, Batch { opened_ms: row.opened_ms, entries }))
        };
        items.into_iter().map(batch).collect()
    }

    /// Removes a closed window, and writes what came of it; `false` when that was done before.
    pub(crate) async fn remove_batch(&self, key: &Key, with: Vec<Write>) -> Result<bool, SignalsError> {
        let mut writes = vec![Write::Delete(key.clone(), Changes::new().only_if("attribute_exists(#pk)", []))];
        writes.extend(with);
        Ok(matches!(self.table.transact(writes).await?, Transact::Done))
    }

    /// Deletes the state of a rule that is no longer active.
    pub(crate) async fn forget_digest(
        &self,
        tenant: &TenantId,
        rule: &RuleId,
        group: &str,
    ) -> Result<(), SignalsError> {
        let key = StateKey { tenant, rule, part: "DG", group };
        for (batch, _) in self.batches(&key).await? {
            self.table.delete(&batch).await?;
        }
        Ok(self.table.delete(&key.key()).await?)
    }
}
