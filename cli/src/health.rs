//! `switchyard health`: the health of the stack and of what it depends on.

use crate::say;
use crate::target::Target;
use anyhow::{Context as _, Result};
use std::process::ExitCode;
use std::time::Duration;
use switchyard_io::http::{Http, HttpError, Method, Url, call};

/// Asks the stack how it and what it depends on are; exit code 1 when anything is not well.
pub(crate) async fn run(target: &Target) -> Result<ExitCode> {
    let http = Http::plain(Duration::from_secs(20))?;
    let api = target.http_api().await?;
    let mut code = ExitCode::SUCCESS;
    for path in ["/health", "/health/deps", "/health/orders"] {
        let address = format!("{api}{path}");
        let url = Url::parse(&address).with_context(|| format!("{address} is not a URL"))?;
        let answer = match call("the HTTP API", http.request("the HTTP API", Method::GET, url)?).await {
            Err(HttpError::Status { status: 503, body, .. }) => {
                code = ExitCode::FAILURE;
                body
            }
            other => other?,
        };
        say(&format!("{path}  {}", String::from_utf8_lossy(&answer)));
    }
    Ok(code)
}
