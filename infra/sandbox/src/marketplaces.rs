//! Etsy, Shopify and Amazon, as far as one order is read from them.
//!
//! An order exists when its name ends in an odd digit. Its price is set with `PUT /_sandbox/marketplaces/orders/{name}`, or
//! is 49.90. Every access token is accepted, except those that begin with `expired`. A refresh token can be used once.

use crate::answer::{Refusal, control_body};
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const ETSY_CLIENT_ID: &str = "sandbox-etsy-keystring";
pub(crate) const ETSY_SHARED_SECRET: &str = "sandbox-etsy-secret";
/// `whsec_` and the base64 of `sandbox-etsy-webhook-secret-32by`.
pub(crate) const ETSY_WEBHOOK_SECRET: &str = "whsec_c2FuZGJveC1ldHN5LXdlYmhvb2stc2VjcmV0LTMyYnk=";
pub(crate) const SHOPIFY_APP_SECRET: &str = "sandbox-shopify-secret";
pub(crate) const AMAZON_CLIENT_ID: &str = "sandbox-amazon-client";
pub(crate) const AMAZON_CLIENT_SECRET: &str = "sandbox-amazon-secret";

/// The default price of an order, in thousandths.
const DEFAULT_PRICE: i64 = 49_900;

#[derive(Clone, Default)]
pub(crate) struct Marketplaces(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Prices in thousandths, by the order's name.
    prices: HashMap<String, i64>,
    spent: HashSet<String>,
    issued: u64,
}

impl Marketplaces {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The order's price in thousandths; `None` when the order does not exist.
    fn price(&self, name: &str) -> Option<i64> {
        let exists = name.bytes().last().is_some_and(|last| last.is_ascii_digit() && last % 2 == 1);
        exists.then(|| self.with(|state| state.prices.get(name).copied().unwrap_or(DEFAULT_PRICE)))
    }
}

/// The three marketplaces' paths, and their control route.
pub(crate) fn routes(marketplaces: &Marketplaces) -> Router {
    Router::new()
        .route("/etsy/v3/application/shops/{shop}/receipts/{receipt}", get(etsy))
        .route("/etsy/token", post(etsy_grant))
        .route("/shopify/{shop}/admin/api/{version}/graphql.json", post(shopify))
        .route("/amazon/orders/2026-01-01/orders/{order}", get(amazon))
        .route("/amazon/token", post(amazon_grant))
        .route("/_sandbox/marketplaces/orders/{name}", put(set_price))
        .with_state(marketplaces.clone())
}

async fn etsy(
    State(marketplaces): State<Marketplaces>,
    Path((_, receipt)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if text(&headers, "x-api-key") != format!("{ETSY_CLIENT_ID}:{ETSY_SHARED_SECRET}") {
        return (StatusCode::FORBIDDEN, Json(json!({"error": "Invalid API key"}))).into_response();
    }
    if !is_good(text(&headers, "authorization").strip_prefix("Bearer ").unwrap_or_default()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_token"}))).into_response();
    }
    let limits = [
        ("x-limit-per-second", "10"),
        ("x-remaining-this-second", "9"),
        ("x-limit-per-day", "10000"),
        ("x-remaining-today", "9999"),
    ];
    match marketplaces.price(&receipt) {
        Some(price) => {
            let total = json!({"amount": price, "divisor": 1000, "currency_code": "USD"});
            (limits, Json(json!({"receipt_id": number(&receipt), "grandtotal": total}))).into_response()
        }
        None => (StatusCode::NOT_FOUND, limits, Json(json!({"error": "Resource not found"}))).into_response(),
    }
}

async fn shopify(State(marketplaces): State<Marketplaces>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !is_good(text(&headers, "x-shopify-access-token")) {
        let errors = "[API] Invalid API key or access token (unrecognized login or wrong password)";
        return (StatusCode::UNAUTHORIZED, Json(json!({"errors": errors}))).into_response();
    }
    let variables = &body["variables"];
    let by_id = variables["id"].as_str().and_then(|id| id.strip_prefix("gid://shopify/Order/"));
    let by_name = variables["q"].as_str().and_then(|query| query.strip_prefix("name:\"")?.strip_suffix('"'));
    let Some(name) = by_id.or(by_name) else {
        return Json(json!({"errors": [{"message": "a variable is missing"}]})).into_response();
    };
    let order = marketplaces.price(name).map(|price| {
        let money = json!({"amount": decimal(price), "currencyCode": "USD"});
        json!({"id": format!("gid://shopify/Order/{}", number(name)), "totalPriceSet": {"shopMoney": money}})
    });
    let data = match (by_id, &order) {
        (Some(_), order) => json!({"order": order}),
        (None, order) => json!({"orders": {"nodes": order.iter().collect::<Vec<_>>()}}),
    };
    let bucket = json!({"maximumAvailable": 2000.0, "currentlyAvailable": 1990, "restoreRate": 100.0});
    let cost = json!({"requestedQueryCost": 2, "actualQueryCost": 2, "throttleStatus": bucket});
    Json(json!({"data": data, "extensions": {"cost": cost}})).into_response()
}

async fn amazon(State(marketplaces): State<Marketplaces>, Path(order): Path<String>, headers: HeaderMap) -> Response {
    let refusal = |status: StatusCode, code: &str| {
        (status, Json(json!({"errors": [{"code": code, "message": code}]}))).into_response()
    };
    if !is_good(text(&headers, "x-amz-access-token")) {
        return refusal(StatusCode::FORBIDDEN, "Unauthorized");
    }
    match marketplaces.price(&order) {
        Some(price) => {
            let total = json!({"amount": decimal(price), "currencyCode": "USD"});
            let order = json!({"orderId": order, "proceeds": {"grandTotal": total}});
            ([("x-amzn-RateLimit-Limit", "0.5")], Json(json!({"order": order}))).into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "NotFound"),
    }
}

/// Etsy's clients are public ones: PKCE, without a secret.
async fn etsy_grant(State(marketplaces): State<Marketplaces>, Form(form): Form<HashMap<String, String>>) -> Response {
    grant(&marketplaces, &form, [("client_id", ETSY_CLIENT_ID)].as_slice())
}

async fn amazon_grant(State(marketplaces): State<Marketplaces>, Form(form): Form<HashMap<String, String>>) -> Response {
    grant(&marketplaces, &form, &[("client_id", AMAZON_CLIENT_ID), ("client_secret", AMAZON_CLIENT_SECRET)])
}

/// OAuth 2 with a refresh token, which can be used once.
fn grant(marketplaces: &Marketplaces, form: &HashMap<String, String>, client: &[(&str, &str)]) -> Response {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if client.iter().any(|(name, value)| field(name) != *value) || field("grant_type") != "refresh_token" {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let token = field("refresh_token");
    let issued = marketplaces.with(|state| {
        let is_good = token.starts_with("refresh") && state.spent.insert(token.to_owned());
        is_good.then(|| {
            state.issued += 1;
            state.issued
        })
    });
    match issued {
        Some(number) => Json(json!({
            "access_token": format!("access-{number}-of-{token}"),
            "refresh_token": format!("refresh-{number}-of-{token}"),
            "token_type": "Bearer",
            "expires_in": 3600,
        }))
        .into_response(),
        None => (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response(),
    }
}

async fn set_price(
    State(marketplaces): State<Marketplaces>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    #[derive(Deserialize)]
    struct Price {
        thousandths: i64,
    }
    let Price { thousandths } = control_body(&body)?;
    marketplaces.with(|state| state.prices.insert(name, thousandths));
    Ok(StatusCode::NO_CONTENT)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_good(token: &str) -> bool {
    !token.is_empty() && !token.starts_with("expired")
}

/// The digits of an order's name, as these services number their orders.
fn number(name: &str) -> u64 {
    name.bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

fn decimal(thousandths: i64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Client;

    #[tokio::test]
    async fn a_refresh_token_is_good_once() {
        let marketplaces = Marketplaces::default();
        let form = |client: &str| {
            let pairs = [("client_id", client), ("refresh_token", "refresh-1"), ("grant_type", "refresh_token")];
            Form(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
        };
        let refresh = async |client| etsy_grant(State(marketplaces.clone()), form(client)).await.status();
        assert_eq!(refresh(AMAZON_CLIENT_ID).await, StatusCode::UNAUTHORIZED);
        assert_eq!(refresh(ETSY_CLIENT_ID).await, StatusCode::OK);
        assert_eq!(refresh(ETSY_CLIENT_ID).await, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn etsy_wants_its_key_first() {
        let (_, client) = Client::start().await;
        let answer = client.get("/etsy/v3/application/shops/1/receipts/1").await.unwrap();
        assert_eq!(answer.status, 403);
    }
}
