//! `/api/api-keys`: a tenant's API keys.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, field, not_found};
use crate::ids::Id;
use crate::validate::{check_text, present, time};
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_api::{Authenticated, Created, Endpoint, Json, OptionalJson, Page, PageQuery, Path, page_of};
use switchyard_core::{Timestamp, iso_millis};
use switchyard_identity::api_keys::{ApiKeyRecord, KeyChange, NewKey};
use switchyard_identity::{Access, ApiKeyId, Role, Scope};

pub(crate) fn endpoints() -> [Endpoint<State>; 7] {
    const CHANGED: &[(u16, &str)] = &[(409, "The key is not active, or was changed by another request")];
    let member = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Member, None));
    let admin = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Admin, None));
    [
        admin(Endpoint::post("/api/api-keys", create_api_key))
            .summary("Create an API key, which is shown once")
            .idempotent(),
        member(Endpoint::get("/api/api-keys", list_api_keys)).summary("List API keys"),
        member(Endpoint::get("/api/api-keys/{id}", get_api_key)).summary("Get an API key"),
        admin(Endpoint::patch("/api/api-keys/{id}", update_api_key)).summary("Update an API key").refuses(CHANGED),
        admin(Endpoint::post("/api/api-keys/{id}/rotate", rotate_api_key))
            .summary("Rotate an API key")
            .idempotent()
            .refuses(CHANGED),
        admin(Endpoint::post("/api/api-keys/{id}/revoke", revoke_api_key))
            .summary("Revoke an API key")
            .idempotent()
            .refuses(CHANGED),
        admin(Endpoint::delete("/api/api-keys/{id}", delete_api_key)).summary("Revoke an API key").refuses(CHANGED),
    ]
}

/// Longest label, in characters.
const MAX_LABEL: usize = 255;

/// Seconds that a replaced key stays valid: at most, and by default.
const MAX_GRACE_S: u64 = 604_800;
const GRACE_S: u64 = 86_400;

/// The key's prefix.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Environment {
    /// `so_live_…`
    #[default]
    Live,
    /// `so_test_…`
    Test,
}

/// A new key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewApiKey {
    /// What it is for.
    label: String,
    /// What it may do; `events:write` when absent.
    #[serde(default)]
    #[schemars(with = "Vec<Scope>")]
    scopes: Vec<String>,
    /// When it expires, RFC 3339; never when absent.
    expires_at: Option<String>,
    #[serde(default)]
    environment: Environment,
}

/// Changes of a key; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApiKeyChanges {
    label: Option<String>,
    #[schemars(with = "Option<Vec<Scope>>")]
    scopes: Option<Vec<String>>,
    /// RFC 3339; null for never.
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
}

/// How a key is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rotation {
    /// Seconds that the old key stays valid, 0 to 604,800; 86,400 when absent.
    grace_seconds: Option<u64>,
}

/// An API key, without its secret part.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiKey {
    id: String,
    /// What it is for.
    label: String,
    /// The start of the key.
    prefix: String,
    /// What it may do.
    #[schemars(with = "Vec<Scope>")]
    scopes: Vec<String>,
    /// RFC 3339; null for never.
    expires_at: Option<String>,
    /// RFC 3339, to the hour or so.
    last_used_at: Option<String>,
    /// RFC 3339.
    created_at: String,
    status: ApiKeyStatus,
}

/// Whether a key is accepted.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum ApiKeyStatus {
    /// It is.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl ApiKey {
    fn of(about: &ApiKeyRecord, now: Timestamp) -> Self {
        Self {
            id: about.id.to_string(),
            label: about.label.clone(),
            prefix: about.prefix.clone(),
            scopes: about.scopes.clone(),
            expires_at: about.ends_at().map(iso_millis),
            last_used_at: about.last_used_at.map(iso_millis),
            created_at: iso_millis(about.created_at),
            status: match (about.revoked_at, about.has_expired(now)) {
                (Some(_), _) => ApiKeyStatus::Revoked,
                (None, true) => ApiKeyStatus::Expired,
                (None, false) => ApiKeyStatus::Active,
            },
        }
    }
}

/// A new key with its secret part, which is shown this once.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedApiKey {
    #[serde(flatten)]
    about: ApiKey,
    /// The key.
    key: String,
    /// After a rotation: until when the old key is valid, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_expires_at: Option<String>,
}

async fn create_api_key(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(NewApiKey { label, scopes, expires_at, environment }): Json<NewApiKey>,
) -> Result<Created<CreatedApiKey>, Failure> {
    check_text("label", &label, MAX_LABEL)?;
    check_scopes(&scopes)?;
    let now = state.0.clock.now();
    let new = NewKey {
        tenant: actor.tenant_id()?.clone(),
        label,
        scopes,
        expires_at: expires_at.as_deref().map(|text| future("expiresAt", text, now)).transpose()?,
        is_live: matches!(environment, Environment::Live),
    };
    let record = |about: &ApiKeyRecord| state.0.tenants.record_of_key(&actor.id(), "key.create", about);
    let (key, about) = state.0.keys.create_with(&new, &record).await?;
    let about = ApiKey::of(&about, now);
    Ok(Created(CreatedApiKey { about, key: key.expose().to_owned(), previous_expires_at: None }))
}

async fn list_api_keys(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    query: PageQuery,
) -> Result<Json<Page<ApiKey>>, Failure> {
    let (keys, now) = (state.0.keys.list(actor.tenant_id()?).await?, state.0.clock.now());
    Ok(Json(page_of(keys.iter().map(|about| ApiKey::of(about, now)), &query, |key| &key.id)?))
}

async fn get_api_key(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ApiKeyId>>,
) -> Result<Json<ApiKey>, Failure> {
    found(&state, state.0.keys.get(actor.tenant_id()?, &id).await?)
}

async fn update_api_key(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ApiKeyId>>,
    Json(ApiKeyChanges { label, scopes, expires_at }): Json<ApiKeyChanges>,
) -> Result<Json<ApiKey>, Failure> {
    if let Some(label) = &label {
        check_text("label", label, MAX_LABEL)?;
    }
    check_scopes(scopes.as_deref().unwrap_or_default())?;
    let now = state.0.clock.now();
    let expiry = |end: Option<String>| end.as_deref().map(|text| future("expiresAt", text, now)).transpose();
    let change = KeyChange { label, scopes, expires_at: expires_at.map(expiry).transpose()?, revoke: false };
    write(&state, &actor, &id, "key.change", &change).await
}

async fn revoke_api_key(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ApiKeyId>>,
) -> Result<Json<ApiKey>, Failure> {
    write(&state, &actor, &id, "key.revoke", &KeyChange { revoke: true, ..KeyChange::default() }).await
}

async fn delete_api_key(
    state: extract::State<State>,
    caller: Authenticated<Actor>,
    id: Path<Id<ApiKeyId>>,
) -> Result<Json<ApiKey>, Failure> {
    revoke_api_key(state, caller, id).await
}

async fn rotate_api_key(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ApiKeyId>>,
    OptionalJson(Rotation { grace_seconds }): OptionalJson<Rotation>,
) -> Result<Created<CreatedApiKey>, Failure> {
    let grace = grace_seconds.unwrap_or(GRACE_S);
    if grace > MAX_GRACE_S {
        return Err(field(format!("graceSeconds must be 0 to {MAX_GRACE_S}")));
    }
    let record = |about: &ApiKeyRecord| state.0.tenants.record_of_key(&actor.id(), "key.rotate", about);
    let grace = Duration::from_secs(grace);
    let rotated = state.0.keys.rotate(actor.tenant_id()?, &id, grace, &record).await?;
    let (key, about, until) = rotated.ok_or_else(not_found)?;
    let about = ApiKey::of(&about, state.0.clock.now());
    let previous_expires_at = Some(iso_millis(until));
    Ok(Created(CreatedApiKey { about, key: key.expose().to_owned(), previous_expires_at }))
}

async fn write(
    state: &State,
    actor: &Actor,
    id: &ApiKeyId,
    action: &str,
    change: &KeyChange,
) -> Result<Json<ApiKey>, Failure> {
    let record = |about: &ApiKeyRecord| state.0.tenants.record_of_key(&actor.id(), action, about);
    found(state, state.0.keys.change(actor.tenant_id()?, id, change, &record).await?)
}

fn found(state: &State, about: Option<ApiKeyRecord>) -> Result<Json<ApiKey>, Failure> {
    about.map(|about| Json(ApiKey::of(&about, state.0.clock.now()))).ok_or_else(not_found)
}

fn check_scopes(scopes: &[String]) -> Result<(), Failure> {
    for (index, scope) in scopes.iter().enumerate() {
        if scope.parse::<Scope>().is_err() {
            let allowed = Scope::ALL.map(Scope::name).join(", ");
            return Err(field(format!("scopes: unknown scope `{scope}`; allowed: {allowed}")));
        }
        if scopes[..index].contains(scope) {
            return Err(field(format!("scopes: `{scope}` must not be repeated")));
        }
    }
    Ok(())
}

fn future(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let time = time(name, text)?;
    if time <= now { Err(field(format!("{name} must lie in the future"))) } else { Ok(time) }
}
