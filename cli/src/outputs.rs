//! `switchyard outputs`: the outputs of a deployed stack.

use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result};
use std::process::ExitCode;

/// Prints what the deployed stack says of itself, a line per output.
pub(crate) async fn run(target: &Target) -> Result<ExitCode> {
    let stage = target.stage.as_deref().context("only a deployed stack has outputs; name its --stage")?;
    for (name, value) in target.outputs(stage).await? {
        say(&format!("{name}  {value}"));
    }
    Ok(ExitCode::SUCCESS)
}
