//! Making notification configs and changing them.

pub(crate) mod row;
pub(crate) mod view;

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, ConfigId, TenantId};
use crate::manage::configs::row::{ConfigRow, ConfigStatus};
use crate::manage::tenants::may_send_from;
use crate::table::SignalsTable;
use crate::view::ConfigView;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchyard_core::{Clock, Env, EnvError, iso_millis};
use switchyard_io::dynamo::Write;
use switchyard_io::http::Guard;
use switchyard_io::vault::{Sealed, Vault};
use switchyard_io::{Aws, Secrets, Table};
use switchyard_notify::config::{EmailConfig, Transport, masked, merge, split, unmasked};
use switchyard_notify::{Channel, Config, Issue};

/// What managing configs needs.
#[derive(Clone)]
pub struct ConfigDeps {
    store: SignalsTable,
    vault: Vault,
    guard: Guard,
    clock: Clock,
}

impl ConfigDeps {
    /// Reads `SIGNALS_TABLE`, `DATA_KEY_SECRET`, and where tenants' addresses may lead as [`Guard`] does.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            vault: Vault::from_env(&Secrets::new(aws), env)?,
            guard: Guard::from_env(env)?,
            clock: Clock::system(),
        })
    }
}

/// Configs that a tenant has at most.
pub const MAX_CONFIGS: usize = 100;

/// What a config is to be.
#[derive(Clone, Debug)]
pub struct NewConfig {
    /// What people call it.
    pub name: String,
    /// How it reaches people.
    pub channel: Channel,
    /// The channel's settings. A secret that is `***` and its last four characters stays what it was.
    pub config: Value,
    /// Used where a rule names none.
    pub is_default: bool,
    /// Whether an action's own recipients are used.
    pub allow_override: bool,
    /// Whether it is switched on; as it was, or on, when absent.
    pub status: Option<ConfigStatus>,
}

/// Outcome of a config that was written.
#[derive(Debug)]
pub enum ConfigWrite {
    /// It is in force: the config as [`list`] has it, and the number of its last change.
    Config(Box<ConfigView>, i64),
    /// It is wrong; this is everything that is.
    Invalid(Vec<Issue>),
    /// The config does not exist.
    Unknown,
    /// Another change came first, or the caller knew an older one.
    Stale,
    /// Its channel is not to be changed.
    OtherChannel,
    /// There are [`MAX_CONFIGS`] already.
    TooMany,
}

/// Makes a config of a channel.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn create(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    new: &NewConfig,
) -> Result<ConfigWrite, SignalsError> {
    if let Err(issues) = check(deps, tenant, new.channel, &new.config).await? {
        return Ok(ConfigWrite::Invalid(issues));
    }
    if deps.store.configs(tenant).await?.len() >= MAX_CONFIGS {
        return Ok(ConfigWrite::TooMany);
    }
    let id = ConfigId::from(deps.clock.new_id().to_string());
    let (open, sealed) = seal(deps, &id, new.channel, &new.config).await?;
    let row = ConfigRow {
        name: new.name.clone(),
        open,
        sealed,
        is_default: new.is_default,
        allow_override: new.allow_override,
        status: new.status.unwrap_or(ConfigStatus::Active),
        ..ConfigRow::new(tenant, &id, new.channel, deps.clock.now())
    };
    let shown = show(deps, &row).await?;
    let record = record(deps, actor, tenant, "config.create", &id, None, Some(&shown))?;
    deps.store.put_config(tenant, &row, None, record).await?;
    Ok(ConfigWrite::Config(Box::new(shown), row.lock))
}

/// Replaces a config; what made it fail is forgotten. `if_lock` is the number of the change that the caller knows.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn replace(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &ConfigId,
    new: &NewConfig,
    if_lock: Option<i64>,
) -> Result<ConfigWrite, SignalsError> {
    let Some(before) = deps.store.config(tenant, id).await? else { return Ok(ConfigWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != before.lock) {
        return Ok(ConfigWrite::Stale);
    }
    if new.channel != before.channel {
        return Ok(ConfigWrite::OtherChannel);
    }
    let config = unmasked(new.channel, &new.config, &whole(deps, &before).await?);
    if let Err(issues) = check(deps, tenant, new.channel, &config).await? {
        return Ok(ConfigWrite::Invalid(issues));
    }
    let (open, sealed) = seal(deps, id, new.channel, &config).await?;
    let after = ConfigRow {
        name: new.name.clone(),
        open,
        sealed,
        is_default: new.is_default,
        allow_override: new.allow_override,
        status: new.status.unwrap_or(match before.status {
            ConfigStatus::Error => ConfigStatus::Active,
            status => status,
        }),
        reason: None,
        updated_at: deps.clock.now(),
        ..before.clone()
    };
    write(deps, actor, tenant, "config.replace", &before, after).await
}

/// Switches a config on or off.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn set_status(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &ConfigId,
    status: ConfigStatus,
    if_lock: Option<i64>,
) -> Result<ConfigWrite, SignalsError> {
    let Some(before) = deps.store.config(tenant, id).await? else { return Ok(ConfigWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != before.lock) {
        return Ok(ConfigWrite::Stale);
    }
    let after = ConfigRow { status, reason: None, updated_at: deps.clock.now(), ..before.clone() };
    write(deps, actor, tenant, "config.change", &before, after).await
}

/// Removes a config. Deliveries under way with it fail.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn remove(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &ConfigId,
    if_lock: Option<i64>,
) -> Result<ConfigWrite, SignalsError> {
    let Some(row) = deps.store.config(tenant, id).await? else { return Ok(ConfigWrite::Unknown) };
    if if_lock.is_some_and(|lock| lock != row.lock) {
        return Ok(ConfigWrite::Stale);
    }
    let shown = show(deps, &row).await?;
    let record = record(deps, actor, tenant, "config.remove", id, Some(&shown), None)?;
    Ok(match deps.store.remove_config(tenant, &row, record).await? {
        true => ConfigWrite::Config(Box::new(shown), row.lock),
        false => ConfigWrite::Stale,
    })
}

/// One config as [`list`] has it, and the number of its last change.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn config(
    deps: &ConfigDeps,
    tenant: &TenantId,
    id: &ConfigId,
) -> Result<Option<(ConfigView, i64)>, SignalsError> {
    match deps.store.config(tenant, id).await? {
        Some(row) => Ok(Some((show(deps, &row).await?, row.lock))),
        None => Ok(None),
    }
}

/// What is wrong with a channel's settings, in themselves and for this tenant.
async fn check(
    deps: &ConfigDeps,
    tenant: &TenantId,
    channel: Channel,
    config: &Value,
) -> Result<Result<(), Vec<Issue>>, SignalsError> {
    let config = match Config::parse(channel, config, &deps.guard) {
        Ok(config) => config,
        Err(issues) => return Ok(Err(issues)),
    };
    let Config::Email(EmailConfig { transport: Transport::Ses(_), from, .. }) = &config else { return Ok(Ok(())) };
    let tenant = deps.store.tenant(tenant).await?;
    if tenant.is_some_and(|tenant| may_send_from(&tenant, from.email.as_ref())) {
        return Ok(Ok(()));
    }
    let message = "must be an address, or in a domain, that an operator entered for the tenant (sesIdentities)";
    Ok(Err(vec![Issue { pointer: "/from".to_owned(), message: message.to_owned() }]))
}

async fn write(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    action: &str,
    before: &ConfigRow,
    after: ConfigRow,
) -> Result<ConfigWrite, SignalsError> {
    let (was, shown) = (show(deps, before).await?, show(deps, &after).await?);
    let record = record(deps, actor, tenant, action, &after.id, Some(&was), Some(&shown))?;
    Ok(match deps.store.put_config(tenant, &after, Some(before), record).await? {
        true => ConfigWrite::Config(Box::new(shown), before.lock + 1),
        false => ConfigWrite::Stale,
    })
}

fn record(
    deps: &ConfigDeps,
    actor: &ActorId,
    tenant: &TenantId,
    action: &str,
    subject: &ConfigId,
    before: Option<&ConfigView>,
    after: Option<&ConfigView>,
) -> Result<Write, SignalsError> {
    let (before, after) = (before.map(|view| json!(view)), after.map(|view| json!(view)));
    let (before, after) = (before.as_ref(), after.as_ref());
    Ok(deps.store.audit(
        Audit { tenant: tenant.as_str(), actor, action, subject: subject.as_str(), before, after },
        deps.clock.now(),
    )?)
}

/// What may be shown, as JSON, and the secret fields, each sealed for the config's id.
async fn seal(
    deps: &ConfigDeps,
    id: &ConfigId,
    channel: Channel,
    config: &Value,
) -> Result<(String, BTreeMap<String, Sealed>), SignalsError> {
    let (open, secrets) = split(channel, config);
    let mut sealed = BTreeMap::new();
    for (field, secret) in secrets {
        sealed.insert(field, deps.vault.seal(id.as_str(), &secret).await.map_err(SignalsError::Vault)?);
    }
    Ok((open.to_string(), sealed))
}

/// A tenant's configs, by age; of secrets the last four characters.
///
/// # Errors
/// DynamoDB or the data key could not be reached.
pub async fn list(deps: &ConfigDeps, tenant: &TenantId) -> Result<Vec<ConfigView>, SignalsError> {
    let mut shown = Vec::new();
    for row in deps.store.configs(tenant).await? {
        shown.push(show(deps, &row).await?);
    }
    Ok(shown)
}

/// The channel's settings with their secrets.
async fn whole(deps: &ConfigDeps, row: &ConfigRow) -> Result<Value, SignalsError> {
    let open: Value = serde_json::from_str(&row.open).map_err(SignalsError::Json)?;
    let mut secrets = BTreeMap::new();
    for (field, sealed) in &row.sealed {
        let secret = deps.vault.open(row.id.as_str(), sealed).await.map_err(SignalsError::Vault)?;
        secrets.insert(field.clone(), secret.expose().clone());
    }
    Ok(merge(&open, &secrets))
}

async fn show(deps: &ConfigDeps, row: &ConfigRow) -> Result<ConfigView, SignalsError> {
    Ok(ConfigView {
        id: row.id.to_string(),
        name: row.name.clone(),
        channel: row.channel,
        config: masked(row.channel, &whole(deps, row).await?),
        status: row.status,
        reason: row.reason.clone(),
        is_default: row.is_default,
        allow_override: row.allow_override,
        created_at: iso_millis(row.created_at),
        updated_at: iso_millis(row.updated_at),
    })
}
