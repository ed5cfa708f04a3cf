//! Every documented route, without a credential, with a wrong one and with another tenant's.

use super::management_world::{PASSWORD, World, rule, telegram};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        let signals = |operation: &Value| operation["tags"] == json!(["Signals"]) && operation["security"] != json!([]);
        let operations = operations.as_object().unwrap().iter().filter(|(_, operation)| signals(operation));
        for (method, _) in operations {
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
