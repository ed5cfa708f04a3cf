use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result};
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use std::path::Path;
use std::process::ExitCode;

/// Invokes a function once; exit code 1 when the function answers with an error.
pub(crate) async fn run(target: &Target, function: &str, event: &Path) -> Result<ExitCode> {
    let text = std::fs::read_to_string(event).with_context(|| format!("reading {}", event.display()))?;
    let _: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", event.display()))?;
    let client = Client::new(target.aws().await.sdk_config());
    let name = format!("{}{function}", target.prefix());
    let answer = client
        .invoke()
        .function_name(&name)
        .payload(Blob::new(text))
        .send()
        .await
        .map_err(aws_sdk_lambda::Error::from)
        .with_context(|| format!("invoking {name}"))?;
    let payload = answer.payload().map(|blob| String::from_utf8_lossy(blob.as_ref()).into_owned()).unwrap_or_default();
    let shown: Option<serde_json::Value> = serde_json::from_str(&payload).ok();
    say(&shown.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or(payload));
    Ok(if answer.function_error().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
