//! `switchyard flow`: demonstrations against a running stack.

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use switchyard_core::{Clock, Env};
use switchyard_io::http::{Answer, Http, Method, Url, answer};

use crate::say;
use crate::target::Target;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Walk through registering a store, importing orders and registering webhooks, and print every answer. Reads
    /// BASE_URL, ORG_ID, MARKETPLACE, EXTERNAL_STORE_ID, STORE_NAME, ACCESS_TOKEN, CURRENCY, WEBHOOK_URL and RECEIPTS.
    Endpoints,
}

/// Runs the flow; exit code 1 when no store could be registered or the API does not respond.
pub(crate) async fn run(target: &Target, command: &Command) -> ExitCode {
    let Command::Endpoints = command;
    match endpoints(target, &Env::process()).await {
        Ok(()) => {
            say("\nFlow completed.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("\nFlow failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn endpoints(target: &Target, env: &Env) -> Result<()> {
    let setting = |name: &str, default: &str| env.optional(name).unwrap_or_else(|| default.to_owned());
    let base = match env.optional("BASE_URL") {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => target.http_api().await?,
    };
    let organization = setting("ORG_ID", "org-1");
    say(&format!("Starting endpoint flow on {base}"));
    let api = Api { http: Http::plain(Duration::from_secs(30))?, base };

    let store = json!({
        "organizationId": organization,
        "marketplace": setting("MARKETPLACE", "etsy"),
        "externalStoreId": setting("EXTERNAL_STORE_ID", &format!("ext-{}", Clock::system().now().as_millisecond())),
        "storeName": setting("STORE_NAME", "My Etsy Store"),
        "accessToken": setting("ACCESS_TOKEN", "token-v2"),
        "currency": setting("CURRENCY", "USD"),
    });
    let registered = api.step("POST /stores/register", "/stores/register", Some(&store)).await?;
    let Some(token) = registered["syncToken"].as_str() else {
        bail!("Could not get syncToken from /stores/register");
    };
    let receipts = setting("RECEIPTS", "order-101,order-102,order-115");
    for receipt in receipts.split(',').map(str::trim).filter(|receipt| !receipt.is_empty()) {
        let title = format!("POST /orders/import (receipt={receipt})");
        api.step(&title, "/orders/import", Some(&json!({"syncToken": token, "receipt": receipt}))).await?;
    }
    api.step("GET /stores/sync-status", &format!("/stores/sync-status?syncToken={token}"), None).await?;
    for event in ["sync.started", "sync.completed", "sync.failed"] {
        let target = setting("WEBHOOK_URL", "http://127.0.0.1:4000/webhook");
        let webhook = json!({"organizationId": organization, "event": event, "targetUrl": target});
        api.step(&format!("POST /webhooks/register ({event})"), "/webhooks/register", Some(&webhook)).await?;
    }
    let mut list = api.address("/webhooks")?;
    list.query_pairs_mut().append_pair("organizationId", &organization);
    api.show("GET /webhooks", Method::GET, list, None).await.map(drop)
}

struct Api {
    http: Http,
    base: String,
}

impl Api {
    fn address(&self, path: &str) -> Result<Url> {
        let address = format!("{}{path}", self.base);
        Url::parse(&address).with_context(|| format!("{address} is not a URL"))
    }

    async fn step(&self, title: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        self.show(title, method, self.address(path)?, body).await
    }

    /// Makes one call and prints it. A failure is printed and returned as `null`.
    async fn show(&self, title: &str, method: Method, url: Url, body: Option<&Value>) -> Result<Value> {
        let mut request = self.http.request("the API", method, url)?.header("content-type", "application/json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let Answer { status, body, .. } = answer("the API", request).await?;
        let text = String::from_utf8_lossy(&body);
        let shown = match serde_json::from_slice::<Value>(&body) {
            _ if body.is_empty() => Value::Null,
            Ok(value) => value,
            Err(_) => json!({"raw": text}),
        };
        say(&format!("\n=== {title} ===\nstatus: {status}\n{}", serde_json::to_string_pretty(&shown)?));
        Ok(if (200..300).contains(&status) { shown } else { Value::Null })
    }
}

#[expect(clippy::print_stderr, reason = "this is the command's own output")]
fn complain(line: &str) {
    eprintln!("{line}");
}
