//! `/api/tenants` for operators, `/api/tenant` for a tenant's own users.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, conflict, field, not_found};
use crate::ids::Id;
use crate::validate::{check_email, check_text, new_password, present};
use axum::extract;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use switchyard_api::{Accepted, Authenticated, Created, Endpoint, Json, Page, PageQuery, Path};
use switchyard_identity::{Access, Role};
use switchyard_identity::{NewUser, Password};
use switchyard_signals::tenants::{self, MAX_USAGE_SHARDS, TenantEdit};
use switchyard_signals::view::TenantView;
use switchyard_signals::{Plan, Tenant, TenantId, TenantStatus};

/// Longest slug, in characters.
pub(crate) const MAX_SLUG: usize = 120;

/// Longest name, in characters.
const MAX_NAME: usize = 255;

/// Largest metadata, in bytes of JSON.
const MAX_METADATA: usize = 16 * 1024;

pub(crate) fn endpoints() -> [Endpoint<State>; 9] {
    const CHANGED: &[(u16, &str)] = &[(409, "The tenant is deleted, or was changed by another request")];
    let operator = |endpoint: Endpoint<State>| endpoint.access(Access::Operator);
    [
        operator(Endpoint::post("/api/tenants", create_tenant))
            .summary("Create a tenant")
            .idempotent()
            .refuses(&[(409, "Another tenant has the slug")]),
        operator(Endpoint::get("/api/tenants", list_tenants)).summary("List tenants"),
        operator(Endpoint::get("/api/tenants/{id}", get_tenant)).summary("Get a tenant"),
        operator(Endpoint::patch("/api/tenants/{id}", update_tenant)).summary("Update a tenant").refuses(CHANGED),
        operator(Endpoint::post("/api/tenants/{id}/suspend", suspend_tenant))
            .summary("Suspend a tenant")
            .idempotent()
            .refuses(CHANGED),
        operator(Endpoint::post("/api/tenants/{id}/activate", reactivate_tenant))
            .summary("Reactivate a tenant")
            .idempotent()
            .refuses(CHANGED),
        operator(Endpoint::delete("/api/tenants/{id}", delete_tenant)).summary("Delete a tenant").refuses(CHANGED),
        Endpoint::get("/api/tenant", get_own_tenant)
            .summary("Get the caller's tenant")
            .access(Access::Tenant(Role::Member, None))
            .refuses(&[(404, "Not found")]),
        Endpoint::patch("/api/tenant", update_own_tenant)
            .summary("Update the caller's tenant")
            .access(Access::Tenant(Role::Owner, None))
            .refuses(&[(404, "Not found"), (409, "The tenant was changed by another request")]),
    ]
}

/// The tenant's first user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOwner {
    email: String,
    password: String,
}

/// A new tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewTenant {
    /// Lower-case letters, digits and dashes; unique.
    slug: String,
    /// Its name for people.
    name: String,
    /// What it pays for; `free` by default.
    plan: Option<Plan>,
    /// Events a month beyond which it is warned; null for none.
    #[serde(default, deserialize_with = "present")]
    monthly_soft_limit: Option<Option<u64>>,
    /// Events a month at most; null for no limit.
    #[serde(default, deserialize_with = "present")]
    monthly_hard_limit: Option<Option<u64>>,
    /// Events a second at most, 1 to 1000; null for no limit.
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<u32>>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
    owner: Option<NewOwner>,
}

/// Changes of a tenant; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TenantChanges {
    name: Option<String>,
    plan: Option<Plan>,
    #[serde(default, deserialize_with = "present")]
    monthly_soft_limit: Option<Option<u64>>,
    #[serde(default, deserialize_with = "present")]
    monthly_hard_limit: Option<Option<u64>>,
    /// Events a second at most, 1 to 1000; null for no limit.
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<u32>>,
    /// Rows that its usage is counted on, 1 to 64.
    usage_shards: Option<u32>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
}

/// Changes that owners may make to their tenant; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OwnTenantChanges {
    name: Option<String>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
}

async fn create_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(body): Json<NewTenant>,
) -> Result<Created<TenantView>, Failure> {
    check_slug(&body.slug)?;
    check_text("name", &body.name, MAX_NAME)?;
    let edit = TenantEdit {
        plan: body.plan,
        monthly_soft_limit: body.monthly_soft_limit,
        monthly_hard_limit: body.monthly_hard_limit,
        rate_per_second: body.rate_per_second,
        metadata: metadata(body.metadata)?,
        redact: body.redact,
        ..TenantEdit::default()
    };
    let owner = body.owner.map(|NewOwner { email, password }| -> Result<_, Failure> {
        check_email("owner.email", &email)?;
        let password = Password::Plain(new_password("owner.password", password)?);
        Ok(NewUser { email, password, role: Role::Owner })
    });
    let owner = owner.transpose()?;
    let made = tenants::create(&state.0.tenants, &actor.id(), &body.slug, &body.name, &edit, owner.as_ref()).await?;
    match made {
        Some(tenant) => Ok(Created(TenantView::of(&tenant))),
        None => Err(conflict("slug_taken", "Another tenant has the slug")),
    }
}

async fn list_tenants(
    extract::State(state): extract::State<State>,
    query: PageQuery,
) -> Result<Json<Page<TenantView>>, Failure> {
    let (tenants, next_cursor) = tenants::list(&state.0.tenants, query.cursor(), query.limit).await?;
    Ok(Json(Page { items: tenants.iter().map(TenantView::of).collect(), next_cursor }))
}

async fn get_tenant(
    extract::State(state): extract::State<State>,
    Path(Id(id)): Path<Id<TenantId>>,
) -> Result<Json<TenantView>, Failure> {
    found(tenants::tenant(&state.0.tenants, &id).await?).map(Json)
}

async fn update_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<TenantId>>,
    Json(body): Json<TenantChanges>,
) -> Result<Json<TenantView>, Failure> {
    if let Some(name) = &body.name {
        check_text("name", name, MAX_NAME)?;
    }
    if body.usage_shards.is_some_and(|shards| !(1..=MAX_USAGE_SHARDS).contains(&shards)) {
        return Err(field(format!("usageShards must be 1 to {MAX_USAGE_SHARDS}")));
    }
    let edit = TenantEdit {
        name: body.name,
        plan: body.plan,
        monthly_soft_limit: body.monthly_soft_limit,
        monthly_hard_limit: body.monthly_hard_limit,
        rate_per_second: body.rate_per_second,
        usage_shards: body.usage_shards,
        metadata: metadata(body.metadata)?,
        redact: body.redact,
        ..TenantEdit::default()
    };
    apply(&state, &actor, &id, &edit).await.map(Json)
}

async fn suspend_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<TenantId>>,
) -> Result<Json<TenantView>, Failure> {
    set_status(&state, &actor, &id, TenantStatus::Suspended).await.map(Json)
}

async fn reactivate_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<TenantId>>,
) -> Result<Json<TenantView>, Failure> {
    set_status(&state, &actor, &id, TenantStatus::Active).await.map(Json)
}

/// Its data is removed after 30 days.
async fn delete_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<TenantId>>,
) -> Result<Accepted<TenantView>, Failure> {
    set_status(&state, &actor, &id, TenantStatus::Deleted).await.map(Accepted)
}

async fn set_status(state: &State, actor: &Actor, id: &TenantId, status: TenantStatus) -> Result<TenantView, Failure> {
    let edit = TenantEdit { status: Some(status), ..TenantEdit::default() };
    apply(state, actor, id, &edit).await
}

async fn get_own_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
) -> Result<Json<TenantView>, Failure> {
    found(tenants::tenant(&state.0.tenants, actor.tenant_id()?).await?).map(Json)
}

async fn update_own_tenant(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(OwnTenantChanges { name, metadata, redact }): Json<OwnTenantChanges>,
) -> Result<Json<TenantView>, Failure> {
    if let Some(name) = &name {
        check_text("name", name, MAX_NAME)?;
    }
    check_metadata(metadata.as_ref())?;
    let edit = TenantEdit { name, own_metadata: metadata, redact, ..TenantEdit::default() };
    apply(&state, &actor, actor.tenant_id()?, &edit).await.map(Json)
}

async fn apply(
    state: &State,
    actor: &Actor,
    id: &switchyard_signals::TenantId,
    edit: &TenantEdit,
) -> Result<TenantView, Failure> {
    found(tenants::change(&state.0.tenants, &actor.id(), id, edit).await?)
}

fn found(tenant: Option<Tenant>) -> Result<TenantView, Failure> {
    tenant.as_ref().map(TenantView::of).ok_or_else(not_found)
}

fn check_slug(slug: &str) -> Result<(), Failure> {
    check_text("slug", slug, MAX_SLUG)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match slug.bytes().all(is_plain) && !slug.starts_with('-') && !slug.ends_with('-') {
        true => Ok(()),
        false => Err(field("slug must be lower-case letters, digits and dashes between them")),
    }
}

fn check_metadata(given: Option<&Map<String, Value>>) -> Result<(), Failure> {
    match given.is_some_and(|given| Value::Object(given.clone()).to_string().len() > MAX_METADATA) {
        true => Err(field(format!("metadata must have at most {MAX_METADATA} bytes"))),
        false => Ok(()),
    }
}

fn metadata(given: Option<Map<String, Value>>) -> Result<Option<Option<String>>, Failure> {
    check_metadata(given.as_ref())?;
    Ok(given.map(|given| Some(Value::Object(given).to_string())))
}
