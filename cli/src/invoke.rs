//! `switchyard invoke`: invoke a function with an event file.

use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use std::path::Path;
use std::process::ExitCode;

/// Invokes a function once; exit code 1 when the function returns an error.
pub(crate) async fn run(target: &Target, function: &str, event: &Path) -> Result<ExitCode> {
    let text = std::fs::read_to_string(event).with_context(|| format!("reading {}", event.display()))?;
    let _: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", event.display()))?;
    let (payload, is_error) = call(target, function, text).await?;
    let shown: Option<serde_json::Value> = serde_json::from_str(&payload).ok();
    say(&shown.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or(payload));
    Ok(if is_error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A function's response to `event`, and whether it is a function error.
pub(crate) async fn call(target: &Target, function: &str, event: String) -> Result<(String, bool)> {
    let client = Client::new(target.aws().await.sdk_config());
    let name = format!("{}{function}", target.prefix());
    let answer = client
        .invoke()
        .function_name(&name)
        .payload(Blob::new(event))
        .send()
        .await
        .map_err(aws_sdk_lambda::Error::from)
        .with_context(|| format!("invoking {name}"))?;
    let payload = answer.payload().map(|blob| String::from_utf8_lossy(blob.as_ref()).into_owned()).unwrap_or_default();
    Ok((payload, answer.function_error().is_some()))
}
