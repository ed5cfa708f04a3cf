//! Orders: receipts imported, and stores synced.

use crate::{Figures, calls_each, load_figures, round, under_load};
use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use switchyard_core::{Clock, Timestamp};
use switchyard_tests::client::{Client, poll};
use switchyard_work::outbox;

/// Receipts imported a second, each a new one, spread over fifty stores.
pub async fn importing(client: &Client, receipts: usize) -> Result<Figures> {
    let tokens = register(client, "importing", 50).await?;
    let client = client.clone();
    let load = under_load(receipts, move |number| {
        let (client, token) = (client.clone(), tokens[number % tokens.len()].clone());
        async move { import(&client, &token, &format!("bench-{number}-01")).await }
    });
    Ok(load_figures("receipts imported", load.await?))
}

/// 10,000 receipts that Etsy does not know yet, asked about again: from the sweep that finds their hundred stores due to
/// the last store's `sync.completed`. Etsy is asked over HTTP.
pub async fn syncing(client: &Client) -> Result<Figures> {
    const STORES: usize = 100;
    const EACH: usize = 100;
    let tokens = register(client, "syncing", STORES).await?;
    let (sender, of) = (client.clone(), tokens.clone());
    under_load(STORES * EACH, move |number| {
        let (client, token) = (sender.clone(), of[number % STORES].clone());
        async move { import(&client, &token, &format!("{number}2")).await }
    })
    .await?;
    // Due now, not a minute after the last import.
    for (number, token) in tokens.iter().enumerate() {
        let answer =
            client.post("/orders/retry", &json!({"syncToken": token, "receipt": format!("{number}2")})).await?;
        expect(answer.status, 202, &answer.body)?;
    }
    let (started, from) = (Instant::now(), Clock::system().now());
    client.invoke("orders-sweep", &json!({})).await?;
    for token in &tokens {
        let synced = poll(Duration::from_secs(600), Duration::from_millis(100), async || {
            let status = client.get(&format!("/stores/sync-status?syncToken={token}")).await?;
            let last = status.body["lastSyncAt"].as_str().context("lastSyncAt")?.parse::<Timestamp>()?;
            Ok(last > from)
        });
        synced.await.context("waiting for a store's sync")?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let receipts = STORES * EACH;
    // Every receipt was asked about twice: by its import, and by the sync.
    let calls = client.sandbox("GET", "/_sandbox/calls", None).await?;
    let of_etsy = |call: &&Value| call["route"].as_str().is_some_and(|route| route.starts_with("/etsy/v3"));
    let asked: u64 =
        calls["calls"].as_array().into_iter().flatten().filter(of_etsy).filter_map(|call| call["count"].as_u64()).sum();
    if asked < 2 * receipts as u64 {
        bail!("Etsy was asked {asked} times");
    }
    Ok(vec![
        (format!("{receipts} due receipts of {STORES} stores synced (s)"), json!(round(seconds))),
        ("due receipts synced a second".to_owned(), json!((receipts as f64 / seconds).round())),
    ])
}

/// AWS calls that an import and a look at the status cost, counted at the endpoint.
pub async fn calls(client: &Client) -> Result<Figures> {
    const TIMES: usize = 50;
    let token = register(client, "calls", 1).await?.remove(0);
    let before = client.aws_calls().await?;
    for number in 0..TIMES {
        import(client, &token, &format!("calls-{number}-01")).await?;
    }
    let between = client.aws_calls().await?;
    for _ in 0..TIMES {
        let answer = client.get(&format!("/stores/sync-status?syncToken={token}")).await?;
        expect(answer.status, 200, &answer.body)?;
    }
    let after = client.aws_calls().await?;
    Ok([calls_each("import", TIMES, &before, &between), calls_each("status read", TIMES, &between, &after)].concat())
}

/// One sweep over 100,000 stores: 1,000 are due, half of the others later, half have nothing to do.
pub async fn sweeping(client: &Client) -> Result<Figures> {
    const STORES: usize = 100_000;
    const DUE: usize = 1_000;
    register(client, "sweeping", 1).await?;
    // A new store is due at once; this one is only the pattern for the others.
    client.invoke("orders-sweep", &json!({})).await?;
    let table = "OrdersTable";
    let found = client.aws("DynamoDB_20120810.Scan", &json!({"TableName": table})).await?;
    let rows = found["Items"].as_array().context("the table's rows")?;
    let model = rows.iter().find(|row| row["sk"]["S"] == "META").context("the registered store")?;
    let now = Clock::system().now().as_millisecond();
    let shards: Vec<_> = outbox::shards("orders").collect();
    let batches = (0..STORES).collect::<Vec<_>>();
    let puts = stream::iter(batches.chunks(25)).map(|numbers| {
        let puts: Vec<_> = numbers
            .iter()
            .map(|number| {
                let mut row = model.clone();
                let id = format!("bench-store-{number}");
                row["pk"] = json!({"S": format!("S#{id}")});
                row["id"] = json!({"S": id});
                let due_at = if *number < DUE { now - 1000 } else { now + 3_600_000 };
                row["due_at"] = json!({"N": due_at.to_string()});
                row["due_shard"] = json!({"S": shards[number % shards.len()]});
                let is_marked = *number < DUE || number % 2 == 0;
                if let Some(row) = row.as_object_mut().filter(|_| !is_marked) {
                    row.retain(|name, _| !name.starts_with("due_"));
                }
                json!({"PutRequest": {"Item": row}})
            })
            .collect();
        let request = json!({"RequestItems": {table: puts}});
        async move {
            let answer = client.aws("DynamoDB_20120810.BatchWriteItem", &request).await?;
            let left = answer["UnprocessedItems"].as_object().is_some_and(|left| !left.is_empty());
            if left { bail!("some stores were not written") } else { Ok(()) }
        }
    });
    puts.buffer_unordered(8).try_collect::<()>().await?;

    let before = client.aws_calls().await?;
    let started = Instant::now();
    let swept = client.invoke("orders-sweep", &json!({})).await?.body;
    let seconds = started.elapsed().as_secs_f64();
    if swept["orders"]["enqueuedJobs"] != DUE {
        bail!("the sweep should have queued {DUE} stores: {swept}");
    }
    let mut figures = vec![
        (format!("sweep of {STORES} stores, {DUE} due: stores read"), swept["orders"]["scannedStores"].clone()),
        (format!("sweep of {STORES} stores, {DUE} due (s)"), json!(round(seconds))),
    ];
    figures.extend(calls_each("that sweep", 1, &before, &client.aws_calls().await?));
    Ok(figures)
}

/// Registers so many stores at Etsy; returns their tokens.
async fn register(client: &Client, organization: &str, stores: usize) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for number in 0..stores {
        let registration = json!({
            "organizationId": organization,
            "marketplace": "etsy",
            "externalStoreId": number.to_string(),
            "storeName": format!("Store {number}"),
            "accessToken": "token",
            "currency": "USD",
        });
        let answer = client.post("/stores/register", &registration).await?;
        expect(answer.status, 200, &answer.body)?;
        tokens.push(answer.body["syncToken"].as_str().context("a token")?.to_owned());
    }
    Ok(tokens)
}

async fn import(client: &Client, token: &str, receipt: &str) -> Result<()> {
    let answer = client.post("/orders/import", &json!({"syncToken": token, "receipt": receipt})).await?;
    expect(answer.status, 200, &answer.body)
}

fn expect(status: u16, wanted: u16, body: &Value) -> Result<()> {
    if status == wanted { Ok(()) } else { bail!("answered {status}: {body}") }
}
