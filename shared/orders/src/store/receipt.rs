//! Receipts: the guard that makes one import of each, and the log of its order.

use super::lease::CLAIM_DURATION;
use super::{MAX_CHANGE_ATTEMPTS, OrdersTable, StoreRow, partition};
use crate::error::OrdersError;
use crate::model::{LogId, LogState, LogStatus, ReceiptId, StoreId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{Owner, hex_sha256};
use switchyard_io::dynamo::{
    AttributeValue, Changes, Create, Index, IntoAttribute as _, Key, Page, Transact, Update, Write,
};
use switchyard_io::vault::Sealed;
use switchyard_work::lease::{CLAIM, Holder};

/// The row that makes one import of each receipt, and holds the claim of an import.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GuardRow {
    pk: String,
    sk: String,
    pub(crate) log_id: LogId,
    /// The claim's holder; absent once the log is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<String>,
    /// Epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim_until: Option<i64>,
}

/// The log of a receipt: its state and its place in the index `unfinished`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    pk: String,
    sk: String,
    pub(crate) version: i64,
    pub(crate) id: LogId,
    pub(crate) store_id: StoreId,
    pub(crate) receipt: ReceiptId,
    #[serde(flatten)]
    pub(crate) state: LogState,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Keys of the index `unfinished`; absent once imported. Receipts that the sync gave up have another hash key.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_pk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_sk: Option<String>,
}

impl LogRow {
    pub(crate) fn new(store_id: StoreId, id: LogId, receipt: ReceiptId, state: LogState, now: Timestamp) -> Self {
        let Key { pk, sk } = log_key(&store_id, &id);
        let mut row = Self {
            pk,
            sk,
            version: 1,
            id,
            store_id,
            receipt,
            state,
            created_at: now,
            updated_at: now,
            unfinished_pk: None,
            unfinished_sk: None,
        };
        row.index();
        row
    }

    pub(crate) fn next(&self, state: LogState, now: Timestamp) -> Self {
        let updated_at = now.max(self.updated_at + Duration::from_millis(1));
        let mut row = Self { state, version: self.version + 1, updated_at, ..self.clone() };
        row.index();
        row
    }

    /// The row's sort key in the index: rows without a planned retry first, then by time, each in order of creation.
    pub(crate) fn unfinished_at(&self) -> Option<&str> {
        self.unfinished_sk.as_deref()
    }

    fn index(&mut self) {
        let is_listed = self.state.status != LogStatus::Success;
        let at = self.state.next_retry_at.map_or(0, Timestamp::as_millisecond);
        let hash = if self.state.retry_exhausted { exhausted(&self.store_id) } else { self.store_id.to_string() };
        self.unfinished_pk = is_listed.then_some(hash);
        self.unfinished_sk = is_listed.then(|| format!("{}#{}", sortable(at), self.id));
    }
}

/// The hash key of the receipts that the sync gave up, in the index `unfinished`.
fn exhausted(store_id: &StoreId) -> String {
    format!("exhausted#{store_id}")
}

fn log_key(store_id: &StoreId, log_id: &LogId) -> Key {
    Key { pk: partition(store_id), sk: format!("L#{log_id}") }
}

/// Receipts are hashed: 255 characters can be more bytes than a key takes.
fn guard_key(store_id: &StoreId, receipt: &ReceiptId) -> Key {
    Key { pk: partition(store_id), sk: format!("R#{}", hex_sha256(&[receipt.as_str()])) }
}

/// Epoch milliseconds as text that sorts like the number.
fn sortable(at_ms: i64) -> String {
    format!("{at_ms:015}")
}

/// Result of [`OrdersTable::claim_receipt`].
pub(crate) enum ReceiptClaim {
    /// The caller holds the claim, and records the receipt under this log id.
    Mine { log_id: LogId },
    /// The receipt was recorded before.
    Known(Box<LogRow>),
    /// Another import holds the claim.
    Busy,
}

impl OrdersTable {
    /// Claims a receipt before the marketplace is asked.
    pub(crate) async fn claim_receipt(
        &self,
        store_id: &StoreId,
        receipt: &ReceiptId,
        claim: &Owner,
        log_id: LogId,
        now: Timestamp,
    ) -> Result<ReceiptClaim, OrdersError> {
        let key = guard_key(store_id, receipt);
        let (now_ms, until) = (now.as_millisecond(), (now + CLAIM_DURATION).as_millisecond());
        let guard = GuardRow {
            pk: key.pk.clone(),
            sk: key.sk.clone(),
            log_id,
            claim: Some(claim.message_id.clone()),
            claim_until: Some(until),
        };
        let known: GuardRow = match self.table.create(&guard).await? {
            Create::Created => return Ok(ReceiptClaim::Mine { log_id: guard.log_id }),
            Create::Exists(known) => self.table.read(known)?,
        };
        let Some(known_until) = known.claim_until else {
            let item = self.table.get(&log_key(store_id, &known.log_id)).await?;
            return Ok(match item {
                Some(item) => ReceiptClaim::Known(Box::new(self.table.read(item)?)),
                None => ReceiptClaim::Busy,
            });
        };
        // The SDK repeats a call whose response was lost: the row in the way is then this call's own.
        if known.claim.as_ref() == Some(&claim.message_id) {
            return Ok(ReceiptClaim::Mine { log_id: known.log_id });
        }
        if known_until >= now_ms {
            return Ok(ReceiptClaim::Busy);
        }
        // A guard without a claim belongs to a receipt that was recorded in the meantime.
        let claimed = CLAIM.acquire(Changes::new(), claim, now_ms, until).only_if("attribute_exists(#claim_until)", []);
        Ok(match self.table.update(&key, claimed).await? {
            Update::Applied(_) => ReceiptClaim::Mine { log_id: known.log_id },
            Update::Refused(_) => ReceiptClaim::Busy,
        })
    }

    /// Records a claimed receipt, before or after the marketplace is asked: guard, log and store in one transaction. A
    /// `refused` token pauses the store until it has another. Returns `None` when the claim was lost.
    pub(crate) async fn record(
        &self,
        store: &StoreRow,
        claim: &Owner,
        log: &LogRow,
        now: Timestamp,
        only_due: bool,
        refused: Option<&Sealed>,
    ) -> Result<Option<LogRow>, OrdersError> {
        let mut store = store.clone();
        for _ in 0..MAX_CHANGE_ATTEMPTS {
            let guard = CLAIM.release(Changes::new(), Holder::Owner(claim));
            let next = store.next(now, |row| {
                row.count(&log.id, None, &log.state);
                row.pause_for(refused);
                if log.state == LogState::new() {
                    row.schedule(Some(now), only_due);
                } else {
                    row.last_sync_at = Some(now);
                    // Another receipt may be due before this one.
                    let known = row.due.as_ref().and_then(|due| Timestamp::from_millisecond(due.due_at).ok());
                    row.schedule(known.into_iter().chain(log.state.next_retry_at).min(), only_due);
                }
            });
            let writes = vec![
                Write::Update(guard_key(&store.id, &log.receipt), guard),
                Write::Create(self.table.to_item(log)?),
                self.replace(&store, &next)?,
            ];
            match self.table.transact(writes).await? {
                Transact::Done => return Ok(Some(log.clone())),
                Transact::Refused { index: 2, row: Some(newer) } => store = self.table.read(newer)?,
                Transact::Refused { .. } => return Ok(None),
            }
        }
        Err(OrdersError::Contended { store: store.id })
    }

    /// Unfinished receipts of a store that are due at `until`, after the sort key `after`, at most `limit`.
    pub(crate) async fn unfinished(
        &self,
        store_id: &StoreId,
        after: Option<&str>,
        until: Timestamp,
        limit: i32,
    ) -> Result<Vec<LogRow>, OrdersError> {
        // `~` sorts after every character of an id, so both bounds can be written as inclusive ones.
        let from = after.map_or_else(|| sortable(0), |after| format!("{after}~"));
        let to = format!("{}~", sortable(until.as_millisecond()));
        if from > to {
            return Ok(Vec::new());
        }
        let range = Some((AttributeValue::S(from), AttributeValue::S(to)));
        self.indexed(store_id.to_string(), range, limit).await
    }

    /// Receipts of a store that the sync gave up, at most `limit`.
    pub(crate) async fn given_up(&self, store_id: &StoreId, limit: i32) -> Result<Vec<LogRow>, OrdersError> {
        self.indexed(exhausted(store_id), None, limit).await
    }

    async fn indexed(
        &self,
        hash: String,
        range: Option<(AttributeValue, AttributeValue)>,
        limit: i32,
    ) -> Result<Vec<LogRow>, OrdersError> {
        let index = Index::Named("unfinished");
        let (items, _) = self.table.page(Page { index, hash, range, newest_first: false, limit, after: None }).await?;
        Ok(items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?)
    }

    /// The log of a receipt, if it was imported or refused before.
    pub(crate) async fn log(&self, store_id: &StoreId, receipt: &ReceiptId) -> Result<Option<LogRow>, OrdersError> {
        let Some(guard) = self.table.get(&guard_key(store_id, receipt)).await? else { return Ok(None) };
        let guard: GuardRow = self.table.read(guard)?;
        let item = self.table.get(&log_key(store_id, &guard.log_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// When the next unfinished receipt is due.
    pub(crate) async fn next_retry(&self, store_id: &StoreId) -> Result<Option<Timestamp>, OrdersError> {
        let rows = self.unfinished(store_id, None, Timestamp::MAX, 1).await?;
        Ok(rows.first().and_then(|row| row.state.next_retry_at))
    }

    /// Writes the new states of several receipts and their store in one transaction. Returns the changed store, and removes
    /// from `changes` the receipts that another process changed first.
    pub(crate) async fn apply(
        &self,
        store: &StoreRow,
        changes: &mut Vec<(LogRow, LogRow)>,
        now: Timestamp,
        edit: impl Fn(&mut StoreRow),
    ) -> Result<StoreRow, OrdersError> {
        let mut store = store.clone();
        for _ in 0..MAX_CHANGE_ATTEMPTS {
            if changes.is_empty() {
                return Ok(store);
            }
            let next = store.next(now, |row| {
                for (before, after) in changes.iter() {
                    row.count(&after.id, Some(&before.state), &after.state);
                }
                edit(row);
            });
            let mut writes = vec![self.replace(&store, &next)?];
            for (before, after) in changes.iter() {
                writes.push(Write::PutIf(
                    self.table.to_item(after)?,
                    Changes::new().only_if("#version = ?", [before.version.into_attribute()]),
                ));
            }
            match self.table.transact(writes).await? {
                Transact::Done => return Ok(next),
                Transact::Refused { index: 0, row: Some(newer) } => store = self.table.read(newer)?,
                Transact::Refused { index: 0, row: None } => break,
                Transact::Refused { index, .. } => drop(changes.remove(index - 1)),
            }
        }
        Err(OrdersError::Contended { store: store.id })
    }

    /// One page of a store's receipts, newest first.
    pub(crate) async fn logs(
        &self,
        store_id: &StoreId,
        before: Option<&LogId>,
        limit: i32,
    ) -> Result<Vec<LogRow>, OrdersError> {
        // The bound is inclusive; the row of the cursor itself is removed below.
        let to = before.map_or_else(|| "L#~".to_owned(), |id| format!("L#{id}"));
        let page = Page {
            index: Index::Table,
            hash: partition(store_id),
            range: Some((AttributeValue::S("L#".into()), AttributeValue::S(to))),
            newest_first: true,
            limit: limit + 1,
            after: None,
        };
        let (items, _) = self.table.page(page).await?;
        let rows = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<LogRow>, _>>()?;
        Ok(rows.into_iter().filter(|row| Some(&row.id) != before).take(limit as usize).collect())
    }
}
