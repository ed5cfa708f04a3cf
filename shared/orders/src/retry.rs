//! Retrying on request the receipts that the sync gave up.

use crate::decide::reopened;
use crate::error::OrdersError;
use crate::import::OrdersDeps;
use crate::model::{ReceiptId, SyncToken};
use crate::store::{LogRow, StoreRow};
use crate::sync::TRANSACTION_SIZE;
use jiff::Timestamp;

/// The most receipts that one call reopens.
const MAX_REOPENED: i32 = 500;

/// Outcome of a request to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// Receipts are due again.
    Reopened {
        /// The number of receipts.
        count: usize,
        /// Whether more receipts were given up, for another call.
        has_more: bool,
    },
    /// No store of the caller's organizations has this token.
    UnknownStore,
    /// The receipt was never imported.
    UnknownReceipt,
}

/// Makes the store due now, even if it is paused or put off.
fn wake(row: &mut StoreRow, now: Timestamp, only_due: bool) {
    row.is_paused = false;
    row.not_before = None;
    row.schedule(Some(now), only_due);
}

/// Makes one receipt due now, or all that were refused too often, at most 500 a call. The sync asks about them within a
/// minute, or after the job that is queued. A store that is paused because its token was refused is resumed.
///
/// # Errors
/// DynamoDB could not be reached; the call may be repeated.
pub async fn retry(
    deps: &OrdersDeps,
    sync_token: &SyncToken,
    receipt: Option<&ReceiptId>,
    may: impl Fn(&str) -> bool,
) -> Result<Retried, OrdersError> {
    let Some(mut store) = deps.table.by_token(sync_token).await?.filter(|store| may(store.organization_id.as_str()))
    else {
        return Ok(Retried::UnknownStore);
    };
    let rows = match receipt {
        Some(receipt) => match deps.table.log(&store.id, receipt).await? {
            Some(row) => vec![row],
            None => return Ok(Retried::UnknownReceipt),
        },
        None => deps.table.given_up(&store.id, MAX_REOPENED).await?,
    };
    let has_more = rows.len() == MAX_REOPENED as usize;
    let mut count = 0;
    for chunk in rows.chunks(TRANSACTION_SIZE) {
        let now = deps.clock.now();
        let next = |row: &LogRow| Some((row.clone(), row.next(reopened(&row.state)?, now)));
        let mut changes: Vec<_> = chunk.iter().filter_map(next).collect();
        store = deps.table.apply(&store, &mut changes, now, |row| wake(row, now, deps.only_due)).await?;
        count += changes.len();
    }
    if store.is_paused {
        deps.table.change(&store.id, || deps.clock.now(), |row| wake(row, deps.clock.now(), deps.only_due)).await?;
    }
    tracing::info!(store_id = store.id.as_str(), reopened = count, "orders_reopened");
    Ok(Retried::Reopened { count, has_more })
}
