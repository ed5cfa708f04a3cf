//! What an operator does below `/admin`.

use super::client;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use switchyard_core::{Clock, Timestamp, uuid_of};
use switchyard_tests::client::{Answer, Client, unique, wait_until};
use switchyard_tests::dlqs::dlqs;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn only_the_operator_gets_in_and_unknown_queues_are_404() {
    let (client, _) = client();
    let credentials = client.admin().await.unwrap();
    let send = async |method: &str, path: &str, credentials: &str| -> Answer {
        client.send(method, path, &[("authorization", credentials)], String::new()).await.unwrap()
    };
    for (method, path) in [
        ("GET", "/admin/dlq"),
        ("GET", "/admin/dlq/order"),
        ("POST", "/admin/dlq/order/redrive"),
        ("POST", "/admin/dlq/order/019b2a3c-7c00-7a11-8b22-0c0ffee00001/redrive"),
    ] {
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
    let names: BTreeSet<_> =
        list.body["queues"].as_array().unwrap().iter().map(|queue| queue["queue"].as_str().unwrap()).collect();
    let dlqs = dlqs().unwrap();
    assert_eq!(names, dlqs.iter().map(|dlq| dlq.name.as_str()).collect());
    let unknown = "019b2a3c-7c00-7a11-8b22-0c0ffee00001";
    for (method, path) in [
        ("GET", "/admin/dlq/none"),
        ("POST", "/admin/dlq/none/redrive"),
        ("POST", &format!("/admin/dlq/none/{unknown}/redrive")),
        ("POST", &format!("/admin/dlq/adt/{unknown}/redrive")),
        ("POST", "/admin/dlq/adt/none/redrive"),
    ] {
        let answer = send(method, path, &credentials).await;
        assert_eq!((answer.status, &answer.body["title"]), (404, &json!("Not Found")), "{method} {path}");
    }
}

#[tokio::test]
async fn every_workflows_dead_letters_are_archived_shown_without_bodies_and_redriven_once() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: the emulator waits out the visibility timeout and has no StartMessageMoveTask");
        return;
    }
    let credentials = client.admin().await.unwrap();
    let headers = [("authorization", credentials.as_str())];
    for dlq in dlqs().unwrap() {
        let (name, sweep) = (&dlq.name, format!("{}-EveryMinute", dlq.sweep));
        let look = async || -> Result<Value> {
            let path = format!("/admin/dlq/{name}?limit=200");
            Ok(client.send("GET", &path, &headers, String::new()).await?.body)
        };
        // Of no workflow's kind, or about no event: the consumer refuses it again after the redrive.
        let id = Clock::system().new_id().to_string();
        let event = json!({"event_type": "residents.move_in", "event_message_id": id});
        let (kind, content) = match name.as_str() {
            "adt" => ("adt.event", event),
            _ => ("none.other", json!({"secret": "canary"})),
        };
        let body = json!({"v": 1, "id": id, "kind": kind, "tenant": "org", "body": content});
        send_to(&client, &dlq.queue, &body.to_string()).await;
        client.fire(&sweep).await.unwrap();
        let find = |seen: &Value| -> Vec<Value> {
            let messages = seen["messages"].as_array().unwrap().iter();
            // One that is still in SQS is not archived yet.
            let own =
                messages.filter(|message| message["envelope"]["id"] == json!(id) && message["archivedAt"].is_string());
            own.cloned().collect()
        };
        let seen = look().await.unwrap();
        let [archived] = find(&seen).try_into().unwrap_or_else(|_| panic!("archived once: {seen}"));
        assert_eq!(archived["envelope"], json!({"id": id, "kind": kind, "tenant": "org"}));
        assert_eq!((&archived["kind"], &archived["errorCode"]), (&json!("message"), &json!("receives_exhausted")));
        assert!(archived["redrivenAt"].is_null(), "{archived}");
        assert!(!seen.to_string().contains("canary"));
        let told = client.operator_events("dlq.message").await.unwrap();
        assert!(told.iter().any(|detail| detail["queue"] == **name && detail["archived"] != json!(0)), "{told:?}");

        let one = format!("/admin/dlq/{name}/{}/redrive", archived["messageId"].as_str().unwrap());
        let redriven = client.send("POST", &one, &headers, String::new()).await.unwrap();
        assert_eq!((redriven.status, &redriven.body["messageId"]), (202, &archived["messageId"]), "{}", redriven.body);
        let refused = client.send("POST", &one, &headers, String::new()).await.unwrap();
        assert_eq!(
            (refused.status, &refused.body["type"]),
            (409, &json!("/problems/already-redriven")),
            "{}",
            refused.body
        );
        assert!(find(&look().await.unwrap())[0]["redrivenAt"].is_string());
        // The consumer gets it after the next sweep, and it fails again.
        let failed_again = async || {
            client.fire(&sweep).await?;
            Ok(find(&look().await?).len() == 2)
        };
        wait_until(SOON, failed_again).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let all = find(&look().await.unwrap());
        assert_eq!(all.iter().filter(|message| message["redrivenAt"].is_null()).count(), 1, "{all:?}");

        let path = format!("/admin/dlq/{name}/redrive");
        let redriven = client.send("POST", &path, &headers, String::new()).await.unwrap();
        assert_eq!((redriven.status, &redriven.body["complete"]), (202, &json!(true)), "{}", redriven.body);
        assert!(redriven.body["redriven"].as_u64().unwrap() >= 1, "{}", redriven.body);
        let open = |seen: &Value| find(seen).iter().filter(|message| message["redrivenAt"].is_null()).count();
        assert_eq!(open(&look().await.unwrap()), 0);
    }
}

/// A message dies.
async fn send_to(client: &Client, dlq: &str, body: &str) -> String {
    let url = client.stack().adt_queue.replace("AdtQueue.fifo", dlq);
    let mut message = json!({"QueueUrl": url, "MessageBody": body});
    if dlq.ends_with(".fifo") {
        message["MessageGroupId"] = json!("group");
        message["MessageDeduplicationId"] = json!(unique().to_string());
    }
    let sent = client.aws("AmazonSQS.SendMessage", &message).await.unwrap();
    sent["MessageId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_of_a_resident_is_shown_whatever_is_in_the_dead_letter_queue() {
    const CANARY: &str = "Canaryperson";
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: what is in a deployed stack's queue is not this test's");
        return;
    }
    let credentials = client.admin().await.unwrap();
    let headers = [("authorization", credentials.as_str())];
    let look = async || client.send("GET", "/admin/dlq/adt?limit=200", &headers, String::new()).await.unwrap().body;
    let dlqs = dlqs().unwrap();
    let adt = dlqs.iter().find(|dlq| dlq.name == "adt").unwrap();
    let forged = json!({"v": 1, "id": CANARY, "kind": "adt.event", "tenant": CANARY, "body": {"firstName": CANARY}});
    for body in [CANARY.to_owned(), forged.to_string()] {
        let message_id = send_to(&client, &adt.queue, &body).await;
        let in_queue = look().await;
        assert!(!in_queue.to_string().contains(CANARY), "{in_queue}");
        client.fire(&format!("{}-EveryMinute", adt.sweep)).await.unwrap();
        let seen = look().await;
        assert!(!seen.to_string().contains(CANARY), "{seen}");
        // The id's first half is the time.
        let id = uuid_of(Timestamp::UNIX_EPOCH, &message_id).to_string();
        let messages = seen["messages"].as_array().unwrap();
        let letter = messages.iter().find(|message| message["messageId"].as_str().unwrap().ends_with(&id[13..]));
        let letter = letter.unwrap_or_else(|| panic!("archived: {seen}"));
        assert_eq!(letter["envelope"], json!({"id": null, "kind": null, "tenant": null}));
        assert_eq!(letter["redacted"], json!(true));
        // It is kept whole all the same.
        let key = json!({"pk": {"S": "X#-"}, "sk": {"S": letter["messageId"]}});
        let request = json!({"TableName": client.stack().adt_table, "Key": key});
        let row = client.aws("DynamoDB_20120810.GetItem", &request).await.unwrap();
        assert_eq!(row["Item"]["body"]["S"], json!(body));
    }
}
