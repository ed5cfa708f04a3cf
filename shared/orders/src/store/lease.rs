//! Leases of the orders table: one worker for each store's sync, one process for each token that is refreshed, one import
//! for each receipt.

use super::OrdersTable;
use crate::error::OrdersError;
use crate::model::StoreId;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_io::dynamo::{Changes, Key, Update};
use switchyard_work::lease::{CLAIM, Columns, Fence, Holder};

/// How long a request may claim a receipt or a token before another may take it over.
pub(crate) const CLAIM_DURATION: Duration = Duration::from_secs(30);

/// How long a worker may hold a store without renewing its lease.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(900);

/// The lease of a store's sync.
const SYNC: Columns = Columns { owner: "owner", attempt: Some("attempt"), until: "expires_ms", fence: Some("fence") };

fn lease_key(store_id: &StoreId) -> Key {
    Key { pk: format!("LOCK#sync-store:{store_id}"), sk: "L".into() }
}

fn refresh_key(store_id: &StoreId) -> Key {
    Key { pk: format!("LOCK#refresh:{store_id}"), sk: "L".into() }
}

impl OrdersTable {
    /// Acquires a store's lease. Returns its fence, or `None` while another worker holds it.
    pub(crate) async fn acquire_lease(
        &self,
        store_id: &StoreId,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<Option<Fence>, OrdersError> {
        let (now_ms, until_ms) = (now.as_millisecond(), (now + LEASE_DURATION).as_millisecond());
        let changes = SYNC.acquire(Changes::new(), owner, now_ms, until_ms);
        match self.table.update(&lease_key(store_id), changes).await? {
            Update::Applied(row) => Ok(SYNC.fence(&row)),
            Update::Refused(_) => Ok(None),
        }
    }

    /// Renews a store's lease. Returns `false` when another worker holds it now.
    pub(crate) async fn renew_lease(
        &self,
        store_id: &StoreId,
        fence: Fence,
        now: Timestamp,
    ) -> Result<bool, OrdersError> {
        let until_ms = (now + LEASE_DURATION).as_millisecond();
        let changes = SYNC.renew(Changes::new(), Holder::Fence(fence), until_ms);
        Ok(matches!(self.table.update(&lease_key(store_id), changes).await?, Update::Applied(_)))
    }

    /// Releases a store's lease; another worker's stays.
    pub(crate) async fn release_lease(&self, store_id: &StoreId, fence: Fence) -> Result<(), OrdersError> {
        let changes = SYNC.release(Changes::new(), Holder::Fence(fence));
        let (Update::Applied(_) | Update::Refused(_)) = self.table.update(&lease_key(store_id), changes).await?;
        Ok(())
    }

    /// Claims the refresh of a store's token. Returns `false` while another process holds the claim.
    pub(crate) async fn claim_refresh(
        &self,
        store_id: &StoreId,
        claim: &Owner,
        now: Timestamp,
    ) -> Result<bool, OrdersError> {
        let (now_ms, until_ms) = (now.as_millisecond(), (now + CLAIM_DURATION).as_millisecond());
        let changes = CLAIM.acquire(Changes::new(), claim, now_ms, until_ms);
        Ok(matches!(self.table.update(&refresh_key(store_id), changes).await?, Update::Applied(_)))
    }

    /// Releases the claim on refreshing a store's token; another process's claim stays.
    pub(crate) async fn release_refresh(&self, store_id: &StoreId, claim: &Owner) -> Result<(), OrdersError> {
        let changes = CLAIM.release(Changes::new(), Holder::Owner(claim));
        let (Update::Applied(_) | Update::Refused(_)) = self.table.update(&refresh_key(store_id), changes).await?;
        Ok(())
    }
}
