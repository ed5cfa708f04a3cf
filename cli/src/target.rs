use clap::Args;
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
