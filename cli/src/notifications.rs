//! `switchyard notifications`: the notification configs of tenants.

use crate::say;
use crate::signals::{ACTOR, Access, read, show};
use crate::target::Target;
use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use switchyard_notify::Channel;
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_signals::{ConfigId, ConfigStatus, TenantId};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List a tenant's notification configs; secrets show their last four characters.
    List {
        /// The tenant's slug.
        tenant: String,
    },
    /// Create a notification config.
    Create {
        /// The tenant's slug.
        tenant: String,
        /// email, telegram, whatsapp, slack or webhook.
        channel: Channel,
        /// A JSON file with the channel's settings.
        file: PathBuf,
        /// Its name.
        #[arg(long, default_value = "")]
        name: String,
        /// Whether rules that name no config use it.
        #[arg(long)]
        default: bool,
    },
    /// Enable a notification config.
    Enable {
        /// The tenant's slug.
        tenant: String,
        /// The config's id.
        id: String,
    },
    /// Disable a notification config: nothing is sent with it.
    Disable {
        /// The tenant's slug.
        tenant: String,
        /// The config's id.
        id: String,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let access = Access::new(target).await?;
    let deps = ConfigDeps::from_env(&access.aws, &access.env)?;
    match command {
        Command::List { tenant } => {
            configs::list(&deps, &access.tenant(&tenant).await?.id).await?.iter().for_each(show);
        }
        Command::Create { tenant, channel, file, name, default } => {
            let config: Value = serde_json::from_str(&read(&file)?).context("the file is not JSON")?;
            let tenant = access.tenant(&tenant).await?.id;
            let new = NewConfig { name, channel, config, is_default: default, allow_override: true, status: None };
            return Ok(report(configs::create(&deps, &ACTOR, &tenant, &new).await?));
        }
        Command::Enable { tenant, id } => {
            return set_status(&deps, &access.tenant(&tenant).await?.id, &id.into(), ConfigStatus::Active).await;
        }
        Command::Disable { tenant, id } => {
            return set_status(&deps, &access.tenant(&tenant).await?.id, &id.into(), ConfigStatus::Disabled).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_status(deps: &ConfigDeps, tenant: &TenantId, id: &ConfigId, status: ConfigStatus) -> Result<ExitCode> {
    Ok(report(configs::set_status(deps, &ACTOR, tenant, id, status, None).await?))
}

fn report(written: configs::ConfigWrite) -> ExitCode {
    match written {
        configs::ConfigWrite::Config(config, _) => {
            show(&config);
            return ExitCode::SUCCESS;
        }
        configs::ConfigWrite::Invalid(issues) => {
            issues.iter().for_each(|issue| say(&format!("{}: {}", issue.pointer, issue.message)));
        }
        configs::ConfigWrite::Unknown => say("no such config"),
        configs::ConfigWrite::Stale => say("the config was changed by another request; try again"),
        configs::ConfigWrite::TooMany => say(&format!("a tenant has at most {} configs", configs::MAX_CONFIGS)),
        configs::ConfigWrite::OtherChannel => say("a config's channel cannot be changed"),
    }
    ExitCode::FAILURE
}
