//! Stores: registration, the indexes to find one by, status and due time.

use super::{MAX_CHANGE_ATTEMPTS, OrdersTable, WORKFLOW, partition};
use crate::decide::{STATUS_WINDOW, sync_status};
use crate::error::OrdersError;
use crate::model::{ExternalStoreId, LogId, LogState, LogStatus, Marketplace, StoreId, SyncStatus, SyncToken};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;
use std::time::Duration;
use switchyard_core::{Classify as _, Clock, Disposition, OrganizationId, hex_sha256};
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Transact, Update, Write};
use switchyard_io::reseal::{SealedColumn, Shape, text};
use switchyard_io::vault::{Sealed, Vault};
use switchyard_work::idempotency;
use switchyard_work::outbox::{Due, DueRow};

/// An open store is synced this long after its last sync.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(60);

/// A queued store is not queued again for this long, unless its job ends earlier.
pub(crate) const QUEUED_DURATION: Duration = Duration::from_secs(900);

/// One of a store's newest receipts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecentReceipt {
    pub(crate) id: LogId,
    pub(crate) status: LogStatus,
}

/// A store's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreRow {
    pk: String,
    sk: String,
    /// Changes with every write.
    pub(crate) version: i64,
    pub(crate) id: StoreId,
    pub(crate) sync_token: SyncToken,
    pub(crate) organization_id: OrganizationId,
    pub(crate) marketplace: Marketplace,
    pub(crate) external_store_id: ExternalStoreId,
    pub(crate) store_name: String,
    /// Sealed for [`StoreRow::token_context`].
    pub(crate) access_token: Sealed,
    pub(crate) currency: String,
    pub(crate) sync_status: SyncStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_sync_at: Option<Timestamp>,
    /// Receipts that are imported.
    pub(crate) imported_success_count: i64,
    /// Receipts that are rate limited now.
    pub(crate) rate_limited_count: i64,
    /// Receipts that the sync still has to ask about.
    pub(crate) unfinished_count: i64,
    /// The newest receipts, newest first.
    pub(crate) recent: Vec<RecentReceipt>,
    /// Whether the sync has run once; the first run publishes its events even when no receipt is due.
    #[serde(default)]
    pub(crate) has_run: bool,
    /// Set when the marketplace refuses the token; a new token clears it.
    #[serde(default)]
    pub(crate) is_paused: bool,
    /// No sync before this time: the marketplace limits the store's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<Timestamp>,
    /// A job is queued or running until this time at the latest, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queued_until: Option<i64>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// When a job is to be queued; absent when there is nothing to do.
    #[serde(flatten)]
    pub(crate) due: Option<Due>,
}

/// The sealed columns of the orders table.
pub const SEALED: &[SealedColumn] = &[
    SealedColumn {
        attribute: "access_token",
        shape: Shape::Text,
        context: |row| {
            let marketplace = text(row, "marketplace")?.parse().ok()?;
            let organization_id = text(row, "organization_id")?.into();
            let external_store_id = text(row, "external_store_id")?.into();
            Some(natural_key(&organization_id, marketplace, &external_store_id).pk)
        },
        lock: Some("version"),
    },
    idempotency::SEALED_RESPONSE,
];

impl StoreRow {
    /// The context that the store's token is sealed with: it opens for no other store.
    pub(crate) fn token_context(&self) -> String {
        natural_key(&self.organization_id, self.marketplace, &self.external_store_id).pk
    }

    /// The row after `edit`, with the next version and a later `updated_at`. `edit` schedules it.
    pub(crate) fn next(&self, now: Timestamp, edit: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        edit(&mut next);
        next.version += 1;
        next.updated_at = now.max(self.updated_at + Duration::from_millis(1));
        next
    }

    /// Pauses the store if it still has the token that its marketplace refused.
    pub(crate) fn pause_for(&mut self, refused: Option<&Sealed>) {
        self.is_paused |= refused == Some(&self.access_token);
    }

    /// Updates counters, newest receipts and status after a change of one receipt.
    pub(crate) fn count(&mut self, id: &LogId, before: Option<&LogState>, after: &LogState) {
        let one = |holds: bool| i64::from(holds);
        let is = |state: Option<&LogState>, status| one(state.is_some_and(|state| state.status == status));
        self.imported_success_count += is(Some(after), LogStatus::Success) - is(before, LogStatus::Success);
        self.rate_limited_count += is(Some(after), LogStatus::RateLimited) - is(before, LogStatus::RateLimited);
        self.unfinished_count += one(after.is_unfinished()) - one(before.is_some_and(LogState::is_unfinished));
        match self.recent.iter_mut().find(|recent| recent.id == *id) {
            Some(recent) => recent.status = after.status,
            // Ids sort by creation. A receipt older than a full window is truncated again.
            None if before.is_none() => {
                let place = self.recent.partition_point(|recent| recent.id > *id);
                self.recent.insert(place, RecentReceipt { id: id.clone(), status: after.status });
                self.recent.truncate(STATUS_WINDOW);
            }
            None => {}
        }
        let window: Vec<_> = self.recent.iter().map(|recent| recent.status).collect();
        self.sync_status = sync_status(&window);
    }

    /// Sets when the store is due. `next_retry` is the earliest time that one of its receipts is retried, if known.
    pub(crate) fn schedule(&mut self, next_retry: Option<Timestamp>, only_due: bool) {
        let is_open = self.sync_status != SyncStatus::Success;
        let every = self.last_sync_at.map_or(self.created_at, |last| last + SYNC_INTERVAL);
        let retry = (self.unfinished_count > 0).then(|| next_retry.unwrap_or(every));
        let at = match (is_open && !(only_due && self.has_run), retry) {
            (true, Some(retry)) => Some(retry.min(every)),
            (true, None) => Some(every),
            (false, retry) => retry,
        };
        self.due = at.filter(|_| !self.is_paused).map(|at| {
            let at = at.max(self.not_before.unwrap_or(at));
            let at = at.as_millisecond().max(self.queued_until.unwrap_or_default());
            Due::at(WORKFLOW, &hex_sha256(&[self.id.as_str()]), at)
        });
    }
}

/// A store to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The organization that the store belongs to.
    pub organization_id: OrganizationId,
    /// Its marketplace.
    pub marketplace: Marketplace,
    /// The store's id at its marketplace.
    pub external_store_id: ExternalStoreId,
    /// The store's name.
    pub store_name: String,
    /// A bare token, or a JSON credential.
    pub access_token: String,
    /// ISO 4217, as sent.
    pub currency: String,
}

/// The ids of a registered store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIds {
    /// For the platform itself.
    pub store_id: StoreId,
    /// For clients' calls.
    pub sync_token: SyncToken,
}

#[derive(Serialize, Deserialize)]
struct LookupRow {
    pk: String,
    sk: String,
    #[serde(flatten)]
    ids: StoreIds,
}

pub(crate) fn store_key(store_id: &StoreId) -> Key {
    Key { pk: partition(store_id), sk: "META".into() }
}

fn natural_key(organization_id: &OrganizationId, marketplace: Marketplace, external_store_id: &ExternalStoreId) -> Key {
    let digest = hex_sha256(&[organization_id.as_str(), marketplace.name(), external_store_id.as_str()]);
    Key { pk: format!("SU#{digest}"), sk: "U".into() }
}

/// Several organizations may have registered the same shop.
fn shop_partition(marketplace: Marketplace, external_store_id: &ExternalStoreId) -> String {
    format!("SX#{}", hex_sha256(&[marketplace.name(), external_store_id.as_str()]))
}

fn shop_key(marketplace: Marketplace, external_store_id: &ExternalStoreId, store_id: &StoreId) -> Key {
    Key { pk: shop_partition(marketplace, external_store_id), sk: format!("S#{store_id}") }
}

fn token_key(sync_token: &SyncToken) -> Key {
    Key { pk: format!("ST#{}", hex_sha256(&[&sync_token.as_str().to_ascii_lowercase()])), sk: "T".into() }
}

impl OrdersTable {
    /// Creates a store, or updates name, token and currency of the one with the same natural key.
    pub(crate) async fn register(
        &self,
        new: &Registration,
        vault: &Vault,
        clock: &Clock,
    ) -> Result<StoreIds, OrdersError> {
        let now = clock.now();
        let ids =
            StoreIds { store_id: clock.new_id().to_string().into(), sync_token: clock.new_id().to_string().into() };
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
                        // A token that cannot be opened is replaced by registering the store again.
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
                        // A new token resumes the store.
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

    /// Every store that is registered for a marketplace's shop.
    pub(crate) async fn of_shop(
        &self,
        marketplace: Marketplace,
        shop: &ExternalStoreId,
    ) -> Result<Vec<StoreRow>, OrdersError> {
        let mut stores = Vec::new();
        for item in self.table.rows(&shop_partition(marketplace, shop), "").await? {
            let lookup: LookupRow = self.table.read(item)?;
            stores.extend(self.by_id(&lookup.ids.store_id).await?);
        }
        Ok(stores)
    }

    /// The store of a token; upper and lower case are the same.
    pub(crate) async fn by_token(&self, sync_token: &SyncToken) -> Result<Option<StoreRow>, OrdersError> {
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

    pub(crate) async fn by_id(&self, store_id: &StoreId) -> Result<Option<StoreRow>, OrdersError> {
        let item = self.table.get(&store_key(store_id)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// Reads and changes a store, again when another process changed it in between. Returns `None` when the store does not
    /// exist.
    pub(crate) async fn change(
        &self,
        store_id: &StoreId,
        now: impl Fn() -> Timestamp,
        edit: impl Fn(&mut StoreRow),
    ) -> Result<Option<StoreRow>, OrdersError> {
        for _ in 0..MAX_CHANGE_ATTEMPTS {
            let Some(row) = self.by_id(store_id).await? else { return Ok(None) };
            let next = row.next(now(), &edit);
            if let Transact::Done = self.table.transact(vec![self.replace(&row, &next)?]).await? {
                return Ok(Some(next));
            }
        }
        Err(OrdersError::Contended { store: store_id.clone() })
    }

    /// Marks a due store as queued. Returns its id, or `None` when another sweep marked it first.
    pub(crate) async fn mark_queued(&self, row: &DueRow, now: Timestamp) -> Result<Option<StoreId>, OrdersError> {
        let until = (now + QUEUED_DURATION).as_millisecond();
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
}
