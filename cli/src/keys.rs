//! `switchyard keys`: API keys of organizations and tenants.

use crate::say;
use crate::signals::Access;
use crate::target::Target;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;
use switchyard_identity::api_keys::{ApiKeys, NewKey};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create an API key for an organization or a tenant and print it; it cannot be printed again.
    Create {
        /// The organization that the key belongs to, for stores, orders and webhooks.
        #[arg(long, required_unless_present = "tenant", conflicts_with = "tenant")]
        organization: Option<String>,
        /// The slug of the tenant that the key belongs to, for events.
        #[arg(long)]
        tenant: Option<String>,
        /// The scopes of a tenant's key, comma-separated [default: events:write].
        #[arg(long, value_delimiter = ',', requires = "tenant")]
        scopes: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Revoke a key.
    Revoke {
        /// The whole key.
        key: String,
    },
}

pub(crate) async fn run(target: &Target, command: Command) -> Result<ExitCode> {
    let aws = target.aws().await;
    let of_orders = async || -> Result<ApiKeys> {
        let env = target.settings_of("marketplace-api").await?;
        Ok(ApiKeys::from_env(&aws, &env, "ORDERS_TABLE")?)
    };
    match command {
        Command::Create { organization, tenant, scopes, name } => {
            let is_live = target.stage.as_deref() == Some("prod");
            let (keys, tenant) = match (tenant, organization) {
                (Some(slug), _) => {
                    let access = Access::new(target).await?;
                    (access.keys()?, access.tenant(&slug).await?.id)
                }
                (None, organization) => (of_orders().await?, organization.unwrap_or_default().into()),
            };
            let new = NewKey { tenant, label: name, scopes, expires_at: None, is_live };
            say(keys.create(&new).await?.0.expose());
        }
        Command::Revoke { key } => {
            let of_orders = of_orders().await?.revoke(&key).await?;
            let of_signals = Access::new(target).await?.keys()?.revoke(&key).await?;
            if !of_orders && !of_signals {
                say("no such key");
                return Ok(ExitCode::FAILURE);
            }
            say("revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
