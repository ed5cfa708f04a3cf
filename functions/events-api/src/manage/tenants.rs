//! Tenants, for operators; and one's own.

use super::auth::{checked_email, checked_password};
use super::{Request, check_text};
use crate::answer::Failure;
use crate::body::{self, limit, present};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchyard_lambda::Reply;
use switchyard_signals::tenants::{self, MAX_USAGE_SHARDS, TenantEdit};
use switchyard_signals::users::{NewUser, Password};
use switchyard_signals::{Plan, Role, Tenant, TenantStatus};

/// Longest slug.
pub const MAX_SLUG: usize = 120;
const MAX_NAME: usize = 255;

/// Largest metadata, in bytes of JSON.
const MAX_METADATA: usize = 16 * 1024;

/// What a tenant pays for.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanName {
    /// Events are kept for 30 days.
    Free,
    /// 180 days.
    Pro,
    /// 400 days.
    Enterprise,
}

/// The first user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    email: String,
    password: String,
}

/// A new tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantBody {
    /// Lower-case letters, digits and dashes; nobody else may have it.
    slug: String,
    /// What people call it.
    name: String,
    plan: Option<PlanName>,
    /// Events a month beyond which it is warned; null for never.
    #[serde(default, deserialize_with = "present")]
    monthly_soft_limit: Option<Option<u64>>,
    /// Events a month that are taken at most; null for all.
    #[serde(default, deserialize_with = "present")]
    monthly_hard_limit: Option<Option<u64>>,
    /// Events that are taken within one second at most, 1 to 1000; null for all.
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<u32>>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
    owner: Option<Owner>,
}

/// What to change about a tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantChange {
    name: Option<String>,
    plan: Option<PlanName>,
    #[serde(default, deserialize_with = "present")]
    monthly_soft_limit: Option<Option<u64>>,
    #[serde(default, deserialize_with = "present")]
    monthly_hard_limit: Option<Option<u64>>,
    /// Events that are taken within one second at most, 1 to 1000; null for all.
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<u32>>,
    /// Rows that its usage is spread over, 1 to 64.
    usage_shards: Option<u32>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
}

/// What its owner may change about a tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnTenantChange {
    name: Option<String>,
    metadata: Option<Map<String, Value>>,
    /// Paths such as `payload.items[*].phone`, at most 50; readers of events see `***` there.
    redact: Option<Vec<String>>,
}

/// `POST /api/tenants`.
pub async fn create(request: &Request<'_>) -> Result<Reply, Failure> {
    let body: TenantBody = body::fields(request.call)?;
    check_slug(&body.slug)?;
    check_text("name", &body.name, MAX_NAME)?;
    let edit = TenantEdit {
        plan: body.plan.map(Plan::from),
        monthly_soft_limit: body.monthly_soft_limit,
        monthly_hard_limit: body.monthly_hard_limit,
        rate_per_second: body.rate_per_second,
        metadata: metadata(body.metadata)?,
        redact: body.redact,
        ..TenantEdit::default()
    };
    let owner = body.owner.map(|Owner { email, password }| -> Result<_, Failure> {
        checked_email("owner.email", &email)?;
        let password = Password::Plain(checked_password("owner.password", password)?);
        Ok(NewUser { email, password, role: Role::Owner })
    });
    let (deps, actor) = (&request.deps.tenants, &request.caller.actor);
    let made = tenants::create(deps, actor, &body.slug, &body.name, &edit, owner.transpose()?.as_ref()).await?;
    match made {
        Some(tenant) => Ok(Reply::json(201, &tenants::show(&tenant))),
        None => Err(Failure::new(409, "slug_taken", "slug is another tenant's")),
    }
}

/// `GET /api/tenants`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let (limit, cursor) = (limit(&query)?, query.get("cursor").map(String::as_str));
    let (items, next) = tenants::list(&request.deps.tenants, cursor, limit).await?;
    let items: Vec<_> = items.iter().map(tenants::show).collect();
    Ok(Reply::json(200, &json!({"items": items, "nextCursor": next})))
}

/// `GET /api/tenants/{id}`.
pub async fn show(request: &Request<'_>) -> Result<Reply, Failure> {
    found(tenants::tenant(&request.deps.tenants, request.id()).await?, 200)
}

/// `PATCH /api/tenants/{id}`.
pub async fn change(request: &Request<'_>) -> Result<Reply, Failure> {
    let body: TenantChange = body::fields(request.call)?;
    if let Some(name) = &body.name {
        check_text("name", name, MAX_NAME)?;
    }
    if body.usage_shards.is_some_and(|shards| !(1..=MAX_USAGE_SHARDS).contains(&shards)) {
        return Err(Failure::field(format!("usageShards must be 1 to {MAX_USAGE_SHARDS}")));
    }
    let edit = TenantEdit {
        name: body.name,
        plan: body.plan.map(Plan::from),
        monthly_soft_limit: body.monthly_soft_limit,
        monthly_hard_limit: body.monthly_hard_limit,
        rate_per_second: body.rate_per_second,
        usage_shards: body.usage_shards,
        metadata: metadata(body.metadata)?,
        redact: body.redact,
        ..TenantEdit::default()
    };
    apply(request, request.id(), &edit, 200).await
}

/// `POST /api/tenants/{id}/suspend`, `…/activate`, and `DELETE /api/tenants/{id}`.
pub async fn set_status(request: &Request<'_>, status: TenantStatus) -> Result<Reply, Failure> {
    let edit = TenantEdit { status: Some(status), ..TenantEdit::default() };
    apply(request, request.id(), &edit, if status == TenantStatus::Deleted { 202 } else { 200 }).await
}

/// `GET /api/tenant`.
pub async fn own(request: &Request<'_>) -> Result<Reply, Failure> {
    found(tenants::tenant(&request.deps.tenants, request.tenant()?).await?, 200)
}

/// `PATCH /api/tenant`.
pub async fn change_own(request: &Request<'_>) -> Result<Reply, Failure> {
    let OwnTenantChange { name, metadata: new, redact } = body::fields(request.call)?;
    if let Some(name) = &name {
        check_text("name", name, MAX_NAME)?;
    }
    check_metadata(new.as_ref())?;
    let edit = TenantEdit { name, own_metadata: new, redact, ..TenantEdit::default() };
    apply(request, request.tenant()?, &edit, 200).await
}

async fn apply(request: &Request<'_>, id: &str, edit: &TenantEdit, status: u16) -> Result<Reply, Failure> {
    found(tenants::change(&request.deps.tenants, &request.caller.actor, id, edit).await?, status)
}

fn found(tenant: Option<Tenant>, status: u16) -> Result<Reply, Failure> {
    tenant.map(|tenant| Reply::json(status, &tenants::show(&tenant))).ok_or_else(Failure::not_found)
}

fn check_slug(slug: &str) -> Result<(), Failure> {
    check_text("slug", slug, MAX_SLUG)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match slug.bytes().all(is_plain) && !slug.starts_with('-') && !slug.ends_with('-') {
        true => Ok(()),
        false => Err(Failure::field("slug must be lower-case letters, digits and dashes between them")),
    }
}

fn check_metadata(given: Option<&Map<String, Value>>) -> Result<(), Failure> {
    match given.is_some_and(|given| Value::Object(given.clone()).to_string().len() > MAX_METADATA) {
        true => Err(Failure::field(format!("metadata must have at most {MAX_METADATA} bytes"))),
        false => Ok(()),
    }
}

fn metadata(given: Option<Map<String, Value>>) -> Result<Option<Option<String>>, Failure> {
    check_metadata(given.as_ref())?;
    Ok(given.map(|given| Some(Value::Object(given).to_string())))
}

impl From<PlanName> for Plan {
    fn from(plan: PlanName) -> Self {
        match plan {
            PlanName::Free => Self::Free,
            PlanName::Pro => Self::Pro,
            PlanName::Enterprise => Self::Enterprise,
        }
    }
}
