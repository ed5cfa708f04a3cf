use crate::say;
use crate::target::Target;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;
use switchyard_io::keys::{ApiKeys, NewKey};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an API key for an organisation and print it; it cannot be printed again.
    Create {
        /// Whose key it will be.
        #[arg(long)]
        organization: String,
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
    let env = target.settings_of("marketplace-api").await?;
    let keys = ApiKeys::from_env(&aws, &env, "ORDERS_TABLE")?;
    match command {
        Command::Create { organization, name } => {
            let is_live = target.stage.as_deref() == Some("prod");
            let new = NewKey { tenant: organization, label: name, is_live, ..NewKey::default() };
            say(keys.create(&new).await?.0.expose());
        }
        Command::Revoke { key } => {
            if !keys.revoke(&key).await? {
                say("no such key");
                return Ok(ExitCode::FAILURE);
            }
            say("revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}
