//! `switchyard signals`: a demonstration tenant, and users of the service that Switchyard replaces. And what the commands about
//! tenants share.

use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;
use switchyard_core::{ActorId, Env, Secret};
use switchyard_identity::api_keys::{ApiKeys, NewKey};
use switchyard_io::Aws;
use switchyard_signals::Tenant;
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::users::{self, UserDeps};

/// The actor in audit records.
pub(crate) static ACTOR: LazyLock<ActorId> = LazyLock::new(|| ActorId::from("cli"));

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a tenant and import a known API key for a demonstration; both may exist.
    Seed {
        /// The tenant's slug.
        #[arg(long)]
        slug: String,
        /// The key, such as test_api_key_123.
        #[arg(long)]
        key: String,
    },
    /// Import a tenant's users from the service that Switchyard replaces: all of them, or none when one is invalid.
    ImportUsers {
        /// The tenant's slug.
        tenant: String,
        /// A JSON file with `[{"email", "passwordHash", "role"}]`; the hashes are bcrypt's.
        file: PathBuf,
    },
}

/// What the commands about tenants need: the settings of events-api.
pub(crate) struct Access {
    pub(crate) aws: Aws,
    pub(crate) env: Env,
    pub(crate) tenants: TenantDeps,
}

impl Access {
    pub(crate) async fn new(target: &Target) -> Result<Self> {
        let (aws, env) = (target.aws().await, target.settings_of("events-api").await?);
        Ok(Self { tenants: TenantDeps::from_env(&aws, &env)?, aws, env })
    }

    /// The tenant with a slug.
    pub(crate) async fn tenant(&self, slug: &str) -> Result<Tenant> {
        tenants::tenant_by_slug(&self.tenants, slug).await?.with_context(|| format!("no tenant has the slug {slug}"))
    }

    /// The API keys of all tenants.
    pub(crate) fn keys(&self) -> Result<ApiKeys> {
        Ok(ApiKeys::from_env(&self.aws, &self.env, "SIGNALS_TABLE")?)
    }
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    match command {
        Command::Seed { slug, key } => seed(&access, &slug, key).await,
        Command::ImportUsers { tenant, file } => import_users(&access, &tenant, &file).await,
    }
}

async fn seed(access: &Access, slug: &str, key: String) -> Result<ExitCode> {
    let tenant = match tenants::tenant_by_slug(&access.tenants, slug).await? {
        Some(tenant) => tenant,
        None => tenants::create(&access.tenants, &ACTOR, slug, slug, &TenantEdit::default(), None)
            .await?
            .with_context(|| format!("another request created {slug} just now; try again"))?,
    };
    let keys = access.keys()?;
    let new = NewKey { label: "seed".to_owned(), ..NewKey::new(tenant.id.clone()) };
    match keys.import(&new, &Secret::new(key.clone())).await? {
        Some(_) => say(&format!("imported the key for tenant {slug}")),
        None if keys.owner_of(&key).await? == Some(tenant.id) => say(&format!("tenant {slug} has the key already")),
        None => bail!("the key belongs to another tenant, was revoked or has expired"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn import_users(access: &Access, slug: &str, file: &Path) -> Result<ExitCode> {
    let deps = UserDeps::from_env(&access.aws, &access.env)?;
    let rows: Vec<Value> = serde_json::from_str(&read(file)?).context("the file is not a JSON list")?;
    match users::import(&deps, &ACTOR, &access.tenant(slug).await?.id, &rows).await? {
        users::Imported::Done(made) => {
            say(&format!("created {made} users"));
            Ok(ExitCode::SUCCESS)
        }
        users::Imported::Invalid(rows) => {
            rows.iter().for_each(|(index, why)| say(&format!("{index}: {why}")));
            say("no user was imported");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Reads a file that a command names.
pub(crate) fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Prints a value as JSON.
pub(crate) fn show(value: &impl serde::Serialize) {
    say(&format!("{:#}", serde_json::json!(value)));
}
