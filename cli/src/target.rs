//! Which stack a command is about: the local one, or a deployed stage.

use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use clap::Args;
use std::collections::BTreeMap;
use switchyard_core::Env;
use switchyard_io::Aws;

const LOCAL_HTTP_API: &str = "http://localhost:3000";
const HTTP_API_OUTPUT: &str = "HttpApiUrl";

/// Which stack a command is about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// HTTP API of the stack [default: http://localhost:3000, or the deployed stage's output HttpApiUrl].
    #[arg(long, global = true, env = "SWITCHYARD_URL")]
    url: Option<String>,
    /// AWS endpoint of a local stack.
    #[arg(
        long,
        global = true,
        env = "SWITCHYARD_ENDPOINT",
        default_value = "http://127.0.0.1:3002",
        conflicts_with = "stage"
    )]
    pub(crate) endpoint: String,
    /// A deployed stage (dev, staging, prod) instead of a local stack; its stack is `switchyard-<stage>`.
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

    /// Where the stack's HTTP API is, without a slash at the end.
    ///
    /// # Errors
    /// The deployed stack has no such output, or the profile may not read it.
    pub(crate) async fn http_api(&self) -> Result<String> {
        let url = match (&self.url, &self.stage) {
            (Some(url), _) => url.clone(),
            (None, None) => LOCAL_HTTP_API.to_owned(),
            (None, Some(stage)) => self
                .outputs(stage)
                .await?
                .remove(HTTP_API_OUTPUT)
                .with_context(|| format!("switchyard-{stage} has no output {HTTP_API_OUTPUT}; name its --url"))?,
        };
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// What the deployed stack of `stage` says of itself, by the names in the template's `Outputs`.
    ///
    /// # Errors
    /// The stack does not exist, or the profile may not read it.
    pub(crate) async fn outputs(&self, stage: &str) -> Result<BTreeMap<String, String>> {
        let stack = format!("switchyard-{stage}");
        let about = aws_sdk_cloudformation::Client::new(self.aws().await.sdk_config())
            .describe_stacks()
            .stack_name(&stack)
            .send()
            .await
            .map_err(aws_sdk_cloudformation::Error::from)
            .with_context(|| format!("reading the outputs of {stack}"))?;
        let outputs = about.stacks.unwrap_or_default().into_iter().flat_map(|stack| stack.outputs.unwrap_or_default());
        Ok(outputs.filter_map(|output| Some((output.output_key?, output.output_value?))).collect())
    }

    /// The settings that a function of the stack runs with.
    ///
    /// # Errors
    /// The function does not exist, or the profile may not read it.
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
