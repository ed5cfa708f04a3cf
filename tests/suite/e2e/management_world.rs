//! A tenant that is managed over HTTP, with its owner and an operator.

use super::client;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::{Env, Secret};
use switchyard_identity::operators::{NewOperator, Operators};
use switchyard_io::Aws;
use switchyard_signals::users::UserDeps;
use switchyard_tests::client::{Answer, Client, poll, unique};

pub(super) const PASSWORD: &str = "correct-horse-1";

pub(super) const SOON: Duration = Duration::from_secs(20);

/// A tenant with an owner who is logged in.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) users: UserDeps,
    pub(super) operator: String,
    pub(super) tenant: Value,
    pub(super) slug: String,
    pub(super) owner: String,
}

/// An address of a tenant's own: attempts at an address are counted for all tenants together.
pub(super) fn address(slug: &str, name: &str) -> String {
    format!("{name}@{slug}.test")
}

pub(super) async fn log_in(client: &Client, slug: Option<&str>, email: &str, password: &str) -> Answer {
    let mut body = json!({"email": email, "password": password});
    if let Some(slug) = slug {
        body["tenant"] = slug.into();
    }
    client.post("/api/auth/login", &body).await.unwrap()
}

pub(super) fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["accessToken"].as_str().unwrap().to_owned()
}

impl World {
    pub(super) async fn new() -> Self {
        let (client, _) = client();
        let aws = Aws::at(&client.stack().aws).await;
        let settings = client.settings_of("events-api").await.unwrap();
        let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
        let (deps, operators) = (UserDeps::from_env(&aws, &env).unwrap(), Operators::from_env(&aws, &env).unwrap());
        let number = format!("{}-{}", std::process::id(), unique());
        let email = format!("ops-{number}@example.com");
        let new =
            NewOperator { email: email.clone(), name: "Ops".to_owned(), password: Secret::new(PASSWORD.to_owned()) };
        operators.create(&"test".into(), &new).await.unwrap();
        let operator = token(&log_in(&client, None, &email, PASSWORD).await);
        let slug = format!("managed-{number}");
        let owner = json!({"email": address(&slug, "owner"), "password": PASSWORD});
        let new = json!({"slug": slug, "name": "Acme", "owner": owner});
        let world = Self { client, users: deps, operator, tenant: Value::Null, slug, owner: String::new() };
        let made = world.call("POST", "/api/tenants", &world.operator, &new).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let owner = token(&log_in(&world.client, Some(&world.slug), &address(&world.slug, "OWNER"), PASSWORD).await);
        Self { tenant: made.body, owner, ..world }
    }

    pub(super) async fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.client.send(method, path, &headers, body).await.unwrap()
    }

    pub(super) async fn own(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &self.owner, body).await
    }

    /// A user of the tenant who is logged in.
    pub(super) async fn user(&self, role: &str) -> (String, String) {
        let email = address(&self.slug, role);
        let made = self.own("POST", "/api/users", &json!({"email": email, "password": PASSWORD, "role": role})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let token = token(&log_in(&self.client, Some(&self.slug), &email, PASSWORD).await);
        (made.body["id"].as_str().unwrap().to_owned(), token)
    }

    pub(super) async fn key(&self, body: &Value) -> (String, String) {
        let made = self.own("POST", "/api/api-keys", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    pub(super) async fn rule(&self) -> Answer {
        let made = self.own("POST", "/api/rules", &rule("hi")).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made
    }

    /// Brings a message that cannot succeed, about an event of the tenant's that is nowhere.
    pub(super) async fn bury(&self, event: &str) {
        let queue = self.client.settings_of("events-api").await.unwrap()["RULES_QUEUE_URL"].clone();
        let body = json!({"eventId": event, "type": "t"});
        let body = json!({"v": 1, "id": event, "kind": "signals.event", "tenant": self.tenant["id"], "body": body});
        let request = json!({"QueueUrl": queue, "MessageBody": body.to_string()});
        self.client.aws("AmazonSQS.SendMessage", &request).await.unwrap();
    }

    /// The first thing of a list, once there is one.
    pub(super) async fn first(&self, path: &str) -> Value {
        let look = async || self.own("GET", path, &Value::Null).await.body["items"][0].clone();
        let found = poll(SOON, Duration::from_millis(100), async || Ok(look().await.is_object()));
        found.await.unwrap();
        look().await
    }

    pub(super) async fn event(&self, key: &str) -> Answer {
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        let body = json!({"type": "user.signup", "payload": {"name": "Ann"}}).to_string();
        self.client.send("POST", "/api/events", &headers, body).await.unwrap()
    }
}

pub(super) fn rule(text: &str) -> Value {
    let action = json!({"type": "notify", "channel": "telegram", "text": text});
    json!({"name": "r", "eventType": "user.*", "definition": {"schema": 2, "when": true, "actions": [action]}})
}

pub(super) fn telegram() -> Value {
    let config = json!({"botToken": "42:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "destination": "1001"});
    json!({"name": "bot", "channel": "telegram", "config": config, "isDefault": true})
}
