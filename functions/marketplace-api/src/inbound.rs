//! Notices that marketplaces send: `POST /inbound/shopify` and `/inbound/etsy`. Their signature is their key.

use crate::routes::Fault;
use crate::validate::about;
use http::HeaderName;
use serde_json::json;
use switchyard_lambda::{Call, Reply};
use switchyard_orders::{InboundDeps, Marketplace, Received, receive};

/// Answers a notice of `marketplace`; `None` when there is no such route.
///
/// # Errors
/// Our own fault; the marketplace should send it again.
pub async fn answer(deps: &InboundDeps, call: &Call, marketplace: &str) -> Result<Option<Reply>, Fault> {
    let marketplace = match marketplace {
        "shopify" => Marketplace::Shopify,
        "etsy" => Marketplace::Etsy,
        _ => return Ok(None),
    };
    let header = |name: &str| call.header(name.parse::<HeaderName>().ok()?);
    Ok(Some(match receive(deps, marketplace, header, &call.body).await? {
        Received::Noted(stores) => Reply::json(202, &json!({"stores": stores})),
        Received::Ignored => Reply::json(202, &json!({"stores": 0})),
        Received::Forged => {
            Reply::json(401, &json!({"error": "unauthorized", "message": "the signature does not fit"}))
        }
        Received::Unreadable(field) => about(field, "missing, or not what this marketplace sends"),
    }))
}
