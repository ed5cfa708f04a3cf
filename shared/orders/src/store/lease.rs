use super::Store;
use crate::error::OrdersError;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Update, number};
use switchyard_io::once::Owner;

/// How long an import may hold a receipt before another may take it over.
pub(crate) const CLAIM: Duration = Duration::from_secs(30);

/// How long a worker may hold a store without saying that it still works.
pub(crate) const LEASE: Duration = Duration::from_secs(900);

fn lease_key(store_id: &str) -> Key {
    Key { pk: format!("LOCK#sync-store:{store_id}"), sk: "L".into() }
}

fn refresh_key(store_id: &str) -> Key {
    Key { pk: format!("LOCK#refresh:{store_id}"), sk: "L".into() }
}

impl Store {
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
}
