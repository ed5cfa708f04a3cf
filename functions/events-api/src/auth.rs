//! `/api/auth`: signing in, the signed-in user, and its password.

use crate::State;
use crate::access::{Actor, Session};
use crate::failure::{Failure, field};
use crate::tenants::MAX_SLUG;
use crate::validate::new_password;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_api::{Authenticated, Endpoint, Json, NoContent, Refusal};
use switchyard_core::Secret;
use switchyard_identity::Access;
use switchyard_identity::operators::{PasswordChange, SignIn};
use switchyard_identity::users::MAX_EMAIL;
use switchyard_signals::users;
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
    let (operators, password) = (&state.0.operators, Secret::new(password));
    // A tenant's user with an operator's address names the tenant.
    let is_operator = tenant.is_none() && operators.by_email(&email).await?.is_some();
    let sign_in = match is_operator {
        true => operators.sign_in(&email, &password).await?,
        false => users::sign_in(&state.0.users, tenant.as_deref(), &email, &password).await?,
    };
    match sign_in {
        SignIn::Token(token) => {
            Ok(Json(Token { access_token: token.text, token_type: "Bearer", expires_in: token.ttl.as_secs() }))
        }
        SignIn::Refused => Err(refused()),
        SignIn::Throttled { retry_after } => Err(throttled(retry_after)),
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

async fn get_current_user(Authenticated(actor): Authenticated<Actor>) -> Result<Json<CurrentUser>, Failure> {
    Ok(Json(match actor.session()? {
        Session::User(session) => {
            CurrentUser { user: UserView::of(&session.user), tenant: Some(TenantView::of(&session.tenant)) }
        }
        Session::Operator(session) => CurrentUser { user: UserView::of_operator(&session.operator), tenant: None },
    }))
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
    Authenticated(actor): Authenticated<Actor>,
    Json(NewPassword { current, new }): Json<NewPassword>,
) -> Result<NoContent, Failure> {
    let (current, new) = (Secret::new(current), new_password("new", new)?);
    let change = match actor.session()? {
        Session::User(session) => users::change_password(&state.0.users, session, &current, &new).await?,
        Session::Operator(_) => {
            return Err(Refusal::forbidden("Operators change their password at POST /admin/auth/password").into());
        }
    };
    match change {
        PasswordChange::Done => Ok(NoContent),
        PasswordChange::Refused => Err(field("current is not the password")),
        PasswordChange::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}
