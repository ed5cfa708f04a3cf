//! Making notification configs and changing them.

use crate::error::SignalsError;
use crate::store::{ConfigRow, ConfigStatus, NewConfig, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchyard_core::{Clock, Env, EnvError, iso_millis};
use switchyard_io::http::Guard;
use switchyard_io::vault::Vault;
use switchyard_io::{Aws, Secrets, Table};
use switchyard_notify::config::{masked, merge, split};
use switchyard_notify::{Channel, Config, Issue};

/// What looking after configs needs.
#[derive(Clone)]
pub struct ConfigDeps {
    store: Store,
    vault: Vault,
    guard: Guard,
    clock: Clock,
}

impl ConfigDeps {
    /// Reads `SIGNALS_TABLE` and `DATA_KEY_SECRET`; `guard` says where tenants' addresses may lead.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, guard: Guard) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            vault: Vault::from_env(&Secrets::new(aws), env)?,
            guard,
            clock: Clock::system(),
        })
    }
}

/// What became of a config that was written.
#[derive(Debug)]
pub enum Written {
    /// It is in force: the config as [`list`] has it.
    Config(Value),
    /// It is wrong; this is everything that is.
    Invalid(Vec<Issue>),
}

/// Makes a config of a channel.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn create(
    deps: &ConfigDeps,
    tenant: &str,
    name: &str,
    channel: Channel,
    config: &Value,
    is_default: bool,
) -> Result<Written, SignalsError> {
    if let Err(issues) = Config::parse(channel, config, &deps.guard) {
        return Ok(Written::Invalid(issues));
    }
    let id = deps.clock.new_id().to_string();
    let (open, secrets) = split(channel, config);
    let mut sealed = BTreeMap::new();
    for (field, secret) in secrets {
        sealed.insert(field, deps.vault.seal(&id, &secret).await.map_err(SignalsError::Vault)?);
    }
    let new = NewConfig { id: &id, name, channel, open: open.to_string(), sealed, is_default, allow_override: true };
    let row = ConfigRow::new(tenant, new, deps.clock.now());
    deps.store.put_config(tenant, &row, None).await?;
    Ok(Written::Config(show(deps, &row).await?))
}

/// Switches a config on or off; `None` when there is none, or another change came first.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn set_status(
    deps: &ConfigDeps,
    tenant: &str,
    id: &str,
    status: ConfigStatus,
) -> Result<Option<Value>, SignalsError> {
    let Some(before) = deps.store.config(tenant, id).await? else { return Ok(None) };
    let after = ConfigRow { status, reason: None, updated_at: deps.clock.now(), ..before.clone() };
    let is_done = deps.store.put_config(tenant, &after, Some(&before)).await?;
    Ok(if is_done { Some(show(deps, &after).await?) } else { None })
}

/// A tenant's configs, by age; of secrets the last four characters.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn list(deps: &ConfigDeps, tenant: &str) -> Result<Vec<Value>, SignalsError> {
    let mut shown = Vec::new();
    for row in deps.store.configs(tenant).await? {
        shown.push(show(deps, &row).await?);
    }
    Ok(shown)
}

async fn show(deps: &ConfigDeps, row: &ConfigRow) -> Result<Value, SignalsError> {
    let open: Value = serde_json::from_str(&row.open).map_err(SignalsError::Json)?;
    let mut secrets = BTreeMap::new();
    for (field, sealed) in &row.sealed {
        let secret = deps.vault.open(&row.id, sealed).await.map_err(SignalsError::Vault)?;
        secrets.insert(field.clone(), secret.expose().clone());
    }
    Ok(json!({
        "id": row.id,
        "name": row.name,
        "channel": row.channel,
        "config": masked(row.channel, &merge(&open, &secrets)),
        "status": row.status,
        "reason": row.reason,
        "isDefault": row.is_default,
        "allowOverride": row.allow_override,
        "createdAt": iso_millis(row.created_at),
        "updatedAt": iso_millis(row.updated_at),
    }))
}
