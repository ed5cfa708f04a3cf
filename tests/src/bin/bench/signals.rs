//! Signals: events taken in.

use crate::{Figures, calls_each, load_figures, under_load};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use switchyard_core::Env;
use switchyard_io::Aws;
use switchyard_io::keys::{ApiKeys, NewKey};
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_tests::client::Client;

/// Events taken a second, each a new one, of one tenant whose usage is spread over eight shards.
pub async fn ingesting(client: &Client, events: usize) -> Result<Figures> {
    let key = producer(client, "ingesting").await?;
    let client = client.clone();
    let load = under_load(events, move |number| {
        let (client, key) = (client.clone(), key.clone());
        async move { post(&client, &key, number).await }
    });
    Ok(load_figures("events taken", load.await?))
}

/// AWS calls that an event costs until it is taken, counted at the endpoint.
pub async fn calls(client: &Client) -> Result<Figures> {
    const TIMES: usize = 50;
    let key = producer(client, "calls").await?;
    // The key is looked up once a minute.
    post(client, &key, 0).await?;
    let before = client.aws_calls().await?;
    for number in 0..TIMES {
        post(client, &key, number).await?;
    }
    Ok(calls_each("event taken", TIMES, &before, &client.aws_calls().await?))
}

async fn producer(client: &Client, slug: &str) -> Result<String> {
    let aws = Aws::at(&client.stack().aws).await;
    let settings = client.settings_of("events-api").await?;
    let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
    let edit = TenantEdit { usage_shards: Some(8), monthly_hard_limit: Some(None), ..TenantEdit::default() };
    let made = tenants::create(&TenantDeps::from_env(&aws, &env)?, "cli", slug, slug, &edit, None).await?;
    let tenant = made.context("the tenant is there already")?.id;
    let keys = ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE")?;
    Ok(keys.create(&NewKey { tenant, ..NewKey::default() }).await?.0.expose().to_owned())
}

async fn post(client: &Client, key: &str, number: usize) -> Result<()> {
    let body = json!({"type": "bench.event", "payload": {"number": number}}).to_string();
    let headers = [("content-type", "application/json"), ("x-api-key", key)];
    let answer = client.send("POST", "/api/events", &headers, body).await?;
    if answer.status == 201 { Ok(()) } else { bail!("answered {}: {}", answer.status, answer.body) }
}
