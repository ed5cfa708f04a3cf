//! API keys against a real table and real secrets.

use super::{aws, env, table};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::Clock;
use switchyard_identity::api_keys::{ApiKeyRecord, ApiKeys, KeyChange, KeyError, NewKey, With};
use switchyard_io::dynamo::{Changes, Item, Key, Write};
use switchyard_io::{Aws, Table};
use switchyard_signals::tenants::TenantDeps;
use switchyard_tests::client::{Client, unique};
use tokio::runtime::Handle;

/// Keys and records in a table of a test's own.
struct World {
    keys: ApiKeys,
    records: TenantDeps,
    table: Table,
}

impl World {
    async fn new() -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-keys-{}", unique());
        table(&client, "SignalsTable", &name).await;
        let env = env(vec![("SIGNALS_TABLE", name), ("API_KEY_SECRET", "ApiKeySecret".to_owned())]);
        Self {
            keys: ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE").unwrap(),
            records: TenantDeps::from_env(&aws, &env).unwrap(),
            table: Table::from_env(&aws, &env, "SIGNALS_TABLE").unwrap(),
        }
    }

    /// What was done with keys, oldest first.
    async fn recorded(&self) -> Vec<String> {
        let month = Clock::system().now().strftime("%Y%m").to_string();
        let rows = self.table.rows(&format!("A#t#{month}"), "").await.unwrap();
        rows.iter().map(|row: &Item| row["action"].as_s().unwrap().clone()).collect()
    }
}

fn of_tenant() -> NewKey {
    NewKey::new("t".into())
}

#[tokio::test]
async fn a_key_and_the_record_of_its_change_are_written_together_or_not_at_all() {
    let world = World::new().await;
    let hour = Duration::from_secs(3_600);
    let gone = Write::Update(
        Key { pk: "none".to_owned(), sk: "none".to_owned() },
        Changes::new().set("a", "b").only_if("attribute_exists(#pk)", []),
    );
    let refused = |_: &ApiKeyRecord| Ok(vec![gone.clone()]);
    assert!(matches!(world.keys.create_with(&of_tenant(), &refused).await, Err(KeyError::Contended)));
    assert!(world.keys.list(&"t".into()).await.unwrap().is_empty());

    let record = |action: &'static str| {
        let records = &world.records;
        move |about: &ApiKeyRecord| records.record_of_key(&"cli".into(), action, about)
    };
    let (_, made) = world.keys.create_with(&of_tenant(), &record("key.create")).await.unwrap();
    assert!(matches!(world.keys.rotate(&"t".into(), &made.id, hour, &refused).await, Err(KeyError::Contended)));
    let labelled = KeyChange { label: Some("x".to_owned()), ..KeyChange::default() };
    assert!(matches!(world.keys.change(&"t".into(), &made.id, &labelled, &refused).await, Err(KeyError::Contended)));
    assert_eq!(world.keys.list(&"t".into()).await.unwrap(), std::slice::from_ref(&made), "nothing changed");

    world.keys.rotate(&"t".into(), &made.id, hour, &record("key.rotate")).await.unwrap().unwrap();
    world.keys.change(&"t".into(), &made.id, &labelled, &record("key.change")).await.unwrap().unwrap();
    assert_eq!(world.recorded().await, ["key.create", "key.rotate", "key.change"]);
}

#[tokio::test]
async fn a_key_that_replaces_another_has_the_end_that_its_owner_gave() {
    let world = World::new().await;
    let (hour, nothing) = (Duration::from_secs(3_600), |_: &ApiKeyRecord| Ok(Vec::new()));
    let day = Clock::system().now() + 24 * hour;
    let (_, first) = world.keys.create(&NewKey { expires_at: Some(day), ..of_tenant() }).await.unwrap();
    // Twice the same key: the second time it is in its grace already.
    for grace in [hour, 2 * hour] {
        let (_, new, end) = world.keys.rotate(&"t".into(), &first.id, grace, &nothing).await.unwrap().unwrap();
        assert_eq!(new.ends_at(), Some(day));
        assert!(end < day - 22 * hour, "a grace is not made longer: {end}");
    }
    let for_ever = KeyChange { expires_at: Some(None), ..KeyChange::default() };
    let kept = world.keys.change(&"t".into(), &first.id, &for_ever, &nothing).await.unwrap().unwrap();
    assert_eq!((kept.ends_at(), world.keys.get(&"t".into(), &first.id).await.unwrap()), (None, Some(kept.clone())));
    let revoke = KeyChange { revoke: true, ..KeyChange::default() };
    world.keys.change(&"t".into(), &first.id, &revoke, &nothing).await.unwrap();
    let refused = world.keys.rotate(&"t".into(), &first.id, hour, &nothing).await;
    assert!(matches!(refused, Err(KeyError::NotActive("was revoked"))), "{refused:?}");
}

/// Does something to its end where nothing can be waited for.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(work))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_a_key_at_once_the_later_is_refused() {
    let world = World::new().await;
    let (day, nothing) = (Duration::from_secs(86_400), |_: &ApiKeyRecord| Ok(Vec::new()));
    let narrow = KeyChange { scopes: Some(vec!["events:read".to_owned()]), ..KeyChange::default() };
    let label = KeyChange { label: Some("x".to_owned()), ..KeyChange::default() };
    let revoke = KeyChange { revoke: true, ..KeyChange::default() };
    let (_, made) = world.keys.create(&of_tenant()).await.unwrap();
    let id = &made.id;
    // Rows from before there was a lock have none.
    let row = Key { pk: "KEYS#t".to_owned(), sk: id.to_string() };
    world.table.update(&row, Changes::new().remove("lock")).await.unwrap();

    // What is to be written with a change is asked for between its reading and its writing.
    let rotated = |_: &ApiKeyRecord| {
        at_once(world.keys.rotate(&"t".into(), id, day, &nothing)).unwrap().unwrap();
        Ok(Vec::new())
    };
    let narrowed = |_: &ApiKeyRecord| {
        at_once(world.keys.change(&"t".into(), id, &narrow, &nothing)).unwrap().unwrap();
        Ok(Vec::new())
    };
    for meanwhile in [&rotated as With<'_>, &narrowed] {
        let ended = world.keys.rotate(&"t".into(), id, Duration::ZERO, meanwhile).await;
        assert!(matches!(ended, Err(KeyError::Contended)), "{:?}", ended.map(|_| ()));
        let labelled = world.keys.change(&"t".into(), id, &label, meanwhile).await;
        assert!(matches!(labelled, Err(KeyError::Contended)), "{labelled:?}");
    }
    let kept = world.keys.get(&"t".into(), id).await.unwrap().unwrap();
    assert!(kept.ends_at() > Some(made.created_at + day / 2), "it is good for as long as was answered");
    assert_eq!(world.keys.list(&"t".into()).await.unwrap().len(), 3, "one for each rotation that was not refused");
    let (_, new, _) = world.keys.rotate(&"t".into(), id, day, &nothing).await.unwrap().unwrap();
    assert_eq!(new.scopes, ["events:read"]);
    let revoked = world.keys.change(&"t".into(), id, &revoke, &narrowed).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some(), "whatever else is changed");
}

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
    let new = NewKey::new("t".into());
    let (used, about) = keys(&client, &name).await.create(&new).await.unwrap();
    let (unused, _) = keys(&client, &name).await.create(&new).await.unwrap();
    peppers("PutSecretValue", "SecretId", json!({"API_KEY_PEPPER": "new", "API_KEY_PEPPER_BEFORE": "old"})).await;
    assert!(keys(&client, &name).await.find(used.expose()).await.unwrap().is_some());
    peppers("PutSecretValue", "SecretId", json!({"API_KEY_PEPPER": "new"})).await;
    let now = keys(&client, &name).await;
    assert!(now.find(used.expose()).await.unwrap().is_some(), "it was moved when it was used");
    assert!(now.find(unused.expose()).await.unwrap().is_none());
    let revoke = KeyChange { revoke: true, ..KeyChange::default() };
    now.change(&"t".into(), &about.id, &revoke, &|_| Ok(Vec::new())).await.unwrap().unwrap();
    assert!(now.find(used.expose()).await.unwrap().is_none(), "its owner's row knows where it lies");
}
