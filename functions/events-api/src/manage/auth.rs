//! Logging in.

use super::tenants::MAX_SLUG;
use super::{Deps, Request};
use crate::answer::Failure;
use crate::body;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use switchyard_core::Secret;
use switchyard_lambda::{Call, Reply};
use switchyard_signals::users::{self, LoggedIn, MAX_EMAIL, PasswordChange, is_email};
use switchyard_signals::{password, tenants};

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// The tenant's slug; may be left out by operators, and where the address is one tenant's only.
    tenant: Option<String>,
    /// The address.
    email: String,
    /// The password.
    password: String,
}

/// A new password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password so far.
    current: String,
    /// The one from now on, 10 to 128 characters.
    new: String,
}

/// `POST /api/auth/login`.
pub async fn log_in(deps: &Deps, call: &Call) -> Result<Reply, Failure> {
    let LogIn { tenant, email, password } = body::fields(call)?;
    let password = Secret::new(password);
    // Nobody is called so, and no key of the table is so long.
    if tenant.as_ref().is_some_and(|slug| slug.is_empty() || slug.len() > MAX_SLUG) || email.len() > 4 * MAX_EMAIL {
        return Err(Failure::new(401, "unauthorized", "Invalid credentials"));
    }
    match users::log_in(&deps.users, tenant.as_deref(), &email, &password).await? {
        LoggedIn::Token { token, ttl } => {
            Ok(Reply::json(200, &json!({"accessToken": token, "tokenType": "Bearer", "expiresIn": ttl.as_secs()})))
        }
        LoggedIn::Refused => Err(Failure::new(401, "unauthorized", "Invalid credentials")),
        LoggedIn::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}

fn throttled(retry_after: Duration) -> Failure {
    Failure::new(429, "too_many_attempts", "Too many attempts").retry_after(retry_after)
}

/// `GET /api/auth/me`.
pub async fn me(request: &Request<'_>) -> Result<Reply, Failure> {
    let session = request.caller.session()?;
    let tenant = session.tenant.as_ref().map(tenants::show);
    let mut profile = session.profile();
    profile["tenant"] = json!(tenant);
    Ok(Reply::json(200, &profile))
}

/// `POST /api/auth/password`.
pub async fn password(request: &Request<'_>) -> Result<Reply, Failure> {
    let NewPassword { current, new } = body::fields(request.call)?;
    let new = checked_password("new", new)?;
    let session = request.caller.session()?;
    match users::change_password(&request.deps.users, session, &Secret::new(current), &new).await? {
        PasswordChange::Done => Ok(Reply::empty(204)),
        PasswordChange::Refused => Err(Failure::field("current is not the password")),
        PasswordChange::Throttled { retry_after } => Err(throttled(retry_after)),
    }
}

/// A password that may be one.
pub fn checked_password(name: &str, text: String) -> Result<Secret<String>, Failure> {
    if password::LENGTH.contains(&text.chars().count()) {
        return Ok(Secret::new(text));
    }
    let (least, most) = (password::LENGTH.start(), password::LENGTH.end());
    Err(Failure::field(format!("{name} must have {least} to {most} characters")))
}

/// An address that may be one; the rest shows when mail is sent to it.
pub fn checked_email(name: &str, text: &str) -> Result<(), Failure> {
    match is_email(text) {
        true => Ok(()),
        false => Err(Failure::field(format!("{name} must be an e-mail address"))),
    }
}
