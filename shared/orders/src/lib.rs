//! Orders: sellers' stores on marketplaces, and the orders imported from them, receipt by receipt.
//!
//! Read in this order: [`register`] registers a store; [`import`] asks its marketplace about one receipt, once; [`sweep`]
//! finds the stores with due receipts and queues a job for each; [`sync`] runs such a job and publishes its start and end
//! as events; [`receive`] accepts the marketplaces' own webhooks. `decide` holds the rules, `store` every row, key and
//! condition, `marketplace` the marketplaces' APIs. The contract is `docs/orders.md`.

mod decide;
mod error;
mod import;
mod inbound;
pub mod marketplace;
mod model;
mod retry;
mod store;
mod sweep;
mod sync;
mod view;

pub use decide::sync_status as status_of;
pub use error::OrdersError;
pub use import::{Imported, OrdersDeps, import, orders, refuse_shop, register, sync_status};
pub use inbound::{InboundDeps, Received, receive};
pub use model::{
    Amount, Counts, EventId, ExternalStoreId, LogId, LogState, LogStatus, Marketplace, ReceiptId, StoreId, SyncStatus,
    SyncToken, UnknownMarketplace, Verdict,
};
pub use retry::{Retried, retry};
pub use store::{Registration, SEALED, StoreIds};
pub use sweep::{Swept, sweep};
pub use sync::{SyncDeps, Synced, sync};
pub use view::{ImportOutcome, Order, OrderPage, SyncSummary};
