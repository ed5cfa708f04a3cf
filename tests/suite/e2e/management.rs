//! What tenants and operators manage, over HTTP.

use super::client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_core::{Env, Secret};
use switchyard_io::Aws;
use switchyard_signals::users::{self, Imported, UserDeps};
use switchyard_tests::client::{Answer, Client, poll, unique};

const PASSWORD: &str = "correct-horse-1";

const SOON: Duration = Duration::from_secs(20);

/// A tenant with an owner who is logged in.
struct World {
    client: Client,
    users: UserDeps,
    operator: String,
    tenant: Value,
    slug: String,
    owner: String,
}

async fn log_in(client: &Client, slug: Option<&str>, email: &str, password: &str) -> Answer {
    let mut body = json!({"email": email, "password": password});
    if let Some(slug) = slug {
        body["tenant"] = slug.into();
    }
    client.post("/api/auth/login", &body).await.unwrap()
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["accessToken"].as_str().unwrap().to_owned()
}

impl World {
    async fn new() -> Self {
        let (client, _) = client();
        let aws = Aws::at(&client.stack().aws).await;
        let settings = client.settings_of("events-api").await.unwrap();
        let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
        let deps = UserDeps::from_env(&aws, &env).unwrap();
        let number = format!("{}-{}", std::process::id(), unique());
        let email = format!("ops-{number}@example.com");
        users::create_operator(&deps, "cli", &email, &Secret::new(PASSWORD.to_owned())).await.unwrap();
        let operator = token(&log_in(&client, None, &email, PASSWORD).await);
        let slug = format!("managed-{number}");
        let owner = json!({"email": "owner@acme.test", "password": PASSWORD});
        let new = json!({"slug": slug, "name": "Acme", "owner": owner});
        let world = Self { client, users: deps, operator, tenant: Value::Null, slug, owner: String::new() };
        let made = world.call("POST", "/api/tenants", &world.operator, &new).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let owner = token(&log_in(&world.client, Some(&world.slug), "Owner@Acme.test", PASSWORD).await);
        Self { tenant: made.body, owner, ..world }
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.client.send(method, path, &headers, body).await.unwrap()
    }

    async fn own(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &self.owner, body).await
    }

    /// A user of the tenant who is logged in.
    async fn user(&self, role: &str) -> (String, String) {
        let email = format!("{role}@acme.test");
        let made = self.own("POST", "/api/users", &json!({"email": email, "password": PASSWORD, "role": role})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let token = token(&log_in(&self.client, Some(&self.slug), &email, PASSWORD).await);
        (made.body["id"].as_str().unwrap().to_owned(), token)
    }

    async fn key(&self, body: &Value) -> (String, String) {
        let made = self.own("POST", "/api/api-keys", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    async fn rule(&self) -> Answer {
        let made = self.own("POST", "/api/rules", &rule("hi")).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made
    }

    /// Brings a message that cannot succeed, about an event of the tenant's that is nowhere.
    async fn bury(&self, event: &str) {
        let queue = self.client.settings_of("events-api").await.unwrap()["RULES_QUEUE_URL"].clone();
        let body = json!({"eventId": event, "type": "t"});
        let body = json!({"v": 1, "id": event, "kind": "signals.event", "tenant": self.tenant["id"], "body": body});
        let request = json!({"QueueUrl": queue, "MessageBody": body.to_string()});
        self.client.aws("AmazonSQS.SendMessage", &request).await.unwrap();
    }

    /// The first thing of a list, once there is one.
    async fn first(&self, path: &str) -> Value {
        let look = async || self.own("GET", path, &Value::Null).await.body["items"][0].clone();
        let found = poll(SOON, Duration::from_millis(100), async || Ok(look().await.is_object()));
        found.await.unwrap();
        look().await
    }

    async fn event(&self, key: &str) -> Answer {
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        let body = json!({"type": "user.signup", "payload": {"name": "Ann"}}).to_string();
        self.client.send("POST", "/api/events", &headers, body).await.unwrap()
    }
}

fn rule(text: &str) -> Value {
    let action = json!({"type": "notify", "channel": "telegram", "text": text});
    json!({"name": "r", "eventType": "user.*", "definition": {"schema": 2, "when": true, "actions": [action]}})
}

fn telegram() -> Value {
    let config = json!({"botToken": "42:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "destination": "1001"});
    json!({"name": "bot", "channel": "telegram", "config": config, "isDefault": true})
}

#[tokio::test]
async fn v22_v23_a_rule_that_is_wrong_is_refused_where_it_is() {
    let world = World::new().await;
    let legacy = json!({"name": "r", "eventType": "t", "definition": {"conditions": {"greaterThan": {"amount": 1000}},
        "actions": [{"type": "notify", "channel": "email"}]}});
    let answer = world.own("POST", "/api/rules", &legacy).await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("rule_invalid")), "{}", answer.body);
    let detail = &answer.body["details"][0];
    assert_eq!(
        (&detail["pointer"], &detail["code"]),
        (&json!("/definition/conditions/greaterThan"), &json!("unknown_condition"))
    );
    let mut wrong = rule("hi");
    wrong["definition"]["when"] = json!({"path": "payload.a", "op": "greater", "value": 1});
    let answer = world.own("POST", "/api/rules/validate", &wrong).await;
    let detail = &answer.body["details"][0];
    assert_eq!((answer.status, &detail["code"]), (400, &json!("unknown_operator")), "{}", answer.body);
    assert!(["gt", "gte"].contains(&detail["hint"].as_str().unwrap()));
}

#[tokio::test]
async fn v37_an_address_inside_is_refused_when_a_config_is_written() {
    let world = World::new().await;
    let secret = format!("whsec_{}", "A".repeat(44));
    let config = |url: &str| json!({"name": "w", "channel": "webhook", "config": {"url": url, "secret": secret}});
    let answer = world.own("POST", "/api/notification-configs", &config("https://169.254.169.254/")).await;
    assert_eq!((answer.status, &answer.body["details"][0]["pointer"]), (400, &json!("/url")), "{}", answer.body);
    assert_eq!(world.own("POST", "/api/notification-configs", &config("https://example.com/hook")).await.status, 201);
}

#[tokio::test]
async fn v38_the_version_in_force_is_the_one_that_fires() {
    let world = World::new().await;
    assert_eq!(world.own("POST", "/api/notification-configs", &telegram()).await.status, 201);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let made = world.rule().await;
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/api/rules/{id}");
    let bearer = format!("Bearer {}", world.owner);
    let put = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str()), ("if-match", tag)];
        world.client.send("PUT", &path, &headers, rule("two").to_string()).await.unwrap()
    };
    let second = put("\"1\"").await;
    assert_eq!((second.status, &second.body["version"]), (200, &json!(2)), "{}", second.body);
    assert_eq!(second.headers["etag"], "\"2\"");
    assert_eq!(put("\"1\"").await.status, 412);
    // Rulesets are kept for five seconds by whoever weighed one; this tenant's was not weighed yet.
    let event = world.event(&key).await.body;
    let path = format!("/api/events/{}", event["id"].as_str().unwrap());
    let shown = poll(Duration::from_secs(20), Duration::from_millis(100), async || {
        let shown = world.own("GET", &path, &Value::Null).await.body;
        // Whether it arrives is the far side's; a deployed stack asks Telegram itself.
        Ok(shown["deliveries"][0]["ruleVersion"].is_number())
    });
    shown.await.unwrap();
    let shown = world.own("GET", &path, &Value::Null).await.body;
    assert_eq!((&shown["deliveries"][0]["ruleVersion"], &shown["payload"]), (&json!(2), &json!({"name": "Ann"})));
    let activated = world.own("POST", &format!("/api/rules/{id}/versions/1/activate"), &Value::Null).await;
    assert_eq!((activated.status, &activated.body["version"]), (200, &json!(1)));
    let versions = async |query: &str| {
        let page = world.own("GET", &format!("/api/rules/{id}/versions{query}"), &Value::Null).await.body;
        let numbers = page["items"].as_array().unwrap().iter().map(|version| version["version"].as_u64().unwrap());
        (numbers.collect::<Vec<_>>(), page["nextCursor"].clone())
    };
    assert_eq!(versions("").await, (vec![2, 1], Value::Null));
    assert_eq!(versions("?limit=1").await, (vec![2], json!("2")));
    assert_eq!(versions("?limit=1&cursor=2").await, (vec![1], Value::Null));
    assert_eq!(versions("?cursor=1").await, (vec![], Value::Null));
}

#[tokio::test]
async fn a_rules_tag_tells_of_pauses_too_and_a_put_leaves_it_paused() {
    let world = World::new().await;
    let made = world.rule().await;
    let path = format!("/api/rules/{}", made.body["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", world.owner);
    let put = async |tag: &Answer| {
        let tag = tag.headers["etag"].to_str().unwrap();
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str()), ("if-match", tag)];
        world.client.send("PUT", &path, &headers, rule("two").to_string()).await.unwrap()
    };
    let paused = world.own("POST", &format!("{path}/pause"), &Value::Null).await;
    assert_eq!((paused.status, &paused.body["status"]), (200, &json!("paused")), "{}", paused.body);
    assert_eq!(put(&made).await.status, 412, "it was paused meanwhile");
    let replaced = put(&paused).await;
    assert_eq!((replaced.status, &replaced.body["status"]), (200, &json!("paused")), "{}", replaced.body);
    let shown = world.own("GET", &path, &Value::Null).await;
    assert_eq!(shown.headers["etag"], replaced.headers["etag"]);
    let tried = json!({"event": {"type": "user.signup", "payload": {}}});
    assert_eq!(world.own("POST", &format!("{path}/test"), &tried).await.body["stoppedBy"], "paused");
    let known = shown.headers["etag"].to_str().unwrap().to_owned();
    let resumed = world.own("POST", &format!("{path}/resume"), &Value::Null).await;
    for (method, path) in
        [("POST", format!("{path}/pause")), ("POST", format!("{path}/versions/1/activate")), ("DELETE", path.clone())]
    {
        let headers = [("authorization", bearer.as_str()), ("if-match", known.as_str())];
        let late = world.client.send(method, &path, &headers, String::new()).await.unwrap();
        assert_eq!((late.status, &late.body["code"]), (412, &json!("stale")), "{method} {path}");
    }
    assert_eq!((put(&shown).await.status, put(&resumed).await.body["status"].clone()), (412, json!("active")));
}

#[tokio::test]
async fn v39_both_keys_are_good_until_the_grace_is_over() {
    let world = World::new().await;
    let (id, old) = world.key(&json!({"label": "p", "environment": "test"})).await;
    assert!(old.starts_with("so_test_"));
    let rotated = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 3600})).await;
    assert_eq!(rotated.status, 201, "{}", rotated.body);
    assert!(rotated.body["previousExpiresAt"].is_string());
    let new = rotated.body["key"].as_str().unwrap();
    assert_eq!((world.event(&old).await.status, world.event(new).await.status), (201, 201));
    let id = rotated.body["id"].as_str().unwrap();
    let again = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 0})).await;
    let newest = again.body["key"].as_str().unwrap();
    assert_eq!(world.event(newest).await.status, 201);
    let listed = world.own("GET", "/api/api-keys", &Value::Null).await.body.to_string();
    assert!(!listed.contains(new) && !listed.contains("digest"), "a key shows once");
    // The first key's end was the grace's; the second's own is none, however often it is replaced.
    assert_eq!((&rotated.body["expiresAt"], &again.body["expiresAt"]), (&Value::Null, &Value::Null));
    let ended = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({})).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("key_not_active")), "{}", ended.body);
    assert_eq!(ended.body["message"], "The API key has expired");
    let over = json!({"label": "p", "expiresAt": "2026-01-01T00:00:00Z"});
    let over = world.own("POST", "/api/api-keys", &over).await;
    assert_eq!((over.status, &over.body["message"]), (400, &json!(["expiresAt must lie in the future"])));
    let wrong = world.own("POST", &format!("/api/api-keys/{id}/rotate"), &json!({"graceSeconds": 604_801})).await;
    assert_eq!((wrong.status, &wrong.body["message"]), (400, &json!(["graceSeconds must be 0 to 604800"])));
}

#[tokio::test]
async fn a_keys_end_is_moved_and_lifted_until_the_key_is_revoked() {
    let world = World::new().await;
    let end = json!("2999-01-01T00:00:00.000Z");
    let (id, _) = world.key(&json!({"label": "p", "expiresAt": end})).await;
    let path = format!("/api/api-keys/{id}");
    let patch = async |body: Value| world.own("PATCH", &path, &body).await;
    for (body, wanted) in [(json!({"label": "q"}), &end), (json!({"expiresAt": null}), &Value::Null)] {
        let changed = patch(body).await;
        assert_eq!((changed.status, &changed.body["expiresAt"]), (200, wanted), "{}", changed.body);
        assert_eq!(&world.own("GET", &path, &Value::Null).await.body["expiresAt"], wanted);
    }
    let revoke = format!("{path}/revoke");
    for _ in 0..2 {
        let revoked = world.own("POST", &revoke, &Value::Null).await;
        assert_eq!((revoked.status, &revoked.body["status"]), (200, &json!("revoked")), "as often as one likes");
    }
    let rotated = world.own("POST", &format!("{path}/rotate"), &json!({})).await;
    for refused in [patch(json!({"label": "r"})).await, rotated] {
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("key_not_active")), "{}", refused.body);
        assert_eq!(refused.body["message"], "The API key was revoked");
    }
}

#[tokio::test]
async fn v40_a_dead_letter_is_sent_again_once() {
    let world = World::new().await;
    world.bury("019b2a3c-7c00-7a11-8b22-0c0ffee00001").await;
    let letter = world.first("/api/dlq").await;
    assert_eq!((&letter["errorCode"], &letter["receiveCount"]), (&json!("unknown_event"), &json!(1)), "{letter}");
    let path = format!("/api/dlq/{}", letter["id"].as_str().unwrap());
    let full = world.own("GET", &path, &Value::Null).await;
    assert_eq!(full.body["body"]["tenant"], world.tenant["id"], "{}", full.body);
    let redrive = format!("{path}/redrive");
    let sent = world.own("POST", &redrive, &Value::Null).await;
    assert_eq!((sent.status, &sent.body["status"]), (202, &json!("enqueued")), "{}", sent.body);
    let again = world.own("POST", &redrive, &Value::Null).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("not_retryable")), "{}", again.body);
    // It is as bad as before, and comes back as another.
    let is_back = async || {
        let letters = world.own("GET", "/api/dlq?reason=unknown_event", &Value::Null).await.body;
        Ok(letters["items"].as_array().is_some_and(|letters| letters.len() == 2))
    };
    poll(SOON, Duration::from_millis(100), is_back).await.unwrap();
    assert_eq!(world.call("GET", &path, &world.operator, &Value::Null).await.status, 200, "an operator sees all");
    let several = world.call("POST", "/api/dlq/redrive", &world.owner, &json!({"queue": "rules", "max": 5})).await;
    assert_eq!((several.status, &several.body), (202, &json!({"matched": 1, "nextCursor": null})));
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", &path, &Value::Null).await.status, 404);
    for (body, message) in [
        (json!({"queue": "adt"}), "queue must be one of rules, notify"),
        (json!({"queue": "rules", "max": 501}), "max must be 1 to 500"),
        (json!({"queue": "rules", "olderThan": "yesterday"}), "olderThan must be an RFC 3339 time"),
    ] {
        let refused = world.own("POST", "/api/dlq/redrive", &body).await;
        assert_eq!((refused.status, &refused.body["message"]), (400, &json!([message])));
    }
}

#[tokio::test]
async fn a_delivery_shows_its_attempts_and_lists_by_state() {
    let world = World::new().await;
    let (_, key) = world.key(&json!({"label": "p"})).await;
    // Nobody set a bot up.
    world.rule().await;
    let event = world.event(&key).await.body;
    let failed = world.first("/api/deliveries?status=failed").await;
    assert_eq!((&failed["eventId"], &failed["lastError"]), (&event["id"], &json!("no_active_config")), "{failed}");
    let path = format!("/api/deliveries/{}", failed["id"].as_str().unwrap());
    let full = world.own("GET", &path, &Value::Null).await.body;
    assert_eq!((&full["status"], &full["history"]), (&json!("failed"), &json!([])), "{full}");
    let retried = world.own("POST", &format!("{path}/retry"), &Value::Null).await;
    assert_eq!((retried.status, &retried.body["code"]), (409, &json!("not_retryable")), "{}", retried.body);
    let sent = world.own("GET", "/api/deliveries?status=sent", &Value::Null).await.body;
    assert_eq!(sent, json!({"items": [], "nextCursor": null}));
    let wrong = world.own("GET", "/api/deliveries?status=lost", &Value::Null).await;
    assert!(wrong.body["message"][0].as_str().unwrap().starts_with("status must be one of pending"), "{}", wrong.body);
}

#[tokio::test]
async fn v41_members_look_and_admins_change() {
    let world = World::new().await;
    let (member_id, member) = world.user("member").await;
    let (_, admin) = world.user("admin").await;
    let refused = world.call("POST", "/api/rules", &member, &rule("hi")).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")));
    assert_eq!(world.call("POST", "/api/rules", &admin, &rule("hi")).await.status, 201);
    assert_eq!(world.call("GET", "/api/rules", &member, &Value::Null).await.body["items"][0]["name"], "r");
    let (owner_new, raised) =
        (json!({"email": "x@acme.test", "password": PASSWORD, "role": "owner"}), json!({"role": "owner"}));
    assert_eq!(world.call("POST", "/api/users", &admin, &owner_new).await.status, 403, "an admin makes no owners");
    let path = format!("/api/users/{member_id}");
    assert_eq!(world.call("PATCH", &path, &admin, &raised).await.status, 403);
    assert_eq!(world.own("PATCH", &path, &raised).await.status, 200);
    for (method, body) in [("PATCH", json!({"password": "another-horse-2"})), ("DELETE", Value::Null)] {
        let refused = world.call(method, &path, &admin, &body).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("forbidden")), "owner by now");
    }
    assert_eq!(world.call("PATCH", "/api/tenant", &admin, &json!({"name": "x"})).await.status, 403);
    let renamed = world.own("PATCH", "/api/tenant", &json!({"name": "Other"})).await;
    assert_eq!((renamed.status, &renamed.body["name"]), (200, &json!("Other")));
    let limits = world.own("PATCH", "/api/tenant", &json!({"monthlyHardLimit": 1})).await;
    assert_eq!(limits.status, 400, "a tenant does not raise its own limits");
    assert!(limits.body["message"][0].as_str().unwrap().contains("monthlyHardLimit"), "{}", limits.body);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let world = World::new().await;
    let me = world.own("GET", "/api/auth/me", &Value::Null).await.body;
    let path = format!("/api/users/{}", me["id"].as_str().unwrap());
    for (method, body) in [("DELETE", Value::Null), ("PATCH", json!({"role": "member"}))] {
        let answer = world.own(method, &path, &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("last_owner")), "{}", answer.body);
    }
    let second = json!({"email": "second@acme.test", "password": PASSWORD, "role": "owner"});
    assert_eq!(world.own("POST", "/api/users", &second).await.status, 201);
    assert_eq!(world.own("POST", "/api/users", &second).await.status, 409, "the address is taken");
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", "/api/auth/me", &Value::Null).await.status, 401, "the token ended with its user");
}

#[tokio::test]
async fn a_new_password_ends_older_tokens_and_guessing_ends_soon() {
    let world = World::new().await;
    let wrong = json!({"current": "not it at all", "new": "another-horse-2"});
    assert_eq!(world.own("POST", "/api/auth/password", &wrong).await.status, 400);
    let right = json!({"current": PASSWORD, "new": "another-horse-2"});
    assert_eq!(world.own("POST", "/api/auth/password", &right).await.status, 204);
    let ended = world.own("GET", "/api/auth/me", &Value::Null).await;
    assert_eq!((ended.status, &ended.body["message"]), (401, &json!("Invalid token")));
    let slug = Some(world.slug.as_str());
    for _ in 0..10 {
        let refused = log_in(&world.client, slug, "owner@acme.test", PASSWORD).await;
        assert_eq!((refused.status, &refused.body["message"]), (401, &json!("Invalid credentials")));
    }
    let throttled = log_in(&world.client, slug, "owner@acme.test", "another-horse-2").await;
    assert_eq!((throttled.status, &throttled.body["code"]), (429, &json!("too_many_attempts")));
    assert!(throttled.headers.contains_key("retry-after"));
    let nobody = log_in(&world.client, slug, "nobody@acme.test", PASSWORD).await;
    assert_eq!((nobody.status, &nobody.body["message"]), (401, &json!("Invalid credentials")));
}

#[tokio::test]
async fn an_account_has_one_count_of_attempts_however_it_is_named() {
    let world = World::new().await;
    let email = format!("ann-{}@acme.test", world.slug);
    let new = json!({"email": email, "password": PASSWORD, "role": "member"});
    assert_eq!(world.own("POST", "/api/users", &new).await.status, 201);
    let names = [Some(world.slug.as_str()), None];
    let tries = async |name, password| log_in(&world.client, name, &email, password).await.status;
    assert_eq!((tries(names[0], PASSWORD).await, tries(names[1], PASSWORD).await), (200, 200));
    for attempt in 0..10 {
        assert_eq!(tries(names[attempt % 2], "not it at all").await, 401);
    }
    assert_eq!((tries(names[0], PASSWORD).await, tries(names[1], PASSWORD).await), (429, 429));
}

#[tokio::test]
async fn nobody_logs_in_to_a_tenant_that_is_deleted() {
    let (world, other) = (World::new().await, World::new().await);
    let email = format!("ann-{}@acme.test", world.slug);
    let new = json!({"email": email, "password": PASSWORD, "role": "member"});
    for tenant in [&world, &other] {
        assert_eq!(tenant.own("POST", "/api/users", &new).await.status, 201);
    }
    let slugs = [Some(world.slug.as_str()), Some(other.slug.as_str()), None];
    let statuses = async || {
        let mut statuses = Vec::new();
        for slug in slugs {
            let answer = log_in(&world.client, slug, &email, PASSWORD).await;
            let is_refused = answer.body["message"] == "Invalid credentials";
            assert_eq!(answer.status == 401, is_refused, "{}", answer.body);
            statuses.push(answer.status);
        }
        statuses
    };
    let delete = async |tenant: &World| {
        let path = format!("/api/tenants/{}", tenant.tenant["id"].as_str().unwrap());
        assert_eq!(tenant.call("DELETE", &path, &tenant.operator, &Value::Null).await.status, 202);
    };
    assert_eq!(statuses().await, [200, 200, 401], "without a tenant it is nobody's while two have it");
    delete(&world).await;
    assert_eq!(statuses().await, [401, 200, 200], "what is deleted does not stand in the way");
    delete(&other).await;
    assert_eq!(statuses().await, [401, 401, 401]);
}

#[tokio::test]
async fn a_scope_is_given_once_and_is_one_of_ours() {
    let world = World::new().await;
    let (id, _) = world.key(&json!({"label": "p", "scopes": ["events:read", "events:write"]})).await;
    let (path, twice) = (format!("/api/api-keys/{id}"), ["events:read", "usage:read", "events:read"]);
    let made = world.own("POST", "/api/api-keys", &json!({"label": "p", "scopes": twice})).await;
    for refused in [made, world.own("PATCH", &path, &json!({"scopes": twice})).await] {
        let wanted = json!(["scopes: events:read must not be given twice"]);
        assert_eq!((refused.status, &refused.body["message"]), (400, &wanted), "{}", refused.body);
    }
    let unknown = world.own("PATCH", &path, &json!({"scopes": ["events:all"]})).await;
    assert_eq!(unknown.status, 400, "{}", unknown.body);
    assert!(unknown.body["message"][0].as_str().unwrap().starts_with("scopes: events:all is none"));
}

#[tokio::test]
async fn a_dry_run_shows_what_a_rule_would_do() {
    let world = World::new().await;
    let document = json!({"name": "Big card failure", "eventType": "payment.*", "definition": {"schema": 2,
        "when": {"all": [{"path": "payload.method", "op": "eq", "value": "card", "ci": true},
                         {"path": "payload.amount", "op": "gte", "value": 750}]},
        "cooldown": {"for": "15m", "by": ["payload.customerId"]},
        "actions": [{"type": "notify", "channel": "slack", "text": "{{payload.customerId}} failed {{payload.amount}} (+{{suppressed}} quiet)"}]}});
    let made = world.own("POST", "/api/rules", &document).await;
    let path = format!("/api/rules/{}/test", made.body["id"].as_str().unwrap());
    let event = json!({"type": "payment.failed", "payload": {"method": "Card", "amount": 900, "customerId": "c7"}});
    let ran = world.own("POST", &path, &json!({"event": event})).await;
    assert_eq!((ran.status, &ran.body["wouldFire"]), (200, &json!(true)), "{}", ran.body);
    assert_eq!(ran.body["renders"][0]["text"], "c7 failed 900 (+0 quiet)");
    assert_eq!(ran.body["trace"][1]["pointer"], "/definition/when/all/1");
    let inline = world
        .own(
            "POST",
            "/api/rules/test",
            &json!({"rule": document, "event": event, "state": {"lastFiredAt": "yesterday"}}),
        )
        .await;
    assert_eq!(inline.body["message"], json!(["state.lastFiredAt must be an RFC 3339 time"]));
    let strange = world.own("POST", &path, &json!({"event": event, "verbose": true})).await;
    assert!(strange.body["message"][0].as_str().unwrap().contains("verbose"), "{}", strange.body);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    assert_eq!(world.event(&key).await.status, 201);
    let sampled = world.own("POST", "/api/rules/test?sample=10", &json!({"rule": rule("hi")})).await;
    assert_eq!((&sampled.body["sampled"], &sampled.body["matched"]), (&json!(1), &json!(1)), "{}", sampled.body);
}

#[tokio::test]
async fn nobody_takes_an_operators_address_or_a_secret_away() {
    let world = World::new().await;
    let me = world.call("GET", "/api/auth/me", &world.operator, &Value::Null).await.body;
    let email = me["email"].as_str().unwrap();
    let same = json!({"email": email, "password": "another-horse-2", "role": "member"});
    assert_eq!(world.own("POST", "/api/users", &same).await.status, 201);
    let again = log_in(&world.client, None, email, PASSWORD).await;
    assert_eq!(again.status, 200, "{}", again.body);

    let mail = |url: &str, token: &str| {
        let config = json!({"transport": "http", "from": "a@acme.test", "http": {"url": url, "token": token}});
        json!({"name": "m", "channel": "email", "config": config})
    };
    let made = world.own("POST", "/api/notification-configs", &mail("https://example.com/a", "secret-token-1")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api/notification-configs/{}", made.body["id"].as_str().unwrap());
    let shown = made.body["config"]["http"]["token"].as_str().unwrap();
    assert_eq!(world.own("PUT", &path, &mail("https://example.com/a", shown)).await.status, 200);
    let elsewhere = world.own("PUT", &path, &mail("https://example.org/a", shown)).await;
    assert_eq!(
        (elsewhere.status, &elsewhere.body["details"][0]["pointer"]),
        (400, &json!("/http/token")),
        "{}",
        elsewhere.body
    );
    let billed = json!({"metadata": {"stripeCustomerId": "cus_another"}});
    assert_eq!(world.own("PATCH", "/api/tenant", &billed).await.status, 400);
}

#[tokio::test]
async fn mail_over_ses_is_sent_as_an_operator_allows() {
    let world = World::new().await;
    let mail = |from: &str| {
        let config = json!({"transport": "ses", "from": from, "ses": {"region": "us-east-1"}});
        json!({"name": "m", "channel": "email", "config": config})
    };
    let path = format!("/api/tenants/{}", world.tenant["id"].as_str().unwrap());
    let allowed = json!({"metadata": {"sesIdentities": ["acme.test"]}});
    let refused = world.own("POST", "/api/notification-configs", &mail("Acme <a@acme.test>")).await;
    assert_eq!((refused.status, &refused.body["details"][0]["pointer"]), (400, &json!("/from")), "{}", refused.body);
    assert_eq!(world.own("PATCH", "/api/tenant", &allowed).await.status, 400);
    let strange = json!({"metadata": {"sesIdentities": "acme.test"}});
    assert_eq!(world.call("PATCH", &path, &world.operator, &strange).await.status, 400);
    assert_eq!(world.call("PATCH", &path, &world.operator, &allowed).await.status, 200);
    let made = world.own("POST", "/api/notification-configs", &mail("Acme <a@acme.test>")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/api/notification-configs/{}", made.body["id"].as_str().unwrap());
    assert_eq!(world.own("PUT", &path, &mail("a@globex.test")).await.status, 400);
    // What an owner leaves out of the metadata stays.
    assert_eq!(world.own("PATCH", "/api/tenant", &json!({"metadata": {"note": "x"}})).await.status, 200);
    assert_eq!(world.own("PUT", &path, &mail("b@acme.test")).await.status, 200);
}

#[tokio::test]
async fn users_from_elsewhere_keep_their_passwords() {
    let world = World::new().await;
    let tenant = world.tenant["id"].as_str().unwrap();
    let hash = bcrypt::hash(PASSWORD, 4).unwrap().replacen("$2b$", "$2y$", 1);
    let row = |email: &str, role: &str| json!({"email": email, "passwordHash": hash, "role": role});
    let wrong = [row("ann@acme.test", "admin"), row("Owner@acme.test", "member"), row("ANN@acme.test", "member")];
    let refused = users::import(&world.users, "cli", tenant, &wrong).await.unwrap();
    let Imported::Wrong(rows) = refused else { panic!("{refused:?}") };
    assert_eq!(rows.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log_in(&world.client, Some(&world.slug), "ann@acme.test", PASSWORD).await.status, 401);
    let rows = [row("ann@acme.test", "admin"), row("bob@acme.test", "member")];
    let made = users::import(&world.users, "cli", tenant, &rows).await.unwrap();
    assert!(matches!(made, Imported::Done(2)), "{made:?}");
    assert_eq!(log_in(&world.client, Some(&world.slug), "ann@acme.test", "another-horse").await.status, 401);
    // The second time the hash is ours.
    for _ in 0..2 {
        let token = token(&log_in(&world.client, Some(&world.slug), "ann@acme.test", PASSWORD).await);
        assert_eq!(world.call("GET", "/api/auth/me", &token, &Value::Null).await.body["role"], "admin");
    }
    let settings = world.client.settings_of("events-api").await.unwrap();
    let query = json!({
        "TableName": settings["SIGNALS_TABLE"],
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
        "ExpressionAttributeValues": {":pk": {"S": format!("T#{tenant}")}, ":sk": {"S": "USER#"}},
    });
    let kept = world.client.aws("DynamoDB_20120810.Query", &query).await.unwrap();
    for (email, form) in [("ann@acme.test", "$argon2id$"), ("bob@acme.test", "$2y$")] {
        let rows = kept["Items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["email"]["S"] == email).unwrap();
        assert!(row["password_hash"]["S"].as_str().unwrap().starts_with(form), "{row}");
    }
}

#[tokio::test]
async fn what_an_owner_hides_is_seen_by_rules_alone() {
    let world = World::new().await;
    for wrong in ["email", "payload", "type", "payload.a[*][*]"] {
        let answer = world.own("PATCH", "/api/tenant", &json!({"redact": ["payload.a", wrong]})).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
        let message = answer.body["message"][0].as_str().unwrap();
        assert!(message.starts_with("redact must") && message.contains(wrong), "{message}");
    }
    let (_, admin) = world.user("admin").await;
    let hidden = json!({"redact": ["payload.name"]});
    assert_eq!(world.call("PATCH", "/api/tenant", &admin, &hidden).await.status, 403);
    let set = world.own("PATCH", "/api/tenant", &hidden).await;
    assert_eq!((set.status, &set.body["redact"]), (200, &hidden["redact"]), "{}", set.body);
    let mut by_name = rule("hi");
    by_name["definition"]["when"] = json!({"path": "payload.name", "op": "eq", "value": "Canaryperson"});
    assert_eq!(world.own("POST", "/api/rules", &by_name).await.status, 201);

    let (_, key) = world.key(&json!({"label": "p", "scopes": ["events:write", "events:read"]})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let event = json!({"type": "user.signup", "payload": {"name": "Canaryperson", "n": 1}}).to_string();
    let taken = world.client.send("POST", "/api/events", &headers, event).await.unwrap();
    let path = format!("/api/events/{}", taken.body["id"].as_str().unwrap());
    let read = async || world.client.send("GET", &path, &headers[1..], String::new()).await.unwrap().body;
    let processed =
        poll(Duration::from_secs(20), Duration::from_millis(100), async || Ok(read().await["status"] == "processed"));
    processed.await.unwrap();
    let read = read().await;
    assert_eq!(read["payload"], json!({"name": "***", "n": 1}), "{read}");
    let outcome = read["outcomes"].as_object().unwrap().values().next().unwrap();
    assert_eq!(outcome["outcome"], "fired", "{read}");
    let listed = world.own("GET", "/api/events", &Value::Null).await.body;
    assert_eq!(listed["items"][0]["payload"], read["payload"]);
    let sampled = world.own("POST", "/api/rules/test?sample=10", &json!({"rule": by_name})).await.body;
    assert_eq!((&sampled["sampled"], &sampled["matched"]), (&json!(1), &json!(0)), "nobody finds out by asking");
    let twice = r#"{"type":"user.signup","payload":{"name":"Canaryperson","name":"b"}}"#.to_owned();
    let taken = world.client.send("POST", "/api/events", &headers, twice).await.unwrap();
    let path = format!("/api/events/{}", taken.body["id"].as_str().unwrap());
    let shown = world.own("GET", &path, &Value::Null).await;
    assert!(!shown.body.to_string().contains("Canaryperson"), "{}", shown.body);
    if let Some(logs) = &world.client.stack().logs {
        assert!(logs.kept().iter().all(|(_, line)| !line.contains("Canaryperson")));
    }
}

#[tokio::test]
async fn a_rate_is_set_by_operators_and_refuses_what_comes_too_fast() {
    let world = World::new().await;
    let path = format!("/api/tenants/{}", world.tenant["id"].as_str().unwrap());
    assert_eq!(world.own("PATCH", "/api/tenant", &json!({"ratePerSecond": 1})).await.status, 400);
    let wrong = world.call("PATCH", &path, &world.operator, &json!({"ratePerSecond": 0})).await;
    assert_eq!(wrong.body["message"], json!(["ratePerSecond must be 1 to 1000, or null"]));
    let set = world.call("PATCH", &path, &world.operator, &json!({"ratePerSecond": 1})).await;
    assert_eq!((set.status, &set.body["ratePerSecond"]), (200, &json!(1)), "{}", set.body);
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let event = json!({"type": "t", "payload": {}});
    let batch = json!({"events": vec![event; 20]}).to_string();
    let items = world.client.send("POST", "/api/events/batch", &headers, batch).await.unwrap().body;
    let items = items["items"].as_array().unwrap();
    let refused = items.iter().find(|item| item["status"] == 429).unwrap();
    assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    assert!(items.iter().any(|item| item["status"] == 201));
    let mut answers = Vec::new();
    while answers.len() < 20 {
        answers.push(world.event(&key).await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["code"], "rate_limited");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_breaks_nothing() {
    let world = World::new().await;
    let long = "a".repeat(3_000);
    for (path, status) in [
        ("/api/events?from=9999-12-30T00:00:00Z", 400),
        ("/api/events?to=-009999-01-02T02:00:00Z", 400),
        ("/api/events?cursor=!", 400),
        ("/api/events?cursor=", 400),
        ("/api/dlq?cursor=-", 400),
        ("/api/dlq?kind=x", 400),
        ("/api/deliveries?cursor=-", 400),
        ("/api/deliveries?cursor=", 400),
        ("/api/users?limit=abc", 400),
        ("/api/rules/x/versions?cursor=y", 400),
        ("/api/api-keys?bogus=1", 400),
        (&*format!("/api/rules/{long}"), 404),
        (&*format!("/api/deliveries?eventId={long}"), 404),
    ] {
        let answer = world.own("GET", path, &Value::Null).await;
        assert_eq!(answer.status, status, "{} {}", &path[..path.len().min(60)], answer.body);
    }
    assert_eq!(log_in(&world.client, Some(&long), "a@acme.test", PASSWORD).await.status, 401);
    let padded = rule("hi").to_string() + &" ".repeat(40_000);
    let headers = [("content-type", "application/json"), ("authorization", &*format!("Bearer {}", world.owner))];
    let answer = world.client.send("POST", "/api/rules", &headers, padded).await.unwrap();
    assert_eq!((answer.status, &answer.body["details"][0]["code"]), (400, &json!("too_large")), "{}", answer.body);
    let made = world.rule().await.body;
    let path = format!("/api/rules/{}", made["id"].as_str().unwrap());
    let strange = world.own("POST", &format!("{path}/pause"), &json!({"for": "ever"})).await;
    assert!(strange.status == 400 && strange.body["message"][0].as_str().unwrap().contains("for"), "{}", strange.body);
    assert_eq!(world.own("GET", &format!("{path}?for=ever"), &Value::Null).await.status, 400);
    assert_eq!(world.own("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(world.own("GET", &path, &Value::Null).await.status, 404);
    assert_eq!(world.own("POST", &format!("{path}/resume"), &Value::Null).await.status, 404, "archived for ever");
}

#[tokio::test]
async fn events_are_listed_page_by_page_however_large_they_are() {
    let world = World::new().await;
    let (_, key) = world.key(&json!({"label": "p"})).await;
    let headers = [("content-type", "application/json"), ("x-api-key", key.as_str())];
    let mut posted = Vec::new();
    for number in 0..60 {
        let body = json!({"type": "large.event", "payload": {"number": number, "text": "x".repeat(100_000)}});
        let answer = world.client.send("POST", "/api/events", &headers, body.to_string()).await.unwrap();
        posted.push(answer.body["id"].as_str().unwrap().to_owned());
    }
    posted.reverse();
    for limit in [50, 200] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/events?type=large.*&limit={limit}{cursor}");
            let page = world.own("GET", &path, &Value::Null).await;
            assert_eq!(page.status, 200, "{}", page.body);
            let items = page.body["items"].as_array().unwrap();
            listed.extend(items.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(listed, posted, "limit {limit}");
    }
    let none = world
        .own("GET", "/api/events?type=other&from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z", &Value::Null)
        .await;
    assert_eq!(none.status, 400, "{}", none.body);
}

#[tokio::test]
async fn a_creation_that_is_repeated_takes_effect_once() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.owner);
    let headers =
        [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let send =
        async |body: &Value| world.client.send("POST", "/api/api-keys", &headers, body.to_string()).await.unwrap();
    let (first, again) = (send(&json!({"label": "p"})).await, send(&json!({"label": "p"})).await);
    assert_eq!((first.status, &first.body["key"]), (201, &again.body["key"]));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(send(&json!({"label": "q"})).await.status, 422);
    let listed = world.own("GET", "/api/api-keys", &Value::Null).await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let headers =
        [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", "two")];
    let make = async || world.client.send("POST", "/api/rules", &headers, rule("hi").to_string()).await.unwrap();
    let (first, again) = (make().await, make().await);
    assert_eq!((first.status, &first.body["id"]), (201, &again.body["id"]));
    assert_eq!(first.headers["etag"], again.headers["etag"]);
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn a_suspended_tenant_may_look_and_no_more() {
    let world = World::new().await;
    let id = world.tenant["id"].as_str().unwrap();
    let suspend = format!("/api/tenants/{id}/suspend");
    assert_eq!(world.call("POST", &suspend, &world.operator, &Value::Null).await.body["status"], "suspended");
    let refused = world.own("POST", "/api/rules", &rule("hi")).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("tenant_suspended")));
    assert_eq!(world.own("GET", "/api/rules", &Value::Null).await.status, 200);
    assert_eq!(world.call("DELETE", &format!("/api/tenants/{id}"), &world.operator, &Value::Null).await.status, 202);
    assert_eq!(world.own("GET", "/api/rules", &Value::Null).await.status, 401, "nobody logs in to what is deleted");
    let activated = world.call("POST", &format!("/api/tenants/{id}/activate"), &world.operator, &Value::Null).await;
    assert_eq!((activated.status, &activated.body["code"]), (409, &json!("tenant_deleted")), "{}", activated.body);
}

/// Every route, with a body it would take. What has no line here fails the test below.
fn cases() -> BTreeMap<(&'static str, &'static str), Value> {
    let none = || Value::Null;
    let event = json!({"type": "user.signup", "payload": {}});
    BTreeMap::from([
        (("post", "/api/events"), event.clone()),
        (("post", "/api/events/batch"), json!({"events": [event]})),
        (("get", "/api/auth/me"), none()),
        (("post", "/api/auth/password"), json!({"current": "not it at all", "new": "another-horse-2"})),
        (("post", "/api/tenants"), json!({"slug": "walked", "name": "Walked"})),
        (("get", "/api/tenants"), none()),
        (("get", "/api/tenants/{id}"), none()),
        (("patch", "/api/tenants/{id}"), json!({"name": "x"})),
        (("post", "/api/tenants/{id}/suspend"), none()),
        (("post", "/api/tenants/{id}/activate"), none()),
        (("delete", "/api/tenants/{id}"), none()),
        (("get", "/api/tenant"), none()),
        (("patch", "/api/tenant"), json!({"name": "x"})),
        (("post", "/api/users"), json!({"email": "n@acme.test", "password": PASSWORD, "role": "member"})),
        (("get", "/api/users"), none()),
        (("patch", "/api/users/{id}"), json!({"role": "admin"})),
        (("delete", "/api/users/{id}"), none()),
        (("post", "/api/api-keys"), json!({"label": "x"})),
        (("get", "/api/api-keys"), none()),
        (("get", "/api/api-keys/{id}"), none()),
        (("patch", "/api/api-keys/{id}"), json!({"label": "x"})),
        (("post", "/api/api-keys/{id}/rotate"), json!({})),
        (("post", "/api/api-keys/{id}/revoke"), none()),
        (("delete", "/api/api-keys/{id}"), none()),
        (("post", "/api/rules"), rule("x")),
        (("get", "/api/rules"), none()),
        (("post", "/api/rules/validate"), rule("x")),
        (("post", "/api/rules/test"), json!({"rule": rule("x"), "event": event})),
        (("get", "/api/rules/{id}"), none()),
        (("put", "/api/rules/{id}"), rule("x")),
        (("post", "/api/rules/{id}/pause"), none()),
        (("post", "/api/rules/{id}/resume"), none()),
        (("delete", "/api/rules/{id}"), none()),
        (("post", "/api/rules/{id}/test"), json!({"event": event})),
        (("get", "/api/rules/{id}/versions"), none()),
        (("get", "/api/rules/{id}/versions/{n}"), none()),
        (("post", "/api/rules/{id}/versions/{n}/activate"), none()),
        (("post", "/api/notification-configs"), telegram()),
        (("get", "/api/notification-configs"), none()),
        (("get", "/api/notification-configs/{id}"), none()),
        (("put", "/api/notification-configs/{id}"), telegram()),
        (("delete", "/api/notification-configs/{id}"), none()),
        (("post", "/api/notification-configs/{id}/enable"), none()),
        (("post", "/api/notification-configs/{id}/disable"), none()),
        (("post", "/api/notification-configs/{id}/test"), json!({})),
        (("get", "/api/events"), none()),
        (("get", "/api/events/{id}"), none()),
        (("post", "/api/events/{id}/replay"), json!({"notify": false})),
        (("get", "/api/deliveries"), none()),
        (("get", "/api/deliveries/{id}"), none()),
        (("post", "/api/deliveries/{id}/retry"), none()),
        (("get", "/api/dlq"), none()),
        (("post", "/api/dlq/redrive"), json!({"queue": "rules"})),
        (("get", "/api/dlq/{id}"), none()),
        (("delete", "/api/dlq/{id}"), none()),
        (("post", "/api/dlq/{id}/redrive"), none()),
        (("get", "/api/suppressions"), none()),
        (("delete", "/api/suppressions/{id}"), none()),
        (("get", "/api/usage"), none()),
        (("get", "/api/usage/export"), none()),
    ])
}

/// Routes that ask for no credential.
const OPEN: [&str; 8] = [
    "/api/hooks/whatsapp",
    "/api/hooks/ses",
    "/api/docs",
    "/api/docs-json",
    "/api/docs-yaml",
    "/api/health",
    "/api/health/ready",
    "/api/auth/login",
];

/// What a foreign owner's token is told: that there is no such thing; of operators' routes, that they are not for it.
fn token_refusals(path: &str) -> &'static [u16] {
    if path.starts_with("/api/tenants") { &[403] } else { &[404] }
}

#[tokio::test]
async fn s6_one_tenant_can_neither_see_nor_touch_anothers() {
    let (own, other) = (World::new().await, World::new().await);
    let config = own.own("POST", "/api/notification-configs", &telegram()).await.body;
    let rule = own.rule().await.body;
    let (key_id, key) = own.key(&json!({"label": "p"})).await;
    let (user, _) = own.user("member").await;
    let event = own.event(&key).await.body;
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let delivery = own.first(&format!("/api/deliveries?eventId={}", id(&event))).await;
    own.bury("019b2a3c-7c00-7a11-8b22-0c0ffee00001").await;
    let letter = own.first("/api/dlq?queue=rules").await;
    let ids = [id(&own.tenant), id(&config), id(&rule), key_id, user, id(&event), id(&delivery), id(&letter)];
    let [tenant, config, rule, key_id, user, event, delivery, letter] = ids.clone();
    let of_path = |path: &str| {
        let id = match path.split('/').nth(2).unwrap_or_default() {
            "tenants" => &tenant,
            "users" => &user,
            "api-keys" => &key_id,
            "rules" => &rule,
            "notification-configs" => &config,
            "deliveries" => &delivery,
            "dlq" => &letter,
            _ => &event,
        };
        let query = match path {
            "/api/deliveries" => format!("?eventId={event}"),
            "/api/usage/export" => "?format=csv&period=2026-11".to_owned(),
            _ => String::new(),
        };
        path.replace("{id}", id).replace("{n}", "1") + &query
    };
    let scopes = ["events:write", "events:read", "rules:read", "rules:write", "usage:read", "deliveries:read"];
    let (_, foreign_key) = other.key(&json!({"label": "all", "scopes": scopes})).await;

    let cases = cases();
    let document = own.client.get("/api/docs-json").await.unwrap().body;
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            if OPEN.contains(&path.as_str()) {
                continue;
            }
            let body = cases.get(&(method.as_str(), path.as_str()));
            let body = body.unwrap_or_else(|| panic!("{method} {path} is a new route and needs its line"));
            let (what, at, upper) = (format!("{method} {path}"), of_path(path), method.to_uppercase());
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let json = ("content-type", "application/json");
            for nobody in
                [&[json][..], &[json, ("x-api-key", "so_live_guess")], &[json, ("authorization", "Bearer x.y.z")]]
            {
                let answer = own.client.send(&upper, &at, nobody, text.clone()).await.unwrap();
                assert_eq!(answer.status, 401, "{what}: {}", answer.body);
            }
            let by_token = other.call(&upper, &at, &other.owner, body).await;
            let by_key = own.client.send(&upper, &at, &[json, ("x-api-key", &foreign_key)], text).await.unwrap();
            for (answer, refusals) in [(by_token, token_refusals(path)), (by_key, &[403, 404])] {
                let is_hidden = match path.contains('{') {
                    true => refusals.contains(&answer.status),
                    false => ids.iter().all(|id| !answer.body.to_string().contains(id)),
                };
                assert!(is_hidden, "{what} lets another in: {} {}", answer.status, answer.body);
            }
            walked += 1;
        }
    }
    assert_eq!(walked, cases.len(), "a line here stands for no route");
    // And all of it is still as it was.
    assert_eq!(own.event(&key).await.status, 201);
    assert_eq!(own.own("GET", &format!("/api/rules/{rule}"), &Value::Null).await.body["version"], 1);
    assert_eq!(own.own("GET", &format!("/api/notification-configs/{config}"), &Value::Null).await.status, 200);
    assert_eq!(own.own("GET", "/api/users", &Value::Null).await.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(own.own("GET", &format!("/api/dlq/{letter}"), &Value::Null).await.body["redrivenAt"], Value::Null);
}
