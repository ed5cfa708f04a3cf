//! Accepting and sweeping, with a queue that fails.

use super::{aws, env};
use serde_json::json;
use std::time::Duration;
use switchyard_adt::{
    AcceptDeps, Accepted, AdtError, BackfillOptions, Notification, ProcessDeps, accept, backfill, sweep,
};
use switchyard_core::Env;
use switchyard_io::Aws;
use switchyard_tests::client::{Client, unique, webhook};
use tokio::time::Instant;

fn deps(aws: &Aws, client: &Client, queue: &str) -> AcceptDeps {
    let stack = client.stack();
    AcceptDeps::from_env(aws, &env(vec![("ADT_TABLE", stack.adt_table.clone()), ("ADT_QUEUE_URL", queue.to_owned())]))
        .unwrap()
}

/// A queue of this test's own, which no function reads.
async fn own_queue(client: &Client) -> String {
    let name = format!("test-{}.fifo", unique());
    let request = json!({"QueueName": name, "Attributes": {"FifoQueue": "true"}});
    client.aws("AmazonSQS.CreateQueue", &request).await.unwrap()["QueueUrl"].as_str().unwrap().to_owned()
}

async fn waiting(client: &Client, queue: &str) -> usize {
    let request = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
    let answer = client.aws("AmazonSQS.ReceiveMessage", &request).await.unwrap();
    answer["Messages"].as_array().map_or(0, Vec::len)
}

fn notification(company: &str) -> Notification {
    Notification::parse(webhook(company, "e", json!({})).to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn v08_a_failed_send_is_made_up_for_by_the_next_delivery_and_only_once() {
    let (aws, client) = aws().await;
    let queue = own_queue(&client).await;
    let event = notification(&format!("v08-{}", unique()));
    let nowhere = deps(&aws, &client, &format!("{}/000000000000/nowhere.fifo", client.stack().aws));
    assert!(matches!(accept(&nowhere, &event, None).await, Err(AdtError::Queue(_))));
    let good = deps(&aws, &client, &queue);
    let Accepted::Queued { id } = accept(&good, &event, None).await.unwrap() else { panic!("not queued") };
    assert_eq!(accept(&good, &event, None).await.unwrap(), Accepted::Queued { id }, "unsent until a consumer took it");
    assert_eq!(waiting(&client, &queue).await, 1);
}

#[tokio::test]
async fn v11_of_many_deliveries_at_once_one_is_recorded() {
    let (aws, client) = aws().await;
    let queue = own_queue(&client).await;
    let event = notification(&format!("v11-{}", unique()));
    let deps = deps(&aws, &client, &queue);
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let (deps, event) = (deps.clone(), event.clone());
            tokio::spawn(async move { accept(&deps, &event, None).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for attempt in tries {
        answers.push(attempt.await.unwrap());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(waiting(&client, &queue).await, 1);
}

#[tokio::test]
async fn the_sweeper_sends_what_was_accepted_but_never_sent_and_removes_old_payloads() {
    let (aws, client) = aws().await;
    let queue = own_queue(&client).await;
    let company = format!("sweep-{}", unique());
    let nowhere = deps(&aws, &client, &format!("{}/000000000000/nowhere.fifo", client.stack().aws));
    accept(&nowhere, &notification(&company), None).await.unwrap_err();
    let test_event = webhook(&company, "t", json!({"EventType": "test.event"})).to_string();
    accept(&nowhere, &Notification::parse(test_event.as_bytes()).unwrap(), None).await.unwrap();
    // What fell due a while ago: the mark's two minutes and the payload's thirty days, both moved into the past.
    for row in client.rows(&company, "E#").await.unwrap() {
        let request = json!({
            "TableName": client.stack().adt_table, "Key": {"pk": row["pk"], "sk": row["sk"]},
            "UpdateExpression": "SET due_at = :past", "ExpressionAttributeValues": {":past": {"N": "1000"}},
        });
        client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    }
    let good = deps(&aws, &client, &queue);
    let swept = sweep(&good, Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert!(swept.resent >= 1 && swept.payloads_removed >= 1, "{swept:?}");
    assert_eq!(waiting(&client, &queue).await, 1);
    let again = sweep(&good, Instant::now() + Duration::from_secs(20)).await.unwrap();
    assert_eq!(again.resent, 0, "put off for two minutes");
    for row in client.rows(&company, "E#").await.unwrap() {
        let is_test = row["event_type"]["S"] == "test.event";
        assert_eq!(row.get("payload").is_none(), is_test, "{row}");
        assert_eq!(row.get("due_shard").is_none(), is_test, "{row}");
    }
}

#[tokio::test]
async fn v34_a_backfill_pages_to_the_end_and_a_dry_run_writes_nothing() {
    let (aws, client) = aws().await;
    let functions = client.local_functions().await.unwrap();
    let variables = functions["adt-consumer"]["environment"].clone();
    // The sandbox's own company; no other test writes its residents.
    let lookup = move |name: &str| match name {
        "ALIS_SANDBOX_COMPANIES" => Some("harborpoint".to_owned()),
        name => variables[name].as_str().map(str::to_owned),
    };
    let deps = ProcessDeps::from_env(&aws, &Env::from_lookup(lookup)).await.unwrap();
    let mut options = BackfillOptions {
        company_key: "harborpoint".into(),
        community_id: Some(79),
        page_size: 3,
        dry_run: true,
        skip_caspio: false,
    };
    let mut heard = 0;
    let dry = backfill(&deps, &options, |_, outcome| heard += u64::from(outcome.is_ok())).await.unwrap();
    assert!(dry.total > 3 && dry.succeeded == dry.total && dry.failed == 0 && heard == dry.total, "{dry:?}");
    assert!(u64::from(dry.pages) >= dry.total.div_ceil(3), "{dry:?}");
    assert!(client.rows("harborpoint", "R#").await.unwrap().is_empty());

    (options.dry_run, options.page_size) = (false, 100);
    let live = backfill(&deps, &options, |_, _| ()).await.unwrap();
    assert_eq!((live.succeeded, live.pages), (dry.total, 1));
    assert_eq!(client.rows("harborpoint", "R#").await.unwrap().len() as u64, live.total);
    let effects = client.effects("harborpoint").await.unwrap();
    assert_eq!(effects.len() as u64, live.total);
    assert_eq!(effects[0]["record"]["eventType"], "backfill.resident");
    backfill(&deps, &options, |_, _| ()).await.unwrap();
    let inserts =
        client.effects("harborpoint").await.unwrap().iter().filter(|effect| effect["operation"] == "insert").count();
    assert_eq!(inserts as u64, live.total, "a second run inserts nothing");
}
