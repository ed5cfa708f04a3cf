//! `/admin/auth` and `/admin/operators`: operators sign in and out, and are created, listed, disabled and enabled.

use crate::State;
use crate::access::Actor;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_api::{
    Authenticated, Created, Endpoint, Json, NoContent, OrFault as _, Page, PageQuery, Path, PathParameter, Refusal,
    is_uuid, page_of,
};
use switchyard_core::{Secret, iso_millis};
use switchyard_identity::operators::{NewOperator, Operator, PasswordChange, SignIn};
use switchyard_identity::users::{MAX_EMAIL, is_email};
use switchyard_identity::{Access, IdentityError, password};

/// Longest name, in characters.
const MAX_NAME: usize = 255;

pub(crate) fn endpoints() -> [Endpoint<State>; 9] {
    const THROTTLED: (u16, &str) = (429, "Too many attempts");
    const CHANGED: &[(u16, &str)] = &[(409, "The operator was changed by another request")];
    let manage = |endpoint: Endpoint<State>| endpoint.access(Access::OperatorOrBasic);
    let own = |endpoint: Endpoint<State>| endpoint.access(Access::Operator);
    [
        Endpoint::post("/admin/auth/login", sign_in_operator)
            .summary("Sign in as an operator")
            .refuses(&[(401, "The credentials are not valid"), THROTTLED]),
        own(Endpoint::post("/admin/auth/logout", sign_out_operator)).summary("Sign out and revoke the token"),
        own(Endpoint::get("/admin/auth/me", get_current_operator)).summary("Get the signed-in operator"),
        own(Endpoint::post("/admin/auth/password", change_operator_password))
            .summary("Change the signed-in operator's password")
            .refuses(&[(409, "The operator was changed by another request"), THROTTLED]),
        manage(Endpoint::post("/admin/operators", create_operator))
            .summary("Create an operator")
            .refuses(&[(409, "Another operator has the address")]),
        manage(Endpoint::get("/admin/operators", list_operators)).summary("List operators"),
        manage(Endpoint::get("/admin/operators/{id}", get_operator)).summary("Get an operator"),
        manage(Endpoint::post("/admin/operators/{id}/disable", disable_operator))
            .summary("Disable an operator and revoke the tokens")
            .refuses(CHANGED),
        manage(Endpoint::post("/admin/operators/{id}/enable", enable_operator))
            .summary("Enable a disabled operator")
            .refuses(CHANGED),
    ]
}

/// An operator's id.
struct OperatorId(switchyard_identity::OperatorId);

impl PathParameter for OperatorId {
    fn parse(text: &str) -> Option<Self> {
        is_uuid(text).then(|| Self(text.into()))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }
}

/// Who signs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OperatorCredentials")]
struct Credentials {
    /// The operator's address.
    email: String,
    /// The operator's password.
    password: String,
}

/// A bearer token of an operator.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperatorToken {
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until it expires.
    expires_in: u64,
}

/// An operator.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Operator")]
#[serde(rename_all = "camelCase")]
struct OperatorView {
    id: String,
    /// The address that the operator signs in with.
    email: String,
    /// What colleagues call the operator.
    name: String,
    status: OperatorStatus,
    /// RFC 3339.
    created_at: String,
    /// `operator:<id>`, or `basic:<user>` for the stack's own credentials.
    created_by: String,
    /// RFC 3339.
    updated_at: String,
    /// As `createdBy`.
    updated_by: String,
}

/// Whether an operator may sign in.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum OperatorStatus {
    /// The operator may.
    Active,
    /// The operator may not, and has no valid token.
    Disabled,
}

impl OperatorView {
    fn of(operator: &Operator) -> Self {
        let status = if operator.disabled_at.is_some() { OperatorStatus::Disabled } else { OperatorStatus::Active };
        Self {
            id: operator.id.to_string(),
            email: operator.email.clone(),
            name: operator.name.clone(),
            status,
            created_at: iso_millis(operator.created_at),
            created_by: operator.created_by.to_string(),
            updated_at: iso_millis(operator.updated_at),
            updated_by: operator.updated_by.to_string(),
        }
    }
}

async fn sign_in_operator(
    extract::State(state): extract::State<State>,
    Json(Credentials { email, password }): Json<Credentials>,
) -> Result<Json<OperatorToken>, Refusal> {
    let refused = || Refusal::unauthorized("Invalid credentials");
    if email.is_empty() || email.chars().count() > MAX_EMAIL {
        return Err(refused());
    }
    match state.0.operators.sign_in(&email, &Secret::new(password)).await.or_fault()? {
        SignIn::Token(token) => {
            Ok(Json(OperatorToken { access_token: token.text, token_type: "Bearer", expires_in: token.ttl.as_secs() }))
        }
        SignIn::Refused => Err(refused()),
        SignIn::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}

fn throttled(retry_after: Duration) -> Refusal {
    Refusal::new(429, "too_many_attempts", "Too many attempts").retry_after(retry_after)
}

async fn sign_out_operator(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
) -> Result<NoContent, Refusal> {
    state.0.operators.sign_out(actor.session()?).await.or_fault()?;
    Ok(NoContent)
}

async fn get_current_operator(Authenticated(actor): Authenticated<Actor>) -> Result<Json<OperatorView>, Refusal> {
    Ok(Json(OperatorView::of(&actor.session()?.operator)))
}

/// A new password of an operator.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOperatorPassword {
    /// The current password.
    current: String,
    /// The new password, 10 to 128 characters.
    new: String,
}

async fn change_operator_password(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(NewOperatorPassword { current, new }): Json<NewOperatorPassword>,
) -> Result<NoContent, Refusal> {
    let new = new_password("new", new)?;
    let change = state.0.operators.change_password(actor.session()?, &Secret::new(current), &new).await;
    match change.map_err(|error| fault(&error))? {
        PasswordChange::Done => Ok(NoContent),
        PasswordChange::Refused => Err(Refusal::field("current is not the password")),
        PasswordChange::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}

/// A new operator.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOperatorBody {
    /// An address that no other operator has.
    email: String,
    /// What colleagues call the operator, 1 to 255 characters.
    name: String,
    /// 10 to 128 characters.
    password: String,
}

async fn create_operator(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(NewOperatorBody { email, name, password }): Json<NewOperatorBody>,
) -> Result<Created<OperatorView>, Refusal> {
    if !is_email(&email) {
        return Err(Refusal::field("email must be an e-mail address"));
    }
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(Refusal::field(format!("name must have 1 to {MAX_NAME} characters")));
    }
    let new = NewOperator { email, name, password: new_password("password", password)? };
    match state.0.operators.create(&actor.id(), &new).await.or_fault()? {
        Some(operator) => Ok(Created(OperatorView::of(&operator))),
        None => Err(Refusal::new(409, "email_taken", "Another operator has the address")),
    }
}

async fn list_operators(
    extract::State(state): extract::State<State>,
    query: PageQuery,
) -> Result<Json<Page<OperatorView>>, Refusal> {
    let operators = state.0.operators.list().await.or_fault()?;
    Ok(Json(page_of(operators.iter().map(OperatorView::of), &query, |operator| &operator.id)?))
}

async fn get_operator(
    extract::State(state): extract::State<State>,
    Path(id): Path<OperatorId>,
) -> Result<Json<OperatorView>, Refusal> {
    found(state.0.operators.get(&id.0).await)
}

async fn disable_operator(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(id): Path<OperatorId>,
) -> Result<Json<OperatorView>, Refusal> {
    found(state.0.operators.disable(&actor.id(), &id.0).await)
}

async fn enable_operator(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(id): Path<OperatorId>,
) -> Result<Json<OperatorView>, Refusal> {
    found(state.0.operators.enable(&actor.id(), &id.0).await)
}

fn found(operator: Result<Option<Operator>, IdentityError>) -> Result<Json<OperatorView>, Refusal> {
    match operator {
        Ok(Some(operator)) => Ok(Json(OperatorView::of(&operator))),
        Ok(None) => Err(Refusal::not_found()),
        Err(error) => Err(fault(&error)),
    }
}

fn fault(error: &IdentityError) -> Refusal {
    match error {
        IdentityError::Contended { .. } => Refusal::conflict(),
        error => Refusal::fault(error),
    }
}

fn new_password(field: &str, text: String) -> Result<Secret<String>, Refusal> {
    password::parse(text).map_err(|error| Refusal::field(format!("{field} {error}")))
}
