//! A stack that asks for API keys: one organisation cannot see, change or guess another's things.

use super::env;
use serde_json::json;
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
    let new = |tenant: &str, is_live| NewKey { tenant: tenant.to_owned(), is_live, ..NewKey::default() };
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
    // Every route of the function with what it takes, but its health, the mock marketplace, and the two that marketplaces
    // sign.
    let routes = [
        ("POST", "/stores/register".to_owned(), store.to_string()),
        ("POST", "/orders/import".to_owned(), import),
        ("POST", "/orders/retry".to_owned(), json!({"syncToken": token}).to_string()),
        ("GET", format!("/stores/sync-status?syncToken={token}"), String::new()),
        ("GET", format!("/orders?syncToken={token}"), String::new()),
        ("POST", "/webhooks/register".to_owned(), webhook.to_string()),
        ("GET", "/webhooks?organizationId=org-a".to_owned(), String::new()),
        ("PATCH", format!("/webhooks/{id}"), "{}".to_owned()),
        ("GET", format!("/webhooks/{id}/secret"), String::new()),
        ("POST", format!("/webhooks/{id}/secret/rotate"), String::new()),
        ("POST", format!("/webhooks/{id}/test"), String::new()),
        ("GET", format!("/webhooks/{id}/deliveries"), String::new()),
        ("POST", format!("/webhooks/{id}/recover"), window),
        ("GET", format!("/events/{event}"), String::new()),
        ("POST", format!("/events/{event}/resend"), String::new()),
        ("DELETE", format!("/webhooks/{id}"), String::new()),
    ];
    let served = switchyard_local::Template::read(&switchyard_tests::root().join("template.yaml"), "").unwrap();
    let served = served.routes().unwrap().into_iter().filter(|route| route.function == "marketplace-api").count();
    assert_eq!(routes.len() + 4, served, "a new route needs its line here");
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
