//! The rate that a provider is sent at, as a row of the table.

use crate::error::SignalsError;
use crate::ids::TenantId;
use crate::table::SignalsTable;
use jiff::Timestamp;
use std::time::Duration;
use switchyard_core::hex_sha256;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Key, Update};
use switchyard_work::pace;

impl SignalsTable {
    /// Takes one of the `rate` places that the tenant has in this second; `false` when none is left. One write, on a row of the
    /// second's own, so that there is nothing to begin anew.
    pub(crate) async fn take_turn(&self, tenant: &TenantId, rate: u32, at: Timestamp) -> Result<bool, SignalsError> {
        let second = at.as_second();
        let key = Key { pk: format!("P#{}", hex_sha256(&[tenant.as_str(), &second.to_string()])), sk: "R".into() };
        let turn = Changes::new()
            .add("taken", 1)
            .set("expires_at", second + 60)
            .only_if("attribute_not_exists(#taken) OR #taken < ?", [i64::from(rate).into_attribute()]);
        Ok(matches!(self.table.update(&key, turn).await?, Update::Applied(_)))
    }

    /// Reserves the next free place in a pace, of one every `step`; returns when that is, epoch milliseconds, or `None` when it
    /// lies beyond the `horizon`.
    pub(crate) async fn reserve_slot(
        &self,
        pace: &str,
        step: Duration,
        now_ms: i64,
        horizon: Duration,
    ) -> Result<Option<i64>, SignalsError> {
        Ok(pace::reserve(&self.table, &pace_key(pace), step, now_ms, horizon, &kept_past(now_ms)).await?)
    }

    /// Until when a pace is held back, whatever places it gave out before.
    pub(crate) async fn held_until(&self, pace: &str) -> Result<Option<i64>, SignalsError> {
        Ok(pace::held_until(&self.table, &pace_key(pace)).await?)
    }

    /// Holds everything in a pace back until then.
    pub(crate) async fn hold_pace(&self, pace: &str, until_ms: i64) -> Result<(), SignalsError> {
        Ok(pace::hold(&self.table, &pace_key(pace), until_ms, kept_past(until_ms)).await?)
    }
}

fn pace_key(pace: &str) -> Key {
    Key { pk: format!("P#{}", hex_sha256(&[pace])), sk: "P".into() }
}

/// A pace's row is kept for a day after its last use.
fn kept_past(time_ms: i64) -> Changes {
    Changes::new().set("expires_at", time_ms / 1_000 + 86_400)
}
