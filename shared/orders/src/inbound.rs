//! The marketplaces' own webhooks: a signed notice of an order becomes a receipt that the sync asks about.
//!
//! Sources, read 2026-11-24: Shopify "HTTPS webhooks"; Etsy Open API v3 "Webhooks".

use crate::decide::reopened;
use crate::error::OrdersError;
use crate::import::OrdersDeps;
use crate::model::{ExternalStoreId, LogId, LogState, LogStatus, Marketplace, ReceiptId};
use crate::store::{LogRow, ReceiptClaim, StoreRow};
use serde_json::Value;
use switchyard_core::signature::{signs_body, verify};
use switchyard_core::{Env, EnvError, Owner, error_chain};
use switchyard_io::{Aws, Secrets};

/// Dependencies of receiving notices.
#[derive(Clone)]
pub struct InboundDeps {
    orders: OrdersDeps,
    secrets: Secrets,
    secret_id: String,
}

impl InboundDeps {
    /// Reads `MARKETPLACE_SECRET`, which holds `SHOPIFY_APP_SECRET` and `ETSY_WEBHOOK_SECRET`.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, orders: OrdersDeps) -> Result<Self, EnvError> {
        Ok(Self { orders, secrets: Secrets::new(aws), secret_id: env.required("MARKETPLACE_SECRET")? })
    }

    /// The platform's webhook secret at a marketplace; `None` when it is not set, and then every notice is refused.
    async fn webhook_secret(&self, name: &str) -> Result<Option<String>, OrdersError> {
        let values = self.secrets.get(&self.secret_id).await.map_err(OrdersError::Secret)?;
        match values.required(name) {
            Ok(secret) => Ok(Some(secret.expose().clone())),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "a notice cannot be verified: the secret is not set");
                Ok(None)
            }
        }
    }
}

/// Outcome of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A notice of an order; the number of stores that will import it.
    Noted(usize),
    /// A notice of something else.
    Ignored,
    /// The signature is wrong.
    Forged,
    /// The signature is right, but this field is missing or malformed.
    Unreadable(&'static str),
}

/// The order that a notice is about.
struct OrderNotice {
    shop: ExternalStoreId,
    receipt: ReceiptId,
}

/// Accepts a notice from `marketplace`. A notice of an order that is imported already changes nothing.
///
/// The marketplace expects its response at once, so that it is not asked here: the receipt is written and its store made
/// due.
///
/// # Errors
/// A fault of the platform, or a concurrent import of the same receipt: the marketplace should send the notice again.
pub async fn receive<'a>(
    deps: &InboundDeps,
    marketplace: Marketplace,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
) -> Result<Received, OrdersError> {
    let read = match marketplace {
        Marketplace::Shopify => {
            let secret = deps.webhook_secret("SHOPIFY_APP_SECRET").await?;
            shopify(secret.as_deref(), header, body)
        }
        Marketplace::Etsy => {
            let secret = deps.webhook_secret("ETSY_WEBHOOK_SECRET").await?;
            etsy(secret.as_deref(), header, body, deps.orders.clock.now())
        }
        // Amazon sends its notices to a queue of the seller's.
        Marketplace::Amazon => Err(Received::Forged),
    };
    let notice = match read {
        Ok(notice) => notice,
        Err(outcome) => return Ok(outcome),
    };
    let stores = deps.orders.table.of_shop(marketplace, &notice.shop).await?;
    for store in &stores {
        note(&deps.orders, store, &notice.receipt).await?;
    }
    tracing::info!(found = stores.len(), "order_noted");
    Ok(Received::Noted(stores.len()))
}

/// Adds a receipt to a store; the sync asks about it within a minute.
async fn note(deps: &OrdersDeps, store: &StoreRow, receipt: &ReceiptId) -> Result<(), OrdersError> {
    let claim = Owner::request(deps.clock.new_id().to_string());
    let log_id = LogId::from(deps.clock.new_id().to_string());
    let now = deps.clock.now();
    match deps.table.claim_receipt(&store.id, receipt, &claim, log_id, now).await? {
        ReceiptClaim::Mine { log_id } => {
            let log = LogRow::new(store.id.clone(), log_id, receipt.clone(), LogState::new(), now);
            match deps.table.record(store, &claim, &log, now, deps.only_due, None).await? {
                Some(_) => Ok(()),
                None => Err(OrdersError::Contended { store: store.id.clone() }),
            }
        }
        // The receipt may have been refused before its order existed. A receipt that is rescheduled stays so.
        ReceiptClaim::Known(log) => {
            let Some(state) = reopened(&log.state).filter(|state| state.status == LogStatus::Failed) else {
                return Ok(());
            };
            let mut changes = vec![(*log.clone(), log.next(state, now))];
            let only_due = deps.only_due;
            deps.table.apply(store, &mut changes, now, |row| row.schedule(Some(now), only_due)).await.map(drop)
        }
        // The claim's holder may die: the marketplace must send the notice again.
        ReceiptClaim::Busy => Err(OrdersError::Contended { store: store.id.clone() }),
    }
}

fn shopify<'a>(
    secret: Option<&str>,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
) -> Result<OrderNotice, Received> {
    let signature = header("x-shopify-hmac-sha256").unwrap_or_default();
    if secret.is_none_or(|secret| !signs_body(secret, signature, body)) {
        return Err(Received::Forged);
    }
    // The signature covers the body only: headers are used to find the shop, and prove nothing.
    if !matches!(header("x-shopify-topic"), Some("orders/create" | "orders/paid")) {
        return Err(Received::Ignored);
    }
    let shop = header("x-shopify-shop-domain").ok_or(Received::Unreadable("X-Shopify-Shop-Domain"))?;
    let body: Value = serde_json::from_slice(body).map_err(|_| Received::Unreadable("body"))?;
    let receipt = body["id"].as_u64().ok_or(Received::Unreadable("id"))?;
    Ok(OrderNotice { shop: shop.into(), receipt: receipt.to_string().into() })
}

fn etsy<'a>(
    secret: Option<&str>,
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now: jiff::Timestamp,
) -> Result<OrderNotice, Received> {
    let of = |name| header(name).unwrap_or_default();
    let (id, at, signature) = (of("webhook-id"), of("webhook-timestamp"), of("webhook-signature"));
    let text = std::str::from_utf8(body).map_err(|_| Received::Forged)?;
    if secret.is_none_or(|secret| verify(secret, id, at, signature, text, now).is_err()) {
        return Err(Received::Forged);
    }
    let body: Value = serde_json::from_str(text).map_err(|_| Received::Unreadable("body"))?;
    match body["event_type"].as_str() {
        Some("order.paid") => {}
        Some(_) => return Err(Received::Ignored),
        None => return Err(Received::Unreadable("event_type")),
    }
    let shop = match &body["shop_id"] {
        Value::String(shop) => shop.clone(),
        Value::Number(shop) => shop.to_string(),
        _ => return Err(Received::Unreadable("shop_id")),
    };
    let receipt = body["resource_url"].as_str().and_then(|url| receipt_of(url, &shop));
    let receipt = receipt.ok_or(Received::Unreadable("resource_url"))?;
    Ok(OrderNotice { shop: shop.into(), receipt: receipt.into() })
}

/// The receipt in `…/shops/{shop}/receipts/{receipt}`. The URL itself is never called.
fn receipt_of(url: &str, shop: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let mut parts = path.rsplit('/');
    let (receipt, receipts, of, shops) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_number = !receipt.is_empty() && receipt.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (shops, of, receipts) == ("shops", shop, "receipts")).then(|| receipt.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_names_its_receipt_only_within_its_shop() {
        let base = "https://openapi.etsy.com/v3/application";
        assert_eq!(receipt_of(&format!("{base}/shops/7/receipts/123?x=1"), "7").as_deref(), Some("123"));
        for other in
            ["/shops/8/receipts/123", "/shops/7/receipts/", "/shops/7/receipts/1/2", "/shops/7/receipts/12a", ""]
        {
            assert_eq!(receipt_of(&format!("{base}{other}"), "7"), None, "{other}");
        }
    }
}
