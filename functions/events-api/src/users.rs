//! `/api/users`: a tenant's users.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, conflict, not_found};
use crate::ids::Id;
use crate::validate::{check_email, new_password};
use axum::extract;
use schemars::JsonSchema;
use serde::Deserialize;
use switchyard_api::{Authenticated, Created, Endpoint, Json, NoContent, Page, PageQuery, Path, Refusal, page_of};
use switchyard_identity::{Access, Role};
use switchyard_identity::{NewUser, Password};
use switchyard_signals::UserId;
use switchyard_signals::users::{self, UserChange};
use switchyard_signals::view::UserView;

pub(crate) fn endpoints() -> [Endpoint<State>; 4] {
    const REFUSED: &[(u16, &str)] = &[(409, "It would remove the last owner, or another request changed the user")];
    let admin = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Admin, None));
    [
        admin(Endpoint::post("/api/users", create_user))
            .summary("Create a user")
            .idempotent()
            .refuses(&[(409, "Another user has the address")]),
        admin(Endpoint::get("/api/users", list_users)).summary("List users"),
        admin(Endpoint::patch("/api/users/{id}", update_user)).summary("Update a user").refuses(REFUSED),
        admin(Endpoint::delete("/api/users/{id}", delete_user)).summary("Delete a user").refuses(REFUSED),
    ]
}

/// What a user of a tenant may do.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TenantRole {
    /// Changes the tenant too.
    Owner,
    /// Changes what is the tenant's, except the tenant itself.
    Admin,
    /// Reads what is the tenant's.
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
struct NewUserBody {
    /// An address that no other user of the tenant has.
    email: String,
    /// 10 to 128 characters.
    password: String,
    /// What the user may do.
    role: TenantRole,
}

/// Changes of a user; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserChanges {
    /// What the user may do.
    role: Option<TenantRole>,
    /// A new password; the user's tokens are revoked.
    password: Option<String>,
}

async fn create_user(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(NewUserBody { email, password, role }): Json<NewUserBody>,
) -> Result<Created<UserView>, Failure> {
    check_email("email", &email)?;
    let role = granted(&actor, role.into())?;
    let new = NewUser { email, password: Password::Plain(new_password("password", password)?), role };
    outcome(users::create(&state.0.users, &actor.id(), actor.tenant_id()?, &new).await?).map(Created)
}

async fn list_users(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    query: PageQuery,
) -> Result<Json<Page<UserView>>, Failure> {
    let users = users::list(&state.0.users, actor.tenant_id()?).await?;
    Ok(Json(page_of(users, &query, |user| &user.id)?))
}

async fn update_user(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<UserId>>,
    Json(UserChanges { role, password }): Json<UserChanges>,
) -> Result<Json<UserView>, Failure> {
    let role = role.map(|role| granted(&actor, role.into())).transpose()?;
    let password = password.map(|password| new_password("password", password)).transpose()?;
    let (by, tenant) = (actor.id(), actor.tenant_id()?);
    let by = (&by, actor.role()?);
    outcome(users::change(&state.0.users, by, tenant, &id, role, password.as_ref()).await?).map(Json)
}

async fn delete_user(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<UserId>>,
) -> Result<NoContent, Failure> {
    let by = actor.id();
    let by = (&by, actor.role()?);
    outcome(users::delete(&state.0.users, by, actor.tenant_id()?, &id).await?).map(|_| NoContent)
}

/// A caller cannot grant a role above the caller's own.
fn granted(actor: &Actor, role: Role) -> Result<Role, Failure> {
    if role > actor.role()? { Err(above()) } else { Ok(role) }
}

fn above() -> Failure {
    Failure(Refusal::forbidden("A role as high is required"))
}

fn outcome(change: UserChange) -> Result<UserView, Failure> {
    match change {
        UserChange::Done(user) => Ok(user),
        UserChange::EmailTaken => Err(conflict("email_taken", "Another user has the address")),
        UserChange::NotFound => Err(not_found()),
        UserChange::RoleTooHigh => Err(above()),
        UserChange::LastOwner => Err(conflict("last_owner", "The last owner cannot be removed")),
        UserChange::Conflict => Err(Refusal::conflict().into()),
    }
}
