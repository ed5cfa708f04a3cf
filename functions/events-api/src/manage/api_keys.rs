//! A tenant's API keys.

use super::rules::page;
use super::{Request, check_text};
use crate::answer::Failure;
use crate::body::{self, limit, present};
use crate::table::SCOPES;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::{Timestamp, iso_millis};
use switchyard_io::keys::{KeyAbout, KeyChange, NewKey};
use switchyard_lambda::Reply;

const MAX_LABEL: usize = 255;

/// Longest and usual time that a key lives on beside the one that replaces it.
const MAX_GRACE_S: u64 = 604_800;
const GRACE_S: u64 = 86_400;

/// What a key's name says.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `so_live_…`
    #[default]
    Live,
    /// `so_test_…`
    Test,
}

/// A new key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyBody {
    /// What it is for.
    label: String,
    /// What it may do; events:write when absent.
    #[serde(default)]
    scopes: Vec<String>,
    /// RFC 3339; for ever when absent.
    expires_at: Option<String>,
    #[serde(default)]
    environment: Environment,
}

/// What to change about a key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyPatch {
    label: Option<String>,
    scopes: Option<Vec<String>>,
    /// RFC 3339; null for ever.
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
}

/// How a key is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// Seconds that the old key stays good, 0 to 604,800; 86,400 when absent.
    grace_seconds: Option<u64>,
}

/// `POST /api/api-keys`.
pub async fn create(request: &Request<'_>) -> Result<Reply, Failure> {
    let KeyBody { label, scopes, expires_at, environment } = body::fields(request.call)?;
    check_text("label", &label, MAX_LABEL)?;
    check_scopes(&scopes)?;
    let new = NewKey {
        tenant: request.tenant()?.to_owned(),
        label,
        scopes,
        expires_at: expires_at.as_deref().map(|text| time(text, now(request))).transpose()?,
        is_live: matches!(environment, Environment::Live),
    };
    let record = |about: &KeyAbout| request.deps.tenants.record_of_key(&request.caller.actor, "key.create", about);
    let (key, about) = request.deps.keys.create_with(&new, &record).await?;
    let mut shown = show(&about, now(request));
    shown["key"] = key.expose().into();
    Ok(Reply::json(201, &shown))
}

/// `GET /api/api-keys`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let limit = limit(&query)?;
    let keys = request.deps.keys.list(request.tenant()?).await?;
    let items = keys.iter().map(|about| show(about, now(request))).collect();
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}

/// `GET /api/api-keys/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    found(request, request.deps.keys.about(request.tenant()?, request.id()).await?)
}

/// `PATCH /api/api-keys/{id}`.
pub async fn change(request: &Request<'_>) -> Result<Reply, Failure> {
    let KeyPatch { label, scopes, expires_at } = body::fields(request.call)?;
    if let Some(label) = &label {
        check_text("label", label, MAX_LABEL)?;
    }
    check_scopes(scopes.as_deref().unwrap_or_default())?;
    let expires_at =
        expires_at.map(|end| end.as_deref().map(|text| time(text, now(request))).transpose()).transpose()?;
    let change = KeyChange { label, scopes, expires_at, revoke: false };
    write(request, "key.change", &change).await
}

/// `POST /api/api-keys/{id}/revoke`, and `DELETE /api/api-keys/{id}`.
pub async fn revoke(request: &Request<'_>) -> Result<Reply, Failure> {
    write(request, "key.revoke", &KeyChange { revoke: true, ..KeyChange::default() }).await
}

/// `POST /api/api-keys/{id}/rotate`.
pub async fn rotate(request: &Request<'_>) -> Result<Reply, Failure> {
    let Rotation { grace_seconds } = body::fields(request.call)?;
    let grace = grace_seconds.unwrap_or(GRACE_S);
    if grace > MAX_GRACE_S {
        return Err(Failure::field(format!("graceSeconds must be 0 to {MAX_GRACE_S}")));
    }
    let (keys, grace) = (&request.deps.keys, Duration::from_secs(grace));
    let record = |about: &KeyAbout| request.deps.tenants.record_of_key(&request.caller.actor, "key.rotate", about);
    let rotated = keys.rotate(request.tenant()?, request.id(), grace, &record).await?;
    let Some((key, about, until)) = rotated else { return Err(Failure::not_found()) };
    let mut shown = show(&about, now(request));
    shown["key"] = key.expose().into();
    shown["previousExpiresAt"] = iso_millis(until).into();
    Ok(Reply::json(201, &shown))
}

async fn write(request: &Request<'_>, action: &str, change: &KeyChange) -> Result<Reply, Failure> {
    let record = |about: &KeyAbout| request.deps.tenants.record_of_key(&request.caller.actor, action, about);
    found(request, request.deps.keys.change(request.tenant()?, request.id(), change, &record).await?)
}

fn found(request: &Request<'_>, about: Option<KeyAbout>) -> Result<Reply, Failure> {
    about.map(|about| Reply::json(200, &show(&about, now(request)))).ok_or_else(Failure::not_found)
}

fn check_scopes(scopes: &[String]) -> Result<(), Failure> {
    for (index, scope) in scopes.iter().enumerate() {
        if !SCOPES.contains(&scope.as_str()) {
            return Err(Failure::field(format!("scopes: {scope} is none; there are {}", SCOPES.join(", "))));
        }
        if scopes[..index].contains(scope) {
            return Err(Failure::field(format!("scopes: {scope} must not be given twice")));
        }
    }
    Ok(())
}

fn now(request: &Request<'_>) -> Timestamp {
    request.deps.keys.clock().now()
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let time: Timestamp = text.parse().map_err(|_| Failure::field("expiresAt must be an RFC 3339 time"))?;
    if time <= now { Err(Failure::field("expiresAt must lie in the future")) } else { Ok(time) }
}

fn show(about: &KeyAbout, now: Timestamp) -> Value {
    let status = match (about.revoked_at, about.has_expired(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "active",
    };
    json!({
        "id": about.id,
        "label": about.label,
        "prefix": about.prefix,
        "scopes": about.scopes,
        "expiresAt": about.ends_at().map(iso_millis),
        "lastUsedAt": about.last_used_at.map(iso_millis),
        "createdAt": iso_millis(about.created_at),
        "status": status,
    })
}
