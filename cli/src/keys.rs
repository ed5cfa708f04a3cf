use crate::target::Target;
use crate::{say, signals};
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;
use switchyard_io::keys::{ApiKeys, NewKey};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an API key for an organisation and print it; it cannot be printed again.
    Create {
        /// The organisation whose key it will be, for stores, orders and webhooks.
        #[arg(long, required_unless_present = "tenant", conflicts_with = "tenant")]
        organization: Option<String>,
        /// The short name of the tenant whose key it will be, for events.
        #[arg(long)]
        tenant: Option<String>,
        /// What a tenant's key may do, comma-separated [default: events:write].
        #[arg(long, value_delimiter = ',', requires = "tenant")]
        scopes: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Make a key useless.
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
            let new = NewKey { label: name, is_live, scopes, ..NewKey::default() };
            let (keys, tenant) = match (tenant, organization) {
                (Some(slug), _) => signals::keys_of(target, &slug).await?,
                (None, organization) => (of_orders().await?, organization.unwrap_or_default()),
            };
            say(keys.create(&NewKey { tenant, ..new }).await?.0.expose());
        }
        Command::Revoke { key } => {
            let of_orders = of_orders().await?.revoke(&key).await?;
            let of_signals = signals::keys(target).await?.revoke(&key).await?;
            if !of_orders && !of_signals {
                say("no such key");
                return Ok(ExitCode::FAILURE);
            }
            say("revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
