//! The APIs of Etsy, Shopify and Amazon.
//!
//! Sources, read 2026-11-24: Etsy Open API v3 `getShopReceipt`; Shopify Admin GraphQL `order`, `orders`; Amazon
//! Selling Partner API Orders 2026-01-01 `getOrder`.

use super::credential::{Credential, Grant};
use crate::error::OrdersError;
use crate::model::{Amount, ExternalStoreId, ReceiptId, Verdict};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use switchyard_core::{Env, EnvError, error_chain};
use switchyard_io::Secrets;
use switchyard_io::http::{Answer, Http, HttpError, Method, Request, Url, answer, call_json, read_json};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Version of Shopify's API that the query below is written for.
const SHOPIFY_VERSION: &str = "2026-01";

const SHOPIFY_FIELDS: &str = "id totalPriceSet { shopMoney { amount currencyCode } }";

/// The HTTP client and the platform's own credentials.
#[derive(Clone)]
pub(crate) struct Live {
    http: Http,
    secrets: Arc<Secrets>,
    secret_id: String,
}

/// The base URLs of one live marketplace.
#[derive(Clone)]
pub(crate) enum Adapter {
    Etsy { base: String, token_url: String },
    Shopify { template: String },
    Amazon { base: String, token_url: String },
}

impl Live {
    /// Reads `MARKETPLACE_SECRET`: the platform's own credentials at the marketplaces.
    pub(crate) fn from_env(secrets: Secrets, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            http: Http::plain(TIMEOUT)?,
            secrets: Arc::new(secrets),
            secret_id: env.required("MARKETPLACE_SECRET")?,
        })
    }

    /// Asks about one receipt of `shop`. A `Retry-After` counts from `now`.
    pub(crate) async fn ask(
        &self,
        adapter: &Adapter,
        credential: &Credential,
        shop: &ExternalStoreId,
        receipt: &ReceiptId,
        now: Timestamp,
    ) -> Verdict {
        let verdict = match adapter {
            Adapter::Etsy { base, .. } => self.ask_etsy(base, credential, shop, receipt, now).await,
            Adapter::Shopify { template } => self.ask_shopify(template, credential, shop, receipt, now).await,
            Adapter::Amazon { base, .. } => self.ask_amazon(base, credential, receipt, now).await,
        };
        verdict.unwrap_or_else(|problem| {
            tracing::warn!(error = problem, "the marketplace could not be asked");
            Verdict::Unavailable
        })
    }

    /// Exchanges the refresh token. Returns the credential to store, or `None` when the marketplace refused the token or
    /// has no refresh tokens.
    pub(crate) async fn refresh(
        &self,
        adapter: &Adapter,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Option<String>, OrdersError> {
        let Some(refresh_token) = &credential.refresh_token else { return Ok(None) };
        let mut form =
            vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh_token.expose().clone())];
        let (service, url) = match adapter {
            Adapter::Etsy { token_url, .. } => {
                form.push(("client_id", self.own("ETSY_CLIENT_ID").await?));
                ("Etsy", token_url)
            }
            Adapter::Amazon { token_url, .. } => {
                form.push(("client_id", self.own("AMAZON_CLIENT_ID").await?));
                form.push(("client_secret", self.own("AMAZON_CLIENT_SECRET").await?));
                ("Amazon", token_url)
            }
            Adapter::Shopify { .. } => return Ok(None),
        };
        let url = url.parse().map_err(|_| OrdersError::Token(HttpError::Refused { service }))?;
        let request = self.http.request(service, Method::POST, url).map_err(OrdersError::Token)?.form(&form);
        match call_json::<Grant>(service, request).await {
            Ok(grant) => credential.renewed(grant, now).map(Some).map_err(OrdersError::Json),
            // RFC 6749 §5.2. Other refusals are about the platform's credentials, not the store's token.
            Err(HttpError::Status { body, .. }) if error_code(&body).as_deref() == Some("invalid_grant") => Ok(None),
            Err(error) => Err(OrdersError::Token(error)),
        }
    }

    async fn ask_etsy(
        &self,
        base: &str,
        credential: &Credential,
        shop: &ExternalStoreId,
        receipt: &ReceiptId,
        now: Timestamp,
    ) -> Result<Verdict, String> {
        #[derive(Deserialize)]
        struct Receipt {
            receipt_id: u64,
            grandtotal: Money,
        }
        #[derive(Deserialize)]
        struct Money {
            amount: i64,
            divisor: i64,
            currency_code: String,
        }
        let own = async |name| self.own(name).await.map_err(|error| error_chain(&error));
        let key = format!("{}:{}", own("ETSY_CLIENT_ID").await?, own("ETSY_SHARED_SECRET").await?);
        let url = address(base, &["v3", "application", "shops", shop.as_str(), "receipts", receipt.as_str()])?;
        let request = self.get("Etsy", url)?.header("x-api-key", key).bearer_auth(credential.access_token.expose());
        let answer = answer("Etsy", request).await.map_err(|error| error_chain(&error))?;
        if let Some(verdict) = refusal(&answer, now) {
            return Ok(verdict);
        }
        let receipt: Receipt = read_json("Etsy", &answer.body).map_err(|error| error_chain(&error))?;
        let amount = Amount::from_ratio(receipt.grandtotal.amount, receipt.grandtotal.divisor);
        found(receipt.receipt_id.to_string(), amount, receipt.grandtotal.currency_code)
    }

    async fn ask_shopify(
        &self,
        template: &str,
        credential: &Credential,
        shop: &ExternalStoreId,
        receipt: &ReceiptId,
        now: Timestamp,
    ) -> Result<Verdict, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Order {
            id: String,
            total_price_set: PriceSet,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct PriceSet {
            shop_money: Price,
        }
        let body = if receipt.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            let query = format!("query($id: ID!) {{ order(id: $id) {{ {SHOPIFY_FIELDS} }} }}");
            json!({"query": query, "variables": {"id": format!("gid://shopify/Order/{receipt}")}})
        } else {
            let query =
                format!("query($q: String!) {{ orders(first: 1, query: $q) {{ nodes {{ {SHOPIFY_FIELDS} }} }} }}");
            let name = receipt.as_str().replace('\\', "\\\\").replace('"', "\\\"");
            json!({"query": query, "variables": {"q": format!("name:\"{name}\"")}})
        };
        if let Some(reason) = refuse_shop(template, shop.as_str()) {
            return Err(reason.to_owned());
        }
        let url =
            address(&template.replace("{shop}", shop.as_str()), &["admin", "api", SHOPIFY_VERSION, "graphql.json"])?;
        let request = self.http.request("Shopify", Method::POST, url).map_err(|error| error_chain(&error))?;
        let request = request.header("X-Shopify-Access-Token", credential.access_token.expose()).json(&body);
        let answer = answer("Shopify", request).await.map_err(|error| error_chain(&error))?;
        // A throttled query can have status 200.
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match body["errors"][0]["extensions"]["code"].as_str() {
            Some("THROTTLED") => {
                let wait = restored_after(&body["extensions"]["cost"]);
                return Ok(Verdict::RateLimited { retry_after: wait, account_wide: true });
            }
            Some("ACCESS_DENIED") => return Ok(Verdict::Auth),
            _ => {}
        }
        if let Some(verdict) = refusal(&answer, now) {
            return Ok(verdict);
        }
        if body["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
            return Err("Shopify returned errors".to_owned());
        }
        let data = &body["data"];
        let unexpected = || "Shopify returned unexpected content".to_owned();
        let order = match (data.get("order"), data["orders"]["nodes"].as_array()) {
            (Some(order), _) => Some(order).filter(|order| !order.is_null()),
            (None, Some(nodes)) => nodes.first(),
            (None, None) => return Err(unexpected()),
        };
        let Some(order) = order else { return Ok(Verdict::Invalid) };
        let order: Order = serde_json::from_value(order.clone()).map_err(|_| unexpected())?;
        let price = order.total_price_set.shop_money;
        found(order.id, Amount::parse(&price.amount), price.currency_code)
    }

    async fn ask_amazon(
        &self,
        base: &str,
        credential: &Credential,
        receipt: &ReceiptId,
        now: Timestamp,
    ) -> Result<Verdict, String> {
        #[derive(Deserialize)]
        struct Envelope {
            order: Order,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Order {
            order_id: String,
            proceeds: Proceeds,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Proceeds {
            grand_total: Price,
        }
        let mut url = address(base, &["orders", "2026-01-01", "orders", receipt.as_str()])?;
        url.set_query(Some("includedData=PROCEEDS"));
        let request = self.get("Amazon", url)?.header("x-amz-access-token", credential.access_token.expose());
        let answer = answer("Amazon", request).await.map_err(|error| error_chain(&error))?;
        if let Some(verdict) = refusal(&answer, now) {
            return Ok(verdict);
        }
        let Envelope { order } = read_json("Amazon", &answer.body).map_err(|error| error_chain(&error))?;
        let total = order.proceeds.grand_total;
        found(order.order_id, Amount::parse(&total.amount), total.currency_code)
    }

    fn get(&self, service: &'static str, url: Url) -> Result<Request, String> {
        self.http.request(service, Method::GET, url).map_err(|error| error_chain(&error))
    }

    /// One of the platform's own credentials.
    async fn own(&self, name: &str) -> Result<String, OrdersError> {
        let values = self.secrets.get(&self.secret_id).await.map_err(OrdersError::Secret)?;
        Ok(values.required(name).map_err(OrdersError::Unset)?.expose().clone())
    }
}

impl Adapter {
    /// The reason to refuse a shop's name; `None` when it can be asked with.
    pub(super) fn refuse_shop(&self, shop: &str) -> Option<&'static str> {
        match self {
            Self::Shopify { template } => refuse_shop(template, shop),
            Self::Etsy { .. } | Self::Amazon { .. } => None,
        }
    }
}

/// A shop's name becomes a part of the URL: only names of the form that Shopify assigns are accepted.
fn refuse_shop(template: &str, shop: &str) -> Option<&'static str> {
    let name = shop.strip_suffix(".myshopify.com").unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_shopifys = !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_name);
    let host = template.split_once("://").map_or(template, |(_, rest)| rest).split('/').next().unwrap_or_default();
    // Outside the host, as in the sandbox, the name is one segment of the path.
    let is_segment = !host.contains("{shop}") && shop.bytes().all(|byte| is_name(byte) || byte == b'.');
    (!is_shopifys && !is_segment).then_some("expected name.myshopify.com")
}

/// The member `error` of a token endpoint's refusal.
fn error_code(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?["error"].as_str().map(str::to_owned)
}

/// An amount as Shopify and Amazon write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Price {
    amount: String,
    currency_code: String,
}

fn found(order_id: String, amount: Option<Amount>, currency: String) -> Result<Verdict, String> {
    let amount = amount.ok_or_else(|| "the order's amount is not a number".to_owned())?;
    Ok(Verdict::Found { order_id, amount, currency })
}

/// The meaning of a status other than 2xx, for all three marketplaces.
fn refusal(answer: &Answer, now: Timestamp) -> Option<Verdict> {
    Some(match answer.status {
        200..=299 => return None,
        401 | 403 => Verdict::Auth,
        404 => Verdict::Invalid,
        429 => Verdict::RateLimited { retry_after: answer.retry_after(now), account_wide: true },
        408 | 500.. => Verdict::Unavailable,
        _ => Verdict::Refused(answer.reason().to_owned()),
    })
}

/// The wait until a query of this cost fits into Shopify's bucket.
fn restored_after(cost: &Value) -> Option<Duration> {
    let number = |value: &Value| value.as_f64();
    let status = &cost["throttleStatus"];
    let missing = number(&cost["requestedQueryCost"])? - number(&status["currentlyAvailable"])?;
    let rate = number(&status["restoreRate"]).filter(|rate| *rate > 0.0)?;
    Duration::try_from_secs_f64((missing / rate).ceil()).ok()
}

/// `base` with `segments` below it, each encoded, so that a receipt can name no other path.
fn address(base: &str, segments: &[&str]) -> Result<Url, String> {
    let unusable = || "the marketplace's base URL is invalid".to_owned();
    let mut url: Url = base.parse().map_err(|_| unusable())?;
    // URL parsers treat `.` and `..` as path steps, encoded or not.
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err("the receipt is a path step".to_owned());
    }
    url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().extend(segments);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_can_name_no_other_path() {
        let url = address("https://api.example.com", &["v3", "a/../b?x#y"]).unwrap();
        assert_eq!(url.as_str(), "https://api.example.com/v3/a%2F..%2Fb%3Fx%23y");
        assert!(address("https://api.example.com", &[".."]).is_err());
    }

    #[test]
    fn only_shopifys_own_hosts_are_called_as_shops() {
        for shop in [
            "127.0.0.1:4996/latest?x=",
            "a.myshopify.com@10.0.0.1",
            "example.com",
            ".myshopify.com",
            "-a.myshopify.com",
            "a.b.myshopify.com",
            "A.myshopify.com",
            "a.myshopify.com.",
            "",
        ] {
            assert!(refuse_shop("https://{shop}", shop).is_some(), "{shop}");
        }
        assert_eq!(refuse_shop("https://{shop}", "name-1.myshopify.com"), None);
        assert_eq!(refuse_shop("http://127.0.0.1:3003/shopify/{shop}", "ext-1"), None);
        assert!(refuse_shop("http://127.0.0.1:3003/shopify/{shop}", "../x").is_some());
    }

    #[test]
    fn shopifys_bucket_says_how_long_to_wait() {
        let cost = json!({"requestedQueryCost": 101, "throttleStatus": {"currentlyAvailable": 46, "restoreRate": 50}});
        assert_eq!(restored_after(&cost), Some(Duration::from_secs(2)));
        assert_eq!(restored_after(&Value::Null), None);
    }
}
