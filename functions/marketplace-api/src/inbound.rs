//! Notices that marketplaces send: `POST /inbound/shopify` and `/inbound/etsy`.

use crate::State;
use crate::fields::{MAX_BODY_BYTES, invalid_field};
use axum::extract;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_api::{Accepted, Endpoint, OrFault as _, RawBody, Refusal};
use switchyard_identity::Access;
use switchyard_orders::{Marketplace, Received, receive};

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    let signed = |endpoint: Endpoint<State>| endpoint.access(Access::Signature).max_bytes(MAX_BODY_BYTES).lenient();
    [
        signed(Endpoint::post("/inbound/shopify", receive_shopify_notice).summary("Receive a Shopify notice")),
        signed(Endpoint::post("/inbound/etsy", receive_etsy_notice).summary("Receive an Etsy notice")),
    ]
}

/// The marketplace's own notice.
type Notice = RawBody<Map<String, Value>>;

/// How many stores import the order that a notice names.
#[derive(JsonSchema, Serialize)]
struct NoticeReceipt {
    stores: usize,
}

async fn receive_shopify_notice(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Notice,
) -> Result<Accepted<NoticeReceipt>, Refusal> {
    receive_notice(&state, Marketplace::Shopify, &headers, &body).await
}

async fn receive_etsy_notice(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Notice,
) -> Result<Accepted<NoticeReceipt>, Refusal> {
    receive_notice(&state, Marketplace::Etsy, &headers, &body).await
}

async fn receive_notice(
    state: &State,
    marketplace: Marketplace,
    headers: &HeaderMap,
    body: &Notice,
) -> Result<Accepted<NoticeReceipt>, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match receive(&state.0.inbound, marketplace, header, &body.bytes).await.or_fault()? {
        Received::Noted(stores) => Ok(Accepted(NoticeReceipt { stores })),
        Received::Ignored => Ok(Accepted(NoticeReceipt { stores: 0 })),
        Received::Forged => Err(Refusal::unauthorized("The signature is not valid")),
        Received::Unreadable(field) => Err(invalid_field(field, "missing, or not what this marketplace sends")),
    }
}
