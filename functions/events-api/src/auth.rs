//! `/api/auth`: signing in, the signed-in user, and its password.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, field};
use crate::tenants::MAX_SLUG;
use crate::validate::checked_password;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_api::{Caller, Endpoint, Json, NoContent, Refusal};
use switchyard_core::Secret;
use switchyard_identity::Access;
use switchyard_signals::users::{self, LoggedIn, MAX_EMAIL, PasswordChange};
use switchyard_signals::view::{TenantView, UserView};

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    const THROTTLED: (u16, &str) = (429, "Too many attempts");
    [
        Endpoint::post("/api/auth/login", create_token)
            .summary("Create a token with an address and a password")
            .lenient()
            .refuses(&[(401, "The credentials are not valid"), THROTTLED]),
        Endpoint::get("/api/auth/me", get_current_user).summary("Get the signed-in user").access(Access::User),
        Endpoint::post("/api/auth/password", change_password)
            .summary("Change the signed-in user's password")
            .access(Access::User)
            .refuses(&[(409, "The user was changed by another request"), THROTTLED]),
    ]
}

/// Who signs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The tenant's slug; may be left out by operators, and where one tenant only has the address.
    tenant: Option<String>,
    /// The address.
    email: String,
    /// The password.
    password: String,
}

/// A bearer token.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until it expires.
    expires_in: u64,
}

async fn create_token(
    extract::State(state): extract::State<State>,
    Json(Credentials { tenant, email, password }): Json<Credentials>,
) -> Result<Json<Token>, Failure> {
    let refused = || Failure(Refusal::unauthorized("Invalid credentials"));
    // No user has such a slug or address, and no key of the table is so long.
    if tenant.as_ref().is_some_and(|slug| slug.is_empty() || slug.len() > MAX_SLUG) || email.len() > 4 * MAX_EMAIL {
        return Err(refused());
    }
    match users::log_in(&state.0.users, tenant.as_deref(), &email, &Secret::new(password)).await? {
        LoggedIn::Token { token, ttl } => {
            Ok(Json(Token { access_token: token, token_type: "Bearer", expires_in: ttl.as_secs() }))
        }
        LoggedIn::Refused => Err(refused()),
        LoggedIn::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}

fn throttled(retry_after: Duration) -> Failure {
    Failure(Refusal::new(429, "too_many_attempts", "Too many attempts").retry_after(retry_after))
}

/// The signed-in user with its tenant.
#[derive(JsonSchema, Serialize)]
struct CurrentUser {
    #[serde(flatten)]
    user: UserView,
    /// Null for an operator.
    tenant: Option<TenantView>,
}

async fn get_current_user(Caller(actor): Caller<Actor>) -> Result<Json<CurrentUser>, Failure> {
    let session = actor.session()?;
    Ok(Json(CurrentUser { user: session.profile(), tenant: session.tenant.as_ref().map(TenantView::of) }))
}

/// A new password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// The current password.
    current: String,
    /// The new password, 10 to 128 characters.
    new: String,
}

async fn change_password(
    extract::State(state): extract::State<State>,
    Caller(actor): Caller<Actor>,
    Json(NewPassword { current, new }): Json<NewPassword>,
) -> Result<NoContent, Failure> {
    let new = checked_password("new", new)?;
    match users::change_password(&state.0.users, actor.session()?, &Secret::new(current), &new).await? {
        PasswordChange::Done => Ok(NoContent),
        PasswordChange::Refused => Err(field("current is not the password")),
        PasswordChange::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}
