//! Events over HTTP, by the contract's vectors. Tenants and keys are made as the command line makes them.

use super::client;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use switchyard_core::{Env, Secret, Timestamp};
use switchyard_identity::api_keys::{ApiKeys, KeyChange, NewKey};
use switchyard_io::Aws;
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::{Tenant, TenantStatus, usage};
use switchyard_tests::client::{Answer, Client, unique};

/// A tenant of a test's own, with a key.
struct World {
    client: Client,
    deps: TenantDeps,
    keys: ApiKeys,
    tenant: Tenant,
    key: String,
}

impl World {
    async fn new(edit: TenantEdit) -> Self {
        let (client, _) = client();
        let aws = Aws::at(&client.stack().aws).await;
        let settings = client.settings_of("events-api").await.unwrap();
        let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
        let deps = TenantDeps::from_env(&aws, &env).unwrap();
        let keys = ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE").unwrap();
        let slug = format!("acme-{}-{}", std::process::id(), unique());
        let tenant = tenants::create(&deps, &"cli".into(), &slug, "Acme", &edit, None).await.unwrap().unwrap();
        let (key, _) = keys.create(&Self::new_key(&tenant)).await.unwrap();
        Self { client, deps, keys, key: key.expose().to_owned(), tenant }
    }

    fn new_key(tenant: &Tenant) -> NewKey {
        NewKey::new(tenant.id.clone())
    }

    async fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.client.send("POST", "/api/events", &headers, body.to_owned()).await.unwrap()
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send(&[("x-api-key", &self.key)], &body.to_string()).await
    }

    async fn post_once(&self, idempotency_key: &str, body: &Value) -> Answer {
        let headers = [("x-api-key", self.key.as_str()), ("idempotency-key", idempotency_key)];
        self.send(&headers, &body.to_string()).await
    }

    /// The answers to `posts`, of which as many are under way at a time as the stack bears: the emulator of a deployed one
    /// starts a process for each, which a slow machine does not manage for hundreds within a function's ten seconds.
    async fn answers(&self, posts: impl Iterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
        let at_a_time = if self.client.stack().is_deployed { 8 } else { 200 };
        stream::iter(posts).buffer_unordered(at_a_time).collect().await
    }

    async fn ingested(&self) -> u64 {
        let used = json!(usage(&self.deps, &self.tenant, None).await.unwrap());
        used["eventsIngested"].as_u64().unwrap()
    }
}

fn event() -> Value {
    json!({"type": "user.signup", "payload": {"email": "user@example.com"}})
}

fn message(answer: &Answer) -> (u16, &Value) {
    (answer.status, &answer.body["message"])
}

#[tokio::test]
async fn v01_v07_an_event_is_taken_and_counted() {
    let world = World::new(TenantEdit::default()).await;
    let taken = world.post(&event()).await;
    assert_eq!((taken.status, &taken.body["status"]), (201, &json!("enqueued")), "{}", taken.body);
    assert_eq!(taken.body["id"].as_str().unwrap().as_bytes()[14], b'7', "a UUID v7");
    assert!(taken.headers.contains_key("x-request-id"));
    assert_eq!(world.ingested().await, 1);
    let nulls = json!({"type": "t", "payload": {}, "source": null, "occurredAt": null});
    assert_eq!(world.post(&nulls).await.status, 201);
}

#[tokio::test]
async fn v02_v03_v04_v06_v18_refusals_come_in_the_contracts_order() {
    let world = World::new(TenantEdit::default()).await;
    for headers in [&[][..], &[("x-api-key", "")]] {
        let answer = world.send(headers, "{").await;
        assert_eq!(message(&answer), (401, &json!("Missing API key")));
        assert_eq!((&answer.body["error"], &answer.body["statusCode"]), (&json!("Unauthorized"), &json!(401)));
    }
    for key in ["nope", "so_live_nonsense", "test_api_key_124"] {
        assert_eq!(message(&world.send(&[("x-api-key", key)], "{}").await), (401, &json!("Invalid API key")));
    }
    let own = [("x-api-key", world.key.as_str())];
    let lines =
        ["type must be shorter than or equal to 120 characters", "type must be a string", "payload must be an object"];
    assert_eq!(message(&world.send(&own, "{}").await), (400, &json!(lines)));
    let list = json!({"type": "t", "payload": [1]});
    assert_eq!(message(&world.post(&list).await), (400, &json!(["payload must be an object"])));
    assert_eq!(message(&world.send(&own, "{").await), (400, &json!("Malformed JSON")));
    let padded = |length: usize| event().to_string() + &" ".repeat(length - event().to_string().len());
    assert_eq!(world.send(&own, &padded(102_401)).await.status, 413);
    assert_eq!(world.send(&own, &padded(102_400)).await.status, 201);
    let form = [("x-api-key", world.key.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let answer = world.client.send("POST", "/api/events", &form, "type=t".to_owned()).await.unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (415, &json!("unsupported_media_type")));
}

#[tokio::test]
async fn v10_v11_v13_an_idempotency_key_stands_for_one_request() {
    let world = World::new(TenantEdit::default()).await;
    let (first, again) = (world.post_once("k1", &event()).await, world.post_once("k1", &event()).await);
    assert_eq!((first.status, again.status, &first.body["id"]), (201, 201, &again.body["id"]));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let other = world.post_once("k1", &json!({"type": "user.signup", "payload": {}})).await;
    assert_eq!(message(&other), (422, &json!("Idempotency key reused with a different request")));
    assert_eq!(world.ingested().await, 1);
    assert_eq!(message(&world.post_once(&"k".repeat(256), &event()).await), (400, &json!("Idempotency key too long")));
}

#[tokio::test]
async fn v12_many_at_once_with_one_key_are_one_event() {
    let world = World::new(TenantEdit::default()).await;
    let body = event();
    let answers = world.answers((0..200).map(|_| world.post_once("one", &body))).await;
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.body["id"].to_string()).collect();
    assert!(answers.iter().all(|answer| answer.status == 201), "{:?}", answers.iter().find(|a| a.status != 201));
    assert_eq!((ids.len(), world.ingested().await), (1, 1));
}

#[tokio::test]
async fn v14_v15_limits_warn_and_then_refuse_all_but_repetitions() {
    let limits =
        TenantEdit { monthly_soft_limit: Some(Some(2)), monthly_hard_limit: Some(Some(4)), ..TenantEdit::default() };
    let world = World::new(limits).await;
    for number in 1..=4 {
        let answer = world.post_once(&number.to_string(), &event()).await;
        let is_warned = answer.headers.get("x-usage-warning").is_some_and(|warning| warning == "soft-limit");
        assert_eq!((answer.status, is_warned), (201, number > 2), "event {number}");
    }
    let refused = world.post_once("5", &event()).await;
    assert_eq!(message(&refused), (429, &json!("Hard limit reached")));
    assert_eq!(refused.body["code"], "hard_limit");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");
    assert_eq!(world.post_once("1", &event()).await.status, 201);
}

/// So many at once, of which exactly so many are taken, on any number of shards.
async fn race(limit: u64, posts: usize, shards: u32) {
    let edit =
        TenantEdit { monthly_hard_limit: Some(Some(limit)), usage_shards: Some(shards), ..TenantEdit::default() };
    let world = World::new(edit).await;
    let body = event();
    let answers = world.answers((0..posts).map(|_| world.post(&body))).await;
    let with = |status| answers.iter().filter(|answer| answer.status == status).count();
    let taken = usize::try_from(limit).unwrap();
    assert_eq!((with(201), with(429)), (taken, posts - taken), "{shards} shards");
    assert_eq!(world.ingested().await, limit);
}

#[tokio::test]
async fn v16_a_hard_limit_is_exact_however_many_come_at_once() {
    for shards in [1, 4] {
        race(10, 40, shards).await;
    }
}

#[tokio::test]
async fn s3_five_thousand_posts_at_a_limit_of_one_thousand() {
    if client().0.stack().is_deployed {
        println!("skipped: the emulator starts a process for each post under way");
        return;
    }
    for shards in [1, 8] {
        race(1_000, 5_000, shards).await;
    }
}

#[tokio::test]
async fn v17_a_suspended_tenant_gets_nothing_in() {
    let world = World::new(TenantEdit { status: Some(TenantStatus::Suspended), ..TenantEdit::default() }).await;
    let refused = world.post(&event()).await;
    assert_eq!(message(&refused), (403, &json!("Tenant suspended")));
    assert_eq!((&refused.body["code"], world.ingested().await), (&json!("tenant_suspended"), 0));
}

#[tokio::test]
async fn keys_have_scopes_ends_and_an_end_on_demand() {
    let world = World::new(TenantEdit::default()).await;
    let status = async |key: &str| world.send(&[("x-api-key", key)], &event().to_string()).await;
    let reading = NewKey { scopes: vec!["usage:read".into()], ..World::new_key(&world.tenant) };
    let (reading, _) = world.keys.create(&reading).await.unwrap();
    assert_eq!(message(&status(reading.expose()).await), (403, &json!("API key lacks scope events:write")));
    let past: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let ended = NewKey { expires_at: Some(past), ..World::new_key(&world.tenant) };
    let (ended, _) = world.keys.create(&ended).await.unwrap();
    assert_eq!(message(&status(ended.expose()).await), (401, &json!("API key expired")));
    let (revoked, about) = world.keys.create(&World::new_key(&world.tenant)).await.unwrap();
    let revoke = KeyChange { revoke: true, ..KeyChange::default() };
    world.keys.change(&world.tenant.id, &about.id, &revoke, &|_| Ok(Vec::new())).await.unwrap().unwrap();
    assert_eq!(message(&status(revoked.expose()).await), (401, &json!("Invalid API key")));
}

#[tokio::test]
async fn old_keys_are_taken_by_their_hash_once_and_then_like_any_other() {
    let world = World::new(TenantEdit::default()).await;
    let text = format!("test_api_key_123-{}-{}", std::process::id(), unique());
    let hash = bcrypt::hash(&text, 4).unwrap();
    let prefix: String = text.chars().take(16).collect();
    assert!(world.keys.import_hashed(&World::new_key(&world.tenant), &prefix, &hash).await.unwrap());
    for _ in 0..2 {
        assert_eq!(world.send(&[("x-api-key", &text)], &event().to_string()).await.status, 201);
    }
    let listed = world.keys.list(&world.tenant.id).await.unwrap();
    assert!(listed.iter().all(|about| !about.prefix.contains(&text)), "nothing of it is kept in clear");
    assert_eq!(listed.len(), 2);
    let again = world.keys.import(&World::new_key(&world.tenant), &Secret::new(text)).await.unwrap();
    assert_eq!(again, None, "it is here already");
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event() {
    let world = World::new(TenantEdit::default()).await;
    let events = json!([event(), {"type": 1}, {"type": "t", "payload": {}, "idempotencyKey": "b"}, event()]);
    let headers = [("content-type", "application/json"), ("x-api-key", world.key.as_str())];
    let send =
        async |body: Value| world.client.send("POST", "/api/events/batch", &headers, body.to_string()).await.unwrap();
    let answer = send(json!({"events": events})).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let statuses: Vec<_> = answer.body["items"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [201, 400, 201, 201]);
    let again = send(json!({"events": events})).await;
    assert_eq!(
        (&again.body["items"][2]["id"], &again.body["items"][2]["replayed"]),
        (&answer.body["items"][2]["id"], &json!(true))
    );
    for wrong in [json!({}), json!({"events": []}), json!({"events": {}}), json!([])] {
        assert_eq!(send(wrong.clone()).await.status, 400, "{wrong}");
    }
    assert_eq!(world.ingested().await, 5);
}

#[tokio::test]
async fn a_batch_at_the_limit_is_taken_as_far_as_there_is_room() {
    let edit = TenantEdit { monthly_hard_limit: Some(Some(5)), usage_shards: Some(1), ..TenantEdit::default() };
    let world = World::new(edit).await;
    let headers = [("content-type", "application/json"), ("x-api-key", world.key.as_str())];
    let statuses = async || {
        let body = json!({"events": [event(), event(), event()]}).to_string();
        let answer = world.client.send("POST", "/api/events/batch", &headers, body).await.unwrap();
        let items = answer.body["items"].as_array().unwrap();
        let mut statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses().await, [201, 201, 201]);
    assert_eq!(statuses().await, [201, 201, 429]);
    assert_eq!(world.ingested().await, 5);
}
