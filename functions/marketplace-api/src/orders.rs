//! `/orders`: importing receipts, retrying them, listing them.

use crate::State;
use crate::access::Account;
use crate::fields::{Body, Fields, MAX_BODY_BYTES, MAX_NAME, Query, Read};
use crate::stores::{StoreQuery, store_not_found};
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_api::{
    Accepted, Authenticated, Endpoint, Json, Operation, OrFault as _, Refusal, Reply, Transient, code,
};
use switchyard_identity::Access;
use switchyard_orders::{
    ImportOutcome, Imported, LogId, LogStatus, OrderPage, ReceiptId, Retried, import, orders, retry,
};

/// Receipts on a page.
const PAGE: u8 = 100;

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    let post = |endpoint: Endpoint<State>| {
        endpoint
            .access(Access::Organization)
            .max_bytes(MAX_BODY_BYTES)
            .lenient()
            .idempotent()
            .refuses(&[(404, "Store or order not found")])
    };
    [
        post(Endpoint::post("/orders/import", import_order).summary("Import an order by its receipt")),
        post(Endpoint::post("/orders/retry", retry_orders).summary("Retry failed orders")),
        Endpoint::get("/orders", list_orders)
            .summary("List a store's orders")
            .access(Access::Organization)
            .lenient()
            .refuses(&[(404, "Store not found")]),
    ]
}

/// A receipt to import.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiptToImport {
    /// The store's token.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    sync_token: String,
    /// The receipt, as the marketplace knows it.
    #[schemars(length(min = 1, max = 255))]
    receipt: String,
}

impl Read for ReceiptToImport {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        Self { sync_token: fields.uuid("syncToken"), receipt: fields.string("receipt", MAX_NAME) }
    }
}

/// An outcome that is final, or one that the same call may replace.
enum ImportReply {
    Final(Json<ImportOutcome>),
    Transient(Transient<Json<ImportOutcome>>),
}

impl IntoResponse for ImportReply {
    fn into_response(self) -> Response {
        match self {
            Self::Final(reply) => reply.into_response(),
            Self::Transient(reply) => reply.into_response(),
        }
    }
}

impl Reply for ImportReply {
    fn describe(operation: &mut Operation) {
        <Json<ImportOutcome> as Reply>::describe(operation);
    }
}

async fn import_order(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Body(body): Body<ReceiptToImport>,
) -> Result<ImportReply, Refusal> {
    let may = |organization: &str| account.may(organization);
    match import(&state.0.orders, &body.sync_token.into(), &body.receipt.into(), may).await.or_fault()? {
        Imported::Answer(outcome) => Ok(ImportReply::Final(Json(outcome))),
        Imported::NotYet(outcome) => Ok(ImportReply::Transient(Transient(Json(outcome)))),
        Imported::UnknownStore => Err(store_not_found()),
    }
}

/// Which receipts to retry.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiptsToRetry {
    /// The store's token.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    sync_token: String,
    /// One receipt; without it, every one that was refused too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(min = 1, max = 255))]
    receipt: Option<String>,
}

impl Read for ReceiptsToRetry {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        let sync_token = fields.uuid("syncToken");
        let receipt = fields.get("receipt").is_some().then(|| fields.string("receipt", MAX_NAME));
        Self { sync_token, receipt }
    }
}

/// What a retry opened again.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReopenedOrders {
    /// Receipts that are due now.
    reopened: usize,
    /// Whether another call would find more.
    has_more: bool,
}

async fn retry_orders(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Body(body): Body<ReceiptsToRetry>,
) -> Result<Accepted<ReopenedOrders>, Refusal> {
    let may = |organization: &str| account.may(organization);
    let receipt = body.receipt.map(ReceiptId::from);
    match retry(&state.0.orders, &body.sync_token.into(), receipt.as_ref(), may).await.or_fault()? {
        Retried::Reopened { count, has_more } => Ok(Accepted(ReopenedOrders { reopened: count, has_more })),
        Retried::UnknownStore => Err(store_not_found()),
        Retried::UnknownReceipt => Err(Refusal::new(404, code::NOT_FOUND, "Order not found")),
    }
}

/// Which receipts to list.
#[derive(JsonSchema)]
struct OrdersQuery {
    /// Only receipts in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<LogStatus>,
    /// `cursor` of an earlier page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    cursor: Option<String>,
}

impl Read for OrdersQuery {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        let status = fields.get("status").is_some().then(|| {
            let name = fields.one_of("status", &["pending", "success", "failed", "rate_limited"]);
            serde_json::from_value::<LogStatus>(name.into()).ok()
        });
        let cursor = fields.get("cursor").is_some().then(|| fields.uuid("cursor"));
        Self { status: status.flatten(), cursor }
    }
}

async fn list_orders(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Query(store): Query<StoreQuery>,
    Query(query): Query<OrdersQuery>,
    headers: HeaderMap,
) -> Result<Json<OrderPage>, Refusal> {
    let token = store.token(&headers)?;
    let may = |organization: &str| account.may(organization);
    let cursor = query.cursor.map(LogId::from);
    let page = orders(&state.0.orders, &token, query.status, cursor.as_ref(), PAGE, may).await.or_fault()?;
    page.map(Json).ok_or_else(store_not_found)
}
