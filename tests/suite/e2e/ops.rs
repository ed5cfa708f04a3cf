//! What an operator does below `/admin`.

use super::client;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_tests::client::{Answer, unique, wait_until};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn only_the_operator_gets_in_and_unknown_queues_are_404() {
    let (client, _) = client();
    let credentials = client.admin().await.unwrap();
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
async fn every_workflows_dead_letters_are_archived_shown_without_bodies_and_redriven() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: the emulator waits out the visibility timeout and has no StartMessageMoveTask");
        return;
    }
    let credentials = client.admin().await.unwrap();
    let headers = [("authorization", credentials.as_str())];
    let adt_queue = client.stack().adt_queue.clone();
    for (name, dlq, sweep) in [
        ("adt", "AdtDlq.fifo", "adt-sweep-EveryMinute"),
        ("order", "OrderDlq", "orders-sweep-EveryMinute"),
        ("callback", "CallbackDlq", "callbacks-sweep-EveryMinute"),
        ("rules", "RulesDlq", "signals-sweep-EveryMinute"),
        ("notify", "NotifyDlq", "signals-sweep-EveryMinute"),
    ] {
        let look = async || -> Result<Value> {
            let path = format!("/admin/dlq/{name}?limit=200");
            Ok(client.send("GET", &path, &headers, String::new()).await?.body)
        };
        // Of no workflow's kind: the consumer refuses it again after the redrive.
        let id = format!("{name}-{}", unique());
        let body = json!({"v": 1, "id": id, "kind": "none.other", "tenant": "org", "body": {"secret": "canary"}});
        let mut message = json!({"QueueUrl": adt_queue.replace("AdtQueue.fifo", dlq), "MessageBody": body.to_string()});
        if name == "adt" {
            message["MessageGroupId"] = json!("group");
            message["MessageDeduplicationId"] = json!(id);
        }
        client.aws("AmazonSQS.SendMessage", &message).await.unwrap();
        client.fire(sweep).await.unwrap();
        let find = |seen: &Value| -> Vec<Value> {
            let messages = seen["messages"].as_array().unwrap().iter();
            messages.filter(|message| message["envelope"]["id"] == json!(id)).cloned().collect()
        };
        let seen = look().await.unwrap();
        let [archived] = find(&seen).try_into().unwrap_or_else(|_| panic!("archived once: {seen}"));
        assert_eq!(archived["envelope"], json!({"id": id, "kind": "none.other", "tenant": "org"}));
        assert_eq!((&archived["kind"], &archived["errorCode"]), (&json!("message"), &json!("receives_exhausted")));
        assert!(archived["archivedAt"].is_string(), "{archived}");
        assert!(!seen.to_string().contains("canary"));
        let told = client.operator_events("dlq.message").await.unwrap();
        assert!(told.iter().any(|detail| detail["queue"] == name && detail["archived"] != json!(0)), "{told:?}");

        let path = format!("/admin/dlq/{name}/redrive");
        let redriven = client.send("POST", &path, &headers, String::new()).await.unwrap();
        assert_eq!((redriven.status, &redriven.body["complete"]), (202, &json!(true)), "{}", redriven.body);
        assert!(find(&look().await.unwrap()).iter().any(|letter| letter["redrivenAt"].is_string()));
        // The consumer gets it after the next sweep, and it fails again.
        client.fire(sweep).await.unwrap();
        let failed_again = async || {
            client.fire(sweep).await?;
            Ok(find(&look().await?).len() >= 2)
        };
        wait_until(SOON, failed_again).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
