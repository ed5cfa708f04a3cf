//! Operators: created with the stack's own credentials, then signing in, managing each other, and signing out.

use super::client;
use serde_json::{Value, json};
use switchyard_tests::client::{Answer, Client, unique};

const PASSWORD: &str = "correct-horse-1";

struct World {
    client: Client,
    basic: String,
}

impl World {
    async fn new() -> Self {
        let (client, _) = client();
        let basic = client.admin().await.unwrap();
        Self { client, basic }
    }

    async fn call(&self, method: &str, path: &str, authorization: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("authorization", authorization)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.client.send(method, path, &headers, body).await.unwrap()
    }

    /// Creates an operator and returns the id and the address.
    async fn create(&self) -> (String, String) {
        let email = format!("ops-{}-{}@example.com", std::process::id(), unique());
        let new = json!({"email": email, "name": "Ada", "password": PASSWORD});
        let made = self.call("POST", "/admin/operators", &self.basic, &new).await;
        assert_eq!((made.status, &made.body["createdBy"]), (201, &json!("basic:admin")), "{}", made.body);
        assert!(!made.body.to_string().contains("argon2"), "a hash is never shown");
        (made.body["id"].as_str().unwrap().to_owned(), email)
    }

    async fn attempt(&self, email: &str, password: &str) -> Answer {
        let credentials = json!({"email": email, "password": password});
        self.call("POST", "/admin/auth/login", "", &credentials).await
    }

    async fn sign_in(&self, email: &str) -> String {
        let answer = self.attempt(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        format!("Bearer {}", answer.body["accessToken"].as_str().unwrap())
    }
}

#[tokio::test]
async fn a_token_is_valid_in_every_function_until_signed_out() {
    let world = World::new().await;
    let (id, email) = world.create().await;
    let token = world.sign_in(&email.to_uppercase()).await;
    let me = world.call("GET", "/admin/auth/me", &token, &Value::Null).await;
    assert_eq!((me.status, &me.body["id"], &me.body["status"]), (200, &json!(id), &json!("active")));
    for path in ["/admin/dlq", "/admin/operators", "/api/tenants", "/api/auth/me"] {
        assert_eq!(world.call("GET", path, &token, &Value::Null).await.status, 200, "{path}");
    }
    let other = world.sign_in(&email).await;
    assert_eq!(world.call("POST", "/admin/auth/logout", &token, &Value::Null).await.status, 204);
    for path in ["/admin/auth/me", "/admin/dlq", "/api/tenants", "/api/auth/me"] {
        assert_eq!(world.call("GET", path, &token, &Value::Null).await.status, 401, "{path}");
    }
    assert_eq!(world.call("GET", "/admin/auth/me", &other, &Value::Null).await.status, 200, "another session stays");
}

#[tokio::test]
async fn a_disabled_operator_is_signed_out_and_cannot_sign_in() {
    let world = World::new().await;
    let ((id, email), (_, colleague)) = (world.create().await, world.create().await);
    let (token, colleague) = (world.sign_in(&email).await, world.sign_in(&colleague).await);
    let disable = format!("/admin/operators/{id}/disable");
    for _ in 0..2 {
        let disabled = world.call("POST", &disable, &colleague, &Value::Null).await;
        assert_eq!((disabled.status, &disabled.body["status"]), (200, &json!("disabled")), "{}", disabled.body);
        assert!(disabled.body["updatedBy"].as_str().unwrap().starts_with("operator:"));
    }
    assert_eq!(world.call("GET", "/admin/dlq", &token, &Value::Null).await.status, 401);
    assert_eq!(world.call("GET", "/api/tenants", &token, &Value::Null).await.status, 401);
    assert_eq!(world.attempt(&email, PASSWORD).await.status, 401);
    let enabled = world.call("POST", &format!("/admin/operators/{id}/enable"), &world.basic, &Value::Null).await;
    assert_eq!((enabled.status, &enabled.body["status"]), (200, &json!("active")));
    assert_eq!(world.call("GET", "/admin/dlq", &token, &Value::Null).await.status, 401, "earlier tokens stay revoked");
    world.sign_in(&email).await;
    let unknown = format!("/admin/operators/{}/disable", id.replace('0', "1"));
    assert_eq!(world.call("POST", &unknown, &colleague, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn operators_are_listed_and_addresses_are_unique() {
    let world = World::new().await;
    let (id, email) = world.create().await;
    let again = json!({"email": email.to_uppercase(), "name": "Ada", "password": PASSWORD});
    let taken = world.call("POST", "/admin/operators", &world.basic, &again).await;
    assert_eq!((taken.status, &taken.body["type"]), (409, &json!("/problems/email-taken")), "{}", taken.body);
    let (mut path, mut found) = ("/admin/operators?limit=2".to_owned(), false);
    loop {
        let page = world.call("GET", &path, &world.basic, &Value::Null).await;
        assert_eq!(page.status, 200, "{}", page.body);
        found |= page.body["items"].as_array().unwrap().iter().any(|operator| operator["id"] == json!(id));
        match page.body["nextCursor"].as_str() {
            Some(cursor) => path = format!("/admin/operators?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert!(found);
    for (field, value) in [("email", json!("nobody")), ("name", json!("")), ("password", json!("short"))] {
        let mut new = json!({"email": "new@example.com", "name": "Ada", "password": PASSWORD});
        new[field] = value;
        let refused = world.call("POST", "/admin/operators", &world.basic, &new).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.to_string().contains(field), "{}", refused.body);
    }
}

#[tokio::test]
async fn passwords_are_throttled_and_changing_one_revokes_tokens() {
    let world = World::new().await;
    let (_, email) = world.create().await;
    let token = world.sign_in(&email).await;
    let new = "another-horse-2";
    let change = |current: &str| json!({"current": current, "new": new});
    let wrong = world.call("POST", "/admin/auth/password", &token, &change("wrong-horse-1")).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert_eq!(world.call("POST", "/admin/auth/password", &token, &change(PASSWORD)).await.status, 204);
    assert_eq!(world.call("GET", "/admin/auth/me", &token, &Value::Null).await.status, 401);
    assert_eq!(world.attempt(&email, new).await.status, 200);
    let machine = world.call("POST", "/admin/auth/password", &world.basic, &change(PASSWORD)).await;
    assert_eq!(machine.status, 403, "the stack's own credentials have no password to change");
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(world.attempt(&email, "wrong-horse-1").await.status);
    }
    assert_eq!((statuses[9], statuses[10]), (401, 429));
    assert_eq!(world.attempt(&email, new).await.status, 429, "and so is the right one, for a while");
}
