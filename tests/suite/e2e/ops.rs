//! What an operator does below `/admin`.

use super::client;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Secret;
use switchyard_identity::BasicCredentials;
use switchyard_tests::client::{Answer, Client, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// The `Authorization` header that the stack's own secret asks for.
pub(super) async fn credentials(client: &Client) -> String {
    let request = json!({"SecretId": client.stack().admin_secret});
    let answer = client.aws("secretsmanager.GetSecretValue", &request).await.unwrap();
    let pair: Value = serde_json::from_str(answer["SecretString"].as_str().unwrap()).unwrap();
    let part = |name: &str| pair[name].as_str().unwrap().to_owned();
    let pair = BasicCredentials { user: part("ADMIN_BASIC_USER"), password: Secret::new(part("ADMIN_BASIC_PASS")) };
    pair.header().expose().clone()
}

#[tokio::test]
async fn only_the_operator_gets_in_and_unknown_queues_are_404() {
    let (client, _) = client();
    let credentials = credentials(&client).await;
    let send = async |method: &str, path: &str, credentials: &str| -> Answer {
        client.send(method, path, &[("authorization", credentials)], String::new()).await.unwrap()
    };
    for (method, path) in [("GET", "/admin/dlq"), ("GET", "/admin/dlq/order"), ("POST", "/admin/dlq/order/redrive")] {
        for wrong in ["", "Basic YWRtaW46YWRtaW4=", "Bearer x"] {
            let answer = send(method, path, wrong).await;
            assert_eq!(
                (answer.status, &answer.body["type"]),
                (401, &json!("/problems/unauthorized")),
                "{method} {path}"
            );
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    let list = send("GET", "/admin/dlq", &credentials).await;
    assert_eq!(list.status, 200, "{}", list.body);
    let names: Vec<_> = list.body["queues"].as_array().unwrap().iter().map(|queue| &queue["queue"]).collect();
    assert_eq!(names, ["adt", "order", "callback", "rules", "notify"]);
    for (method, path) in [("GET", "/admin/dlq/none"), ("POST", "/admin/dlq/none/redrive")] {
        let answer = send(method, path, &credentials).await;
        assert_eq!((answer.status, &answer.body["title"]), (404, &json!("Not Found")), "{method} {path}");
    }
}

#[tokio::test]
async fn dead_messages_are_shown_without_their_bodies_told_of_and_sent_back() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: the emulator waits out the visibility timeout and has no StartMessageMoveTask");
        return;
    }
    let credentials = credentials(&client).await;
    let look = async || -> Result<Value> {
        let headers = [("authorization", credentials.as_str())];
        Ok(client.send("GET", "/admin/dlq/order", &headers, String::new()).await?.body)
    };
    let waiting = async || Ok(look().await?["waiting"].as_u64().unwrap() > 0);
    let queue = client.stack().adt_queue.replace("AdtQueue.fifo", "OrderQueue");
    let body = json!({"v": 1, "id": "e", "kind": "orders.other", "tenant": "org", "body": {"secret": "canary"}});
    client.aws("AmazonSQS.SendMessage", &json!({"QueueUrl": queue, "MessageBody": body.to_string()})).await.unwrap();
    wait_until(SOON, waiting).await.unwrap();
    let seen = look().await.unwrap();
    assert_eq!(seen["messages"][0]["envelope"], json!({"id": "e", "kind": "orders.other", "tenant": "org"}));
    assert!(!seen.to_string().contains("canary"));

    client.fire("orders-sweep-EveryMinute").await.unwrap();
    let told = client.operator_events("dlq.message").await.unwrap();
    assert!(told.iter().any(|detail| detail["queue"] == "order" && detail["waiting"] == 1), "{told:?}");

    let headers = [("authorization", credentials.as_str())];
    let sent = client.send("POST", "/admin/dlq/order/redrive", &headers, String::new()).await.unwrap();
    assert_eq!((sent.status, &sent.body), (202, &json!({"queue": "order", "waiting": 1})));
    let is_moved = async || Ok(look().await?["lastRedrive"] == json!({"status": "COMPLETED", "moved": 1}));
    wait_until(SOON, is_moved).await.unwrap();
    // It is as bad as before, and comes back.
    wait_until(SOON, waiting).await.unwrap();
}
