//! Webhooks over HTTP, from registration to a signed delivery that the sandbox received.

use super::client;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_tests::client::{Answer, Client, wait_until};

const SOON: Duration = Duration::from_secs(15);

fn organization() -> String {
    format!("org-{}", switchyard_core::random::below(u64::MAX))
}

async fn register(client: &Client, organization: &str, target: &str) -> Answer {
    let body = json!({"organizationId": organization, "event": "sync.completed", "targetUrl": target});
    client.post("/webhooks/register", &body).await.unwrap()
}

/// Where webhooks may lead on this stack.
fn target(client: &Client) -> &'static str {
    if client.stack().is_deployed { "https://example.com/hooks" } else { "http://127.0.0.1:1029/hooks" }
}

#[tokio::test]
async fn v40_registering_is_idempotent_and_addresses_are_checked() {
    let (client, _) = client();
    let (organization, target) = (organization(), target(&client));
    let first = register(&client, &organization, target).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let wanted = json!({
        "id": first.body["id"], "organizationId": organization, "event": "sync.completed", "targetUrl": target,
        "isActive": true,
    });
    assert_eq!(first.body, wanted);
    assert_eq!(register(&client, &organization, target).await.body, first.body);
    let other = register(&client, &organization, &format!("{target}/")).await.body;
    assert_ne!(other["id"], first.body["id"]);
    let list = client.get(&format!("/webhooks?organizationId={organization}")).await.unwrap();
    assert_eq!(list.body, json!([first.body, other]));
    for (target, issues) in [("ftp://h/x", 1), ("", 2), ("http://u:p@example.com/", 1)] {
        let answer = register(&client, &organization, target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.body["details"].as_array().unwrap().len(), issues, "{target}: {}", answer.body);
    }
    let nobody = client.get("/webhooks?organizationId=nobody-at-all").await.unwrap();
    assert_eq!((nobody.status, nobody.body), (200, json!([])));
    assert_eq!(client.get("/webhooks").await.unwrap().status, 400);
}

#[tokio::test]
async fn an_endpoint_is_changed_tested_rotated_and_removed() {
    let (client, _) = client();
    let endpoint = register(&client, &organization(), target(&client)).await.body;
    let path = format!("/webhooks/{}", endpoint["id"].as_str().unwrap());
    let json_type = [("content-type", "application/json")];
    let patch = async |body: Value| client.send("PATCH", &path, &json_type, body.to_string()).await.unwrap();
    let settings = json!({"timeoutMs": 1000, "ratePerSecond": 5, "retryPolicy": [1, 2]});
    let changed = patch(settings.clone()).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(changed.body[name], *value);
    }
    let back = patch(json!({"timeoutMs": null, "retryPolicy": "standard", "isActive": false})).await.body;
    assert_eq!((&back["timeoutMs"], &back["retryPolicy"]), (&Value::Null, &json!("standard")));
    assert_eq!((&back["isActive"], &back["ratePerSecond"]), (&json!(false), &json!(5)));
    for (name, value) in [
        ("timeoutMs", json!(999)),
        ("ratePerSecond", json!("5")),
        ("retryPolicy", json!([0])),
        ("isActive", json!("yes")),
    ] {
        let answer = patch(json!({name: value})).await;
        assert_eq!((answer.status, &answer.body["details"][0]["path"][0]), (400, &json!(name)), "{}", answer.body);
    }

    let secret = async || client.get(&format!("{path}/secret")).await.unwrap().body["secret"].clone();
    let first = secret().await;
    assert!(first.as_str().unwrap().starts_with("whsec_"));
    let rotated = client.post(&format!("{path}/secret/rotate"), &json!({"gracePeriodSeconds": 60})).await.unwrap();
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_ne!(rotated.body["secret"], first);
    assert_eq!(secret().await, rotated.body["secret"]);

    let window = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "dryRun": true});
    assert_eq!(client.post(&format!("{path}/recover"), &window).await.unwrap().body, json!({"count": 0}));
    let wrong = client.post(&format!("{path}/recover"), &json!({"since": "soon"})).await.unwrap();
    assert_eq!(wrong.body["details"].as_array().unwrap().len(), 2, "{}", wrong.body);

    let removed = client.send("DELETE", &path, &[], String::new()).await.unwrap();
    assert_eq!(removed.status, 200);
    for (method, rest) in [("GET", "/secret"), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/test")] {
        let gone = client.send(method, &format!("{path}{rest}"), &json_type, "{}".to_owned()).await.unwrap();
        assert_eq!((gone.status, gone.body), (404, json!({"error": "Webhook not found"})), "{method} {rest}");
    }
    assert_eq!(client.get("/events/none").await.unwrap().status, 404);
}

#[tokio::test]
async fn a_test_event_is_attempted_and_its_attempt_can_be_read() {
    let (client, _) = client();
    if client.stack().is_deployed {
        println!("skipped: a deployed stack calls public addresses only");
        return;
    }
    // Nobody listens there.
    let endpoint = register(&client, &organization(), "http://127.0.0.1:1029/hooks").await.body;
    let path = format!("/webhooks/{}", endpoint["id"].as_str().unwrap());
    let test = client.post(&format!("{path}/test"), &json!({})).await.unwrap();
    assert_eq!(test.status, 202);
    let event = format!("/events/{}", test.body["eventId"].as_str().unwrap());
    let mut seen = Value::Null;
    let attempted = wait_until(SOON, async || {
        seen = client.get(&event).await?.body;
        Ok(seen["attempts"].as_array().is_some_and(|attempts| attempts.len() == 1))
    });
    attempted.await.unwrap();
    assert_eq!((&seen["status"], &seen["attempts"][0]["error"]), (&json!("pending"), &json!("connection_failed")));
    let page = client.get(&format!("{path}/deliveries?status=pending")).await.unwrap().body;
    assert_eq!(page["deliveries"][0]["eventId"], test.body["eventId"]);
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_takes_effect_once() {
    let (client, _) = client();
    let endpoint = register(&client, &organization(), target(&client)).await.body;
    let path = format!("/webhooks/{}/secret/rotate", endpoint["id"].as_str().unwrap());
    let key = organization();
    let rotate = async |key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        client.send("POST", &path, &headers, body.to_owned()).await.unwrap()
    };
    let refused = rotate(&key, r#"{"gracePeriodSeconds":-1}"#).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let first = rotate(&key, "{}").await;
    assert_eq!(first.status, 200, "a refusal leaves the key free: {}", first.body);
    let again = rotate(&key, "{}").await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = rotate(&key, r#"{"gracePeriodSeconds":5}"#).await;
    assert_eq!((other.status, &other.body["error"]), (422, &json!("idempotency_key_reused")));
    assert_ne!(rotate(&organization(), "{}").await.body, first.body);
    assert_eq!(rotate(&"k".repeat(256), "{}").await.body["error"], "invalid_idempotency_key");
}
