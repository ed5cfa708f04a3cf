//! Stores and receipts as clients see them.

use crate::model::{Amount, LogState, LogStatus, SyncStatus};
use crate::store::{LogRow, StoreRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Number;
use switchyard_core::iso_millis;

/// The outcome of an import.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportOutcome {
    /// Whether the receipt is an order now.
    pub success: bool,
    /// The marketplace's id of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The order's amount, in the currency's main unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Number>,
    /// ISO 4217.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<String>,
    /// Why the receipt is not imported, such as `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ImportOutcome {
    pub(crate) fn refused(error: &str) -> Self {
        Self { error: Some(error.to_owned()), ..Self::default() }
    }

    pub(crate) fn of(state: &LogState) -> Self {
        if state.status != LogStatus::Success {
            return Self::refused(state.public_error());
        }
        Self {
            success: true,
            order_id: state.order_id.clone(),
            amount: state.amount.map(Amount::to_json),
            currency: state.currency.clone(),
            imported_at: state.imported_at.map(iso_millis),
            error: None,
        }
    }
}

/// A store's sync, in short.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncSummary {
    /// RFC 3339; null before the first sync.
    pub last_sync_at: Option<String>,
    /// Receipts imported so far.
    pub imported_orders: i64,
    /// How the newest receipts fared.
    pub sync_status: SyncStatus,
    /// Receipts that the marketplace put off.
    pub rate_limited_count: i64,
}

impl SyncSummary {
    pub(crate) fn of(store: &StoreRow) -> Self {
        Self {
            last_sync_at: store.last_sync_at.map(iso_millis),
            imported_orders: store.imported_success_count,
            sync_status: store.sync_status,
            rate_limited_count: store.rate_limited_count,
        }
    }
}

/// A page of a store's receipts, newest first.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct OrderPage {
    /// The receipts.
    pub orders: Vec<Order>,
    /// `cursor` of the next page; null on the last one.
    pub cursor: Option<String>,
}

/// One receipt and the order it became.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Our id of the receipt.
    pub id: String,
    /// The receipt, as the marketplace knows it.
    pub receipt: String,
    /// How far its import has come.
    pub status: LogStatus,
    /// The marketplace's id of the order, once imported.
    pub order_id: Option<String>,
    /// The order's amount, in the currency's main unit.
    pub amount: Option<Number>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Why the receipt is not imported.
    pub error: Option<String>,
    /// How often the marketplace put it off or did not respond.
    pub attempt: u32,
    /// RFC 3339; null when it may be retried at once, or needs no retry.
    pub next_retry_at: Option<String>,
    /// Whether it is retried only when a client asks for it.
    pub retry_exhausted: bool,
    /// RFC 3339.
    pub imported_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl Order {
    pub(crate) fn of(row: &LogRow) -> Self {
        let state = &row.state;
        Self {
            id: row.id.to_string(),
            receipt: row.receipt.to_string(),
            status: state.status,
            order_id: state.order_id.clone(),
            amount: state.amount.map(Amount::to_json),
            currency: state.currency.clone(),
            error: (state.status != LogStatus::Success).then(|| state.public_error().to_owned()),
            attempt: state.attempt,
            next_retry_at: state.next_retry_at.map(iso_millis),
            retry_exhausted: state.retry_exhausted,
            imported_at: state.imported_at.map(iso_millis),
            created_at: iso_millis(row.created_at),
            updated_at: iso_millis(row.updated_at),
        }
    }
}
