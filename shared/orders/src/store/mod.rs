//! Every row of the orders table, a file for each entity: its row, its keys, its conditions.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | store | `S#<store id>` | `META` | no expiry |
//! | log of one receipt | `S#<store id>` | `L#<log id>` | no expiry |
//! | receipt guard | `S#<store id>` | `R#<digest of the receipt>` | no expiry; holds the log's id, and the claim while it is new |
//! | event for the callbacks | `S#<store id>` | `B#<event id>` | 30 days |
//! | store by its natural key | `SU#<digest of organization, marketplace, external id>` | `U` | no expiry |
//! | store by its marketplace's own id | `SX#<digest of marketplace, external id>` | `S#<store id>` | no expiry |
//! | store by its token | `ST#<digest of the token>` | `T` | no expiry |
//! | lease of the sync | `LOCK#sync-store:<store id>` | `L` | until released |
//! | answer kept for its `Idempotency-Key` (`switchyard_work::idempotency`) | `IDEM#<digest>` | `I` | a day |
//! | API key (`switchyard_identity::api_keys`) | `K#<digest>` | `K` | no expiry |
//! | claim on refreshing the token | `LOCK#refresh:<store id>` | `L` | until released |
//!
//! | Question | Query |
//! |---|---|
//! | the store of a token | `ST#…`, which a process reads once, then `META` |
//! | the stores that a marketplace's notice is for | `SX#…`, then each `META` |
//! | a store's status | columns of `META`, updated by every transaction that changes a log |
//! | was this receipt imported before? | the guard's own create |
//! | which receipts of a store are to be retried? | index `unfinished` (`unfinished_pk` = store, `unfinished_sk` = when, log) |
//! | which receipts of a store did the sync give up? | index `unfinished` (`unfinished_pk` = `exhausted#` and the store) |
//! | which stores, which unsent events are due? | index `due`, marked rows only |
//!
//! Counters and status change only in the transaction that changes a log; that transaction is conditional on the log's
//! and the store's `version`, so they always agree with the logs.

mod event;
mod lease;
mod receipt;
mod registered;

pub(crate) use event::{EventRow, is_event};
pub(crate) use receipt::{LogRow, ReceiptClaim};
pub(crate) use registered::StoreRow;
pub use registered::{Registration, SEALED, StoreIds};

use crate::error::OrdersError;
use crate::model::StoreId;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use switchyard_io::Table;
use switchyard_io::dynamo::{Changes, IntoAttribute as _, Write};

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "orders";

/// Attempts at a change while other processes change the same rows.
const MAX_CHANGE_ATTEMPTS: u32 = 20;

/// How many tokens this process caches the store of.
const TOKEN_CACHE_SIZE: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The handle on the workflow's table.
#[derive(Clone)]
pub(crate) struct OrdersTable {
    table: Table,
    /// Store ids by the digest of their token: a token never moves to another store.
    by_token: Arc<Mutex<LruCache<String, StoreId>>>,
}

impl OrdersTable {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, by_token: Arc::new(Mutex::new(LruCache::new(TOKEN_CACHE_SIZE))) }
    }

    pub(crate) fn dynamo(&self) -> &Table {
        &self.table
    }

    fn replace(&self, before: &StoreRow, after: &StoreRow) -> Result<Write, OrdersError> {
        let condition = Changes::new().only_if("#version = ?", [before.version.into_attribute()]);
        Ok(Write::PutIf(self.table.to_item(after)?, condition))
    }
}

fn partition(store_id: &StoreId) -> String {
    format!("S#{store_id}")
}
