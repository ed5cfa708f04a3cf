use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use clap::Args;
use switchyard_core::Env;
use switchyard_io::Aws;

/// Which stack a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// HTTP API of the stack.
    #[arg(long, global = true, env = "SWITCHYARD_URL", default_value = "http://127.0.0.1:3000")]
    pub(crate) url: String,
    /// AWS endpoint of a local stack.
    #[arg(
        long,
        global = true,
        env = "SWITCHYARD_ENDPOINT",
        default_value = "http://127.0.0.1:3002",
        conflicts_with = "stage"
    )]
    pub(crate) endpoint: String,
    /// A deployed stage (dev, staging, prod) instead of a local stack; its stack is switchyard-<stage>.
    #[arg(long, global = true)]
    pub(crate) stage: Option<String>,
    /// The AWS profile that reaches the deployed stage.
    #[arg(long, global = true, requires = "stage")]
    pub(crate) profile: Option<String>,
}

impl Target {
    /// Clients' configuration for this stack.
    pub(crate) async fn aws(&self) -> Aws {
        match self.stage {
            Some(_) => Aws::from_profile(self.profile.as_deref()).await,
            None => Aws::at(&self.endpoint).await,
        }
    }

    /// The settings that a function of the stack runs with.
    ///
    /// # Errors
    /// There is no such function, or it may not be looked at.
    pub(crate) async fn settings_of(&self, function: &str) -> Result<Env> {
        let name = format!("{}{function}", self.prefix());
        let about = Client::new(self.aws().await.sdk_config())
            .get_function_configuration()
            .function_name(&name)
            .send()
            .await
            .map_err(aws_sdk_lambda::Error::from)
            .with_context(|| format!("reading the settings of {name}"))?;
        let variables = about.environment.and_then(|environment| environment.variables).unwrap_or_default();
        Ok(Env::from_lookup(move |name| variables.get(name).cloned()))
    }

    /// What names of queues and functions begin with.
    pub(crate) fn prefix(&self) -> String {
        self.stage.as_ref().map(|stage| format!("switchyard-{stage}-")).unwrap_or_default()
    }

    /// What to look at when a call fails.
    pub(crate) fn advice(&self) -> String {
        match &self.stage {
            Some(stage) => {
                format!("is switchyard-{stage} deployed here, and may your AWS profile reach it (--profile)?")
            }
            None => format!("is `cargo dev` running at {}? For a deployed stack name its --stage.", self.endpoint),
        }
    }
}
