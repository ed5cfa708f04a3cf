//! `/stores`: registering a store, and the summary of its sync.

use crate::State;
use crate::access::Account;
use crate::fields::{Body, Fields, MAX_BODY_BYTES, MAX_NAME, MAX_TEXT, Query, Read};
use axum::extract;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::Serialize;
use switchyard_api::{Authenticated, Endpoint, Json, OrFault as _, Refusal, code, is_uuid};
use switchyard_identity::Access;
use switchyard_orders::{Marketplace, Registration, SyncSummary, SyncToken, refuse_shop, register, sync_status};

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    [
        Endpoint::post("/stores/register", register_store)
            .summary("Register a store")
            .access(Access::Organization)
            .max_bytes(MAX_BODY_BYTES)
            .lenient()
            .idempotent()
            .refuses(&[(404, "The organization is another's")]),
        Endpoint::get("/stores/sync-status", get_sync_status)
            .summary("Get a store's sync status")
            .access(Access::Organization)
            .lenient()
            .refuses(&[(404, "Store not found")]),
    ]
}

pub(crate) fn store_not_found() -> Refusal {
    Refusal::new(404, code::NOT_FOUND, "Store not found")
}

/// A store to register.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct StoreToRegister {
    #[schemars(length(min = 1, max = 255))]
    organization_id: String,
    marketplace: Marketplace,
    /// The store's id at the marketplace.
    #[schemars(length(min = 1, max = 255))]
    external_store_id: String,
    #[schemars(length(min = 1, max = 255))]
    store_name: String,
    #[schemars(length(min = 1, max = 8192))]
    access_token: String,
    /// ISO 4217.
    #[schemars(length(min = 3, max = 3))]
    currency: String,
}

impl Read for StoreToRegister {
    fn read(fields: &mut Fields, state: &State) -> Self {
        let organization_id = fields.string("organizationId", MAX_NAME);
        let marketplace = fields.one_of("marketplace", &Marketplace::ALL.map(Marketplace::name)).parse();
        let store = Self {
            organization_id,
            // Without a marketplace there is an issue about it, so that the placeholder goes nowhere.
            marketplace: marketplace.unwrap_or(Marketplace::Etsy),
            external_store_id: fields.string("externalStoreId", MAX_NAME),
            store_name: fields.string("storeName", MAX_NAME),
            access_token: fields.string("accessToken", MAX_TEXT),
            currency: fields.string_of("currency", 3),
        };
        if let Some(reason) = refuse_shop(&state.0.orders, store.marketplace, &store.external_store_id) {
            fields.custom("externalStoreId", reason);
        }
        store
    }
}

/// A registered store.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisteredStore {
    store_id: String,
    /// Names the store in every other call.
    sync_token: String,
}

async fn register_store(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Body(store): Body<StoreToRegister>,
) -> Result<Json<RegisteredStore>, Refusal> {
    if !account.may(&store.organization_id) {
        return Err(store_not_found());
    }
    let registration = Registration {
        organization_id: store.organization_id.into(),
        marketplace: store.marketplace,
        external_store_id: store.external_store_id.into(),
        store_name: store.store_name,
        access_token: store.access_token,
        currency: store.currency,
    };
    let ids = register(&state.0.orders, &registration).await.or_fault()?;
    Ok(Json(RegisteredStore { store_id: ids.store_id.into(), sync_token: ids.sync_token.into() }))
}

/// The store that a request names.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreQuery {
    /// The store's token; may be sent as bearer token, which keeps it out of access logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    sync_token: Option<String>,
}

impl Read for StoreQuery {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        Self { sync_token: fields.get("syncToken").is_some().then(|| fields.uuid("syncToken")) }
    }
}

impl StoreQuery {
    /// The store's token, from the query or else as a bearer token.
    pub(crate) fn token(self, headers: &HeaderMap) -> Result<SyncToken, Refusal> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let bearer = bearer.filter(|token| is_uuid(token)).map(str::to_ascii_lowercase);
        self.sync_token.or(bearer).map(SyncToken::from).ok_or_else(|| Fields::missing("syncToken"))
    }
}

async fn get_sync_status(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Query(query): Query<StoreQuery>,
    headers: HeaderMap,
) -> Result<Json<SyncSummary>, Refusal> {
    let token = query.token(&headers)?;
    let summary = sync_status(&state.0.orders, &token, |organization| account.may(organization)).await.or_fault()?;
    summary.map(Json).ok_or_else(store_not_found)
}
