//! Signals: events taken in.

use crate::{Figures, calls_each, load_figures, under_load};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use switchyard_core::Env;
use switchyard_identity::api_keys::{ApiKeys, NewKey};
use switchyard_io::Aws;
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_tests::client::Client;

/// Events of a batch.
const BATCH: usize = 100;

/// Events taken a second, each a new one, of one tenant whose usage is spread over eight shards: one by one, and in batches.
pub async fn ingesting(client: &Client, events: usize) -> Result<Figures> {
    let key = producer(client, "ingesting").await?;
    let (one_by_one, of) = (client.clone(), key.clone());
    let load = under_load(events, move |number| {
        let (client, key) = (one_by_one.clone(), of.clone());
        async move { post(&client, &key, number).await }
    });
    let mut figures = load_figures("events taken", load.await?);
    let client = client.clone();
    let (seconds, batches) = under_load(events.div_ceil(BATCH), move |_| {
        let (client, key) = (client.clone(), key.clone());
        async move { post_batch(&client, &key).await }
    })
    .await?;
    let a_second = ((batches.len() * BATCH) as f64 / seconds).round();
    figures.push((format!("events taken a second, in batches of {BATCH}"), json!(a_second)));
    Ok(figures)
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
    let between = client.aws_calls().await?;
    post_batch(client, &key).await?;
    let mut figures = calls_each("event taken", TIMES, &before, &between);
    figures.extend(calls_each("event taken in a batch", BATCH, &between, &client.aws_calls().await?));
    Ok(figures)
}

async fn producer(client: &Client, slug: &str) -> Result<String> {
    let aws = Aws::at(&client.stack().aws).await;
    let settings = client.settings_of("events-api").await?;
    let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
    let edit = TenantEdit { usage_shards: Some(8), monthly_hard_limit: Some(None), ..TenantEdit::default() };
    let made = tenants::create(&TenantDeps::from_env(&aws, &env)?, &"cli".into(), slug, slug, &edit, None).await?;
    let tenant = made.context("the tenant is there already")?.id;
    let keys = ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE")?;
    Ok(keys.create(&NewKey::new(tenant)).await?.0.expose().to_owned())
}

async fn post(client: &Client, key: &str, number: usize) -> Result<()> {
    let body = json!({"type": "bench.event", "payload": {"number": number}}).to_string();
    let headers = [("content-type", "application/json"), ("x-api-key", key)];
    let answer = client.send("POST", "/api/events", &headers, body).await?;
    if answer.status == 201 { Ok(()) } else { bail!("answered {}: {}", answer.status, answer.body) }
}

async fn post_batch(client: &Client, key: &str) -> Result<()> {
    let events: Vec<_> =
        (0..BATCH).map(|number| json!({"type": "bench.event", "payload": {"number": number}})).collect();
    let headers = [("content-type", "application/json"), ("x-api-key", key)];
    let answer = client.send("POST", "/api/events/batch", &headers, json!({"events": events}).to_string()).await?;
    let items = answer.body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    match items.iter().filter(|item| item["status"] == 201).count() {
        BATCH => Ok(()),
        _ => bail!("answered {}: {}", answer.status, answer.body),
    }
}
