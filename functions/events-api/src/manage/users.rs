//! A tenant's users.

use super::Request;
use super::auth::{checked_email, checked_password};
use super::rules::page;
use crate::answer::Failure;
use crate::body::{self, limit};
use schemars::JsonSchema;
use serde::Deserialize;
use switchyard_lambda::Reply;
use switchyard_signals::Role;
use switchyard_signals::users::{self, NewUser, Password, Written};

/// What a user of a tenant may do.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantRole {
    /// Everything that concerns the tenant.
    Owner,
    /// All but the tenant itself.
    Admin,
    /// Look.
    Member,
}

impl From<TenantRole> for Role {
    fn from(role: TenantRole) -> Self {
        match role {
            TenantRole::Owner => Self::Owner,
            TenantRole::Admin => Self::Admin,
            TenantRole::Member => Self::Member,
        }
    }
}

/// A new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    /// An address that no other user of the tenant has.
    email: String,
    /// 10 to 128 characters.
    password: String,
    /// What the user may do.
    role: TenantRole,
}

/// What to change about a user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// What the user may do.
    role: Option<TenantRole>,
    /// A new password; the user's tokens end.
    password: Option<String>,
}

/// `POST /api/users`.
pub async fn create(request: &Request<'_>) -> Result<Reply, Failure> {
    let UserBody { email, password, role } = body::fields(request.call)?;
    checked_email("email", &email)?;
    let role = given(request, role.into())?;
    let new = NewUser { email, password: Password::Plain(checked_password("password", password)?), role };
    answer(users::create(&request.deps.users, &request.caller.actor, request.tenant()?, &new).await?, 201)
}

/// `GET /api/users`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let limit = limit(&query)?;
    let items = users::users(&request.deps.users, request.tenant()?).await?;
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}

/// `PATCH /api/users/{id}`.
pub async fn change(request: &Request<'_>) -> Result<Reply, Failure> {
    let UserChange { role, password } = body::fields(request.call)?;
    let role = role.map(|role| given(request, role.into())).transpose()?;
    let password = password.map(|password| checked_password("password", password)).transpose()?;
    answer(
        users::change(&request.deps.users, by(request), request.tenant()?, request.id(), role, password.as_ref())
            .await?,
        200,
    )
}

/// `DELETE /api/users/{id}`.
pub async fn remove(request: &Request<'_>) -> Result<Reply, Failure> {
    match users::remove(&request.deps.users, by(request), request.tenant()?, request.id()).await? {
        Written::User(_) => Ok(Reply::empty(204)),
        other => answer(other, 200),
    }
}

/// Who asks, and what they may do.
fn by<'a>(request: &'a Request<'_>) -> (&'a str, Role) {
    (&request.caller.actor, request.caller.role)
}

/// Nobody gives a role above their own, nor touches one.
fn given(request: &Request<'_>, role: Role) -> Result<Role, Failure> {
    if role > request.caller.role { Err(above()) } else { Ok(role) }
}

fn above() -> Failure {
    Failure::new(403, "forbidden", "That takes a role as high")
}

fn answer(written: Written, status: u16) -> Result<Reply, Failure> {
    match written {
        Written::User(user) => Ok(Reply::json(status, &user)),
        Written::Taken => Err(Failure::new(409, "email_taken", "email is another user's")),
        Written::Unknown => Err(Failure::not_found()),
        Written::Above => Err(above()),
        Written::LastOwner => Err(Failure::new(409, "last_owner", "The last owner cannot be removed")),
        Written::Stale => Err(Failure::new(409, "contended", "It was changed meanwhile; try again")),
    }
}
