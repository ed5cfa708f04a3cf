//! API keys against a real table and real secrets.

use super::{aws, env, table};
use serde_json::{Value, json};
use switchyard_io::Aws;
use switchyard_io::keys::{ApiKeys, KeyChange, NewKey};
use switchyard_tests::client::{Client, unique};

/// The keys as a new process sees them: one that fetches the peppers anew.
async fn keys(client: &Client, name: &str) -> ApiKeys {
    let aws = Aws::at(&client.stack().aws).await;
    let env = env(vec![("SIGNALS_TABLE", name.to_owned()), ("API_KEY_SECRET", name.to_owned())]);
    ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE").unwrap()
}

#[tokio::test]
async fn a_key_in_use_survives_the_replacement_of_the_pepper() {
    let (_, client) = aws().await;
    let name = format!("it-keys-{}", unique());
    table(&client, "SignalsTable", &name).await;
    let peppers = async |action: &str, id: &str, values: Value| {
        let request = json!({id: name, "SecretString": values.to_string()});
        client.aws(&format!("secretsmanager.{action}"), &request).await.unwrap();
    };
    peppers("CreateSecret", "Name", json!({"API_KEY_PEPPER": "old"})).await;
    let new = NewKey { tenant: "t".to_owned(), ..NewKey::default() };
    let (used, about) = keys(&client, &name).await.create(&new).await.unwrap();
    let (unused, _) = keys(&client, &name).await.create(&new).await.unwrap();
    peppers("PutSecretValue", "SecretId", json!({"API_KEY_PEPPER": "new", "API_KEY_PEPPER_BEFORE": "old"})).await;
    assert!(keys(&client, &name).await.find(used.expose()).await.unwrap().is_some());
    peppers("PutSecretValue", "SecretId", json!({"API_KEY_PEPPER": "new"})).await;
    let now = keys(&client, &name).await;
    assert!(now.find(used.expose()).await.unwrap().is_some(), "it was moved when it was used");
    assert!(now.find(unused.expose()).await.unwrap().is_none());
    let revoke = KeyChange { revoke: true, ..KeyChange::default() };
    now.change("t", &about.id, &revoke).await.unwrap().unwrap();
    assert!(now.find(used.expose()).await.unwrap().is_none(), "its owner's row knows where it lies");
}
