//! ADT: webhooks accepted, and brought to Caspio.

use crate::{Figures, calls_each, load_figures, round, under_load};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use switchyard_tests::client::{Client, wait_until, webhook};

/// us-east-1, USD, as published on 2026-11-24: Lambda arm64 a GB-second and a million requests, HTTP API, SQS FIFO and
/// on-demand DynamoDB writes a million, CloudWatch Logs a GB.
const PRICES: Prices = Prices {
    dated: "2026-11-24",
    gb_second: 0.000_013_333_4,
    lambda_million: 0.20,
    http_api_million: 1.00,
    sqs_fifo_million: 0.50,
    write_million: 0.625,
    log_gb: 0.50,
};

struct Prices {
    dated: &'static str,
    gb_second: f64,
    lambda_million: f64,
    http_api_million: f64,
    sqs_fifo_million: f64,
    write_million: f64,
    log_gb: f64,
}

/// AWS calls that accepting and processing cost, counted at the endpoint.
pub async fn calls(client: &Client) -> Result<Figures> {
    const EVENTS: usize = 50;
    // The first ones pay for secrets and tokens, once a process.
    one_by_one(client, "warm", EVENTS).await?;
    let before = client.aws_calls().await?;
    one_by_one(client, "calls", EVENTS).await?;
    Ok(calls_each("event", EVENTS, &before, &client.aws_calls().await?))
}

/// Events sent and processed one after the other, so that one process of each function does it all.
async fn one_by_one(client: &Client, name: &str, events: usize) -> Result<()> {
    for number in 0..events {
        let id = format!("{name}-{number}");
        let accepted = client.webhook(&webhook("testco1", &id, json!({}))).await?;
        if accepted.status != 202 {
            bail!("the webhook answered {}", accepted.status);
        }
        wait_until(Duration::from_secs(60), async || {
            // Nothing but Caspio is asked: that costs no AWS call.
            Ok(client.effects("testco1").await?.iter().any(|effect| effect["record"]["eventMessageId"] == id.as_str()))
        })
        .await?;
    }
    Ok(())
}

/// Webhooks accepted a second: written and queued, consumers held.
pub async fn accepting(client: &Client, events: usize) -> Result<Figures> {
    Ok(load_figures("webhooks accepted", send_all(client, events).await?))
}

/// Events brought to Caspio a second, accepted in the meantime.
pub async fn end_to_end(client: &Client, events: usize) -> Result<Figures> {
    let started = Instant::now();
    send_all(client, events).await?;
    wait_until(Duration::from_secs(600), async || Ok(client.effect_count().await? >= events as u64)).await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(vec![
        (format!("{events} events end to end (s)"), json!(round(seconds))),
        ("events end to end a second".into(), json!((events as f64 / seconds).round())),
    ])
}

async fn send_all(client: &Client, events: usize) -> Result<(f64, Vec<f64>)> {
    let client = client.clone();
    under_load(events, move |number| {
        let client = client.clone();
        async move {
            let answer = client.webhook(&webhook("testco0", &format!("bench-{number}"), json!({}))).await?;
            if answer.status != 202 {
                bail!("a webhook answered {}: {}", answer.status, answer.body);
            }
            Ok(())
        }
    })
    .await
}

/// What a million events cost, from the measured calls and times: webhook and consumer at 256 MB, batches of ten, and
/// 1 KB of log an event. DynamoDB rows up to 1 KB; an index write counts as one.
pub fn cost(figures: &Figures) -> (String, Value) {
    let figure = |name: &str| {
        figures.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_f64()).unwrap_or(0.0)
    };
    let gb_seconds = |millis: f64| millis / 1000.0 * 0.25 * 1e6 * PRICES.gb_second;
    // The table's writes, and the index's: one entry when accepted, one moved when claimed.
    let writes = figure("AWS calls per event: DynamoDB_20120810.PutItem")
        + figure("AWS calls per event: DynamoDB_20120810.UpdateItem")
        + 3.0;
    let queue = figure("AWS calls per event: AmazonSQS.SendMessage") + 0.2;
    let total = PRICES.http_api_million
        + PRICES.lambda_million * 1.1
        + gb_seconds(figure("adt-webhook: warm p50 (ms)"))
        // The consumer waits for three calls to third parties, 200 ms each, ten events side by side.
        + gb_seconds(600.0 / 10.0)
        + PRICES.write_million * writes
        + PRICES.sqs_fifo_million * queue
        + PRICES.log_gb;
    (format!("USD per million events (prices of {})", PRICES.dated), json!(round(total)))
}
