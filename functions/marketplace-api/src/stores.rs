//! Stores and orders over HTTP.

use crate::access::Caller;
use crate::validate::{Fields, MAX_NAME, MAX_TEXT, Refusal};
use http::{Method, header};
use serde_json::json;
use switchyard_lambda::{Call, Reply};
use switchyard_orders::{
    Imported, LogStatus, Marketplace, OrdersDeps, OrdersError, Registration, Retried, import, orders, refuse_shop,
    register, retry, sync_status,
};

const PAGE: u8 = 100;

/// The routes under `/stores` and `/orders`.
pub struct Stores {
    deps: OrdersDeps,
}

impl Stores {
    /// The routes over these stores.
    pub fn new(deps: OrdersDeps) -> Self {
        Self { deps }
    }

    /// Answers one request; `None` when the path is another's.
    ///
    /// # Errors
    /// Our own fault; the request may be sent again.
    pub async fn answer(&self, call: &Call, caller: &Caller) -> Result<Option<Reply>, OrdersError> {
        let reply = match (&call.method, call.origin.path.as_str()) {
            (&Method::POST, "/stores/register") => self.register(call, caller).await,
            (&Method::POST, "/orders/import") => self.import(call, caller).await,
            (&Method::POST, "/orders/retry") => self.retry(call, caller).await,
            (&Method::GET, "/stores/sync-status") => self.status(call, caller).await,
            (&Method::GET, "/orders") => self.orders(call, caller).await,
            _ => return Ok(None),
        };
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(Failure::Refused(refusal)) => Ok(Some(*refusal)),
            Err(Failure::Fault(error)) => Err(error),
        }
    }

    async fn register(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let names = Marketplace::ALL.map(Marketplace::name);
        let organization_id = fields.string("organizationId", MAX_NAME);
        let marketplace = fields.one_of("marketplace", &names).parse();
        let registration = |marketplace| Registration {
            organization_id,
            marketplace,
            external_store_id: fields.string("externalStoreId", MAX_NAME),
            store_name: fields.string("storeName", MAX_NAME),
            access_token: fields.string("accessToken", MAX_TEXT),
            currency: fields.string_of("currency", 3),
        };
        // Without a marketplace there is an issue about it, so that the placeholder goes nowhere.
        let registration = registration(marketplace.unwrap_or(Marketplace::Etsy));
        if let Some(reason) = refuse_shop(&self.deps, registration.marketplace, &registration.external_store_id) {
            fields.custom("externalStoreId", reason);
        }
        fields.finish()?;
        if !caller.may(&registration.organization_id) {
            return Ok(not_found());
        }
        let ids = register(&self.deps, &registration).await?;
        Ok(Reply::json(200, &json!({"storeId": ids.store_id, "syncToken": ids.sync_token})))
    }

    async fn import(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let (token, receipt) = (fields.uuid("syncToken"), fields.string("receipt", MAX_NAME));
        fields.finish()?;
        Ok(match import(&self.deps, &token, &receipt, |organization| caller.may(organization)).await? {
            Imported::Answer(answer) => Reply::json(200, &answer),
            Imported::NotYet(answer) => Reply::json(200, &answer).passing(),
            Imported::UnknownStore => not_found(),
        })
    }

    async fn retry(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let token = fields.uuid("syncToken");
        let receipt = fields.get("receipt").is_some().then(|| fields.string("receipt", MAX_NAME));
        fields.finish()?;
        Ok(match retry(&self.deps, &token, receipt.as_deref(), |organization| caller.may(organization)).await? {
            Retried::Reopened { count, has_more } => Reply::json(202, &json!({"reopened": count, "hasMore": has_more})),
            Retried::UnknownStore => not_found(),
            Retried::UnknownReceipt => Reply::json(404, &json!({"error": "Order not found"})),
        })
    }

    async fn status(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let token = token(call)?;
        let summary = sync_status(&self.deps, &token, |organization| caller.may(organization)).await?;
        Ok(summary.map_or_else(not_found, |summary| Reply::json(200, &summary)))
    }

    async fn orders(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let token = token(call)?;
        let mut fields = Fields::query(call);
        let status = fields.get("status").is_some().then(|| {
            let name = fields.one_of("status", &["pending", "success", "failed", "rate_limited"]);
            serde_json::from_value::<LogStatus>(name.into()).ok()
        });
        let cursor = fields.get("cursor").is_some().then(|| fields.uuid("cursor"));
        fields.finish()?;
        let page = orders(&self.deps, &token, status.flatten(), cursor.as_deref(), PAGE, |organization| {
            caller.may(organization)
        })
        .await?;
        Ok(page.map_or_else(not_found, |page| Reply::json(200, &page)))
    }
}

enum Failure {
    Refused(Refusal),
    Fault(OrdersError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<OrdersError> for Failure {
    fn from(error: OrdersError) -> Self {
        Self::Fault(error)
    }
}

/// The store's token, from the query or, kept out of access logs, as a bearer token.
fn token(call: &Call) -> Result<String, Refusal> {
    let bearer = call.header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let mut fields = Fields::query(call);
    if let (None, Some(bearer)) = (fields.get("syncToken"), bearer.filter(|token| crate::validate::is_uuid(token))) {
        return Ok(bearer.to_ascii_lowercase());
    }
    let token = fields.uuid("syncToken");
    fields.finish()?;
    Ok(token)
}

fn not_found() -> Reply {
    Reply::json(404, &json!({"error": "Store not found"}))
}
