//! Sealed values, with keys in a real Secrets Manager.

use super::{aws, env};
use serde_json::{Value, json};
use switchyard_core::Classify as _;
use switchyard_core::Disposition;
use switchyard_io::vault::{Sealed, Vault};
use switchyard_io::{Aws, Secrets};
use switchyard_tests::client::{Client, unique};

async fn keep(client: &Client, action: &str, name: &str, keys: Value) {
    let field = if action == "CreateSecret" { "Name" } else { "SecretId" };
    let request = json!({field: name, "SecretString": keys.to_string()});
    client.aws(&format!("secretsmanager.{action}"), &request).await.unwrap();
}

/// A vault of a process that has fetched no key yet.
async fn vault(client: &Client, name: &str) -> Vault {
    let aws = Aws::at(&client.stack().aws).await;
    Vault::from_env(&Secrets::new(&aws), &env(vec![("DATA_KEY_SECRET", name.to_owned())])).unwrap()
}

#[tokio::test]
async fn what_is_sealed_opens_in_its_place_only_and_after_the_key_was_replaced() {
    let (_, client) = aws().await;
    let name = format!("it-vault-{}", unique());
    keep(&client, "CreateSecret", &name, json!({"current": "k1", "k1": "first"})).await;
    let old = vault(&client, &name).await;
    let sealed = old.seal("store-1", "a token").await.unwrap();
    assert_eq!(old.open("store-1", &sealed).await.unwrap().expose(), "a token");
    assert_ne!(old.seal("store-1", "a token").await.unwrap(), sealed, "each sealing has its own nonce");
    assert!(!sealed.as_str().contains("token"));
    assert_eq!(format!("{sealed:?}"), "[sealed]");
    let elsewhere = old.open("store-2", &sealed).await.unwrap_err();
    assert!(matches!(elsewhere.disposition(), Disposition::Permanent), "{elsewhere}");

    keep(&client, "PutSecretValue", &name, json!({"current": "k2", "k2": "second", "k1": "first"})).await;
    let new = vault(&client, &name).await;
    let resealed = new.seal("store-1", "another").await.unwrap();
    assert!(resealed.as_str().starts_with("k2."), "{}", resealed.as_str());
    assert_eq!(new.open("store-1", &sealed).await.unwrap().expose(), "a token");
    for broken in ["", "k1", "k1.", "k1.!", "k9.AAAA", "a token"] {
        let broken: Sealed = serde_json::from_value(json!(broken)).unwrap();
        assert!(new.open("store-1", &broken).await.is_err(), "{broken:?}");
    }
}

#[tokio::test]
async fn tokens_and_secrets_are_kept_sealed() {
    let (_, client) = aws().await;
    let marker = format!("plain-{}", switchyard_core::random::below(u64::MAX));
    let registration = json!({
        "organizationId": marker, "marketplace": "etsy", "externalStoreId": "1", "storeName": "S",
        "accessToken": format!("token-{marker}"), "currency": "USD",
    });
    let answer = client.post("/stores/register", &registration).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let hook = json!({"organizationId": marker, "event": "sync.failed", "targetUrl": "http://127.0.0.1:1029/"});
    let hook = client.post("/webhooks/register", &hook).await.unwrap().body;
    let id = hook["id"].as_str().unwrap();
    let headers = [("content-type", "application/json"), ("idempotency-key", marker.as_str())];
    let rotated = client.send("POST", &format!("/webhooks/{id}/secret/rotate"), &headers, "{}".into()).await.unwrap();
    let secret = rotated.body["secret"].as_str().unwrap().to_owned();
    for table in ["OrdersTable", "CallbacksTable"] {
        let mut from = Value::Null;
        loop {
            let mut request = json!({"TableName": table});
            if !from.is_null() {
                request["ExclusiveStartKey"] = from;
            }
            let mut page = client.aws("DynamoDB_20120810.Scan", &request).await.unwrap();
            let text = page["Items"].to_string();
            assert!(!text.contains(&format!("token-{marker}")) && !text.contains(&secret), "{table} holds it in clear");
            from = page["LastEvaluatedKey"].take();
            if from.is_null() {
                break;
            }
        }
    }
}
