//! Every row of the orders table, with its keys and conditions.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | store | `S#<store id>` | `META` | for ever |
//! | log of one receipt | `S#<store id>` | `L#<log id>` | for ever |
//! | receipt guard | `S#<store id>` | `R#<digest of the receipt>` | for ever; holds the log's id, and the claim while it is new |
//! | event for the callbacks | `S#<store id>` | `B#<event id>` | 30 days |
//! | store by its natural key | `SU#<digest of organisation, marketplace, external id>` | `U` | for ever |
//! | store by its marketplace's own id | `SX#<digest of marketplace, external id>` | `S#<store id>` | for ever |
//! | store by its token | `ST#<digest of the token>` | `T` | for ever |
//! | lease of the sync | `LOCK#sync-store:<store id>` | `L` | until given back |
//! | answer kept for its `Idempotency-Key` (`switchyard_io::idempotency`) | `IDEM#<digest>` | `I` | a day |
//! | API key (`switchyard_io::keys`) | `K#<digest>` | `K` | for ever |
//! | claim on replacing the token | `LOCK#refresh:<store id>` | `L` | until given back |
//!
//! | Question | Answered by |
//! |---|---|
//! | the store of a token | `ST#…`, which a process reads once, then its `META` |
//! | which stores is a marketplace's notice for? | `SX#…`, then each `META` |
//! | a store's status | columns of `META`, kept up by every transaction that changes a log |
//! | was this receipt imported before? | the guard's own create |
//! | which receipts of a store may be tried again? | index `unfinished` (`unfinished_pk` = store, `unfinished_sk` = when, log) |
//! | which receipts of a store did the sync give up? | index `unfinished` (`unfinished_pk` = `exhausted#` and the store) |
//! | which stores, which unsent events are due? | index `due`, marked rows only |
//!
//! Counters and status change only in the transaction that changes a log; that transaction is conditional on the log's
//! and the store's `version`, so they always agree with the logs.

use crate::decide::{WINDOW, sync_status};
use crate::error::OrdersError;
use crate::model::{LogState, LogStatus, Marketplace, SyncStatus};
use jiff::Timestamp;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Classify as _, Clock, Disposition, hex_sha256, iso_millis};
use switchyard_io::Table;
use switchyard_io::dynamo::{
    AttributeValue, Changes, Create, Index, IntoAttribute, Item, Key, Page, Transact, Update, Write, number,
};
use switchyard_io::once::Owner;
use switchyard_io::outbox::{self, Due, DueRow};
use switchyard_io::vault::{Sealed, Vault};

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "orders";

/// How long an import may hold a receipt before another may take it over.
pub(crate) const CLAIM: Duration = Duration::from_secs(30);

/// How long a worker may hold a store without saying that it still works.
pub(crate) const LEASE: Duration = Duration::from_secs(900);

/// A store in one of these states is synced again this long after the last time.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// A store that was queued is not queued again for so long, unless its job ends before.
pub(crate) const QUEUED_FOR: Duration = Duration::from_secs(900);

const EVENT_TTL: Duration = Duration::from_secs(30 * 86_400);

/// Attempts at a change that others get in the way of.
const ATTEMPTS: u32 = 20;

/// A receipt's place among the newest ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recent {
    pub(crate) id: String,
    pub(crate) status: LogStatus,
}

/// A store's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreRow {
    pk: String,
    sk: String,
    /// Changes with every write.
    pub(crate) version: i64,
    pub(crate) id: String,
    pub(crate) sync_token: String,
    pub(crate) organization_id: String,
    pub(crate) marketplace: Marketplace,
    pub(crate) external_store_id: String,
    pub(crate) store_name: String,
    /// Sealed for [`StoreRow::token_context`].
    pub(crate) access_token: Sealed,
    pub(crate) currency: String,
    pub(crate) sync_status: SyncStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_sync_at: Option<Timestamp>,
    /// Success rows.
    pub(crate) imported_success_count: i64,
    /// Rows that are rate limited now.
    pub(crate) rate_limited_count: i64,
    /// Rows that the sync still has to do with.
    pub(crate) unfinished_count: i64,
    /// The newest receipts, newest first.
    pub(crate) recent: Vec<Recent>,
    /// Whether the sync has run once; its first run announces itself even with nothing to do.
    #[serde(default)]
    pub(crate) has_run: bool,
    /// Set when the marketplace refuses the token; a new token clears it.
    #[serde(default)]
    pub(crate) is_paused: bool,
    /// The sync leaves the store alone until then: its marketplace wants no calls for its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<Timestamp>,
    /// Until then a job is in the queue or at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queued_until: Option<i64>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// When the sync should look at it; absent when there is nothing to do.
    #[serde(flatten)]
    pub(crate) due: Option<Due>,
}

impl StoreRow {
    /// What the store's token is sealed for: nobody can give it to another store.
    pub(crate) fn token_context(&self) -> String {
        natural_key(&self.organization_id, self.marketplace, &self.external_store_id).pk
    }

    /// The row after `edit`: next version, later `updated_at`. When it is due is for `edit` to say.
    pub(crate) fn next(&self, now: Timestamp, edit: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        edit(&mut next);
        next.version += 1;
        next.updated_at = now.max(self.updated_at + Duration::from_millis(1));
        next
    }

    /// Leaves the store alone while it has the token that its marketplace refuses; one given to it since is to be tried.
    pub(crate) fn pause_for(&mut self, refused: Option<&Sealed>) {
        self.is_paused |= refused == Some(&self.access_token);
    }

    /// Takes a log's change into counters, newest receipts and status.
    pub(crate) fn count(&mut self, id: &str, before: Option<&LogState>, after: &LogState) {
        let one = |holds: bool| i64::from(holds);
        let is = |state: Option<&LogState>, status| one(state.is_some_and(|state| state.status == status));
        self.imported_success_count += is(Some(after), LogStatus::Success) - is(before, LogStatus::Success);
        self.rate_limited_count += is(Some(after), LogStatus::RateLimited) - is(before, LogStatus::RateLimited);
        self.unfinished_count += one(after.is_unfinished()) - one(before.is_some_and(LogState::is_unfinished));
        match self.recent.iter_mut().find(|recent| recent.id == id) {
            Some(recent) => recent.status = after.status,
            // Ids sort by creation. A row that is older than all of a full window stays out of view.
            None if before.is_none() => {
                let place = self.recent.partition_point(|recent| recent.id.as_str() > id);
                self.recent.insert(place, Recent { id: id.to_owned(), status: after.status });
                self.recent.truncate(WINDOW);
            }
            None => {}
        }
        let window: Vec<_> = self.recent.iter().map(|recent| recent.status).collect();
        self.sync_status = sync_status(&window);
    }

    /// Sets when the sync should look at the store. `next_retry` is the earliest time one of its receipts may be tried
    /// again, as far as is known.
    pub(crate) fn schedule(&mut self, next_retry: Option<Timestamp>, only_due: bool) {
        let is_open = self.sync_status != SyncStatus::Success;
        let every = self.last_sync_at.map_or(self.created_at, |last| last + EVERY);
        let retry = (self.unfinished_count > 0).then(|| next_retry.unwrap_or(every));
        let at = match (is_open && !(only_due && self.has_run), retry) {
            (true, Some(retry)) => Some(retry.min(every)),
            (true, None) => Some(every),
            (false, retry) => retry,
        };
        self.due = at.filter(|_| !self.is_paused).map(|at| {
            let at = at.max(self.not_before.unwrap_or(at));
            let at = at.as_millisecond().max(self.queued_until.unwrap_or_default());
            Due::at(WORKFLOW, &hex_sha256(&[&self.id]), at)
        });
    }
}

/// What registering a store takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whose store it is.
    pub organization_id: String,
    /// Where it sells.
    pub marketplace: Marketplace,
    /// The marketplace's id of it.
    pub external_store_id: String,
    /// What people call it.
    pub store_name: String,
    /// A bare token, or a JSON credential.
    pub access_token: String,
    /// As sent.
    pub currency: String,
}

/// What names a registered store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIds {
    /// UUID v7.
    pub store_id: String,
    /// UUID v7; whoever has it may import for the store.
    pub sync_token: String,
}

#[derive(Serialize, Deserialize)]
struct LookupRow {
    pk: String,
    sk: String,
    #[serde(flatten)]
    ids: StoreIds,
}

/// A receipt's guard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GuardRow {
    pk: String,
    sk: String,
    pub(crate) log_id: String,
    /// Whose claim it is; absent once the log is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<String>,
    /// Epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim_until: Option<i64>,
}

/// A receipt's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    pk: String,
    sk: String,
    pub(crate) version: i64,
    pub(crate) id: String,
    pub(crate) store_id: String,
    pub(crate) receipt: String,
    #[serde(flatten)]
    pub(crate) state: LogState,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Keys of the index `unfinished`; absent once imported. Receipts that the sync gave up have a hash of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_pk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_sk: Option<String>,
}

impl LogRow {
    pub(crate) fn new(store_id: &str, id: &str, receipt: &str, state: LogState, now: Timestamp) -> Self {
        let Key { pk, sk } = log_key(store_id, id);
        let mut row = Self {
            pk,
            sk,
            version: 1,
            id: id.to_owned(),
            store_id: store_id.to_owned(),
            receipt: receipt.to_owned(),
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

    /// Where the row stands in the index: never scheduled rows first, each kind in order of creation.
    pub(crate) fn unfinished_at(&self) -> Option<&str> {
        self.unfinished_sk.as_deref()
    }

    fn index(&mut self) {
        let is_listed = self.state.status != LogStatus::Success;
        let at = self.state.next_retry_at.map_or(0, Timestamp::as_millisecond);
        let hash = if self.state.retry_exhausted { exhausted(&self.store_id) } else { self.store_id.clone() };
        self.unfinished_pk = is_listed.then_some(hash);
        self.unfinished_sk = is_listed.then(|| format!("{}#{}", sortable(at), self.id));
    }
}

/// An event for the callbacks, written with the change it tells of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EventRow {
    pk: String,
    sk: String,
    pub(crate) id: String,
    pub(crate) organization_id: String,
    pub(crate) store_id: String,
    pub(crate) event: String,
    /// The body to deliver, byte for byte.
    pub(crate) payload: String,
    expires_at: i64,
    /// Absent once sent.
    #[serde(flatten)]
    due: Option<Due>,
}

impl EventRow {
    pub(crate) fn new(store: &StoreRow, id: String, event: &str, payload: String, now: Timestamp) -> Self {
        let expires_at = (now + EVENT_TTL).as_second();
        let due = Due::at(WORKFLOW, &hex_sha256(&[&id]), (now + outbox::GRACE).as_millisecond());
        Self {
            pk: partition(&store.id),
            sk: format!("{EVENT_PREFIX}{id}"),
            id,
            organization_id: store.organization_id.clone(),
            store_id: store.id.clone(),
            event: event.to_owned(),
            payload,
            expires_at,
            due: Some(due),
        }
    }

    pub(crate) fn is_unsent(&self) -> bool {
        self.due.is_some()
    }
}

/// Whether a due row is an event; else it is a store.
pub(crate) fn is_event(row: &DueRow) -> bool {
    row.sk.starts_with(EVENT_PREFIX)
}

const EVENT_PREFIX: &str = "B#";

/// Where the index `unfinished` keeps the receipts that the sync gave up.
fn exhausted(store_id: &str) -> String {
    format!("exhausted#{store_id}")
}

fn partition(store_id: &str) -> String {
    format!("S#{store_id}")
}

pub(crate) fn store_key(store_id: &str) -> Key {
    Key { pk: partition(store_id), sk: "META".into() }
}

fn log_key(store_id: &str, log_id: &str) -> Key {
    Key { pk: partition(store_id), sk: format!("L#{log_id}") }
}

/// Receipts are hashed: 255 characters can be more bytes than a key takes.
fn guard_key(store_id: &str, receipt: &str) -> Key {
    Key { pk: partition(store_id), sk: format!("R#{}", hex_sha256(&[receipt])) }
}

fn natural_key(organization_id: &str, marketplace: Marketplace, external_store_id: &str) -> Key {
    let digest = hex_sha256(&[organization_id, marketplace.name(), external_store_id]);
    Key { pk: format!("SU#{digest}"), sk: "U".into() }
}

/// Several organisations may have registered the same shop.
fn shop_key(marketplace: Marketplace, external_store_id: &str, store_id: &str) -> Key {
    let digest = hex_sha256(&[marketplace.name(), external_store_id]);
    Key { pk: format!("SX#{digest}"), sk: format!("S#{store_id}") }
}

fn token_key(sync_token: &str) -> Key {
    Key { pk: format!("ST#{}", hex_sha256(&[&sync_token.to_ascii_lowercase()])), sk: "T".into() }
}

fn lease_key(store_id: &str) -> Key {
    Key { pk: format!("LOCK#sync-store:{store_id}"), sk: "L".into() }
}

fn refresh_key(store_id: &str) -> Key {
    Key { pk: format!("LOCK#refresh:{store_id}"), sk: "L".into() }
}

/// Epoch milliseconds as text that sorts like the number.
fn sortable(at_ms: i64) -> String {
    format!("{at_ms:015}")
}

/// What became of [`Store::claim_receipt`].
pub(crate) enum ReceiptClaim {
    /// Ours to ask about, under this log id.
    Mine { log_id: String },
    /// Asked about before; here is its row.
    Known(Box<LogRow>),
    /// Somebody is asking right now.
    Busy,
}

/// Tokens whose store this process remembers.
const TOKENS_KNOWN: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The workflow's table.
#[derive(Clone)]
pub(crate) struct Store {
    table: Table,
    /// Store ids by the digest of their token: a token is one store's for ever, so that it is looked up once.
    by_token: Arc<Mutex<LruCache<String, String>>>,
}

impl Store {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, by_token: Arc::new(Mutex::new(LruCache::new(TOKENS_KNOWN))) }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Creates the store, or gives the one with the same natural key its new name, token and currency.
    pub(crate) async fn register(
        &self,
        new: &Registration,
        vault: &Vault,
        clock: &Clock,
    ) -> Result<StoreIds, OrdersError> {
        let now = clock.now();
        let ids = StoreIds { store_id: clock.new_id().to_string(), sync_token: clock.new_id().to_string() };
        let natural = natural_key(&new.organization_id, new.marketplace, &new.external_store_id);
        let access_token = vault.seal(&natural.pk, &new.access_token).await?;
        let Key { pk, sk } = store_key(&ids.store_id);
        let mut row = StoreRow {
            pk,
            sk,
            version: 1,
            id: ids.store_id.clone(),
            sync_token: ids.sync_token.clone(),
            organization_id: new.organization_id.clone(),
            marketplace: new.marketplace,
            external_store_id: new.external_store_id.clone(),
            store_name: new.store_name.clone(),
            access_token: access_token.clone(),
            currency: new.currency.clone(),
            sync_status: SyncStatus::Pending,
            last_sync_at: None,
            imported_success_count: 0,
            rate_limited_count: 0,
            unfinished_count: 0,
            recent: Vec::new(),
            has_run: false,
            is_paused: false,
            not_before: None,
            queued_until: None,
            created_at: now,
            updated_at: now,
            due: None,
        };
        row.schedule(None, false);
        let lookup = |key: Key| LookupRow { pk: key.pk, sk: key.sk, ids: ids.clone() };
        let writes = vec![
            Write::Create(self.table.to_item(&lookup(natural))?),
            Write::Create(self.table.to_item(&lookup(token_key(&ids.sync_token)))?),
            Write::Create(self.table.to_item(&lookup(shop_key(
                new.marketplace,
                &new.external_store_id,
                &ids.store_id,
            )))?),
            Write::Create(self.table.to_item(&row)?),
        ];
        match self.table.transact(writes).await? {
            Transact::Done => Ok(ids),
            Transact::Refused { row: Some(known), .. } => {
                let known: LookupRow = self.table.read(known)?;
                let is_same = match self.by_id(&known.ids.store_id).await? {
                    Some(row) => match vault.open(&row.token_context(), &row.access_token).await {
                        Ok(token) => *token.expose() == new.access_token,
                        // What no longer opens is what registering anew is to mend.
                        Err(error) if error.disposition() == Disposition::Permanent => false,
                        Err(error) => return Err(error.into()),
                    },
                    None => false,
                };
                self.change(
                    &known.ids.store_id,
                    || clock.now(),
                    |row| {
                        row.store_name.clone_from(&new.store_name);
                        row.currency.clone_from(&new.currency);
                        // Another token is a reason to ask again.
                        if !is_same {
                            row.access_token.clone_from(&access_token);
                            row.is_paused = false;
                            row.schedule(None, false);
                        }
                    },
                )
                .await?;
                Ok(known.ids)
            }
            Transact::Refused { row: None, .. } => Err(OrdersError::Contended { store: ids.store_id }),
        }
    }

    /// Every store that is this shop of a marketplace.
    pub(crate) async fn of_shop(&self, marketplace: Marketplace, shop: &str) -> Result<Vec<StoreRow>, OrdersError> {
        let mut stores = Vec::new();
        for item in self.table.rows(&shop_key(marketplace, shop, "").pk, "").await? {
            let lookup: LookupRow = self.table.read(item)?;
            stores.extend(self.by_id(&lookup.ids.store_id).await?);
        }
        Ok(stores)
    }

    /// The store of a token, whatever the case of its letters.
    pub(crate) async fn by_token(&self, sync_token: &str) -> Result<Option<StoreRow>, OrdersError> {
        let key = token_key(sync_token);
        let known = self.by_token.lock().unwrap_or_else(PoisonError::into_inner).get(&key.pk).cloned();
        let store_id = match known {
            Some(store_id) => store_id,
            None => {
                let Some(item) = self.table.get(&key).await? else { return Ok(None) };
                let lookup: LookupRow = self.table.read(item)?;
                let store_id = lookup.ids.store_id;
                self.by_token.lock().unwrap_or_else(PoisonError::into_inner).put(key.pk, store_id.clone());
                store_id
            }
        };
        self.by_id(&store_id).await
    }

    pub(crate) async fn by_id(&self, store_id: &str) -> Result<Option<StoreRow>, OrdersError> {
        let item = self.table.get(&store_key(store_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// Rereads and changes a store until nobody else changed it in between; `None` when there is no such store.
    pub(crate) async fn change(
        &self,
        store_id: &str,
        now: impl Fn() -> Timestamp,
        edit: impl Fn(&mut StoreRow),
    ) -> Result<Option<StoreRow>, OrdersError> {
        for _ in 0..ATTEMPTS {
            let Some(row) = self.by_id(store_id).await? else { return Ok(None) };
            let next = row.next(now(), &edit);
            if let Transact::Done = self.table.transact(vec![self.replace(&row, &next)?]).await? {
                return Ok(Some(next));
            }
        }
        Err(OrdersError::Contended { store: store_id.to_owned() })
    }

    /// Claims a receipt before the marketplace is asked.
    pub(crate) async fn claim_receipt(
        &self,
        store_id: &str,
        receipt: &str,
        claim: &str,
        log_id: String,
        now: Timestamp,
    ) -> Result<ReceiptClaim, OrdersError> {
        let key = guard_key(store_id, receipt);
        let until = (now + CLAIM).as_millisecond();
        let guard = GuardRow {
            pk: key.pk.clone(),
            sk: key.sk.clone(),
            log_id,
            claim: Some(claim.to_owned()),
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
        // The SDK repeats a call whose answer was lost: the refusal then comes from our own claim.
        if known.claim.as_deref() == Some(claim) {
            return Ok(ReceiptClaim::Mine { log_id: known.log_id });
        }
        if known_until >= now.as_millisecond() {
            return Ok(ReceiptClaim::Busy);
        }
        let taken = Changes::new()
            .set("claim", claim)
            .set("claim_until", until)
            .only_if("#claim_until = ?", [known_until.into_attribute()]);
        Ok(match self.table.update(&key, taken).await? {
            Update::Applied(_) => ReceiptClaim::Mine { log_id: known.log_id },
            Update::Refused(_) => ReceiptClaim::Busy,
        })
    }

    /// Writes what became of a claimed receipt, or that it is there to be asked about: guard, log and store in one
    /// transaction. `refused` is the token that the marketplace refuses, if it does: the store waits for another. `None` when
    /// the claim was lost meanwhile.
    pub(crate) async fn record(
        &self,
        store: &StoreRow,
        claim: &str,
        log: &LogRow,
        now: Timestamp,
        only_due: bool,
        refused: Option<&Sealed>,
    ) -> Result<Option<LogRow>, OrdersError> {
        let mut store = store.clone();
        for _ in 0..ATTEMPTS {
            let guard =
                Changes::new().remove("claim").remove("claim_until").only_if("#claim = ?", [claim.into_attribute()]);
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

    /// Unfinished receipts of a store that may be tried by `until`, from `after` on, at most `limit`.
    pub(crate) async fn unfinished(
        &self,
        store_id: &str,
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
        self.indexed(store_id.to_owned(), range, limit).await
    }

    /// Receipts of a store that the sync gave up, at most `limit`.
    pub(crate) async fn given_up(&self, store_id: &str, limit: i32) -> Result<Vec<LogRow>, OrdersError> {
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
    pub(crate) async fn log(&self, store_id: &str, receipt: &str) -> Result<Option<LogRow>, OrdersError> {
        let Some(guard) = self.table.get(&guard_key(store_id, receipt)).await? else { return Ok(None) };
        let guard: GuardRow = self.table.read(guard)?;
        let item = self.table.get(&log_key(store_id, &guard.log_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// When the first unfinished receipt may be tried again.
    pub(crate) async fn next_retry(&self, store_id: &str) -> Result<Option<Timestamp>, OrdersError> {
        let rows = self.unfinished(store_id, None, Timestamp::MAX, 1).await?;
        Ok(rows.first().and_then(|row| row.state.next_retry_at))
    }

    /// Writes what became of several receipts, with their store, in one transaction. Answers the store as it then is,
    /// and drops from `changes` what another process changed before.
    pub(crate) async fn apply(
        &self,
        store: &StoreRow,
        changes: &mut Vec<(LogRow, LogRow)>,
        now: Timestamp,
        edit: impl Fn(&mut StoreRow),
    ) -> Result<StoreRow, OrdersError> {
        let mut store = store.clone();
        for _ in 0..ATTEMPTS {
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

    /// Changes a store together with an event that tells of it.
    pub(crate) async fn announce(
        &self,
        store: &StoreRow,
        now: Timestamp,
        edit: impl Fn(&mut StoreRow),
        event: impl Fn(&StoreRow) -> Result<EventRow, OrdersError>,
    ) -> Result<(StoreRow, EventRow), OrdersError> {
        let mut store = store.clone();
        for _ in 0..ATTEMPTS {
            let next = store.next(now, &edit);
            let event = event(&next)?;
            let writes = vec![self.replace(&store, &next)?, Write::Create(self.table.to_item(&event)?)];
            match self.table.transact(writes).await? {
                Transact::Done => return Ok((next, event)),
                Transact::Refused { index: 0, row: Some(newer) } => store = self.table.read(newer)?,
                Transact::Refused { .. } => break,
            }
        }
        Err(OrdersError::Contended { store: store.id })
    }

    /// Takes the unsent mark off an event.
    pub(crate) async fn sent(&self, event: &EventRow) -> Result<(), OrdersError> {
        let key = Key { pk: event.pk.clone(), sk: event.sk.clone() };
        let changes = outbox::settled(Changes::new()).only_if("attribute_exists(#pk)", []);
        self.table.update(&key, changes).await?;
        Ok(())
    }

    /// Takes a store's lease: when it is free, when its time is up, or when an earlier delivery of the same message
    /// held it. Answers its fence, which grows with every owner.
    pub(crate) async fn take_lease(
        &self,
        store_id: &str,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<Option<i64>, OrdersError> {
        let changes = Changes::new()
            .set("owner", owner.message_id.as_str())
            .set("attempt", i64::from(owner.attempt))
            .set("expires_ms", (now + LEASE).as_millisecond())
            .add("fence", 1)
            .only_if(
                "attribute_not_exists(#expires_ms) OR #expires_ms < ? OR (#owner = ? AND #attempt <= ?)",
                [
                    now.as_millisecond().into_attribute(),
                    owner.message_id.as_str().into_attribute(),
                    i64::from(owner.attempt).into_attribute(),
                ],
            );
        match self.table.update(&lease_key(store_id), changes).await? {
            Update::Applied(row) => Ok(number(&row, "fence")),
            Update::Refused(_) => Ok(None),
        }
    }

    /// Claims the right to replace a store's token.
    pub(crate) async fn claim_refresh(&self, store_id: &str, claim: &str, now: Timestamp) -> Result<bool, OrdersError> {
        let changes = Changes::new()
            .set("claim", claim)
            .set("claim_until", (now + CLAIM).as_millisecond())
            .only_if("attribute_not_exists(#claim) OR #claim_until < ?", [now.as_millisecond().into_attribute()]);
        Ok(matches!(self.table.update(&refresh_key(store_id), changes).await?, Update::Applied(_)))
    }

    /// Gives that right back; another's is left alone.
    pub(crate) async fn end_refresh(&self, store_id: &str, claim: &str) -> Result<(), OrdersError> {
        let changes =
            Changes::new().remove("claim").remove("claim_until").only_if("#claim = ?", [claim.into_attribute()]);
        self.table.update(&refresh_key(store_id), changes).await?;
        Ok(())
    }

    /// Holds the lease for longer. `false` when it is another's now.
    pub(crate) async fn keep_lease(&self, store_id: &str, fence: i64, now: Timestamp) -> Result<bool, OrdersError> {
        let changes = Changes::new()
            .set("expires_ms", (now + LEASE).as_millisecond())
            .only_if("attribute_exists(#expires_ms) AND #fence = ?", [fence.into_attribute()]);
        Ok(matches!(self.table.update(&lease_key(store_id), changes).await?, Update::Applied(_)))
    }

    /// Gives the lease back; another's lease is left alone.
    pub(crate) async fn give_lease(&self, store_id: &str, fence: i64) -> Result<(), OrdersError> {
        let changes = Changes::new()
            .remove("expires_ms")
            .remove("owner")
            .remove("attempt")
            .only_if("#fence = ?", [fence.into_attribute()]);
        self.table.update(&lease_key(store_id), changes).await?;
        Ok(())
    }

    /// Marks a due store as queued, so that it is queued once. Answers its id, or `None` when another was faster.
    pub(crate) async fn mark_queued(&self, row: &DueRow, now: Timestamp) -> Result<Option<String>, OrdersError> {
        let until = (now + QUEUED_FOR).as_millisecond();
        let changes = Changes::new()
            .set("due_at", until)
            .set("queued_until", until)
            .add("version", 1)
            .only_if("#due_at = ?", [row.due.due_at.into_attribute()]);
        match self.table.update(&row.key(), changes).await? {
            Update::Applied(item) => Ok(Some(self.table.read::<StoreRow>(item)?.id)),
            Update::Refused(_) => Ok(None),
        }
    }

    pub(crate) fn event(&self, item: Item) -> Result<EventRow, OrdersError> {
        Ok(self.table.read(item)?)
    }

    /// One page of a store's receipts, newest first.
    pub(crate) async fn logs(
        &self,
        store_id: &str,
        before: Option<&str>,
        limit: i32,
    ) -> Result<Vec<LogRow>, OrdersError> {
        // `L#` up to the id, which is left out by ending just before it.
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
        Ok(rows.into_iter().filter(|row| Some(row.id.as_str()) != before).take(limit as usize).collect())
    }

    fn replace(&self, before: &StoreRow, after: &StoreRow) -> Result<Write, OrdersError> {
        let condition = Changes::new().only_if("#version = ?", [before.version.into_attribute()]);
        Ok(Write::PutIf(self.table.to_item(after)?, condition))
    }
}

/// A log as clients may see it.
pub(crate) fn public_log(row: &LogRow) -> serde_json::Value {
    let state = &row.state;
    serde_json::json!({
        "id": row.id,
        "receipt": row.receipt,
        "status": state.status,
        "orderId": state.order_id,
        "amount": state.amount.map(crate::model::Amount::to_json),
        "currency": state.currency,
        "error": (state.status != LogStatus::Success).then(|| state.public_error()),
        "attempt": state.attempt,
        "nextRetryAt": state.next_retry_at.map(iso_millis),
        "retryExhausted": state.retry_exhausted,
        "importedAt": state.imported_at.map(iso_millis),
        "createdAt": iso_millis(row.created_at),
        "updatedAt": iso_millis(row.updated_at),
    })
}
