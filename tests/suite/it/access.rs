//! A stack that asks for API keys: one organisation cannot see, change or guess another's things.

use super::env;
use serde_json::{Value, json};
use switchyard_identity::api_keys::{ApiKeys, NewKey};
use switchyard_io::Aws;
use switchyard_local::{Data, LogSink, Ports, Settings};
use switchyard_tests::client::{Answer, Client};
use switchyard_tests::stack::{Stack, start};

#[tokio::test]
async fn every_route_wants_a_key_and_hides_what_is_anothers() {
    let settings = Settings::default().with([("AUTH_MODE", "api_key")]);
    let host = start(Data::Ephemeral, Ports::Free, LogSink::keep(), settings).await.unwrap();
    let client = Client::new(Stack::of(&host, None)).unwrap();
    let aws = Aws::at(&host.urls().aws).await;
    let names = [("ORDERS_TABLE", "OrdersTable"), ("API_KEY_SECRET", "ApiKeySecret")];
    let names = env(names.map(|(name, value)| (name, value.to_owned())).into());
    let keys = ApiKeys::from_env(&aws, &names, "ORDERS_TABLE").unwrap();
    let new = |tenant: &str, is_live| NewKey { is_live, ..NewKey::new(tenant.into()) };
    let (own, _) = keys.create(&new("org-a", true)).await.unwrap();
    let (other, _) = keys.create(&new("org-b", false)).await.unwrap();
    let send = async |method: &str, path: &str, key: Option<&str>, body: &str| -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(key.map(|key| ("x-api-key", key)));
        client.send(method, path, &headers, body.to_owned()).await.unwrap()
    };

    let store = json!({
        "organizationId": "org-a", "marketplace": "etsy", "externalStoreId": "e", "storeName": "s", "accessToken": "t",
        "currency": "USD",
    });
    let registered = send("POST", "/stores/register", Some(own.expose()), &store.to_string()).await;
    assert_eq!(registered.status, 200, "{}", registered.body);
    let token = registered.body["syncToken"].as_str().unwrap();
    let webhook = json!({"organizationId": "org-a", "event": "sync.failed", "targetUrl": "https://example.com/"});
    let webhook_made = send("POST", "/webhooks/register", Some(own.expose()), &webhook.to_string()).await.body;
    let id = webhook_made["id"].as_str().unwrap();
    let event = send("POST", &format!("/webhooks/{id}/test"), Some(own.expose()), "{}").await.body;
    let event = event["eventId"].as_str().unwrap();

    let import = json!({"syncToken": token, "receipt": "order-101"}).to_string();
    let window = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}).to_string();
    // Every operation that asks for a key, from the API document, with what it reads.
    let query = |operation: &str| match operation {
        "getSyncStatus" | "listOrders" => format!("?syncToken={token}"),
        "listWebhooks" => "?organizationId=org-a".to_owned(),
        _ => String::new(),
    };
    let body = |operation: &str| match operation {
        "registerStore" => store.to_string(),
        "importOrder" => import.clone(),
        "retryOrders" => json!({"syncToken": token}).to_string(),
        "registerWebhook" => webhook.to_string(),
        "updateWebhook" => "{}".to_owned(),
        "recoverWebhookDeliveries" => window.clone(),
        _ => String::new(),
    };
    let document = std::fs::read_to_string(switchyard_tests::root().join("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let of_what = if path.starts_with("/events/") { event } else { id };
        for (method, operation) in operations.as_object().unwrap() {
            let needs_key = operation["security"].to_string().contains("BearerKey");
            if operation["tags"] == json!(["Orders"]) && needs_key {
                let name = operation["operationId"].as_str().unwrap();
                let path = format!("{}{}", path.replace("{id}", of_what), query(name));
                routes.push((method.to_uppercase(), path, body(name)));
            }
        }
    }
    assert!(routes.len() >= 16, "{routes:?}");
    // A webhook is deleted after all else was tried on it.
    routes.sort_by_key(|(method, ..)| method == "DELETE");
    for (method, path, body) in &routes {
        for nobody in [None, Some("so_live_guess"), Some("")] {
            let answer = send(method, path, nobody, body).await;
            assert_eq!((answer.status, &answer.body["error"]), (401, &json!("unauthorized")), "{method} {path}");
        }
        let answer = send(method, path, Some(other.expose()), body).await;
        let is_hidden = answer.status == 404 || (answer.status == 200 && answer.body == json!([]));
        assert!(is_hidden, "{method} {path} shows org-b what is org-a's: {} {}", answer.status, answer.body);
    }
    for (method, path, body) in &routes {
        let answer = send(method, path, Some(own.expose()), body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    }
    assert!(keys.revoke(own.expose()).await.unwrap());
    assert_eq!(send("GET", "/webhooks?organizationId=org-a", Some(own.expose()), "").await.status, 401);
    host.stop().await;
}
